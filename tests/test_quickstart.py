"""The notebook of the README: it runs from top to bottom, and what is committed is what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
LARGEST_BYTES = 500_000
N_PICTURES = 4


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def printed(notebook: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in outputs(notebook))


def test_the_committed_notebook_shows_its_pictures_and_nothing_of_the_machine():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < LARGEST_BYTES
    assert pictures(notebook) == N_PICTURES
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run tools/execute_notebook.py on it"
    text = NOTEBOOK.read_text()
    assert not re.search(r"/(tmp|home|root|Users)/|\.venv", text)
    assert "stderr" not in {output.get("name") for output in outputs(notebook)}


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    out = tmp_path / "executed.ipynb"
    command = [sys.executable, "tools/execute_notebook.py", str(NOTEBOOK), "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    notebook = nbformat.read(out, as_version=4)
    assert pictures(notebook) == N_PICTURES
    said = printed(notebook)
    dice, all_marked = (float(each) for each in re.findall(r"Dice +([\d.]+).*everything: ([\d.]+)", said)[0])
    assert dice > all_marked + 0.1
    difference = re.search(r"largest difference from JAX: (\S+)", said)
    assert difference is not None
    assert float(difference[1]) < 1e-4
    assert "stderr" not in {output.get("name") for output in outputs(notebook)}, "it warns"
