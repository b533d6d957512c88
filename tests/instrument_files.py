"""Writes small files of the instrument formats for the tests, straight from the documented layouts."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

ENVI_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}


def sample(
    height: int = 3, width: int = 4, channels: int = 9, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A float32 cube (y, x, c) of positive values and its descending axis in cm⁻¹."""
    values = np.random.default_rng(seed).uniform(0.1, 2, (height, width, channels)).astype(np.float32)
    return values, 1800 - 4.0 * np.arange(channels)


def envi(
    folder: Path,
    values: np.ndarray,
    axis: np.ndarray | None,
    *,
    interleave: str = "bsq",
    kind: int = 4,
    big_endian: bool = False,
    unit: str | None = "Wavenumber",
    offset: int = 7,
    titles: str | None = None,
) -> Path:
    order = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave]
    stored = values.transpose(order).astype((">" if big_endian else "<") + ENVI_TYPES[kind])
    (folder / "cube.dat").write_bytes(b"\1" * offset + stored.tobytes())
    lines = [
        "ENVI",
        f"samples = {values.shape[1]}",
        f"lines = {values.shape[0]}",
        f"bands = {values.shape[2]}",
        f"header offset = {offset}",
        f"data type = {kind}",
        f"interleave = {interleave}",
        f"byte order = {int(big_endian)}",
    ]
    if axis is not None:
        lines.append("wavelength = {\n " + ",\n ".join(f"{value:.6f}" for value in axis) + "}")
    if unit is not None:
        lines.append(f"wavelength units = {unit}")
    if titles is not None:
        lines.append(f"z plot titles = {{{titles}}}")
    (folder / "cube.hdr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "cube.hdr"


def agilent_parameters(
    path: Path, separation: float, first: int, points: int, edge: int, aggregated: int
) -> None:
    content = bytearray(2400)
    content[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    struct.pack_into("<d", content, 2216, separation)
    struct.pack_into("<i", content, 2228, first)
    struct.pack_into("<i", content, 2236, points)
    for name, text in (
        (b"Effective Laser Wavenumber", f"{separation * 4096:.4f}"),
        (b"FPA Size X", f"{edge * aggregated}"),
        (b"PixelAggregationSize", f"{aggregated}"),
    ):
        words = (4, 1, 4, 2, 4, 4, 4, len(text), 4, len(text), len(text))
        content += name + struct.pack("<11i", *words) + text.encode() + struct.pack("<i", 4)
    content += b"FPA Pixel Size" + bytes(20) + b"1.00" + bytes(12) + struct.pack("<d", 5.5)
    path.write_bytes(bytes(content))


def agilent_tile(path: Path, values: np.ndarray) -> None:
    path.write_bytes(bytes(255 * 4) + values.transpose(2, 0, 1).astype("<f4").tobytes())


def agilent_mosaic(folder: Path, values: np.ndarray, edge: int, separation: float = 3.75) -> Path:
    rows, columns = values.shape[0] // edge, values.shape[1] // edge
    for row in range(rows):
        for column in range(columns):
            name = f"Scan_{column:04d}_{rows - 1 - row:04d}.dmd"
            tile = values[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
            agilent_tile(folder / name, tile)
    agilent_parameters(folder / "scan.dmt", separation, 256, values.shape[2], edge, 2)
    return folder / "scan.dmt"


def fsm(path: Path, values: np.ndarray, axis: np.ndarray, quantity: bytes = b"A") -> Path:
    height, width, points = values.shape
    step = axis[1] - axis[0]
    body = struct.pack("<h", 5) + b"Image"
    body += struct.pack("<10d", 25, 25, step, axis[0], axis[-1], 0, 0, 100, 200, axis[0])
    body += struct.pack("<3i", width, height, points)
    for text in (b"Y - micrometers", b"X - micrometers", b"cm-1", quantity):
        body += struct.pack("<H", len(text)) + text
    content = b"PEPEDataSet - 4DConst3DInterval".ljust(44, b"\0") + struct.pack("<Hi", 5100, len(body)) + body
    for spectrum in values.reshape(-1, points):
        content += struct.pack("<Hi", 5105, 4 * points) + spectrum.astype("<f4").tobytes()
    path.write_bytes(content)
    return path


def sp(path: Path, values: np.ndarray, axis: np.ndarray) -> Path:
    members = b""
    for number, code, body in (
        (35698, 0x751D, struct.pack("<2d", axis[0], axis[-1])),
        (35700, 0x751B, struct.pack("<d", axis[1] - axis[0])),
        (35701, 0x752B, struct.pack("<i", axis.size)),
        (35703, 0x7523, struct.pack("<H", 4) + b"cm-1"),
        (35704, 0x7523, struct.pack("<H", 1) + b"A"),
        (35708, 0x7516, struct.pack("<i", 8 * axis.size) + values.astype("<f8").tobytes()),
    ):
        members += struct.pack("<HiH", number, len(body) + 2, code) + body
    title = b"PEPE2D constant interval DataSet file".ljust(44, b"\0")
    path.write_bytes(title + struct.pack("<Hi", 120, len(members)) + members)
    return path


def _opus_parameters(values: dict[str, int | float | str]) -> bytes:
    content = b""
    for name, value in values.items():
        if isinstance(value, int):
            kind, body = 0, struct.pack("<i", value)
        elif isinstance(value, float):
            kind, body = 1, struct.pack("<d", value)
        else:
            kind, body = 2, value.encode().ljust(len(value) + 2 - len(value) % 2, b"\0")
        content += name.encode() + b"\0" + struct.pack("<2H", kind, len(body) // 2) + body
    content += b"END\0" + bytes(4)
    return content + bytes(-len(content) % 4)


def opus(
    path: Path,
    values: np.ndarray,
    axis: np.ndarray,
    *,
    runs: list[tuple[int, int]] | None = None,
    states_all: bool = False,
    extra: dict[str, int | float | str] | None = None,
) -> Path:
    """An OPUS file: a spectrum for values (c,), a series for (n, c), an image for (y, x, c).

    Of an image or series only the `runs` (first, last) are stored; `states_all` says that all were asked for.
    """
    parameters: dict[str, int | float | str] = {
        "DPF": 1,
        "NPT": axis.size,
        "FXV": float(axis[0]),
        "LXV": float(axis[-1]),
        "CSF": 1.0,
        "MXY": float(values.max()),
        "MNY": float(values.min()),
        "DXU": "WN",
    }
    kind = 0b1111 | 4 << 10
    if values.ndim > 1:
        kind |= 2 << 19
        if values.ndim == 3:
            parameters |= {"NPX": values.shape[1], "NPY": values.shape[0]}
        spectra = values.reshape(-1, axis.size)
        stored = runs or [(0, len(spectra) - 1)]
        taken = [at for first, last in stored for at in range(first, last + 1)]
        table = b"".join(struct.pack("<2i", *run) for run in stored)
        number = len(spectra) if states_all else len(taken)
        body = struct.pack("<6i", 0, number, 24 + len(table), 4 * axis.size, 152, len(stored)) + table
        for at in taken:
            body += spectra[at].astype("<f4").tobytes() + bytes(152)
    else:
        body = values.astype("<f4").tobytes()
    parameters |= extra or {}
    # As instruments do, the parameters of the single-channel spectrum stand beside those of the result.
    single = {name: parameters[name] for name in ("DPF", "NPT", "FXV", "LXV", "DXU")}
    blocks = (
        (kind, body),
        (kind | 1 << 4, _opus_parameters(parameters)),
        (0b0111 | 1 << 4 | 1 << 10, _opus_parameters(single)),
    )
    at = 24 + 12 * 4
    directory, content = b"", b""
    for code, block in blocks:
        directory += struct.pack("<3i", code, len(block) // 4, at + len(content))
        content += block
    header = b"\x0a\x0a\xfe\xfe" + struct.pack("<d3i", 920622.0, 24, 4, len(blocks))
    path.write_bytes(header + directory.ljust(48, b"\0") + content)
    return path


def wdf(path: Path, values: np.ndarray, axis: np.ndarray) -> Path:
    """A .wdf file with spectra of shape (n, c)."""
    header = bytearray(512)
    struct.pack_into("<4sIQ", header, 0, b"WDF1", 1, 512)
    struct.pack_into("<IQQ", header, 60, values.shape[1], values.shape[0], values.shape[0])
    struct.pack_into("<I", header, 88, values.shape[1])
    content = bytes(header)
    for name, body in (
        (b"DATA", values.astype("<f4").tobytes()),
        (b"XLST", struct.pack("<2I", 1, 1) + axis.astype("<f4").tobytes()),
    ):
        content += struct.pack("<4sIQ", name, 0, 16 + len(body)) + body
    path.write_bytes(content)
    return path


def wdf_map(
    path: Path,
    values: np.ndarray,
    axis: np.ndarray,
    *,
    order: str = "rows",
    measured: int | None = None,
    steps: tuple[float, float] = (2.5, 2.5),
    unit: int = 1,
    kind: int = 0,
) -> Path:
    """A map of values (y, x, c), of which the first `measured` spectra in the order of measuring were taken."""
    height, width, points = values.shape
    rows, columns = (places.ravel() for places in np.indices((height, width)))
    if order == "columns":
        rows, columns = (places.T.ravel() for places in np.indices((height, width)))
    if order == "snake":
        columns = np.where(rows % 2, width - 1 - columns, columns)
    taken = height * width if measured is None else measured
    start = (-120.3, 3334.2)
    x, y = start[0] + steps[0] * columns, start[1] + steps[1] * rows
    # Of a negative step the first line measured is the last of the picture.
    picture_rows = rows if steps[1] > 0 else height - 1 - rows
    picture_columns = columns if steps[0] > 0 else width - 1 - columns
    spectra = values[picture_rows, picture_columns].astype("<f4")
    spectra[taken:] = 0
    header = bytearray(512)
    struct.pack_into("<4sIQ", header, 0, b"WDF1", 1, 512)
    struct.pack_into("<I2Q4I", header, 60, points, height * width, taken, 1, 1, points, 4)
    struct.pack_into("<I", header, 132, 3)
    lists = struct.pack("<I", 4)
    for number, its_unit, name, numbers in (
        (0x80000003, 5, b"X", x),
        (0x80000004, 5, b"Y", y),
        (11, 24, b"Time", np.arange(height * width)),
        (17, 0, b"Flags", np.zeros(height * width)),
    ):
        lists += struct.pack("<2I16s", number, its_unit, name) + numbers.astype("<f8").tobytes()
    content = bytes(header)
    for name, body in (
        (b"DATA", spectra.tobytes()),
        (b"YLST", struct.pack("<2If", 4, 16, 1)),
        (b"XLST", struct.pack("<2I", 1, unit) + axis.astype("<f4").tobytes()),
        (b"ORGN", lists),
        (b"WMAP", struct.pack("<2I6f3If", kind, 0, *start, 0, *steps, 1, width, height, 1, 0)),
    ):
        content += struct.pack("<4sIQ", name, 0, 16 + len(body)) + body
    path.write_bytes(content)
    return path


def positions(values: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixels of an image (y, x, c), line after line."""
    rows, columns = np.indices(values.shape[:2])
    return -7 + step * columns.ravel(), 100 + step * rows.ravel()


def labspec(
    path: Path,
    values: np.ndarray,
    axis: np.ndarray,
    *,
    step: float = 1.5,
    unit: str = "µm",
    axis_unit: str = "1/cm",
    order: np.ndarray | slice = slice(None),
    encoding: str = "cp1252",
) -> Path:
    """A map as LabSpec 6 exports it, its spectra in the order given."""
    x, y = positions(values, step)
    lines = ["#Laser=\t532nm", f"#X ({unit})=\t-7", "#AxisType[0]=\tIntens", "#AxisUnit[0]=\tCnt"]
    lines += ["#AxisType[1]=\tSpectr", f"#AxisUnit[1]=\t{axis_unit}"]
    lines += ["#AxisType[2]=\tX", f"#AxisUnit[2]=\t{unit}", "#AxisType[3]=\tY", f"#AxisUnit[3]=\t{unit}"]
    lines.append("\t\t" + "\t".join(f"{value:.4f}" for value in axis))
    for at in np.arange(x.size)[order]:
        spectrum = "\t".join(repr(float(value)) for value in values.reshape(x.size, -1)[at])
        lines.append(f"{x[at]:g}\t{y[at]:g}\t{spectrum}")
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    return path


def wire_text(path: Path, values: np.ndarray, axis: np.ndarray, *, step: float = 1.5) -> Path:
    """A map as WiRE exports it to text."""
    x, y = positions(values, step)
    lines = ["#X\t\t#Y\t\t#Wave\t\t#Intensity"]
    for at, spectrum in enumerate(values.reshape(x.size, -1)):
        lines += [
            f"{x[at]:.6f}\t{y[at]:.6f}\t{wave:.6f}\t{float(value)!r}"
            for wave, value in zip(axis, spectrum, strict=True)
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def witec_graph(
    path: Path,
    values: np.ndarray,
    axis: np.ndarray,
    *,
    unit: str = "rel. 1/cm",
    sizes: tuple[int, int, int] | None = None,
) -> Path:
    """WITec Project's export of an image in three files, of which `path` is the header; pixels of 0.5 µm."""
    height, width, points = sizes or values.shape
    header = (
        "//Exported ASCII-File\r\n[Header]\r\nFileName = C:\\map.wip\r\nGraphName = map\r\n"
        f"SizeX = {width}\r\nSizeY = {height}\r\nSizeGraph = {points}\r\nScanUnit = µm\r\n"
        f"ScanWidth = {width * 0.5}\r\nScanHeight = {height * 0.5}\r\nXAxisUnit = {unit}\r\n"
        "DataUnit = CCD cts\r\n"
    )
    path.write_bytes(header.encode("cp1252"))
    for part, numbers in (("X-Axis", axis), ("Y-Axis", values.ravel())):
        text = "\n".join(repr(float(value)) for value in numbers) + "\n"
        path.with_name(path.name.replace("Header", part)).write_text(text)
    return path


def gsf(path: Path, picture: np.ndarray, **stated: object) -> Path:
    """A Gwyddion Simple Field of values (y, x)."""
    height, width = picture.shape
    lines = [f"XRes={width}", f"YRes={height}", *(f"{name}={value}" for name, value in stated.items())]
    head = ("Gwyddion Simple Field 1.0\n" + "".join(f"{line}\n" for line in lines)).encode()
    path.write_bytes(head + bytes(4 - len(head) % 4) + picture.astype("<f4").tobytes())
    return path


def neaspec(
    path: Path, channels: dict[str, np.ndarray], axis: np.ndarray, *, order: list[int] | None = None
) -> Path:
    """Spectra (y, x, c) of each channel as neaSPEC's programs export them, with pixels of 0.05 µm."""
    height, width, points = next(iter(channels.values())).shape
    lines = [
        "# www.neaspec.com",
        "# Scan:\t \tFourier Scan",
        f"# Scan Area (X, Y, Z):\t[µm]\t{0.05 * width:.3f}\t{0.05 * height:.3f}\t0.000",
        "\t".join(["Row", "Column", "Omega", "Wavenumber", *channels, ""]),
    ]
    for place in order or range(height * width):
        row, column = divmod(place, width)
        for at in range(points):
            values = [repr(float(values[row, column, at])) for values in channels.values()]
            lines.append("\t".join([str(row), str(column), str(at), repr(float(axis[at])), *values, ""]))
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8", newline="")
    return path


def omnic(path: Path, sections: list[tuple[int, bytes]], *, is_extended: bool) -> Path:
    """An OMNIC file of sections of a type and content."""
    entry, stride = ("<hqi", 22) if is_extended else ("<hii", 16)
    content = b"Spectral Exte File" if is_extended else b"Spectral Data File"
    content = content.ljust(294, b"\0") + struct.pack("<H", len(sections)) + bytes(8)
    at = 304 + stride * (len(sections) + 2)
    directory = b""
    for kind, body in sections:
        directory += struct.pack(entry, kind, at, len(body)).ljust(stride, b"\0")
        at += len(body)
    content += directory + bytes(2 * stride) + b"".join(body for _, body in sections)
    path.write_bytes(content)
    return path


def omnic_header(axis: np.ndarray, unit: int = 1, quantity: int = 17) -> bytes:
    """Section 2 of an OMNIC file."""
    return struct.pack("<4I2f", 2, axis.size, unit, quantity, axis[0], axis[-1]).ljust(140, b"\0")


def omnic_map(
    path: Path,
    values: np.ndarray,
    axis: np.ndarray,
    *,
    step: float = 12.5,
    order: np.ndarray | slice = slice(None),
    positions_in_titles: bool = False,
    unit: int = 1,
) -> Path:
    """A map of OMNIC in the order given; its y rises from the last row of values to the first."""
    x, y = positions(values[::-1], step)
    spectra = values[::-1].reshape(x.size, -1)
    x, y, spectra = x[order], y[order], spectra[order]
    records = bytes(196)
    for at, spectrum in enumerate(spectra):
        title = f"Spectrum {at + 1} of {x.size}"
        if positions_in_titles:
            title = f"Spectrum position {at + 1} of {x.size} X = {x[at]:.2f} , Y = {y[at]:.2f}"
        records += (
            struct.pack("<I12x", 2) + title.encode().ljust(84, b"\0") + spectrum.astype("<f4").tobytes()
        )
    sections = [(2, omnic_header(axis, unit)), (106, bytes(56)), (301, records)]
    if not positions_in_titles:
        listed = np.stack((x, y), 1).astype("<f4").tobytes()
        sections.insert(2, (6, struct.pack("<HI", x.size, 2) + listed + bytes(2)))
        sections.insert(3, (6, struct.pack("<HI4f", 1, 4, -10, 0, 10, 20) + bytes(2)))
    return omnic(path, sections, is_extended=True)


def grams(
    path: Path,
    values: np.ndarray,
    axis: np.ndarray,
    *,
    order: str = "<",
    stored: str = "f4",
    exponent: int = 3,
    has_x: bool = False,
    kind: int = 1,
    places: tuple[int, int] = (2, 2),
    step: float = 5,
    own_z: bool = False,
    log: bytes = b"",
) -> Path:
    """A .spc of one spectrum (c,), a series (n, c), or a map (y, x, c); integers are values / 2^(exponent - bits)."""
    planes = values.shape[0] if values.ndim == 3 else 0
    spectra = values.reshape(-1, axis.size)
    number = len(spectra)
    flags = (stored == "i2") * 1 + (number > 1) * 4 + own_z * 8 + has_x * 0x80
    stored_exponent = -128 if stored == "f4" else exponent
    x = axis.astype(order + "f4").tobytes() if has_x else b""
    body = b""
    for at, spectrum in enumerate(spectra):
        z, w = (at % values.shape[1] * step, at // values.shape[1] * step) if planes else (at * step, 0)
        body += struct.pack(order + "BbH3f2If4x", 0, stored_exponent, at, z, z + step, 0, 0, 1, w)
        body += spectrum.astype(order + stored).tobytes()
    header = struct.pack(order + "4BI2dI3B", flags, {"<": 0x4B, ">": 0x4C}[order], 0, stored_exponent & 0xFF,
                         axis.size, axis[0], axis[-1], number, kind, 2, places[0])  # fmt: skip
    end = 512 + len(x) + len(body)
    header = header.ljust(248, b"\0") + struct.pack(order + "I", end if log else 0)
    w_step = 0 if own_z else step
    header = header.ljust(312, b"\0") + struct.pack(order + "fIfB", w_step, planes, w_step, places[1])
    path.write_bytes(header.ljust(512, b"\0") + x + body + log)
    return path


def grams_old(path: Path, whole: np.ndarray, axis: np.ndarray, exponent: int) -> Path:
    """A .spc of the old format with spectra (n, c) of 32-bit integers, the upper 16 bits of each first."""
    content = struct.pack(
        "<2Bh3f2BH", (len(whole) > 1) * 4, 0x4D, exponent, axis.size, axis[0], axis[-1], 1, 2, 5 << 12
    )
    content = content.ljust(224, b"\0")
    for at, spectrum in enumerate(whole):
        content += struct.pack("<BbH3f2If4x", 0, exponent, at, at, at + 1, 0, 0, 1, 0)
        content += spectrum.astype("<i4").view("<u2").reshape(-1, 2)[:, ::-1].tobytes()
    path.write_bytes(content)
    return path


def ptir(path: Path, values: np.ndarray, axis: np.ndarray) -> Path:
    import h5py

    height, width, channels = values.shape
    rows, columns = np.divmod(np.arange(height * width), width)
    with h5py.File(path, "w") as file:
        group = file.create_group("Measurement_000")
        group.create_group("Channel_000").create_dataset("Raw_Data", data=values.reshape(-1, channels))
        group["Position_Indices"] = np.stack((columns, rows), 1).astype(np.uint32)
        group["Position_Values"] = np.stack((2.0 * columns, 2.0 * rows), 1).astype(np.float32)
        group["Spectroscopic_Values"] = axis[np.newaxis].astype(np.float32)
        group["Spectroscopic_Values"].attrs["units"] = np.array([b"c", b"m", b"-", b"1"])
        group.attrs["RangeXPoints"], group.attrs["RangeYPoints"] = np.array([width]), np.array([height])
    return path


def ptir5(path: Path, measurements: list[tuple[dict[str, object], np.ndarray]]) -> Path:
    """A file of PTIR Studio 5: attributes and data of each measurement."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["DocType"] = np.bytes_(b"PTIR5")
        file.create_group("BACKGROUNDS")
        for at, (attributes, data) in enumerate(measurements):
            group = file.create_group(f"MEASUREMENTS/{at:08x}-70c9-4334-8075-79a6611fe3c4")
            group["DATA"] = data
            group.create_group("Channel").attrs["DataSignal"] = np.bytes_(b"//ZI/*/DEMODS/0/R")
            for name, value in attributes.items():
                if isinstance(value, str):
                    group.attrs[name] = np.bytes_(value.encode())
                elif name == "Wavenumber":
                    group[name] = value
                else:
                    group.attrs[name] = np.array([value])
    return path


def ptir5_map(path: Path, values: np.ndarray, axis: np.ndarray) -> Path:
    """Hyperspectra of PTIR Studio 5 with pixels of 2 µm."""
    return ptir5(path, [(ptir5_attributes(values, axis), np.moveaxis(values, 2, 0))])


def ptir5_attributes(values: np.ndarray, axis: np.ndarray) -> dict[str, object]:
    height, width, _ = values.shape
    return {
        "TYPE": "OPTIRHyperspectra",
        "Label": "O-PTIR 1",
        "XStart": np.float32(axis[0]),
        "XIncrement": np.float32(axis[1] - axis[0]),
        "XUnits": "cm⁻¹",
        "ImageHeight": np.float32(2 * (height - 1)),
        "ImageWidth": np.float32(2 * (width - 1)),
    }


def mat73(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A MATLAB 7.3 file: HDF5 behind 512 bytes, axes turned round."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = values.T
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))
    return path


def table_of_witec(
    path: Path,
    values: np.ndarray,
    axis: np.ndarray,
    *,
    units: bool = True,
    pixels: list[str] | None = None,
) -> Path:
    """WITec's table export: titles that end in (x/y), units, then wavenumbers and a spectrum in each column."""
    height, width, channels = values.shape
    names = [f"Map_000_Spec.Data 1({x}/{y})" for y in range(height) for x in range(width)]
    lines = ["\t".join(["X-Axis", *(names if pixels is None else pixels)])]
    lines += ["\t".join(["rel. 1/cm"] + ["CCD cts"] * (height * width))] if units else []
    lines += [
        "\t".join(f"{value:.5E}" for value in (axis[at], *values[:, :, at].flat)) for at in range(channels)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def _cells(rows: list[list]) -> np.ndarray:
    found = np.empty((len(rows), len(rows[0])), object)
    for at, row in enumerate(rows):
        for place, value in enumerate(row):
            found[at, place] = value
    return found


def of_witec(
    values: np.ndarray,
    axis: np.ndarray,
    size: tuple[int, ...],
    *,
    scale: np.ndarray | None = None,
    unit: str = "",
    history: str = "Created by Project FIVE (Version 5.3)",
) -> dict:
    """The structure that WITec Project exports: spectra (n, c) of an image, a line, a stack or a series."""
    nothing = np.zeros((0, 0))
    steps = [2.0 * np.arange(extent) for extent in size[:2]] if size else [nothing, nothing]
    return {
        "name": "a",
        "data": values.astype(np.float32),
        "imagesize": np.array(size, np.float64) if size else nothing,
        "axisscale": _cells([[nothing if scale is None else scale, unit], [axis, "rel. 1/cm"]]),
        "imageaxisscale": _cells([[steps[0], "µm"], [steps[1], "µm"]]),
        "history": _cells([[history]]),
    }


def of_cytospec(blocks: tuple[np.ndarray, ...], axis: np.ndarray, **changed: float) -> dict:
    """As CytoSpec saves: (x, y, c, block), and parameters each in a row before its name."""
    height, width, channels = blocks[0].shape
    step = f"{axis[1] - axis[0]:.4g}"
    stated = {
        "LWN": axis[0],
        "VWN": axis[-1],
        "WVS": step,
        "NOD": channels,
        "XDI": width,
        "YDI": height,
        **changed,
    }
    rows = [row for key, value in stated.items() for row in (f"{value}", f" {key}")]
    held = np.stack([values.transpose(1, 0, 2) for values in blocks], -1).astype(np.float64)
    return {"C": held, "Info": {"File": np.array(rows), "Org": "", "Pre": ""}}


def of_matlab(kind: str, values: np.ndarray, axis: np.ndarray) -> dict:
    """Variables of a MATLAB file as one of the programs saves an image."""
    height, width, channels = values.shape
    spectra = values.reshape(-1, channels)
    if kind == "octavvs":
        matrix = np.column_stack([axis, spectra.T.astype(np.float64)])
        return {"AB": matrix, "wh": np.array([width, height])}
    if kind == "witec":
        return {"scan": of_witec(spectra, axis, (width, height))}
    if kind == "cytospec":
        return of_cytospec((values,), axis)
    return {"scan": {"cube": values, "wavenumbers": axis}}
