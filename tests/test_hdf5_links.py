"""Links of HDF5 into other files are named and not followed; nothing of those files is read."""

from __future__ import annotations

import numpy as np
import pytest
from instrument_files import ptir, sample

from compseg_jax.readers import read
from compseg_jax.readers.cube import CubeError

h5py = pytest.importorskip("h5py")
AXIS = np.linspace(1700, 1000, 6)


@pytest.fixture
def other(tmp_path):
    """Another file, with all that would be found there."""
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["absorbance"] = np.ones((4, 5, 6), np.float32)
        file["wavenumbers"] = AXIS
        file["said"] = "a secret"
        data = file.create_group("data")
        data.attrs["NX_class"] = "NXdata"
        data.attrs["signal"] = "counts"
        data["counts"] = np.ones((4, 5, 6), np.float32)
    return path


def test_a_linked_cube_is_named_and_not_read(tmp_path, other):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["absorbance"] = h5py.ExternalLink(str(other), "/absorbance")
        file["group"] = h5py.ExternalLink(str(other), "/")
        file["wavenumbers"] = AXIS
    with pytest.raises(
        CubeError, match=r"absorbance \(a link into the file '.*other\.h5', which is not followed; give that"
    ):
        read(path)
    for variable in ("absorbance", "group/absorbance"):
        with pytest.raises(CubeError, match=r"is a link into the file '.*other\.h5'; give that file"):
            read(path, variable=variable)
    with h5py.File(path, "r+") as file:
        file["own"] = np.zeros((2, 3, 6), np.float32)
    assert read(path).absorbance.shape == (2, 3, 6)


def test_a_linked_group_of_nexus_is_not_followed(tmp_path, other):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry.attrs["default"] = "data"
        entry["data"] = h5py.ExternalLink(str(other), "/data")
    with pytest.raises(CubeError):
        read(path)


def test_links_of_an_instrument_that_writes_none_are_refused(tmp_path, other):
    values, axis = sample(4, 4, 12)
    path = ptir(tmp_path / "a.ptir", values, axis)
    assert read(path).absorbance.shape == (4, 4, 12)
    with h5py.File(path, "r+") as file:
        measurement = next(name for name in file if name.startswith("Measurement_"))
        file[measurement]["Channel_999"] = h5py.ExternalLink(str(other), "/")
    with pytest.raises(CubeError, match=r"'Measurement_\d+/Channel_999' is a link into the file"):
        read(path)


def test_values_that_lie_in_another_file_are_no_text_of_this_one(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"nobody reads this" + bytes(4 * 5 * 6 * 4))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("said", (1,), "S17", external=[(str(secret), 0, 17)])
        file.create_dataset("absorbance", (4, 5, 6), "f4", external=[(str(secret), 0, 480)])
        file["wavenumbers"] = AXIS
    with pytest.raises(CubeError) as caught:
        read(path)
    assert "stored in other files" in str(caught.value)
    assert "nobody reads this" not in str(caught.value)
