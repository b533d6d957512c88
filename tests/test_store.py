from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
import zarr
from store_example import CHANNELS, SIZES, WAVENUMBERS_CM1, sample_arrays, write_store

from compseg_jax.store.checksums import seal
from compseg_jax.store.read import Sample, Store, StoreError
from compseg_jax.store.write import StoreWriter

BYTES_READ = "/tensorstore/kvstore/file/bytes_read"


def writer_at(path: Path, channels: int = CHANNELS) -> StoreWriter:
    return StoreWriter(
        path,
        channels=channels,
        wavenumbers_cm1=None,
        pixel_size_um=None,
        background="none",
        created_by="a test",
    )


def write_one(path: Path, absorbance: np.ndarray) -> Store:
    height, width, channels = absorbance.shape
    with writer_at(path, channels) as writer:
        sample = Sample("a", 1, "train", "a", height, width, False)
        writer.add(sample, absorbance, np.ones((height, width), bool), None)
    return Store.open(path)


def bytes_read(action: Callable[[], object]) -> int:
    def total() -> int:
        return sum(
            value["value"]
            for metric in ts.experimental_collect_matching_metrics(BYTES_READ)
            for value in metric["values"]
        )

    before = total()
    action()
    return total() - before


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("store") / "deep" / "data")


def test_what_is_written_is_read(store: Store) -> None:
    assert [sample.id for sample in store.samples] == [f"s{number}" for number in range(18)]
    assert store.samples[3] == Sample("s3", 1, "train", "p3", 7, 9, True, "made")
    assert store.channels == CHANNELS
    assert store.pixel_size_um == 5.5
    assert store.background == "zero"
    assert store.wavenumbers_cm1 is not None
    np.testing.assert_array_equal(store.wavenumbers_cm1, WAVENUMBERS_CM1)
    assert [sample.id for sample in store.split("val")] == [f"s{number}" for number in range(6, 12)]
    for number, sample in enumerate(store.samples):
        absorbance, tissue, reference = sample_arrays(SIZES[number // 2 % 3], number)
        read = store.read(sample.id)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, absorbance)
        np.testing.assert_array_equal(store.tissue(sample.id), tissue)
        assert store.tissue(sample.id).dtype == bool
        if sample.has_reference:
            np.testing.assert_array_equal(store.reference(sample.id), reference)
        else:
            with pytest.raises(
                StoreError, match=r"labels/reference/0: sample 's\d+' holds no reference mask"
            ):
                store.reference(sample.id)


@pytest.mark.parametrize("size", [(1, 1), (33, 31), (32, 64), (300, 5)])
def test_any_size_is_stored(tmp_path: Path, size: tuple[int, int]) -> None:
    absorbance = np.random.default_rng(0).normal(size=(*size, 2)).astype(np.float32)
    np.testing.assert_array_equal(write_one(tmp_path / "s", absorbance).read("a"), absorbance)


def test_values_float32_can_hold_stay_as_they_are(tmp_path: Path) -> None:
    values = np.array([0.0, -0.0, 1e-38, 3.4e38, np.pi, 2**24 + 1], np.float64).reshape(1, 6, 1)
    np.testing.assert_array_equal(write_one(tmp_path / "s", values).read("a"), values.astype(np.float32))


def test_zarr_python_reads_a_cube_with_its_ome_metadata(store: Store) -> None:
    image = zarr.open_group(store.path / "cubes" / "s1.zarr", mode="r")
    metadata = image.attrs["ome"]
    assert metadata["version"] == "0.5"
    (multiscale,) = metadata["multiscales"]
    assert multiscale["axes"] == [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    assert multiscale["datasets"] == [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 5.5, 5.5]}]}
    ]
    array = image["0"]
    assert array.metadata.dimension_names == ("c", "y", "x")
    assert array.shards == (CHANNELS, 32, 32)
    absorbance, tissue, reference = sample_arrays(SIZES[0], 1)
    np.testing.assert_array_equal(array[...], absorbance.transpose(2, 0, 1))
    assert image["labels"].attrs["ome"] == {"version": "0.5", "labels": ["reference", "tissue"]}
    for name, mask in (("tissue", tissue), ("reference", reference)):
        label = image["labels"][name]
        assert label.attrs["ome"]["image-label"] == {"source": {"image": "../../"}}
        assert [axis["name"] for axis in label.attrs["ome"]["multiscales"][0]["axes"]] == ["y", "x"]
        assert label["0"].dtype == np.uint8
        np.testing.assert_array_equal(label["0"][...], mask)


