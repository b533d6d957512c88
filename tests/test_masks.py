"""Masks: two values are read, more are refused with what was found and with words that help."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import instrument_files as files
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter

from compseg_jax.ingest.ingest_options import IngestError, IngestOptions, split_commas
from compseg_jax.ingest.to_store import ingest
from compseg_jax.prediction.formats import segmentation_to_geojson
from compseg_jax.readers import MaskRule, read, read_mask
from compseg_jax.readers.cube import CubeError
from compseg_jax.store.read import Store

DISC = np.add.outer((np.arange(24) - 10) ** 2, (np.arange(32) - 18) ** 2) < 40
ALL = np.ones(DISC.shape, np.uint8)
LARGE = np.kron(DISC, np.ones((8, 8), bool))
ORIENTATION_TAG = 274


def palette(indices, *colours):
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette([part for colour in colours for part in colour])
    return picture


def coloured(inside, outside=(0, 0, 0)):
    return np.where(DISC[..., np.newaxis], inside, outside).astype(np.uint8)


BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0)
TWO_VALUES = {
    "1 bit.png": lambda path: Image.fromarray(DISC).save(path),
    "1 bit.bmp": lambda path: Image.fromarray(DISC).save(path),
    "0 and 255.png": lambda path: Image.fromarray(DISC.astype(np.uint8) * 255).save(path),
    "0 and 1.png": lambda path: Image.fromarray(DISC.astype(np.uint8)).save(path),
    "0 and 7.png": lambda path: Image.fromarray(DISC.astype(np.uint8) * 7).save(path),
    "16 bits.png": lambda path: Image.fromarray(DISC.astype(np.uint16) * 65535).save(path),
    "black and red.png": lambda path: Image.fromarray(coloured(RED)).save(path),
    "black and white.png": lambda path: Image.fromarray(coloured(WHITE)).save(path),
    "opaque.png": lambda path: Image.fromarray(np.dstack((coloured(WHITE), np.full_like(ALL, 255)))).save(path),
    "palette white on black.png": lambda path: palette(DISC, BLACK, WHITE).save(path),
    "palette red on black.png": lambda path: palette(DISC, BLACK, RED).save(path),
    "palette red on black.tif": lambda path: palette(DISC, BLACK, RED).save(path),
    "16 bits.tif": lambda path: tifffile.imwrite(path, DISC.astype(np.uint16) * 300),
    "float.tif": lambda path: tifffile.imwrite(path, DISC.astype(np.float32) * 0.5),
    "1 bit.tif": lambda path: Image.fromarray(DISC).save(path),
    "fax.tif": lambda path: Image.fromarray(DISC).save(path, compression="group4"),
    # What these show, and not what they store: 0 is white, so that the disc is stored as 0.
    "white is zero, 1 bit.tif": lambda path: tifffile.imwrite(path, ~DISC, photometric="miniswhite"),
    "white is zero.tif": lambda path: tifffile.imwrite(path, (~DISC).astype(np.uint8) * 255, photometric="miniswhite"),
    "bool.npy": lambda path: np.save(path, DISC),
    "integers.npy": lambda path: np.save(path, DISC.astype(np.int64)),
    "floats.npy": lambda path: np.save(path, DISC.astype(np.float64)),
    "one channel.npy": lambda path: np.save(path, DISC[..., np.newaxis]),
    "colours.npy": lambda path: np.save(path, coloured((0, 0, 1))),
    "exact.jpg": lambda path: Image.fromarray(LARGE.astype(np.uint8) * 255).save(path, quality=100),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO_VALUES)
def test_two_values_of_which_one_is_black_are_read(tmp_path, name):
    if "fax" in name or "1 bit.tif" in name:
        pytest.importorskip("imagecodecs")
    if "fax" in name and 4 not in tifffile.TIFF.DECOMPRESSORS:
        pytest.skip("this tifffile reads no fax")
    TWO_VALUES[name](tmp_path / name)
    mask = read_mask(tmp_path / name)
    assert mask.inside.dtype == bool
    expected = LARGE if name == "exact.jpg" else DISC
    np.testing.assert_array_equal(mask.inside, expected)
    assert "is inside" in mask.words
    assert ("shows 0 as white" in mask.words) == name.startswith("white is zero")


@pytest.mark.parametrize("value", [0, 1, 255])
def test_nothing_and_everything_are_masks(tmp_path, value):
    Image.fromarray(np.full((5, 7), value, np.uint8)).save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png")
    assert mask.inside.all() == mask.inside.any() == (value > 0)


LABELS = np.where(DISC, 2, 0) + (np.arange(32) < 4)
MORE_VALUES = {
    "a.jpg": (
        lambda path: Image.fromarray(DISC.astype(np.uint8) * 255).save(path, quality=75),
        r"values \(0, 1, .* 255\).*JPEG.*mask_threshold=127",
    ),
    "blurred.png": (
        lambda path: Image.fromarray(DISC.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1)).save(path),
        "smoothing and resizing.*mask_threshold=127",
    ),
    "minus one.npy": (
        lambda path: np.save(path, np.where(DISC, 1, -1)),
        "the two values -1 and 1, neither of them 0.*mask_values=1",
    ),
    "one and two.png": (
        lambda path: Image.fromarray(DISC.astype(np.uint8) + 1).save(path),
        "the two values 1 and 2, neither of them 0.*mask_values=2",
    ),
    "all two.png": (
        lambda path: Image.fromarray(np.full((5, 7), 2, np.uint8)).save(path),
        "found only 2, in every pixel",
    ),
    "all minus one.npy": (lambda path: np.save(path, np.full((5, 7), -1)), "found only the value -1, below 0"),
    "probabilities.npy": (
        lambda path: np.save(path, np.linspace(0, 1, 35).reshape(5, 7)),
        "found 35 values .*probabilities.*mask_threshold=0.5",
    ),
    "labels.png": (
        lambda path: Image.fromarray(LABELS.astype(np.uint8)).save(path),
        r"found 3 values \(0, 1, 2\).*labels.*mask_values=2",
    ),
    "overlay.png": (
        lambda path: Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)).save(path),
        "found 35 colours .*drawn over one",
    ),
    "red on white.png": (
        lambda path: Image.fromarray(coloured(RED, WHITE)).save(path),
        "the two colours #ff0000 and #ffffff, neither of them 0.*mask_values='#ff0000'",
    ),
    "black on white.png": (
        lambda path: palette(DISC, WHITE, BLACK).save(path),
        r"by the colours of its palette \d+ pixels .* by the numbers .* mask_values='#000000'",
    ),
    "channels.npy": (lambda path: np.save(path, np.zeros((5, 7, 4))), r"shape \(5, 7, 4\)"),
    "flat.npy": (lambda path: np.save(path, np.zeros(5)), r"required is \(y, x\)"),
    "nan.npy": (lambda path: np.save(path, np.where(DISC, np.nan, 0)), "NaN"),
    "infinite.npy": (lambda path: np.save(path, np.where(DISC, np.inf, 0)), "infinite"),
    "white is zero.tif": (
        lambda path: tifffile.imwrite(path, DISC.astype(np.float32), photometric="miniswhite"),
        "float32 has no black end",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MORE_VALUES)
def test_what_is_no_mask_is_refused_with_what_was_found(tmp_path, name):
    write, message = MORE_VALUES[name]
    write(tmp_path / name)
    with pytest.raises(CubeError, match=message):
        read_mask(tmp_path / name)


@pytest.mark.parametrize("name", [name for name, (_, message) in MORE_VALUES.items() if "mask_" in message])
def test_the_advice_of_every_refusal_can_be_followed(tmp_path, name):
    MORE_VALUES[name][0](tmp_path / name)
    with pytest.raises(CubeError) as refusal:
        read_mask(tmp_path / name)
    advised = dict(re.findall(r"(mask_values|mask_threshold)='?([#\w.-]*\w)", str(refusal.value)))
    assert advised
    for field, value in advised.items():
        rule = MaskRule(**{field: float(value) if field == "mask_threshold" else (value,)})
        found = read_mask(tmp_path / name, rule=rule)
        assert 0 < found.inside.sum() < found.inside.size
        if field == "mask_threshold" and "probabilities" not in name:
            assert (found.inside != DISC).sum() <= 0.02 * DISC.size
        if name in ("minus one.npy", "one and two.png", "black on white.png", "red on white.png"):
            np.testing.assert_array_equal(found.inside, DISC)


@pytest.mark.parametrize(
    ("write", "values", "expected"),
    [
        (lambda path: Image.fromarray(LABELS.astype(np.uint8)).save(path), ("2",), LABELS == 2),
        (lambda path: Image.fromarray(LABELS.astype(np.uint8)).save(path), ("1", "3"), LABELS % 2 == 1),
        (lambda path: Image.fromarray(LABELS.astype(np.uint8)).save(path), ("9",), LABELS == 9),
        (lambda path: Image.fromarray(DISC).save(path), ("255",), DISC),
        (lambda path: Image.fromarray(DISC).save(path), ("0",), ~DISC),
        (lambda path: Image.fromarray(coloured(RED, GREEN)).save(path), ("#FF0000",), DISC),
        (lambda path: Image.fromarray(coloured(WHITE, GREEN)).save(path), ("255",), DISC),
        (lambda path: palette(DISC, GREEN, BLACK).save(path), ("#000000",), DISC),
        (lambda path: Image.fromarray(DISC.astype(np.uint8) * 255).save(path), ("#ffffff",), DISC),
    ],
)
def test_values_and_colours_that_count_can_be_named(tmp_path, write, values, expected):
    write(tmp_path / "a.png")
    found = read_mask(tmp_path / "a.png", rule=MaskRule(mask_values=values))
    np.testing.assert_array_equal(found.inside, expected)
    assert found.words.endswith(f"inside is {' or '.join(values)}, as told")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (MaskRule(mask_values=("255",)), "found 0 and 1, none of mask_values=255.*mask_values=255,1"),
        (MaskRule(mask_values=("tumour",)), "mask_values=tumour; required are numbers, or colours"),
        (MaskRule(mask_values=("#ff0000",)), "for a mask in grey"),
        (MaskRule(mask_threshold=127), "all of its values .* on one side of mask_threshold=127"),
        (MaskRule(mask_values=("1",), mask_threshold=0), "give one of them"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(tmp_path, rule, message):
    np.save(tmp_path / "a.npy", DISC)
    with pytest.raises(CubeError, match=message):
        read_mask(tmp_path / "a.npy", rule=rule)


def test_colours_have_no_threshold(tmp_path):
    Image.fromarray(coloured(RED, GREEN)).save(tmp_path / "a.png")
    with pytest.raises(CubeError, match=r"found colours .*no threshold"):
        read_mask(tmp_path / "a.png", rule=MaskRule(mask_threshold=127))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_is_turned_like_its_picture(tmp_path, suffix):
    tags = Image.Exif()
    tags[ORIENTATION_TAG] = 6
    Image.fromarray(DISC.astype(np.uint8) * 255).save(tmp_path / f"a{suffix}", exif=tags)
    mask = read_mask(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(mask.inside, np.rot90(DISC, -1))
    np.testing.assert_array_equal(mask.inside, read(tmp_path / f"a{suffix}").absorbance[:, :, 0] > 0)
    assert "turned by its orientation tag (6)" in mask.words


# -- arrays of several ------------------------------------------------------------------------------------------


def several(kind, folder, arrays):
    if kind == "npz":
        np.savez(folder / "a.npz", **arrays)
        return folder / "a.npz"
    if kind == "mat5":
        pytest.importorskip("scipy.io").savemat(folder / "a.mat", arrays)
        return folder / "a.mat"
    h5py = pytest.importorskip("h5py")
    if kind == "mat73":
        return files.mat73(folder / "a.mat", arrays)
    with h5py.File(folder / "a.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return folder / "a.h5"


@pytest.mark.parametrize("kind", ["npz", "mat5", "mat73", "hdf5"])
def test_a_mask_among_arrays(tmp_path, kind):
    inside = DISC.astype(np.uint8)
    path = several(kind, tmp_path, {"BW": inside, "axis": np.arange(9.0), "cube": np.ones((24, 32, 9))})
    found = read_mask(path)
    np.testing.assert_array_equal(found.inside, DISC)
    assert "array BW: 0 and 1; 1 is inside" in found.words
    path = several(kind, tmp_path, {"mask": inside, "other": 1 - inside, "small": np.ones((3, 4))})
    np.testing.assert_array_equal(read_mask(path).inside, DISC)
    path = several(kind, tmp_path, {"one": inside, "two": 1 - inside})
    with pytest.raises(CubeError, match=r"found one .*24, 32.*Name the mask with mask_names="):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, rule=MaskRule(mask_names=("two",))).inside, ~DISC)
    with pytest.raises(CubeError, match="found one, two; 0 of them"):
        read_mask(path, rule=MaskRule(mask_names=("three",)))
    path = several(kind, tmp_path, {"one": inside, "two": np.ones((24, 31))})
    np.testing.assert_array_equal(read_mask(path, shape=(24, 32)).inside, DISC)


# -- outlines ---------------------------------------------------------------------------------------------------


def outlined(*parts):
    """A FeatureCollection of masks, each with its properties."""
    features = [
        {**feature, "properties": known}
        for mask, known in parts
        for feature in segmentation_to_geojson(mask)["features"]
    ]
    return {"type": "FeatureCollection", "features": features}


def drawn(folder, *parts):
    path = folder / "a.geojson"
    path.write_text(json.dumps(outlined(*parts)), encoding="utf-8")
    return path


LEFT = np.zeros_like(DISC)
LEFT[2:9, 1:8] = True


def test_outlines_become_pixels_of_the_image(tmp_path):
    path = drawn(tmp_path, (DISC, {"classification": {"name": "Tumor"}}))
    found = read_mask(path, shape=DISC.shape)
    np.testing.assert_array_equal(found.inside, DISC)
    assert found.words == "GeoJSON: areas of Tumor are inside"
    with pytest.raises(CubeError, match="give the rows and columns of the image with shape="):
        read_mask(path)
    with pytest.raises(CubeError, match="belong to another image or another resolution"):
        read_mask(path, shape=(12, 16))
    with pytest.raises(CubeError, match="leave mask_values="):
        read_mask(path, shape=DISC.shape, rule=MaskRule(mask_values=("1",)))


def test_classes_of_outlines_are_named(tmp_path):
    path = drawn(
        tmp_path,
        (DISC, {"classification": {"names": ["Tumor", "Positive"]}}),
        (LEFT, {"classification": "Stroma"}),
    )
    with pytest.raises(
        CubeError,
        match=r"classes Tumor: Positive \(1\), Stroma \(1\); a mask is of one.*mask_names='Tumor: Positive'",
    ):
        read_mask(path, shape=DISC.shape)
    for names, expected in (
        (("Tumor",), DISC),
        (("Tumor: Positive",), DISC),
        (("Stroma",), LEFT),
        (("Stroma", "Tumor"), DISC | LEFT),
    ):
        found = read_mask(path, shape=DISC.shape, rule=MaskRule(mask_names=names))
        np.testing.assert_array_equal(found.inside, expected)
    with pytest.raises(CubeError, match=r"no annotation is of the class 'Tumour'; found are Tumor: Positive"):
        read_mask(path, shape=DISC.shape, rule=MaskRule(mask_names=("Tumour",)))


def test_cores_are_no_annotations(tmp_path):
    core = np.ones_like(DISC)
    path = drawn(tmp_path, (core, {"objectType": "tmaCore", "isMissing": False, "name": "A-1"}), (DISC, {}))
    np.testing.assert_array_equal(read_mask(path, shape=DISC.shape).inside, DISC)
    path = drawn(tmp_path, (core, {"objectType": "tmaCore"}))
    found = read_mask(path, shape=DISC.shape)
    assert not found.inside.any()
    assert found.words == "GeoJSON: cores of a tissue array (1); no area is inside"


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"type": "Topology"}', "[" * 100_000])
def test_what_is_no_geojson_is_refused(tmp_path, content):
    (tmp_path / "a.geojson").write_text(content)
    with pytest.raises(CubeError, match=r"a\.geojson: "):
        read_mask(tmp_path / "a.geojson", shape=(3, 4))


# -- the table of `compseg ingest` ------------------------------------------------------------------------------


def table_of(folder, **masks):
    """Eight pictures, the diseased ones with masks."""
    draw = np.random.default_rng(0)
    rows = [",".join(("id", "path", "label", *masks))]
    for number in range(8):
        Image.fromarray(draw.integers(1, 256, (*DISC.shape, 3), np.uint8)).save(folder / f"s{number}.png")
        named = [str(path) if number % 2 else "" for path in masks.values()]
        rows.append(",".join((f"s{number}", f"s{number}.png", str(number % 2), *named)))
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder / "table.csv"


def reference_of(folder, options):
    ingest(folder / "table.csv", folder / "store", options, progress=lambda *_: None)
    store = Store.open(folder / "store")
    return store.reference("s1"), store.tissue("s1")


def test_masks_of_a_table_by_the_options_of_ingest(tmp_path):
    Image.fromarray(DISC.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=75)
    table = table_of(tmp_path, reference="m.jpg")
    with pytest.raises(IngestError, match=r"row 3 .*such as --mask-threshold 127, or .* --mask-values 255"):
        ingest(table, tmp_path / "refused", IngestOptions(), progress=lambda *_: None)
    reference, _ = reference_of(tmp_path, IngestOptions(mask_threshold=127))
    assert (reference != DISC).sum() <= 0.02 * DISC.size


@pytest.mark.parametrize("resize", [0, 16])
def test_outlines_of_a_table_are_those_of_the_image_before_it_is_resized(tmp_path, resize):
    drawn(tmp_path, (DISC, {"classification": "Tumor"}), (DISC | LEFT, {"classification": "Tissue"}))
    table = table_of(tmp_path, reference="a.geojson", tissue="a.geojson")
    with pytest.raises(IngestError, match="with --tissue-names Tissue"):
        ingest(table, tmp_path / "refused", IngestOptions(), progress=lambda *_: None)
    options = IngestOptions(reference_names=("Tumor",), tissue_names=("Tissue",), resize=resize)
    reference, tissue = reference_of(tmp_path, options)
    if not resize:
        np.testing.assert_array_equal(reference, DISC)
        np.testing.assert_array_equal(tissue, DISC | LEFT)
    else:
        assert reference.shape == (16, 16)
        assert reference.mean() == pytest.approx(DISC.mean(), abs=0.03)


def test_every_field_of_a_rule_has_an_option():
    message = " ".join(f"{each.name}=x" for each in fields(MaskRule) if each.name != "is_of_disease")
    words = IngestOptions.in_mask_words(message, "reference")
    assert words == "--mask-values x --mask-threshold x --reference-names x"
    spread = split_commas(["--mask-values", "1,255", "--tissue-names=A,B: C"])
    assert spread == ["--mask-values", "1", "255", "--tissue-names", "A", "B: C"]


def test_an_overlay_is_no_mask(tmp_path):
    overlay = np.zeros((4, 5, 4), np.uint8)
    overlay[1:3, 1:3] = 255, 0, 0, 255
    Image.fromarray(overlay).save(tmp_path / "m.png")
    with pytest.raises(CubeError, match=r"the mask is an overlay.*black outside and white inside"):
        read_mask(tmp_path / "m.png")


def test_values_that_count_may_be_numbers(tmp_path):
    labels = np.array([[0, 1, 2], [2, 3, 0]])
    np.save(tmp_path / "m.npy", labels)
    np.testing.assert_array_equal(
        read_mask(tmp_path / "m.npy", rule=MaskRule((2, 3))).inside, np.isin(labels, (2, 3))
    )


def one_outline(path, classification):
    ring = [[1, 1], [5, 1], [5, 4], [1, 4], [1, 1]]
    properties = {"objectType": "annotation", "classification": {"name": classification}}
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")


def test_healthy_samples_may_be_outlined_in_other_classes(tmp_path):
    rows = ["id,label,path,split,reference"]
    for at in range(4):
        np.save(tmp_path / f"{at}.npy", np.random.default_rng(at).random((8, 9, 3)).astype(np.float32))
        one_outline(tmp_path / f"{at}.geojson", "Tumor" if at % 2 else "Stroma")
        rows.append(f"s{at},{at % 2},{at}.npy,{'train' if at < 2 else 'val'},{at}.geojson")
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    ingest(tmp_path / "t.csv", tmp_path / "s", IngestOptions(reference_names=("Tumor",)))
    store = Store.open(tmp_path / "s")
    assert [int(store.reference(f"s{at}").sum()) for at in range(4)] == [0, 12, 0, 12]
    one_outline(tmp_path / "1.geojson", "Stroma")
    with pytest.raises(IngestError, match=r"s1.*no annotation is of the class 'Tumor'; found are Stroma"):
        ingest(tmp_path / "t.csv", tmp_path / "other", IngestOptions(reference_names=("Tumor",)))


def test_a_turned_mask_is_not_squeezed_over_its_picture(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((12, 18, 3), np.float32))
    np.save(tmp_path / "m.npy", np.eye(18, 12, dtype=bool))
    (tmp_path / "t.csv").write_text("id,label,path,split,reference\na,1,a.npy,test,m.npy\n", encoding="utf-8")
    for options in (IngestOptions(), IngestOptions(resize=8)):
        with pytest.raises(IngestError, match="Give the mask of this image, turned and cut as it is"):
            ingest(tmp_path / "t.csv", tmp_path / "s", options)


def test_a_mask_of_a_volume_lies_as_its_picture(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = np.random.default_rng(0).integers(0, 2, (6, 5, 3)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "m.nii.gz")
    picture = read(tmp_path / "m.nii.gz", variable="slice:2").absorbance[:, :, 0]
    mask = read_mask(tmp_path / "m.nii.gz", rule=MaskRule(mask_names=("slice:2",)))
    np.testing.assert_array_equal(mask.inside, picture != 0)
    assert mask.words.startswith("compressed NIfTI slice:2: 0 and 1")
    with pytest.raises(CubeError, match="volume of 3 slices"):
        read_mask(tmp_path / "m.nii.gz")
