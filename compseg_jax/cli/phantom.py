"""`compseg phantom`."""

from __future__ import annotations

from compseg_jax.cli.next_steps import after_store, print_next
from compseg_jax.cli.parsing import HelpPage, parse, progress_bar
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom

PAGE = HelpPage(
    "phantom",
    text="Simulate tissue arrays with ground truth, and write them as a store.",
    example="compseg phantom --out data --train 60 --size 48 --seed 1",
    groups={
        "options": ("out", "train", "val", "test", "seed"),
        "spot": (
            "phantom.size",
            "phantom.channels",
            "phantom.difficulty",
            "phantom.tumour_fraction",
            "phantom.pixel_size_um",
        ),
    },
)


def run(arguments: list[str]) -> None:
    """Simulates tissue arrays with ground truth."""
    options = parse(PhantomOptions, arguments, PAGE, default=PhantomOptions())
    with progress_bar("spots") as progress:
        write_phantom(options, progress=progress)
    print(f"store: {options.out}")
    print_next(after_store(options.out))
