"""Folders are labels: pictures in one folder for each label as the samples, without a table.

`pictures/diseased/a.png`, `pictures/healthy/b.png`; each label folder, or the folder above them, may hold `images/` and
`masks/` instead. What a folder's name means is said by the caller: names are never guessed.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compseg_jax.ingest.columns import SPLIT_NAMES
from compseg_jax.ingest.groups import GroupPattern
from compseg_jax.ingest.ingest_options import IngestError, IngestOptions
from compseg_jax.ingest.sample_files import IMAGES, MASKS, Listing, SampleFiles, by_name, composed, of_sample
from compseg_jax.ingest.table import Row, Table, check_label_names, several
from compseg_jax.store.sample_names import as_file_name, same_file

IMAGE_FOLDER, MASK_FOLDER = "images", "masks"
MASK_ENDING = re.compile(r"(.+?)[ _.-](?:mask|segmentation|seg|annotation)(?:[ _.-]?\d+)?", re.IGNORECASE)
"""Names of masks that lie among the images: `benign (1)_mask`, `a-seg`."""
_NAMED = 3


@dataclass(frozen=True)
class Picture:
    """An image of a folder.

    Attributes:
      path: its file.
      place: the same, from the root.
      label: its label folder.
      split: its split, where folders of splits hold those of labels; else ''.
      masks: folders that may hold its mask, the likeliest first.
      beside: masks that lie beside it under its name with an ending such as `_mask`.
    """

    path: Path
    place: Path
    label: str
    split: str
    masks: tuple[Path, ...]
    beside: tuple[Path, ...] = ()

    @property
    def stem(self) -> str:
        """Its name without suffix."""
        return composed(self.path.stem.removesuffix(".ome").removesuffix(".nii"))


@dataclass(frozen=True)
class LabelFolders:
    """What a folder of label folders holds.

    Attributes:
      root: the folder.
      pictures: the images, by label and name.
      unused: files that are no images.
      masks: whether there are folders of masks, or masks beside the images.
    """

    root: Path
    pictures: tuple[Picture, ...]
    unused: tuple[Path, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Images of each label."""
        return dict(Counter(picture.label for picture in self.pictures))

    @property
    def has_masks(self) -> bool:
        """Whether masks lie in folders of their own or beside the images."""
        return any(picture.beside or any(map(Path.is_dir, picture.masks)) for picture in self.pictures)


def find_label_folders(root: Path) -> LabelFolders:
    """Looks for images in folders of labels; nothing is opened.

    Raises:
      IngestError: when there are fewer than two folders with images.
    """
    top = root / IMAGE_FOLDER if (root / IMAGE_FOLDER).is_dir() else root
    folders = _folders(top)
    by_split = {folder: SPLIT_NAMES.get(folder.name.casefold(), "") for folder in folders}
    if len(folders) > 1 and all(by_split.values()):
        labelled = [(label, by_split[folder]) for folder in folders for label in _folders(folder)]
    else:
        labelled = [(folder, "") for folder in folders]
    takes_text = not any(_is_image(path, False) for folder, _ in labelled for path in _files(folder))
    pictures: list[Picture] = []
    unused: list[Path] = []
    for folder, split in labelled:
        found = [path for path in _files(folder) if MASK_FOLDER not in path.relative_to(folder).parts[:-1]]
        images = _of_first_kind([path for path in found if _is_image(path, takes_text)])
        unused += sorted({*found} - {*images})
        pictures += _pictures(root, folder, split, images)
    if len({picture.label for picture in pictures}) < 2:
        raise IngestError(_no_labels(root, top, pictures))
    return LabelFolders(root, tuple(pictures), tuple(unused))


def read_folders(root: Path, options: IngestOptions) -> Table:
    """The images below a folder as the rows of a table.

    Raises:
      IngestError: when the labels are not said, or images, ids, groups or masks are at fault, all at once.
    """
    _refuse_options_of_tables(root, options)
    found = find_label_folders(root)
    labels, notes = _labels(found, options)
    pictures = [picture for picture in found.pictures if picture.label in labels]
    ids, more = _ids(pictures)
    notes += more
    pattern = GroupPattern.of(options.group_pattern)
    files = SampleFiles(root)
    listed = {
        name: files.in_folder(folder, option, MASKS)
        for name, folder, option in (
            ("reference", options.references, "--references"),
            ("tissue", options.tissues, "--tissues"),
        )
        if folder is not None
    }
    masks = _Masks()
    problems: list[str] = []
    rows: list[Row] = []
    for picture, sample_id in zip(pictures, ids, strict=True):
        try:
            rows.append(
                Row(
                    line=0,
                    id=sample_id,
                    path=picture.path,
                    label=labels[picture.label],
                    split=picture.split,
                    group=pattern.group(picture.place.as_posix(), sample_id),
                    reference=_listed(listed.get("reference"), picture, labels[picture.label], "reference")
                    if "reference" in listed
                    else masks.of(picture),
                    tissue=_listed(listed.get("tissue"), picture, 1, "tissue"),
                )
            )
        except IngestError as problem:
            problems.append(f"{picture.place}: {problem}")
    problems += pattern.problems(len(pictures))
    if problems:
        raise IngestError(several(root, problems))
    return Table(rows, [*notes, *pattern.notes([row.group for row in rows]), *_remarks(found, rows, options)])


