"""One training a run folder: the second is told who trains there, the dead are taken over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compseg_jax.prediction import claims
from compseg_jax.prediction.claims import Claims
from compseg_jax.runtime.processes import boot
from compseg_jax.training import one_writer
from compseg_jax.training.one_writer import only_writer
from compseg_jax.training.run import RunError

CLAIM = ".training.claim.0"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT_S", 0.05)
    monkeypatch.setattr(claims, "LOOK_S", 0.02)
    monkeypatch.setattr(claims, "STALE_S", 0.5)


def enter(folder: Path) -> Callable[[], None]:
    with only_writer(folder) as guard:
        return guard


def test_a_second_training_is_told_who_trains_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_writer(tmp_path / "run") as guard:
        guard()
        with pytest.raises(RunError) as caught:
            enter(tmp_path / "run")
        said = str(caught.value)
        assert said.startswith(f"{tmp_path / 'run'} is being trained by ")
        assert f", process {os.getpid()}, since 20" in said
        assert said.endswith(". Wait for it, stop it, or choose another --out.")
        guard()
    assert "looking whether that still works" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    enter(tmp_path / "run")


def test_nothing_is_left_of_a_run_that_could_not_begin(tmp_path: Path) -> None:
    def fail() -> None:
        with only_writer(tmp_path / "runs" / "mine"):
            assert (tmp_path / "runs" / "mine" / CLAIM).is_file()
            raise RunError("no store")

    with pytest.raises(RunError, match="no store"):
        fail()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "log.jsonl").write_text("")
    enter(tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["log.jsonl"]


def claim_of(folder: Path, **changes: object) -> None:
    """The claim of a process that was killed."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder.mkdir()
    held = {
        "owner": "another",
        "beat": 3,
        "since": "2026-01-02 03:04",
        "host": "b",
        "pid": ended.pid,
        "start": "1",
    }
    (folder / CLAIM).write_text(json.dumps({**held, "system": claims._this_process()["system"], **changes}))


@pytest.mark.skipif(sys.platform == "win32" or not boot(), reason="processes are not asked about there")
def test_a_claim_of_a_process_that_ended_here_is_taken_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claims, "STALE_S", 3600.0)
    claim_of(tmp_path / "run")
    enter(tmp_path / "run")
    assert capsys.readouterr().out == ""
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("changes", [{"system": "another boot"}, {"pid": "?"}, {"system": 3, "start": None}])
def test_a_claim_of_elsewhere_is_taken_over_when_it_beats_no_more(
    tmp_path: Path, changes: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    claim_of(tmp_path / "run", **changes)
    assert Claims(tmp_path / "run").take(one_writer.CLAIMED) is None
    enter(tmp_path / "run")
    assert "was claimed by b, process" in capsys.readouterr().out
    assert list((tmp_path / "run").iterdir()) == []


def test_claims_of_earlier_releases_name_nobody(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CLAIM).write_text('{"owner": "another", "beat": 3}')
    seen = Claims(tmp_path / "run")
    assert seen.take(one_writer.CLAIMED) is None
    assert seen.holder(one_writer.CLAIMED) == "another process"


def test_a_process_that_lost_its_run_writes_no_more(tmp_path: Path) -> None:
    with only_writer(tmp_path / "run") as guard:
        (tmp_path / "run" / ".training.claim.1").write_text("{}")
        with pytest.raises(RunError, match="another one took the run over"):
            guard()
    assert (tmp_path / "run" / ".training.claim.1").is_file()
