"""Counts the rooms of the package and the imports between them: python tools/rooms.py [--repo CHECKOUT].

A room is a folder of ``compseg_jax``, or a module that lies loose beside the folders. An arrow leads from a room to
another one that it imports from, however many import statements say so, those inside functions included. The order of
the rooms is read from the checkout's tests/test_layout.py, so that trees of other layouts can be counted too.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "compseg_jax"
ORDERS = ("ROOMS", "ORDER")
"""Names that the list of rooms has had in tests/test_layout.py."""


@dataclass(frozen=True)
class House:
    """A checkout, counted.

    Attributes:
      rooms: modules of each room, its own `__init__` not counted.
      loose: rooms that are modules at the top of the package.
      arrows: import statements by (room, room it imports from).
      wrong: import statements by the same pairs, that lead to the right in the order of the rooms.
      twins: places of each file name that occurs more than once.
      package_lines: of all Python files of the package.
      test_lines: of all Python files of the tests.
    """

    rooms: dict[str, int]
    loose: list[str]
    arrows: Counter[tuple[str, str]]
    wrong: Counter[tuple[str, str]]
    twins: dict[str, list[str]]
    package_lines: int
    test_lines: int

    @property
    def mutual(self) -> list[tuple[str, str]]:
        """Pairs of rooms that import from each other."""
        return sorted(pair for pair in self.arrows if pair[0] < pair[1] and pair[::-1] in self.arrows)


def count(repo: Path) -> House:
    """Counts a checkout.

    Raises:
      ValueError: if it holds no package of this name, or its tests no order of rooms.
    """
    package = repo / PACKAGE
    if not (package / "__init__.py").is_file():
        raise ValueError(f"{repo} holds no {PACKAGE}/__init__.py; name a checkout with --repo.")
    order = _order(repo / "tests" / "test_layout.py")
    files = {_module(path.relative_to(package)): path for path in sorted(package.rglob("*.py"))}
    rooms: Counter[str] = Counter()
    arrows: Counter[tuple[str, str]] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name, path in files.items():
        if not name:
            continue
        rooms[_room(name)] += path.name != "__init__.py"
        if path.name != "__init__.py":
            places[path.name].append(path.relative_to(package).as_posix())
        for statement in _imports(path, name):
            imported = {module if module in files else module.rpartition(".")[0] for module in statement}
            arrows.update({(_room(name), _room(m)) for m in imported if _room(m) != _room(name)})
            wrong.update(
                {(_room(name), _room(m)) for m in imported if _place(m, order) > _place(name, order)}
            )
    return House(
        rooms=dict(sorted(rooms.items())),
        loose=sorted(name for name, path in files.items() if name and path.parent == package),
        arrows=arrows,
        wrong=wrong,
        twins={name: found for name, found in sorted(places.items()) if len(found) > 1},
        package_lines=_lines(package),
        test_lines=_lines(repo / "tests"),
    )


def describe(house: House) -> str:
    """The counts as text, a line per kind of count and the names below it."""
    sections = [
        (f"rooms: {len(house.rooms)}, modules: {sum(house.rooms.values())}",
         [f"{name} {modules}" for name, modules in house.rooms.items()]),
        (f"modules loose at the top: {len(house.loose)}", house.loose),
        (f"arrows between rooms: {len(house.arrows)}, import statements: {house.arrows.total()}",
         [f"{a} → {b} {n}" for (a, b), n in sorted(house.arrows.items())]),
        (f"arrows that point the wrong way: {len(house.wrong)}, import statements: {house.wrong.total()}",
         [f"{a} → {b} {n}" for (a, b), n in sorted(house.wrong.items())]),
        (f"pairs of rooms that import each other: {len(house.mutual)}", [f"{a} ↔ {b}" for a, b in house.mutual]),
        (f"file names that occur more than once: {len(house.twins)}",
         [f"{name} ({', '.join(places)})" for name, places in house.twins.items()]),
        (f"lines: package {house.package_lines}, tests {house.test_lines}", []),
    ]  # fmt: skip
    return "\n".join(title + ("\n  " + "; ".join(names) if names else "") for title, names in sections)


def _module(path: Path) -> str:
    """Dotted name below the package; empty for the package itself."""
    return ".".join(path.with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def _room(module: str) -> str:
    return module.partition(".")[0] or PACKAGE


def _imports(path: Path, name: str) -> Iterator[list[str]]:
    """What each import statement takes from the package: modules, or names inside of them."""
    here = [PACKAGE, *name.split(".")] if path.name == "__init__.py" else [PACKAGE, *name.split(".")[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else []
            names = [".".join([*base, *filter(None, [node.module]), name]) for name in names]
        yield [each.removeprefix(PACKAGE + ".") for each in names if each.startswith(PACKAGE + ".")]


def _order(test: Path) -> list[str]:
    """The rooms from left to right, as the checkout's test of the layout has them."""
    if test.is_file():
        for node in ast.parse(test.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ORDERS:
                return list(ast.literal_eval(node.value))
    raise ValueError(f"{test} has no list {' or '.join(ORDERS)}; the order of the rooms is read from it.")


def _place(module: str, order: list[str]) -> int:
    """Place of a module in the order, by its longest prefix there; to the right of all where it has none."""
    matches = [room for room in order if module == room or module.startswith(room + ".")]
    return order.index(max(matches, key=len)) if matches else len(order)


def _lines(folder: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--repo", type=Path, default=Path(__file__).parents[1], help="checkout to count (default: this one)"
    )
    print(describe(count(parser.parse_args().repo)))
