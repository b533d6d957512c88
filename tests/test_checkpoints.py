"""Checkpoints are what was written, or refused: damaged ones are named, and the one before is read."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compseg_jax.config import Network
from compseg_jax.networks.build import build_network
from compseg_jax.training import checkpoint
from compseg_jax.training.checkpoint import HASHES, CheckpointError, Checkpoints, numbers_in
from compseg_jax.training.step import TrainState, init_train_state


@pytest.fixture(scope="module")
def fresh() -> TrainState:
    return init_train_state(jax.random.key(0), build_network(Network(base=2, depth=0)), 3)


def at(state: TrainState, step: int) -> TrainState:
    variables = jax.tree.map(lambda leaf: leaf + step, state.variables)
    return dataclasses.replace(state, step=jnp.int32(step), variables=variables)


@pytest.fixture(scope="module")
def written(fresh: TrainState, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step in (2, 4, 6):
            state = at(fresh, step)
            checkpoints.save(state, state.variables, {"history": [{"epoch": step // 2}]})
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run" / "checkpoints"))


def restored_step(folder: Path, fresh: TrainState) -> int:
    """Step of what is restored, which is compared with what was saved at that step."""
    with Checkpoints(folder) as checkpoints:
        state, best, progress = checkpoints.restore(fresh)
    step = int(state.step)
    assert progress == {"history": [{"epoch": step // 2}]}
    for tree in (state.variables, best):
        jax.tree.map(np.testing.assert_array_equal, tree, at(fresh, step).variables)
    return step


def test_two_are_kept_with_the_hash_of_each_file(folder: Path, fresh: TrainState) -> None:
    assert numbers_in(folder) == [4, 6]
    for number in (4, 6):
        stated = json.loads((folder / str(number) / HASHES).read_text())["files"]
        files = [path for path in (folder / str(number)).rglob("*") if path.is_file()]
        assert len(stated) == len(files) - 1 > 10
    assert restored_step(folder, fresh) == 6


@pytest.mark.parametrize(
    "damage", ["flipped", "cut", "deleted", "added", "swapped", "progress", "hashes", "no hashes", "no state"]
)
def test_a_damaged_newest_one_is_named_and_the_one_before_taken(
    folder: Path, fresh: TrainState, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = folder / "6"
    data = max((newest / "state").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    if damage == "flipped":
        data.write_bytes(bytes([data.read_bytes()[0] ^ 4]) + data.read_bytes()[1:])
    elif damage == "cut":
        data.write_bytes(data.read_bytes()[:-1])
    elif damage == "deleted":
        data.unlink()
    elif damage == "added":
        (data.parent / "another").write_bytes(b"")
    elif damage == "swapped":
        shutil.rmtree(newest / "best")
        shutil.copytree(folder / "4" / "best", newest / "best")
    elif damage == "progress":
        (newest / "progress" / "metadata").write_text('{"history": [{"epoch": 9}]}')
    elif damage == "hashes":
        (newest / HASHES).write_text((newest / HASHES).read_text()[:-20])
    elif damage == "no hashes":
        (newest / HASHES).unlink()
    else:
        shutil.rmtree(newest / "state")
    assert restored_step(folder, fresh) == 4
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{newest} ")
    assert printed.out.count("put aside as 6.damaged, the run goes on from 4") == 1
    assert printed.err == ""
    # The run writes that checkpoint again.
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(at(fresh, 6), at(fresh, 6).variables, {"history": [{"epoch": 3}]})
    assert restored_step(folder, fresh) == 6


def test_an_empty_folder_hides_no_checkpoint(folder: Path, fresh: TrainState) -> None:
    (folder / "9999").mkdir()
    assert restored_step(folder, fresh) == 6
    assert numbers_in(folder) == [4, 6]


def test_where_all_are_damaged_one_sentence_says_so(folder: Path, fresh: TrainState) -> None:
    for number in ("4", "6"):
        shutil.rmtree(folder / number / "best")
    before = sorted(folder.rglob("*"))
    with Checkpoints(folder) as checkpoints, pytest.raises(CheckpointError) as caught:
        checkpoints.restore(fresh)
    assert str(caught.value) == (
        f"{folder / '6'} is damaged: best missing; {folder / '4'} is damaged: best missing. No checkpoint is whole: "
        "start a new run with another --out."
    )
    assert sorted(folder.rglob("*")) == before


def test_checkpoints_of_earlier_releases_have_no_hashes_and_are_read(
    folder: Path, fresh: TrainState, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in ("4", "6"):
        (folder / number / HASHES).unlink()
    assert restored_step(folder, fresh) == 6
    assert "6 holds no hashes, as those of earlier releases: it is taken as it is" in capsys.readouterr().out
    for path in (folder / "6" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert restored_step(folder, fresh) == 4


def test_another_network_is_no_damage(folder: Path) -> None:
    other = init_train_state(jax.random.key(0), build_network(Network(base=3, depth=0)), 3)
    with Checkpoints(folder) as checkpoints, pytest.raises(CheckpointError, match="does not fit the network"):
        checkpoints.restore(other)
    assert numbers_in(folder) == [4, 6]


def test_what_cannot_be_written_is_one_error_without_a_traceback(
    tmp_path: Path, fresh: TrainState, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import orbax.checkpoint as ocp

    def full(self: object, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ocp.JsonCheckpointHandler, "_save_fn", full)

    def save() -> None:
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            checkpoints.save(fresh, fresh.variables, {"history": []})

    with pytest.raises(
        CheckpointError, match=r"cannot be written, .* \(\[Errno 28\] No space left on device\)"
    ):
        save()
    assert capfd.readouterr().err == ""
    assert numbers_in(tmp_path / "checkpoints") == []


def test_a_full_disk_is_seen_before_a_checkpoint_is_begun(
    folder: Path, fresh: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=1000))

    def save() -> None:
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(at(fresh, 8), fresh.variables, {"history": []})

    with pytest.raises(
        CheckpointError, match=r"takes up to 0\.\d MB, and the disk has 0\.0 MB left\. Make room"
    ):
        save()
    assert numbers_in(folder) == [4, 6]


def test_a_checkpoint_is_hashed_as_soon_as_it_is_there(tmp_path: Path, fresh: TrainState) -> None:
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(at(fresh, 2), fresh.variables, {"history": []})
        assert checkpoints._hashing is not None
        checkpoints._hashing.join()
        checkpoint.refuse_damage(tmp_path / "checkpoints" / "2")
