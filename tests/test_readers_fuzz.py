"""Damaged files: cut at many places, bytes changed; the right shape and axis come back, or a CubeError.

A changed value cannot be seen, and so does not count; nor can the pixel count in a JPEG header or the
`shape` of a zarr array, which nothing else there repeats: of these only cuts and the chunks are tried.
A text table does not state its rows: one that is cut may come back shorter, never with another axis.
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
from pathlib import Path

import hypothesis
import pytest
from damaged_files import WRITTEN, Sample, changes, difference, written

from compseg_jax.readers import read, read_spectra
from compseg_jax.readers.cube import CubeError

CHANGES_PER_FILE = 2 * hypothesis.settings().max_examples
SECONDS_PER_READ = 5
# Far above what any file here holds, far below what a forged size would ask for.
MEMORY_GROWTH_BYTES = 100 << 20


class StillReading(BaseException):
    """No `Exception`, which a library might swallow."""


_AGILENT, _TILES = "agilent/5_mosaic_agg1024", "agilent/5_Mosaic_agg1024_0000_000"
# Files that belong together, the one opened first; how many of them are damaged; the reader.
REAL = {
    "envi": (["envi/4_noimage_agg256.hdr", "envi/4_noimage_agg256.dat"], 2, read),
    "agilent tile": ([f"agilent/4_noimage_agg256.{end}" for end in ("dat", "bsp", "hdr")], 2, read),
    "agilent mosaic": (
        [f"{_AGILENT}.dmt", f"{_TILES}0.dmd", f"{_TILES}1.dmd", f"{_AGILENT}.hdr"],
        2,
        read,
    ),
    "fsm": (["perkinelmer_fsm/4x4_pixel_PE_image.fsm"], 1, read),
    "sp": (["perkinelmer_fsm/single_PE_spectrum.sp"], 1, read_spectra),
    "ptir": (["photothermal_ptir_hdf5/Hyper_Sample.ptir"], 1, read),
    "witec": (["mat_witec_raman/3D THP1 map 001 L5 (B+R) (Sub BG).mat"], 1, read),
    "opus": (["bruker_opus/peach_juice.0"], 1, read_spectra),
    "wdf": (["renishaw_wdf/sp.wdf"], 1, read_spectra),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_damage_to_a_written_file(tmp_path, kind):
    _damage(written(kind, tmp_path), seed=len(kind))


@pytest.mark.parametrize("kind", list(REAL))
def test_damage_to_an_instrument_file(tmp_path, shared_data, kind):
    names, damaged, reader = REAL[kind]
    if kind == "ptir":
        pytest.importorskip("h5py")
    for name in names:
        shutil.copyfile(shared_data / "formats" / name, tmp_path / Path(name).name)
    paths = [tmp_path / Path(name).name for name in names]
    _damage(Sample(paths[0], tuple(paths[:damaged]), reader), seed=len(kind))


def _damage(sample: Sample, seed: int) -> None:
    whole = sample.reader(sample.opened)
    signal.signal(signal.SIGALRM, _give_up)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for path in sample.damaged:
        content = path.read_bytes()
        for what, changed in changes(content, random.Random(seed), CHANGES_PER_FILE, flips=sample.flips):
            # A new file, for the old one may still be mapped.
            path.unlink()
            path.write_bytes(changed)
            signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_READ, 1)
            try:
                found = sample.reader(sample.opened)
            except CubeError:
                refused += 1
                continue
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert not (other := difference(sample, whole, found)), f"{path.name}, {what}: {other}"
        path.unlink()
        path.write_bytes(content)
    assert refused >= CHANGES_PER_FILE // 3
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MEMORY_GROWTH_BYTES


def _give_up(number: int, frame: object) -> None:
    raise StillReading(f"still reading after {SECONDS_PER_READ} s")
