"""`compseg view`: the options, and the server that shows what they name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.config.locations import Location, Url
from compseg_jax.config.ranges import Range, check_ranges
from compseg_jax.runtime.extras import install_line

PAGE = HelpPage(
    "view",
    text="Look at predictions, a report or a run on a local web page. Nothing leaves this machine; Ctrl-C ends it.",
    example="compseg view runs/mine/report",
    groups={"options": ("path", "outlines", "port", "browser"), "file": ("model", "data", "network")},
    positional=("path", "PATH"),
)


@dataclass(frozen=True)
class ViewOptions:
    """What to show, and where."""

    path: Location
    """Folder or URL of `compseg predict`, report of `compseg evaluate`, or run of `compseg train`."""
    outlines: Path | None = None
    """Folder that outlines drawn on the page are kept in, for `compseg ingest --references`; PATH-outlines, beside
    PATH (of a URL in the working folder), when not given."""
    port: Annotated[int, Range(0, 65_535)] = 0
    """Port of 127.0.0.1 to listen at; 0: any that is free."""
    browser: bool = True
    """Open the page in the browser (the default) or not; its address is printed in any case."""
    model: Location | None = None
    """Where the model of a report is now, folder or URL, if it was moved."""
    data: Location | None = None
    """Where the store of a report or run is now, directory or URL, if it was moved."""
    network: str = ""
    """Network of your own that the model may import, as package.module:Class; code that a model names is not run
    otherwise."""

    def __post_init__(self) -> None:
        check_ranges(self)


def run(arguments: list[str]) -> None:
    """Shows a folder until Ctrl-C.

    Raises:
      ViewError: when the folder is none that can be shown.
      RuntimeError: when Bokeh is not installed.
      OSError: when the port is taken.
    """
    options = parse(ViewOptions, arguments, PAGE)
    if find_spec("bokeh") is None:
        raise RuntimeError(
            "`compseg view` needs Bokeh, which is not installed. Install it with: " + install_line("viewer")
        )
    from compseg_jax.viewer.opening import open_source

    source = open_source(options.path, model=options.model, data=options.data, network=options.network)
    from compseg_jax.viewer.server import view

    view(source, _outlines(options), port=options.port, browser=options.browser, announce=_announce)


def _outlines(options: ViewOptions) -> Path:
    """Beside what is shown, as a new report or prediction may replace all that lies in it."""
    if options.outlines is not None:
        return options.outlines.resolve()
    if isinstance(options.path, Url):
        return Path.cwd() / f"{options.path.name}-outlines"
    place = options.path.resolve()
    if place.is_file():
        place = place.parent
    return place.with_name(f"{place.name}-outlines")


def _announce(url: str) -> None:
    print(f"{url}\nfor this machine only; Ctrl-C ends it", flush=True)
