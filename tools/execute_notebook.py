"""Runs a notebook from top to bottom and keeps its outputs: `python tools/execute_notebook.py NOTEBOOK [--out FILE]`.

What differs between any two runs (clock times, the version of Python) is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TIMEOUT_S = 300


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in its own folder.

    Raises:
      nbclient.exceptions.CellExecutionError: when a cell fails; the message holds the cell and its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=folder).execute()
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def main() -> None:
    """Writes the executed notebook, by default over the one that was run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--out", type=Path, help="file to write (default: the notebook itself)")
    arguments = parser.parse_args()
    nbformat.write(executed(arguments.notebook), arguments.out or arguments.notebook)


if __name__ == "__main__":
    main()
