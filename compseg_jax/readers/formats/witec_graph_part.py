"""The axis or the values of a graph of WITec Project; in a folder its header stands for both."""

from __future__ import annotations

from pathlib import Path

from compseg_jax.readers.formats.witec_graph import header_of, read, read_spectra

__all__ = ["holds", "read", "read_spectra"]


def holds(path: Path) -> bool:
    """Whether the file is a part of a graph whose header lies beside it."""
    header = header_of(path)
    return header != path and header.is_file()