def test_spectra_of_a_tile_lie_channel_last(tmp_path: Path) -> None:
    path = write_one(tmp_path / "s", np.zeros((40, 40, 4), np.float32)).path
    stored = json.loads((path / "cubes" / "a.zarr" / "0" / "zarr.json").read_text())
    (sharding,) = stored["codecs"]
    assert sharding["configuration"]["chunk_shape"] == [4, 32, 32]
    assert sharding["configuration"]["codecs"][0] == {
        "name": "transpose",
        "configuration": {"order": [1, 2, 0]},
    }
    assert "unit" not in (path / "cubes" / "a.zarr" / "zarr.json").read_text()


def test_a_crop_reads_only_the_tiles_it_touches(tmp_path: Path) -> None:
    # Random values do not compress, so bytes count tiles.
    cube = np.random.default_rng(0).normal(size=(256, 256, 16)).astype(np.float32)
    store = write_one(tmp_path / "s", cube)
    tile = 32 * 32 * 16 * 4
    assert bytes_read(lambda: store.read("a")) > 60 * tile
    for y, x, tiles in (
        (slice(3, 9), slice(40, 50), 1),
        (slice(60, 70), slice(0, 32), 2),
        (slice(100, 164), slice(90, 100), 6),
        (slice(-4, None), slice(250, 999), 1),
    ):
        crops = []
        used = bytes_read(lambda y=y, x=x, crops=crops: crops.append(store.read_crop("a", y, x)))
        np.testing.assert_array_equal(crops[0], cube[y, x])
        assert 0.7 * tiles * tile < used < 1.1 * tiles * tile + 8192, (y, x, used / tile)


def test_a_cube_of_several_files_is_read_whole_and_in_part(tmp_path: Path) -> None:
    cube = np.random.default_rng(1).normal(size=(260, 300, 2)).astype(np.float32)
    store = write_one(tmp_path / "s", cube)
    assert len(list((store.path / "cubes" / "a.zarr" / "0" / "c").rglob("*"))) == 1 + 2 + 4
    np.testing.assert_array_equal(store.read("a"), cube)
    np.testing.assert_array_equal(store.read_crop("a", slice(250, 260), slice(240, 270)), cube[250:, 240:270])


def test_later_reads_overlap_and_agree(store: Store) -> None:
    pending = [store.read_later(sample.id) for sample in store.samples]
    for sample, read in zip(store.samples, pending, strict=True):
        np.testing.assert_array_equal(read.result(), store.read(sample.id))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with writer_at(tmp_path / "new" / "folder" / "s") as writer:
            sample = Sample("a", 1, "train", "a", 40, 40, False)
            writer.add(sample, np.ones((40, 40, CHANNELS)), np.ones((40, 40), bool), None)
            assert len(list((tmp_path / "new" / "folder").iterdir())) == 1
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_after_ctrl_c_at_any_moment(tmp_path: Path) -> None:
    def interrupt(number: int, frame: object) -> None:
        signal.raise_signal(signal.SIGINT)

    cube = np.random.default_rng(0).normal(size=(128, 128, 64)).astype(np.float32)
    tissue = np.ones((128, 128), bool)

    def write_until_stopped(delay_s: float) -> None:
        with writer_at(tmp_path / "s", 64) as writer:
            signal.setitimer(signal.ITIMER_REAL, delay_s)
            for number in range(10_000):
                writer.add(Sample(f"s{number}", 1, "train", "a", 128, 128, False), cube, tissue, None)

    before = signal.signal(signal.SIGALRM, interrupt)
    # A shell's background job ignores Ctrl-C, and so does all that it starts.
    before_sigint = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for delay_s in np.linspace(0.002, 0.06, 12):
            with pytest.raises(KeyboardInterrupt):
                write_until_stopped(float(delay_s))
            assert list(tmp_path.iterdir()) == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGINT, before_sigint)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "."):
        with pytest.raises(StoreError, match="exists already"):
            writer_at(tmp_path / name)

    def race() -> None:
        with writer_at(tmp_path / "s"):
            (tmp_path / "s").mkdir()

    with pytest.raises(StoreError, match="exists already"):
        race()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "s"]


@pytest.mark.parametrize(
    ("sample", "shape", "message"),
    [
        (Sample("a", 1, "train", "a", 4, 5, False), (4, 5, 2), "shapes"),
        (Sample("a", 1, "train", "a", 5, 4, False), (4, 5, 3), "shapes"),
        (Sample("a", 1, "train", "a", 4, 5, True), (4, 5, 3), "has_reference"),
        (Sample("../a", 1, "train", "a", 4, 5, False), (4, 5, 3), "cannot name a file"),
        (Sample("first", 1, "train", "a", 4, 5, False), (4, 5, 3), "taken"),
    ],
)
def test_the_writer_refuses_what_does_not_fit(
    tmp_path: Path, sample: Sample, shape: tuple[int, ...], message: str
) -> None:
    tissue = np.ones((4, 5), bool)
    with writer_at(tmp_path / "s") as writer:
        writer.add(Sample("first", 1, "train", "a", 4, 5, False), np.ones((4, 5, 3)), tissue, None)
        with pytest.raises(StoreError, match=message):
            writer.add(sample, np.ones(shape), tissue, None)
    assert len(Store.open(tmp_path / "s").samples) == 1


