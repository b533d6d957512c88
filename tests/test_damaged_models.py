"""Parameters that were changed, cut or lost: the file is named in one sentence, and Orbax prints nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from model_example import write_model

from compseg_jax.model import ModelError, load_model
from compseg_jax.model.parameters import ParametersError, restore_tree, save_tree


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model")


def damaged(path: Path, kind: str, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    if kind == "flipped":
        bit = int(rng.integers(8 * len(content)))
        content[bit // 8] ^= 1 << bit % 8
    elif kind == "cut":
        content = content[: len(content) // 2]
    path.unlink()
    if kind != "lost":
        path.write_bytes(bytes(content))


@pytest.mark.parametrize("kind", ["flipped", "cut", "lost"])
def test_every_damaged_file_is_named(
    whole: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    names = json.loads((whole / "model.json").read_text())["files_sha256"]
    assert len(names) > 5
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    load_model(folder)
    capfd.readouterr()
    for name in names:
        if (whole / name).stat().st_size:
            damaged(folder / name, kind, rng)
            with pytest.raises(ModelError) as caught:
                load_model(folder)
            what = "is missing" if kind == "lost" else "is not what was written"
            assert str(caught.value) == (
                f"{folder / name} {what}. The files were changed or damaged: copy the model again."
            )
            shutil.copyfile(whole / name, folder / name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["flipped", "cut", "lost"])
@pytest.mark.filterwarnings("ignore")  # of Orbax about files that it does not understand
def test_parameters_without_hashes_are_equal_or_refused(tmp_path: Path, kind: str) -> None:
    tree = {"a": {"b": np.arange(40, dtype=np.float32), "c": np.ones((3, 3), np.float32)}}
    save_tree(tmp_path / "whole", tree)
    rng = np.random.default_rng(1)
    names = [
        path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()
    ]
    said = []
    for name in names:
        if not (tmp_path / "whole" / name).stat().st_size:
            continue
        folder = Path(shutil.copytree(tmp_path / "whole", tmp_path / "params"))
        damaged(folder / name, kind, rng)
        try:
            found = restore_tree(folder)
        except ParametersError as error:
            said.append(str(error))
        else:
            jax.tree.map(np.testing.assert_array_equal, found, tree)
        shutil.rmtree(folder)
    assert len(said) > 1
    assert [text for text in said if "\n" in text or str(tmp_path / "params") not in text] == []


@pytest.mark.parametrize("text", ["", "{", '{"tree_metadata": 3}'])
def test_orbax_says_nothing_beside_our_sentence(
    whole: Path, tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(whole / "params", tmp_path / "params"))
    (folder / "_METADATA").write_text(text)
    with pytest.raises(ParametersError, match="cannot be restored: the files are damaged"):
        restore_tree(folder)
    assert capfd.readouterr() == ("", "")
