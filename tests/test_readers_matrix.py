"""Every format × type × channels × orientation that the usual writers have: the same numbers come back, or an error.

Each test states what must come out; `shown` is what a viewer makes of stored pixels and an orientation tag.
"""

from __future__ import annotations

import itertools
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from compseg_jax.readers import read
from compseg_jax.readers.cube import CubeError

ORIENTATIONS = range(1, 9)
SHAPE = (5, 7)
TIFF_TYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
ORIENTATION_TAG = 274


def shown(values: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF 2.3, table of Orientation, by quarter turns and mirrors."""
    mirrored = values[:, ::-1] if orientation in (2, 4, 5, 7) else values
    quarter_turns_left = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    return np.rot90(mirrored, quarter_turns_left)


def numbers(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    """All over the range of a type, with its ends; what 8, 16 or 24 bits would cut is there."""
    kind = np.dtype(dtype)
    drawn = np.random.default_rng(seed)
    if kind.kind == "b":
        return drawn.integers(0, 2, shape).astype(kind)
    if kind.kind == "f":
        values = (drawn.standard_normal(shape) * 1000).astype(kind)
        values.flat[:2] = np.finfo(kind).max, np.finfo(kind).tiny
        return values
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    if kind.itemsize == 8:  # float64 holds no more
        low, high = max(low, -(2**53)), 2**53
    values = drawn.integers(low, high, shape, dtype=kind, endpoint=True)
    values.flat[:2] = low, high
    return values


def agrees(path: Path, expected: np.ndarray, **instructions) -> None:
    cube = read(path, **instructions)
    found, expected = cube.absorbance, expected.reshape(*expected.shape[:2], -1)
    assert found.shape == expected.shape, path
    assert found.astype(np.float64).tobytes() == expected.astype(np.float64).tobytes(), path
    assert found.dtype == (
        np.float64 if expected.dtype.str[1:] in ("u4", "u8", "i4", "i8", "f8") else np.float32
    )


def opaque(values: np.ndarray) -> np.ndarray:
    """With an alpha that hides nothing."""
    alpha = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    return np.dstack((values, np.full(SHAPE, alpha, values.dtype)))


# -- PNG --------------------------------------------------------------------------------------------------------


def png(values: np.ndarray, colour_type: int, bits: int, *chunks: bytes) -> bytes:
    """A PNG of rows as they are (filter 0); values of fewer than 8 bits are packed."""
    height, width = values.shape[:2]
    if bits < 8:
        unpacked = np.unpackbits(values.astype(np.uint8)[..., np.newaxis], axis=2)[:, :, 8 - bits :]
        rows = np.packbits(unpacked.reshape(height, -1), axis=1)
    else:
        rows = values.astype(f">u{bits // 8}").reshape(height, -1).view(np.uint8)
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = (chunk(b"IHDR", head), *chunks, chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def exif(orientation: int) -> bytes:
    return b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, ORIENTATION_TAG, 3, 1, orientation, 0, 0)


PNG_BANDS = {1: 0, 2: 4, 3: 2, 4: 6}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bands", list(PNG_BANDS))
def test_png_of_every_type_turned_in_every_way(tmp_path, bits, bands):
    values = numbers(f"u{bits // 8}", *SHAPE, bands)
    if bands in (2, 4):
        values = opaque(values[:, :, :-1])
    for orientation in ORIENTATIONS:
        path = tmp_path / f"{orientation}.png"
        path.write_bytes(png(values, PNG_BANDS[bands], bits, chunk(b"eXIf", exif(orientation))))
        expected = shown(values[:, :, :-1] if bands in (2, 4) else values, orientation)
        agrees(path, expected)
        turned = "as stored" if orientation == 1 else f"turned by its orientation tag ({orientation})"
        assert read(path).provenance["orientation"] == turned
        assert read(path).provenance["stored_type"] == f"uint{bits}"
    if bands in (2, 4):
        values[2, 3, -1] -= 1
        path.write_bytes(png(values, PNG_BANDS[bands], bits))
        with pytest.raises(CubeError, match="1 pixels are not opaque"):
            read(path)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("width", [7, 8])
def test_png_of_few_bits_keeps_its_numbers(tmp_path, bits, width):
    values = np.random.default_rng(bits).integers(0, 2**bits, (5, width)).astype(np.uint8)
    values[0, :2] = 0, 2**bits - 1
    (tmp_path / "a.png").write_bytes(png(values, 0, bits))
    agrees(tmp_path / "a.png", values)
    assert read(tmp_path / "a.png").provenance["stored_type"] == f"{bits} bits"


@pytest.mark.parametrize(("bits", "bands"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_png_with_a_transparent_colour_is_read_where_no_pixel_has_it(tmp_path, bits, bands):
    values = np.zeros((*SHAPE, bands), np.uint16)
    key = (2**bits - 1,) * bands
    transparent = chunk(b"tRNS", struct.pack(f">{bands}H", *key))
    colour_type = PNG_BANDS[bands]
    (tmp_path / "a.png").write_bytes(png(values, colour_type, bits, transparent))
    agrees(tmp_path / "a.png", values)
    values[1, 2] = key
    (tmp_path / "b.png").write_bytes(png(values, colour_type, bits, transparent))
    with pytest.raises(CubeError, match="1 pixels are not opaque"):
        read(tmp_path / "b.png")


@pytest.mark.parametrize("bits", [8, 16])
def test_png_is_not_changed_by_the_gamma_that_it_states(tmp_path, bits):
    values = numbers(f"u{bits // 8}", *SHAPE, 3)
    (tmp_path / "a.png").write_bytes(png(values, 2, bits, chunk(b"gAMA", struct.pack(">I", 100_000))))
    agrees(tmp_path / "a.png", values)


def test_png_of_an_animation_is_refused(tmp_path):
    first, second = (Image.fromarray(numbers("u1", *SHAPE, seed=seed)) for seed in (1, 2))
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    with pytest.raises(CubeError, match="an animation of 2 pictures"):
        read(tmp_path / "a.png")


# -- Pillow -----------------------------------------------------------------------------------------------------

PALETTE = np.random.default_rng(3).integers(0, 256, (256, 3)).astype(np.uint8)


def drawn(mode: str) -> tuple[Image.Image, np.ndarray]:
    """An image of a mode of Pillow's, and the numbers that must be read of it."""
    if mode == "P":
        indices = numbers("u1", *SHAPE)
        picture = Image.fromarray(indices)
        picture.putpalette(PALETTE.tobytes())
        return picture, PALETTE[indices]
    types = {"1": "?", "I;16": "u2", "I": "i4", "F": "f4"}
    bands = {"LA": 2, "RGB": 3, "RGBA": 4}.get(mode, 1)
    values = numbers(types.get(mode, "u1"), *SHAPE, bands)
    if bands in (2, 4):
        values = opaque(values[:, :, :-1])
    picture = Image.fromarray(values[:, :, 0] if bands == 1 else values)
    assert picture.mode == mode
    return picture, values[:, :, :-1] if bands in (2, 4) else values


PILLOW = [
    *[(mode, ".png", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[(mode, ".bmp", {}) for mode in ("1", "L", "P", "RGB")],
    *[(mode, ".tif", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F")],
    *[(mode, ".tif", {"compression": "tiff_lzw"}) for mode in ("1", "L", "P", "RGB", "I;16", "F")],
    *[("1", ".tif", {"compression": name}) for name in ("group3", "group4", "packbits", "tiff_deflate")],
]


def needs_fax() -> None:
    if 4 not in tifffile.TIFF.DECOMPRESSORS:
        pytest.skip("this tifffile reads no fax")


@pytest.mark.parametrize(("mode", "suffix", "options"), PILLOW)
def test_what_pillow_writes_comes_back(tmp_path, mode, suffix, options):
    if str(options.get("compression")).startswith("group"):
        needs_fax()
    picture, expected = drawn(mode)
    for orientation in ORIENTATIONS if suffix != ".bmp" else (1,):
        path = tmp_path / f"{orientation}{suffix}"
        tags = Image.Exif()
        if orientation > 1:
            tags[ORIENTATION_TAG] = orientation
        picture.save(path, **options, **({} if suffix == ".bmp" else {"exif": tags}))
        agrees(path, shown(expected, orientation))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_jpeg_comes_back_within_its_loss(tmp_path, mode, suffix):
    smooth = (np.add.outer(np.arange(48), 2 * np.arange(32))).astype(np.uint8)
    values = smooth if mode == "L" else np.dstack((smooth, 255 - smooth, smooth // 2))
    for orientation in ORIENTATIONS:
        tags = Image.Exif()
        tags[ORIENTATION_TAG] = orientation
        path = tmp_path / f"{orientation}{suffix}"
        options = {"compression": "jpeg"} if suffix == ".tif" else {"subsampling": 0}
        Image.fromarray(values).save(path, quality=95, exif=tags, **options)
        found, expected = read(path).absorbance, shown(values, orientation)
        assert found.shape[:2] == expected.shape[:2]
        np.testing.assert_allclose(found, expected.reshape(found.shape), atol=8)


@pytest.mark.parametrize(
    ("mode", "suffix", "name"),
    [
        ("CMYK", ".jpg", "CMYK"),
        ("CMYK", ".tif", "CMYK"),
        ("LAB", ".tif", r"CIE L\*a\*b\*"),
        ("YCbCr", ".tif", "YCbCr"),
    ],
)
def test_other_colours_are_refused_in_every_container(tmp_path, mode, suffix, name):
    Image.new(mode, SHAPE).save(tmp_path / f"a{suffix}")
    with pytest.raises(CubeError, match=f"its colours are {name}.*Convert it to RGB"):
        read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_profile_of_other_colours_is_refused(tmp_path, suffix):
    for space, is_read in ((b"RGB ", True), (b"Lab ", False), (b"CMYK", False)):
        profile = b"\0\0\0\x80" + b"\0" * 12 + space + b"\0" * 108
        Image.new("RGB", SHAPE).save(tmp_path / f"a{suffix}", icc_profile=profile)
        if is_read:
            assert read(tmp_path / f"a{suffix}").absorbance.shape == (7, 5, 3)
        else:
            with pytest.raises(CubeError, match=f"colours are {space.decode().strip()} .its ICC profile"):
                read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("limit", [20, 10])
def test_sizes_that_pillow_warns_of_are_read(tmp_path, monkeypatch, suffix, limit):
    """Pillow warns from 89 million pixels, as slides have, and refuses twice that; warnings are errors here."""
    Image.new("RGB", SHAPE).save(tmp_path / f"a{suffix}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert read(tmp_path / f"a{suffix}").absorbance.shape == (7, 5, 3)


# -- TIFF -------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "grey": ((), {"photometric": "minisblack"}),
    "white is zero": ((), {"photometric": "miniswhite"}),
    "RGB": ((3,), {"photometric": "rgb", "planarconfig": "contig"}),
    "planar RGB": ((3,), {"photometric": "rgb", "planarconfig": "separate"}),
    "samples": ((4,), {"photometric": "minisblack", "planarconfig": "contig"}),
    "planar samples": ((4,), {"photometric": "minisblack", "planarconfig": "separate"}),
    "RGB and more": ((5,), {"photometric": "rgb", "planarconfig": "contig"}),
    "named stack": ((4,), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
    "ImageJ": ((4,), {"imagej": True, "metadata": {"axes": "CYX"}}),
    "OME": ((4,), {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}}),
}
LAYOUTS_WITHOUT = {"ImageJ": set(TIFF_TYPES) - {"u1", "u2", "f4"}, "OME": {"u8", "i8", "f2"}}


def write_tiff(path: Path, layout: str, values: np.ndarray, **options) -> None:
    """Writes (y, x) or (y, x, c) as a layout has it."""
    settings = LAYOUTS[layout][1]
    is_first = settings.get("planarconfig") == "separate" or "stack" in layout or layout in ("ImageJ", "OME")
    tifffile.imwrite(path, np.moveaxis(values, -1, 0) if is_first else values, **{**settings, **options})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TIFF_TYPES)
def test_tiff_of_every_type_and_layout_turned_in_every_way(tmp_path, dtype, layout):
    if dtype in LAYOUTS_WITHOUT.get(layout, ()):
        pytest.skip(f"{layout} has no such type")
    values = numbers(dtype, *SHAPE, *LAYOUTS[layout][0])
    for orientation in ORIENTATIONS:
        path = tmp_path / f"{orientation}.tif"
        tag = (ORIENTATION_TAG, "H", 1, orientation, orientation % 2 == 0)  # in the first page, or in all
        write_tiff(path, layout, values, extratags=[tag])
        agrees(path, shown(values, orientation))
        assert read(path).provenance["stored_type"] == np.dtype(dtype).name


CONTAINERS = [
    {"byteorder": ">"},
    {"bigtiff": True},
    {"bigtiff": True, "byteorder": ">"},
    {"tile": (16, 16)},
    {"rowsperstrip": 2},
    *[{"compression": name} for name in ("lzw", "zlib", "zstd", "packbits", "lzma")],
    *[{"compression": name, "predictor": True} for name in ("lzw", "zlib", "zstd")],
    {"compression": "zlib", "predictor": True, "byteorder": ">", "tile": (16, 16)},
]


@pytest.mark.parametrize("options", CONTAINERS, ids=str)
def test_tiff_of_every_container(tmp_path, options):
    types = [each for each in TIFF_TYPES if "predictor" not in options or np.dtype(each).itemsize < 8]
    for dtype, layout in itertools.product(types, ("grey", "RGB", "planar RGB", "samples", "named stack")):
        values = numbers(dtype, *SHAPE, *LAYOUTS[layout][0])
        write_tiff(tmp_path / "a.tif", layout, values, **options)
        agrees(tmp_path / "a.tif", values)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("layout", ["grey", "RGB"])
@pytest.mark.parametrize("name", ["jpeg2000", "webp", "jpegxl", "png"])
def test_tiff_of_the_lossless_codecs_of_pictures(tmp_path, name, layout, dtype):
    pytest.importorskip("imagecodecs")
    if name == "webp" and (dtype, layout) != ("u1", "RGB"):
        pytest.skip("WebP holds colours of 8 bits")
    values = numbers(dtype, 32, 48, *LAYOUTS[layout][0])
    arguments = {"jpeg2000": {"reversible": True}, "webp": {"lossless": True}, "jpegxl": {"lossless": True}}
    write_tiff(tmp_path / "a.tif", layout, values, compression=name, compressionargs=arguments.get(name, {}))
    agrees(tmp_path / "a.tif", values)


@pytest.mark.parametrize("bits", [2, 4, 12])
@pytest.mark.parametrize("width", [7, 8])
def test_tiff_of_few_bits_keeps_its_numbers(tmp_path, bits, width):
    pytest.importorskip("imagecodecs")
    values = np.random.default_rng(bits).integers(0, 2**bits, (5, width))
    values = values.astype(np.uint16 if bits > 8 else np.uint8)
    for orientation in (1, 6):
        path = tmp_path / f"{orientation}.tif"
        tag = (ORIENTATION_TAG, "H", 1, orientation, True)
        try:
            tifffile.imwrite(path, values, bitspersample=bits, photometric="minisblack", extratags=[tag])
        except NotImplementedError as error:
            pytest.skip(f"this imagecodecs writes no few bits ({error})")
        agrees(path, shown(values, orientation))
        assert read(path).provenance["stored_type"] == f"{bits} bits"


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
def test_tiff_of_one_bit_keeps_its_numbers(tmp_path, compression):
    """tifffile writes True as 1 and says that 0 is white; an image keeps the numbers and says so."""
    pytest.importorskip("imagecodecs")
    values = numbers("?", *SHAPE)
    for orientation in ORIENTATIONS:
        path = tmp_path / f"{orientation}.tif"
        tag = (ORIENTATION_TAG, "H", 1, orientation, True)
        tifffile.imwrite(path, values, compression=compression, extratags=[tag])
        agrees(path, shown(values, orientation))
        assert read(path).provenance["bands"] == "grey, white is zero; numbers as stored"


@pytest.mark.parametrize("factor", [1, 256, 257])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_tiff_of_a_palette_gives_its_colours(tmp_path, bits, factor):
    """The 8-bit colours of a TIFF are written as 256 or 257 times their value, and by some programs as they are."""
    pytest.importorskip("imagecodecs")
    indices = np.random.default_rng(bits).integers(0, 2**bits, SHAPE).astype(np.uint8)
    colours = PALETTE[: 2**bits]
    path = tmp_path / "a.tif"
    path.write_bytes(tags_of(indices, bits=bits, palette=colours.T.astype(np.uint16) * factor))
    agrees(path, colours[indices])


def test_tiff_of_a_palette_of_16_bit_colours_keeps_them(tmp_path):
    indices = numbers("u1", *SHAPE)
    colours = numbers("u2", 3, 256)
    for orientation in ORIENTATIONS:
        tag = (ORIENTATION_TAG, "H", 1, orientation, True)
        path = tmp_path / f"{orientation}.tif"
        tifffile.imwrite(path, indices, photometric="palette", colormap=colours, extratags=[tag])
        agrees(path, shown(np.moveaxis(colours[:, indices], 0, -1), orientation))


@pytest.mark.parametrize("axes", ["yxc", "cyx", "ycx", "xyc"])
@pytest.mark.parametrize("metadata", [{}, None])
def test_tiff_of_an_array_needs_the_order_of_its_axes(tmp_path, axes, metadata):
    cube = numbers("f4", 6, 5, 9)
    stored = np.transpose(cube, ["yxc".index(letter) for letter in axes])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="minisblack", metadata=metadata)
    with pytest.raises(
        CubeError, match=r"does not say what its axes are. axes='yxc' reads .* axes='cyx' reads"
    ):
        read(path)
    agrees(path, cube, axes=axes)
    assert read(path, axes=axes).provenance["axes"] == f"given as {axes}"


def test_tiff_of_one_image_is_read_whatever_the_order_of_stacks(tmp_path):
    values = numbers("f4", *SHAPE)
    for stored in (values, values[np.newaxis], values[:, :, np.newaxis]):
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack")
        agrees(tmp_path / "a.tif", values)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    agrees(tmp_path / "a.tif", values, axes="cyx")
    agrees(tmp_path / "a.tif", values.T, axes="xyc")


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("bands", [1, 3])
def test_tiff_drops_an_alpha_that_hides_nothing(tmp_path, kind, dtype, bands):
    values = numbers(dtype, *SHAPE, bands)
    photometric = "rgb" if bands == 3 else "minisblack"
    settings = {"photometric": photometric, "planarconfig": "contig", "extrasamples": [kind]}
    whole = opaque(values)
    tifffile.imwrite(tmp_path / "a.tif", whole, **settings)
    agrees(tmp_path / "a.tif", values)
    whole[1, 2, -1] = 0
    tifffile.imwrite(tmp_path / "a.tif", whole, **settings)
    with pytest.raises(CubeError, match="1 pixels are not opaque"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("bands", [1, 3])
def test_tiff_keeps_a_sample_without_a_meaning(tmp_path, bands):
    """It is a channel, and also where it is the same in every pixel."""
    values = opaque(numbers("u1", *SHAPE, bands))
    photometric = "rgb" if bands == 3 else "minisblack"
    settings = {"photometric": photometric, "planarconfig": "contig", "extrasamples": ["unspecified"]}
    tifffile.imwrite(tmp_path / "a.tif", values, **settings)
    agrees(tmp_path / "a.tif", values)


def tags_of(
    values: np.ndarray,
    *left_out: int,
    order: str = "<",
    strip_rows: int = 0,
    padding: bool = False,
    bits: int = 0,
    palette: np.ndarray | None = None,
) -> bytes:
    """A TIFF in strips, by TIFF 6.0, without the tags that are left out; values of fewer than 8 bits are packed."""
    height, width = values.shape[:2]
    samples = 1 if values.ndim == 2 else values.shape[2]
    bits = bits or 8 * values.dtype.itemsize
    rows = strip_rows or height
    if bits < 8:
        unpacked = np.unpackbits(values.astype(np.uint8)[..., np.newaxis], axis=2)[:, :, 8 - bits :]
        data = np.packbits(unpacked.reshape(height, -1), axis=1).tobytes()
    else:
        data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    row_bytes = len(data) // height
    count = -(-height // rows)
    if padding:
        data += b"\0" * (count * rows * row_bytes - len(data))
    sizes = [min(rows * row_bytes, len(data) - at * rows * row_bytes) for at in range(count)]
    offsets = [8 + sum(sizes[:at]) for at in range(count)]
    colours = b"" if palette is None else palette.astype(order + "u2").tobytes()
    lists = struct.pack(f"{order}{count}I", *offsets) + struct.pack(f"{order}{count}I", *sizes)
    lists_at = 8 + len(data)
    at = [lists_at, lists_at + 4 * count] if count > 1 else [offsets[0], sizes[0]]
    photometric = 3 if palette is not None else 1 if samples == 1 else 2
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, count, at[0]), (277, 3, 1, samples), (278, 4, 1, rows),
        (279, 4, count, at[1]),
    ]  # fmt: skip
    if palette is not None:
        entries.append((320, 3, palette.size, lists_at + len(lists)))
    kept = [entry for entry in entries if entry[0] not in left_out]
    directory = struct.pack(order + "H", len(kept))
    for tag, kind, number, value in kept:
        is_short = kind == 3 and number == 1
        directory += struct.pack(order + "HHI", tag, kind, number)
        directory += struct.pack(order + ("HH" if is_short else "I"), *((value, 0) if is_short else (value,)))
    directory_at = lists_at + len(lists) + len(colours)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", directory_at)
    return head + data + lists + colours + directory + struct.pack(order + "I", 0)


@pytest.mark.parametrize(
    "left_out", [(259,), (262,), (259, 262), (277,), (278,), (279,), (259, 262, 277, 278)]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_without_tags_that_have_defaults(tmp_path, left_out, order):
    """TIFF 6.0: no compression, grey by one sample and RGB by three, one strip."""
    for dtype, bands in itertools.product(("u1", "u2"), ((), (3,))):
        if bands and 277 in left_out:
            continue
        values = numbers(dtype, *SHAPE, *bands)
        (tmp_path / "a.tif").write_bytes(tags_of(values, *left_out, order=order))
        agrees(tmp_path / "a.tif", values)


@pytest.mark.parametrize("padding", [False, True])
def test_tiff_whose_last_strip_is_whole_or_not(tmp_path, padding):
    values = numbers("u2", *SHAPE)
    (tmp_path / "a.tif").write_bytes(tags_of(values, strip_rows=2, padding=padding))
    agrees(tmp_path / "a.tif", values)


def test_tiff_of_imagej_with_one_directory_for_the_stack(tmp_path):
    """As ImageJ writes stacks above 4 GB: the planes lie one behind the other, only the first has a directory."""
    stack = numbers("u2", 4, *SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "CYX"}, byteorder="<")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    struct.pack_into("<I", content, directory + 2 + 12 * entries, 0)
    (tmp_path / "a.tif").write_bytes(content)
    agrees(tmp_path / "a.tif", np.moveaxis(stack, 0, 2))
    (tmp_path / "a.tif").write_bytes(content[:-500])
    with pytest.raises(CubeError, match="found 1 of the 4 images that ImageJ wrote"):
        read(tmp_path / "a.tif")


def test_tiff_of_pages_turned_differently_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for orientation in (1, 6):
            tag = (ORIENTATION_TAG, "H", 1, orientation, True)
            file.write(numbers("u1", *SHAPE), photometric="minisblack", extratags=[tag], metadata=None)
    with pytest.raises(CubeError, match="turned in different ways"):
        read(tmp_path / "a.tif", axes="cyx")


@pytest.mark.parametrize("dtype", ["u8", "i8"])
def test_integers_that_float64_would_change_are_refused(tmp_path, dtype):
    values = np.zeros(SHAPE, dtype)
    values[1, 2] = 2**53
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    agrees(tmp_path / "a.tif", values)
    values[1, 2] = 2**53 + 1
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    np.save(tmp_path / "a.npy", values)
    for name in ("a.tif", "a.npy"):
        with pytest.raises(CubeError, match=f"1 values of {np.dtype(dtype)} are not held by float64"):
            read(tmp_path / name)


def test_tiff_of_an_empty_fax_page_is_no_damage(tmp_path):
    """A white line of a fax takes one bit."""
    pytest.importorskip("imagecodecs")
    needs_fax()
    Image.new("1", (9000, 900), 1).save(tmp_path / "a.tif", compression="group4")
    assert (tmp_path / "a.tif").stat().st_size < 1000
    cube = read(tmp_path / "a.tif")
    assert cube.absorbance.shape == (900, 9000, 1)
    assert cube.absorbance.all()


def test_a_compression_that_is_not_read_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbers("u1", *SHAPE), photometric="minisblack", compression="zlib")
    content = (tmp_path / "a.tif").read_bytes()
    head, value = struct.pack("<HHIH", 259, 3, 1, 8), struct.pack("<HHIH", 259, 3, 1, 32809)
    assert content.count(head) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(head, value))
    with pytest.raises(CubeError, match=r"compressed as THUNDERSCAN .* which is not read. Save it with LZW"):
        read(tmp_path / "a.tif")
    Image.new("L", SHAPE).save(tmp_path / "a.bmp")
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    content[28] = 2  # bits of a pixel
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(CubeError, match=r"a kind of BMP that is not read.*Save it as PNG"):
        read(tmp_path / "a.bmp")


@pytest.mark.parametrize("dtype", ["c8", "c16"])
def test_tiff_of_complex_numbers_is_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.ones(SHAPE, dtype), photometric="minisblack")
    with pytest.raises(CubeError, match="a cube needs real numbers"):
        read(tmp_path / "a.tif")


# -- OME --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "unit", "expected", "said"),
    [
        (5.5, 5.5, None, 5.5, "5.5 µm × 5.5 µm in the OME header"),
        (325.0, 325.0, "nm", 0.325, "325"),
        (0.005, 0.005, "mm", 5.0, "mm"),
        (0.0005, 0.0005, "cm", 5.0, "cm"),
        (5e-6, 5e-6, "m", 5.0, "m"),
        (0.3250, 0.32504, "µm", 0.32502, "0.32504"),
        (1.0, 2.0, "µm", None, "are not square"),
        (1.0, 1.0, "pixel", None, "is no length"),
        (0.0, 0.0, "µm", None, "is no length"),
        (2.0, 2.0, "mm", None, "not believed"),
        (None, None, None, None, "not stated"),
    ],
)
def test_ome_pixel_sizes_in_every_unit(tmp_path, x, y, unit, expected, said):
    stated = {"PhysicalSizeX": x, "PhysicalSizeY": y, "PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    metadata = {"axes": "YX", **{name: value for name, value in stated.items() if value is not None}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tifffile's, of sizes that it takes for wrong
        tifffile.imwrite(tmp_path / "a.ome.tif", numbers("u1", *SHAPE), metadata=metadata)
    cube = read(tmp_path / "a.ome.tif")
    assert cube.pixel_size_um == (None if expected is None else pytest.approx(expected, rel=1e-9))
    assert said in cube.provenance["pixel_size"]


def test_tiff_palette_of_one_bit(tmp_path):
    indices = np.random.default_rng(1).integers(0, 2, SHAPE).astype(np.uint8)
    palette = np.array([[200, 10], [100, 20], [50, 30]], np.uint16) * 257
    (tmp_path / "a.tif").write_bytes(tags_of(indices, bits=1, palette=palette))
    agrees(tmp_path / "a.tif", np.moveaxis(palette[:, indices] // 257, 0, -1))


def test_sound_files_of_kinds_that_are_not_read_are_not_called_damaged(tmp_path):
    """JPEG in TIFF by the way of 1992, and a bitmap whose masks of colours are no usual ones."""
    content = tags_of(numbers("u1", *SHAPE, 3))
    content = content.replace(struct.pack("<HHIHH", 259, 3, 1, 1, 0), struct.pack("<HHIHH", 259, 3, 1, 6, 0))
    content = content.replace(struct.pack("<HHIHH", 262, 3, 1, 2, 0), struct.pack("<HHIHH", 262, 3, 1, 6, 0))
    (tmp_path / "old.tif").write_bytes(content)
    with pytest.raises(CubeError, match="JPEG in the old way") as refused:
        read(tmp_path / "old.tif")
    assert "damaged" not in str(refused.value)
    height, width = SHAPE
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, 4 * height * width, 0, 0, 0, 0)
    masks = struct.pack("<4I", 0x3F, 0xFC0, 0x3F000, 0) + bytes(52)
    body = head + masks + bytes(4 * height * width)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 108) + body)
    with pytest.raises(CubeError, match="a kind of BMP that is not read"):
        read(tmp_path / "a.bmp")


def test_tiff_pages_written_one_by_one_and_thumbnails(tmp_path):
    pages = numbers("u2", 5, *SHAPE)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for page in pages:
            file.write(page, photometric="minisblack")
    with pytest.raises(CubeError, match=r"found 5 images .* say so with axes='cyx'"):
        read(tmp_path / "pages.tif")
    np.testing.assert_array_equal(
        read(tmp_path / "pages.tif", axes="cyx").absorbance, np.moveaxis(pages, 0, 2)
    )
    picture = numbers("u1", 40, 60, 3)
    with tifffile.TiffWriter(tmp_path / "thumb.tif") as file:
        file.write(picture, photometric="rgb")
        file.write(picture[::8, ::8], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read(tmp_path / "thumb.tif").absorbance, picture)


@pytest.mark.parametrize(
    ("settings", "um"),
    [
        ({"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}, 0.5),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}, 0.5),
        ({}, None),
    ],
)
def test_tiff_resolution_is_a_pixel_size_where_it_can_be_one(tmp_path, settings, um):
    tifffile.imwrite(tmp_path / "a.tif", numbers("u2", *SHAPE), photometric="minisblack", **settings)
    cube = read(tmp_path / "a.tif")
    assert cube.pixel_size_um == (None if um is None else pytest.approx(um))
    said = cube.provenance["pixel_size"]
    assert said == "not stated" if not settings else "resolution" in said
