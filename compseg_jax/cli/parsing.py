"""What commands share: options from arguments, and a bar of their progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Options = TypeVar("Options")


def parse(
    cls: type[Options], arguments: list[str], program: str, *, default: Options | None = None
) -> Options:
    """Options of a dataclass, as tyro reads them; ends the program for --help and for unknown options."""
    import tyro

    # Groups order the help, their names would only lengthen the options: --alpha, not --objective.alpha.
    markers = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    options: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(cls, args=arguments, prog=program, description=cls.__doc__, config=markers, **options)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float, int], None]]:
    """A bar on the terminal, set by what is done and how much there is; nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), MofNCompleteColumn(), BarColumn(bar_width=30), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