def _refuse_options_of_tables(root: Path, options: IngestOptions) -> None:
    given = {
        "--images": options.images is not None,
        "--scans": bool(options.scans),
        "--cores": bool(options.cores),
        "--sheet": bool(options.sheet),
        "--group": options.group != "group",
    }
    for option, is_given in given.items():
        if is_given:
            raise IngestError(
                f"{option} belongs to a table, and {root} is a folder. Give a table (CSV or .xlsx), or leave it out."
            )
    check_label_names(options)
    options.check_resize()


def _labels(found: LabelFolders, options: IngestOptions) -> tuple[dict[str, int], list[str]]:
    """1 or 0 for each label folder that is used, and what is said of it."""
    counts = found.counts
    positive, negative = ({*names} for names in (options.positive, options.negative))
    if negative == {"0"} and "0" not in counts:  # not given: what is left where one is
        left = counts.keys() - positive - {*options.exclude}
        negative = left if len(left) == 1 and positive & counts.keys() else set()
    unknown = [name for name in counts if name not in positive | negative | {*options.exclude}]
    if unknown or not positive & counts.keys() or not negative & counts.keys():
        raise IngestError(_which_is_diseased(found, positive, negative, options))
    labels = {name: int(name in positive) for name in counts if name in positive | negative}
    words = ", ".join(f"{name}/ {counts[name]} {('healthy', 'diseased')[labels[name]]}" for name in labels)
    notes = [f"folders are labels: {words}"]
    if excluded := [f"{name} {counts[name]}" for name in counts if name not in labels]:
        notes.append(f"folders excluded by label: {', '.join(excluded)}")
    return labels, notes


def _which_is_diseased(
    found: LabelFolders, positive: set[str], negative: set[str], options: IngestOptions
) -> str:
    counts = found.counts
    listed = ", ".join(f"{name} ({number} images)" for name, number in counts.items())
    names = list(counts)
    if len(names) == 2 and not positive & counts.keys():
        example = " or ".join(f"--positive {shlex.quote(name)}" for name in names)
        given = ", ".join(sorted(positive - {"1"}))
        none = f" None is called {given}." if given else ""
        return f"{found.root}: its folders are {listed}.{none} Which of them means diseased? Say {example}."
    said = [
        f"{option} {','.join(sorted(values & counts.keys()))}"
        for option, values in (
            ("--positive", positive), ("--negative", negative), ("--exclude", {*options.exclude})
        )
        if values & counts.keys()
    ]  # fmt: skip
    so_far = f" (so far: {' '.join(said)})" if said else ""
    return (
        f"{found.root}: its folders are {listed}. Say what each of them means{so_far}: diseased with --positive, "
        "healthy with --negative, left out with --exclude; several names are separated by commas."
    )


def _ids(pictures: Sequence[Picture]) -> tuple[list[str], list[str]]:
    """A name for each sample: the file's where each has its own, else with its folders; and what is said of it."""
    names, notes = [picture.stem for picture in pictures], []
    if len(set(map(same_file, names))) < len(names):
        places = [picture.place.with_name(picture.stem).parts for picture in pictures]
        names = ["_".join(part for part in parts if part != IMAGE_FOLDER) for parts in places]
        notes.append("files of several folders share names: samples are named after folder and file")
    ids = [as_file_name(name) for name in names]
    twice = [name for name, times in Counter(map(same_file, ids)).items() if times > 1]
    if twice:
        same = [str(p.place) for p, name in zip(pictures, ids, strict=True) if same_file(name) == twice[0]]
        raise IngestError(
            f"{len(twice)} name(s) belong to several images, the first to {_few(same)}. Keep one of each, or rename "
            "them."
        )
    return ids, notes


def _remarks(found: LabelFolders, rows: Sequence[Row], options: IngestOptions) -> list[str]:
    notes = []
    if options.references is None and found.has_masks:
        diseased = [row for row in rows if row.label]
        marked = sum(row.reference is not None for row in diseased)
        notes.append(
            f"reference masks (inside = diseased) found for {marked} of {len(diseased)} diseased and "
            f"{sum(row.reference is not None for row in rows) - marked} of {len(rows) - len(diseased)} healthy samples"
        )
    if found.unused:
        names = [str(path.relative_to(found.root)) for path in found.unused]
        notes.append(f"{len(names)} other file(s) passed over: {_few(names)}")
    return notes