def damage_description(path: Path, **changes: object) -> None:
    values = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps(values | changes))


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, 1.5, True])
def test_other_versions_are_refused(tmp_path: Path, version: object) -> None:
    path = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train"]).path
    damage_description(path, version=version)
    with pytest.raises(
        StoreError, match=r"dataset\.json: found format 'compseg-store' version .*reads .*1 to 1"
    ):
        Store.open(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "found format 'other'"),
        (
            {"wavenumbers_cm1": [1.0]},
            "found a damaged file .wavenumbers_cm1 has 1 wavenumbers for 3 channels: must be one for each",
        ),
        (
            {"background": "black"},
            'found a damaged file .background = "black": must be one of "zero", "none"',
        ),
    ],
)
def test_a_wrong_description_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train"]).path
    damage_description(path, **changes)
    with pytest.raises(StoreError, match=message):
        Store.open(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "compseg-store", "version": 1}', "\xff"])
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(StoreError, match=r"dataset\.json"):
        Store.open(tmp_path)


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no dataset\.json found.*compseg ingest"):
        Store.open(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("s0,0,", "s0,diseased,"),
        ("s0,", "../s0,"),
        (",7,", ",seven,"),
        ("s0,0,train,p0", "s0"),
        ("id,", "name,"),
    ],
)
def test_damaged_rows_are_refused(tmp_path: Path, old: str, new: str) -> None:
    path = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train"]).path
    text = (path / "samples.csv").read_text()
    (path / "samples.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(StoreError, match=r"samples\.csv cannot be read \(row 2: .*damaged: ingest it again"):
        Store.open(path)
    (path / "samples.csv").unlink()
    with pytest.raises(StoreError, match=r"samples\.csv cannot be read \(it is missing"):
        Store.open(path)


def test_unknown_keys_and_columns_are_ignored(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train"]).path
    damage_description(path, later_key=1)
    head, *rows = (path / "samples.csv").read_text().splitlines()
    (path / "samples.csv").write_text("\n".join([f"later,{head}", *[f"x,{row}" for row in rows]]) + "\n")
    seal(path)
    assert "later_key" in (path / "dataset.json").read_text()
    assert (path / "samples.csv").read_text().startswith("later,")
    assert [sample.id for sample in Store.open(path).samples] == ["s0", "s1"]


@pytest.mark.parametrize("damage", ["metadata", "flipped", "cut", "no chunk", "no array"])
def test_a_damaged_cube_or_mask_is_named(tmp_path: Path, damage: str) -> None:
    # The sample has tiles of zeros, which must be told apart from lost ones.
    store = write_one(tmp_path / "s", np.zeros((40, 40, CHANNELS), np.float32))
    assert not store.read("a").any()
    for array, read in (("0", store.read), ("labels/tissue/0", store.tissue)):
        folder = store.path / "cubes" / "a.zarr" / array
        chunk = next(path for path in (folder / "c").rglob("*") if path.is_file())
        if damage == "metadata":
            (folder / "zarr.json").write_text("{")
        elif damage == "flipped":
            chunk.write_bytes(bytes(byte ^ 0xFF for byte in chunk.read_bytes()))
        elif damage == "cut":
            chunk.write_bytes(chunk.read_bytes()[:-9])
        elif damage == "no chunk":
            chunk.unlink()
        else:
            (folder / "zarr.json").unlink()
        with pytest.raises(StoreError, match=f"a.zarr/{array} cannot be read .*damaged: ingest it again"):
            read("a")


def test_arrays_that_do_not_fit_the_table_are_refused(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s", sizes=[(7, 9)], splits=["train"]).path
    text = (path / "samples.csv").read_text()
    (path / "samples.csv").write_text(text.replace(",7,9,", ",9,7,"))
    seal(path)
    store = Store.open(path)
    with pytest.raises(StoreError, match=r"found the axes .*'y': 7, 'x': 9.*required .*'y': 9, 'x': 7"):
        store.read("s0")
    with pytest.raises(StoreError, match="labels/tissue/0 cannot be read"):
        store.tissue("s0")
    with pytest.raises(StoreError, match="lists no sample 's77'"):
        store.read("s77")
