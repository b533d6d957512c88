"""What commands share: options from arguments, help pages of one look, and a bar of their progress."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import os
import re
import shutil
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from operator import attrgetter, getitem
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg
from tyro.constructors import PrimitiveConstructorSpec

from compseg_jax.cli.quiet import is_quiet
from compseg_jax.config.fields import Described, described, with_values
from compseg_jax.config.locations import Url, location, refuse_url

Options = TypeVar("Options")
_WIDEST = 100
_LOCATION = Annotated[
    Path,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URL",
        instance_from_str=lambda texts: texts[0],
        is_instance=lambda value: isinstance(value, Path | Url | str),
        str_from_instance=lambda value: [str(value)],
    ),
]


@dataclasses.dataclass(frozen=True)
class HelpPage:
    """How `compseg COMMAND --help` shows the fields of a dataclass.

    Attributes:
      command: the command's name.
      text: what the command does.
      example: a whole command line.
      groups: fields under their headings, those of nested dataclasses as ``group.name``; the first heading is shown
        as 'options'. A field that stands in none is no option.
      positional: the field that is given without its name, and what stands for it in the help.
    """

    command: str
    text: str
    example: str
    groups: Mapping[str, tuple[str, ...]]
    positional: tuple[str, str] = ("", "")


def parse(
    cls: type[Options], arguments: list[str], page: HelpPage, *, default: Options | None = None
) -> Options:
    """Options of a dataclass, as tyro reads them; ends the program for --help and for unknown options.

    Args:
      cls: the docstrings of its fields explain the options.
      default: values of what is not given and of fields that are no options; None: the class's own.

    Raises:
      ValueError: what the dataclass itself refuses.
    """
    fields = described(cls)
    if default is not None:
        fields = {name: field._replace(default=attrgetter(name)(default)) for name, field in fields.items()}
    if {"-h", "--help"}.intersection(arguments):
        _print_help(_shown(fields, page), page)
    given: Any = _or_error(_shown(fields, page, both_ways=True), arguments, page)
    values = {
        name: _located(
            name, getattr(getattr(given, f"group_{number}", given), name.rpartition(".")[2]), fields
        )
        for number, names in enumerate(page.groups.values())
        for name in names
    }
    for name, value in values.items():
        _refuse_no_number(name, value)
    return _checked(cls(**values) if default is None else with_values(default, values))


def asks_for_steps(arguments: list[str]) -> bool:
    """Whether ``--prepare help`` was asked for, which is answered here."""
    asked = any(pair == ("--prepare", "help") for pair in itertools.pairwise(arguments))
    if asked:
        from compseg_jax.spectra.preparation import help_text

        print(help_text())
    return asked


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float, int], None]]:
    """A bar on the terminal, set by what is done and how much there is; nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), MofNCompleteColumn(), BarColumn(bar_width=30), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=is_quiet() or not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _located(name: str, value: Any, fields: Mapping[str, Described]) -> Any:
    """A value with its places: URLs where the field takes them, refused where it takes a path alone."""
    hint = fields[name].hint
    if isinstance(value, tuple):
        return tuple(location(each) if Url in get_args(get_args(hint)[0]) else each for each in value)
    if Url in get_args(hint) and isinstance(value, str):
        return location(value)
    if isinstance(value, Path) and name != "out":
        refuse_url(value, f"--{name.replace('_', '-')} takes no URL. Copy the file to this machine first")
    return value


def _refuse_no_number(name: str, value: Any) -> None:
    """NaN lies in no range and outside of none, so that no comparison finds it."""
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, float) and not math.isfinite(each):
            option = name.rpartition(".")[2].replace("_", "-")
            raise ValueError(f"--{option} {each}: a finite number is required.")


def _checked(options: Options) -> Options:
    """Options whose --out is a path where it must be one; those that say why have said so themselves."""
    out = getattr(options, "out", None)
    if isinstance(out, Path):
        refuse_url(out, "--out takes no URL. Write to this machine, and copy it from there")
    return options


def _by_tyro(shown: type[Options], arguments: list[str], page: HelpPage) -> Options:
    # Groups order the help, their names would only lengthen the options: --alpha, not --training.alpha.
    return tyro.cli(
        shown, args=arguments, prog=f"compseg {page.command}", description="", config=(OmitArgPrefixes,)
    )