class _Masks:
    """Masks found by name beside the images."""

    def __init__(self) -> None:
        self._listings: dict[Path, Listing] = {}

    def of(self, picture: Picture) -> Path | None:
        """The mask of an image; None where there is none."""
        if len(picture.beside) > 1:
            raise IngestError(
                f"it has several masks, {_few([path.name for path in picture.beside])}; join them into one, or put "
                f"one into a folder {MASK_FOLDER}/."
            )
        for folder in picture.masks:
            if folder not in self._listings:
                self._listings[folder] = _mask_listing(folder)
            if self._listings[folder].get(picture.stem):
                return of_sample(self._listings[folder], picture.stem, "mask", MASKS)
        return picture.beside[0] if picture.beside else None


def _mask_listing(folder: Path) -> Listing:
    listing: dict[str, list[Path]] = {}
    entries = _entries(folder) if folder.is_dir() else []
    for group in reversed(MASKS):
        listing |= by_name(entries, group)
    return listing


def _listed(listing: Listing | None, picture: Picture, label: int, kind: str) -> Path | None:
    """The mask in a folder that the caller names; a healthy sample needs no reference."""
    if listing is None or (kind == "reference" and not label and picture.stem not in listing):
        return None
    return of_sample(listing, picture.stem, f"{kind} mask", MASKS)


def _pictures(root: Path, folder: Path, split: str, images: Sequence[Path]) -> Iterator[Picture]:
    stems = {path.parent / path.stem for path in images}
    masks: dict[Path, list[Path]] = {}
    for path in images:
        match = MASK_ENDING.fullmatch(path.stem)
        if match and path.parent / match[1] in stems:
            masks.setdefault(path.parent / match[1], []).append(path)
    passed = {path for found in masks.values() for path in found}
    for path in images:
        if path not in passed:
            place = path.relative_to(root)
            beside = tuple(masks.get(path.parent / path.stem, ()))
            yield Picture(path, place, folder.name, split, tuple(_mask_folders(root, place)), beside)


def _mask_folders(root: Path, place: Path) -> Iterator[Path]:
    """Folders that may hold the mask of an image, the likeliest first."""
    parts = place.parts[:-1]
    for at in reversed([at for at, part in enumerate(parts) if part == IMAGE_FOLDER]):
        yield root.joinpath(*parts[:at], MASK_FOLDER, *parts[at + 1 :])
        yield root.joinpath(*parts[:at], MASK_FOLDER)
    for at in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:at], MASK_FOLDER, *parts[at:])
        yield root.joinpath(*parts[:at], MASK_FOLDER)


def _no_labels(root: Path, top: Path, pictures: Sequence[Picture]) -> str:
    direct = [path for path in _entries(top) if _is_image(path, False)]
    below = sorted({picture.label for picture in pictures})
    if below:
        found = f"images lie in the one folder {below[0]}/ alone"
    elif direct:
        found = f"{len(direct)} images lie in it and none in folders, such as {direct[0].name}"
    else:
        found = "no images lie in folders below it"
    return (
        f"{root}: is a folder without folders of labels: {found}. Put the images of each label into a folder of its "
        "own (such as diseased/ and healthy/), or give a table (CSV or .xlsx) that names them."
    )


def _folders(folder: Path) -> list[Path]:
    """Folders that may be labels."""
    inner = [path for path in _entries(folder) if path.is_dir() and path.suffix.lower() != ".zarr"]
    return [path for path in inner if path.name != MASK_FOLDER]


def _files(folder: Path) -> Iterator[Path]:
    """Files (and zarr folders) at any depth."""
    for path in _entries(folder):
        if path.is_dir() and path.suffix.lower() != ".zarr":
            yield from _files(path)
        else:
            yield path


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_image(path: Path, takes_text: bool) -> bool:
    kinds: Iterable[Sequence[str]] = IMAGES if takes_text else IMAGES[:-1]
    return any(path.suffix.lower() in suffixes for suffixes in kinds)


def _of_first_kind(paths: Sequence[Path]) -> list[Path]:
    """Of files of one name, those of the first kind: a picture before an instrument's header, this before text."""
    kept: dict[Path, tuple[int, list[Path]]] = {}
    for path in paths:
        kind = next(at for at, suffixes in enumerate(IMAGES) if path.suffix.lower() in suffixes)
        best, found = kept.setdefault(path.with_suffix(""), (kind, []))
        if kind < best:
            kept[path.with_suffix("")] = (kind, [path])
        elif kind == best:
            found.append(path)
    without_headers: Mapping[Path, list[Path]] = {
        name: [path for path in found if path.suffix.lower() != ".hdr"] or found
        for name, (_, found) in kept.items()
    }
    return sorted(path for found in without_headers.values() for path in found)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
