"""What the documentation names is there: files, modules and what they offer, and the targets of links."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from compseg_jax.readers import FORMATS
from compseg_jax.readers.not_read import NOT_READ

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINES_OF_A_PAGE = 60
FILE = re.compile(r"\b(?:compseg_jax|tests|tools|benchmarks|examples)/[\w/]+\.(?:py|sh|ipynb|jsonl?)\b")
NAME = re.compile(r"\bcompseg_jax(?:\.[A-Za-z_]\w*)+")
TEST = re.compile(r"\btest(?:_[a-z0-9]+){3,}\b(?!\.py)")
REFERENCE = ("readers", "spectra", "store", "ingest", "objective", "model", "prediction", "config", "runtime")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


TESTS = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))


def page(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_files_names_and_links_of_a_page_exist(path):
    text = path.read_text(encoding="utf-8")
    missing = [name for name in FILE.findall(text) if not (ROOT / name).is_file()]
    missing += [link for link in LINK.findall(text) if not (path.parent / link).exists()]
    missing += [name for name in TEST.findall(text) if f"def {name}(" not in TESTS]
    for name in set(NAME.findall(text)):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert not missing, f"{page(path)} names what is not there: {', '.join(missing)}"


def test_an_entry_of_the_build_notes_is_at_most_a_page():
    _, *entries = (ROOT / "BUILD_NOTES.md").read_text(encoding="utf-8").split("\n## ")
    assert [entry[:10] for entry in entries] == sorted(entry[:10] for entry in entries)
    for entry in entries:
        assert re.match(r"20\d\d-\d\d-\d\d · ", entry), entry.splitlines()[0]
        assert len(entry.rstrip().splitlines()) <= LINES_OF_A_PAGE, entry.splitlines()[0]


def test_every_decision_is_listed():
    pages = {path.name for path in (ROOT / "docs/decisions").glob("*.md")} - {"README.md"}
    listed = re.findall(
        r"^\| \[.*\]\((.*)\) \|", (ROOT / "docs/decisions/README.md").read_text("utf-8"), re.M
    )
    assert pages
    assert sorted(pages) == listed


def rows_below(heading: str) -> list[list[str]]:
    """Cells of the rows of the table below a heading of docs/formats.md."""
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    _, _, below = text.partition(f"## {heading}\n")
    lines = [line for line in below.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_format_is_documented_by_its_suffixes():
    documented = {
        suffix for _, suffixes, *_ in rows_below("Read") for suffix in re.findall(r"`(\.\w+)`", suffixes)
    }
    patterns = {pattern for each in FORMATS for pattern in each.suffixes if pattern}
    numbers = {pattern for pattern in patterns if "[" in pattern}  # those of OPUS and DICOM, in words
    assert documented - {".0", ".999", ".zarr"} == patterns - numbers


def test_every_extra_of_a_format_is_there():
    known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = {extra for _, _, extra, *_ in rows_below("Read") if extra}
    assert extras
    assert all(re.search(rf"^{extra} = \[", known, re.M) for extra in extras)


def test_what_is_not_read_is_documented_as_the_errors_say_it():
    listed = [
        [" ".join(f"`{suffix}`" for suffix in each.suffixes), each.what, each.instead] for each in NOT_READ
    ]
    assert rows_below("Not read") == listed
    suffixes = [suffix for each in NOT_READ for suffix in each.suffixes]
    assert len(suffixes) == len(set(suffixes))
    only_with_companions = {".raw"}
    readable = {pattern for each in FORMATS for pattern in each.suffixes}
    assert not set(suffixes) & readable - only_with_companions


def shown_in(name: str) -> list[str]:
    """Full names that a page of the reference shows."""
    return re.findall(r"^::: (\S+)$", (ROOT / f"docs/reference/{name}.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("room", REFERENCE)
def test_the_reference_shows_every_public_name_of_a_room_and_no_other(room):
    shown = shown_in(room)
    for name in shown:
        pkgutil.resolve_name(name)
    public = importlib.import_module(f"compseg_jax.{room}").__all__
    assert sorted(name.rpartition(".")[2] for name in shown) == sorted(public)


def test_the_reference_shows_every_public_name_of_the_package():
    import compseg_jax

    shown = {pkgutil.resolve_name(name) for page in ("top", "networks") for name in shown_in(page)}
    others = {
        pkgutil.resolve_name(name)
        for room in REFERENCE
        for name in shown_in(room)
        if "RECIPES" not in name and pkgutil.resolve_name(name).__hash__
    }
    public = {getattr(compseg_jax, name) for name in compseg_jax.__all__ if name != "__version__"}
    assert public <= shown | others
    assert shown <= public