def _or_error(shown: type[Options], arguments: list[str], page: HelpPage) -> Options:
    """tyro's errors in the style of all others: without a box, behind 'error:'."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return _by_tyro(shown, arguments, page)
    except SystemExit as ended:
        if ended.code:
            print(_without_box(said.getvalue()), file=sys.stderr)
        raise


def _without_box(text: str) -> str:
    lines = [line.strip("│╭╮╰╯|+ ") for line in text.splitlines()]
    kept = [re.sub(r"^[─-] (.*?) [─-]+$", r"\1", line) for line in lines if line.strip("─-")]
    if len(kept) > 1 and kept[1].startswith(kept[0]):  # the box's title
        del kept[0]
    return "error: " + "\n  ".join(kept)


def _print_help(shown: type, page: HelpPage) -> NoReturn:
    """tyro's boxes of options below a head of our own: tyro breaks no line of its head, however long."""
    boxes = _Captured()
    with suppress(SystemExit), redirect_stdout(boxes):
        _by_tyro(shown, ["--help"], page)
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    usage = " ".join(["usage: compseg", page.command, "[OPTIONS]", page.positional[1]])
    paragraphs = [textwrap.fill(" ".join(part.split()), width) for part in page.text.split("\n\n")]
    print("\n\n".join([usage.rstrip(), *paragraphs, f"example: {page.example}"]))
    print(boxes.getvalue().partition("\n")[2], end="")
    raise SystemExit(0)


class _Captured(io.StringIO):
    """What tyro prints, drawn as it would be on the terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return sys.__stdout__ is not None and sys.__stdout__.isatty() and not os.environ.get("NO_COLOR")


def _shown(fields: Mapping[str, Described], page: HelpPage, *, both_ways: bool = False) -> type:
    """A dataclass of what is shown; tyro draws a box for its own fields and one for each dataclass in it.

    Args:
      fields: of the options.
      page: which of them, and where.
      both_ways: takes ``--no-flag`` of a flag that is off too, as it may be given again with --resume.
    """
    shown: list[Any] = []
    for number, (heading, names) in enumerate(page.groups.items()):
        own = [_argument(name, fields[name], page, both_ways=both_ways) for name in names]
        if number == 0:
            shown += own
        else:
            group = dataclasses.make_dataclass("Group", own, kw_only=True, namespace={"__doc__": ""})
            shown.append((f"group_{number}", Annotated[group, arg(name=heading)]))
    return dataclasses.make_dataclass("Shown", shown, kw_only=True)


def _argument(name: str, field: Described, page: HelpPage, *, both_ways: bool) -> tuple[str, Any, Any]:
    is_flag = field.hint is bool
    is_positional = name == page.positional[0]
    shown = arg(
        help=field.doc,
        metavar=page.positional[1] if is_positional else None if is_flag else _metavar(field.hint),
        help_behavior_hint=_default_shown,
    )
    markers = [Positional] * is_positional + [FlagCreatePairsOff] * (
        is_flag and not field.default and not both_ways
    )
    annotated: Any = getitem(Annotated, (_with_urls(field.hint), shown, *markers))
    return name.rpartition(".")[2], annotated, dataclasses.field(default=field.default)


def _with_urls(hint: Any) -> Any:
    """A type whose paths that may be URLs tyro leaves as texts: to itself every text is a path."""
    parts = get_args(hint)
    if get_origin(hint) is tuple and Url in get_args(parts[0]):
        return tuple[_LOCATION, ...]
    if Url not in parts:
        return hint
    return Union[_LOCATION, None] if types.NoneType in parts else _LOCATION  # noqa: UP007


def _metavar(hint: Any) -> str:
    """What stands for a value: ``INT``, ``{none,flips}``, ``PATH …``."""
    names = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}
    if hint in names:
        return names[hint]
    parts = get_args(hint)
    if Url in parts:
        return "PATH|URL"
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, parts)) + "}"
    if get_origin(hint) is tuple:
        return f"{_metavar(parts[0])} …" if parts[-1] is ... else " ".join(map(_metavar, parts))
    return "|".join(_metavar(part) for part in parts if part is not types.NoneType)


def _default_shown(value: str) -> str:
    words = {"": "none", "''": "none", "None": "none", "True": "on", "False": "off"}
    return f"(default:\N{NO-BREAK SPACE}{words.get(value, value)})"
