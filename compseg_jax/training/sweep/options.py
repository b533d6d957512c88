"""What a sweep trains, on what, and where to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compseg_jax.config.locations import Location, refuse_url
from compseg_jax.config.ranges import SEED
from compseg_jax.prediction.shard import Shard


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep trains, on what, and where to."""

    data: Location = Path("data")
    """Store, directory or URL, as made by `compseg ingest` or `compseg phantom`."""
    out: Path = Path("runs/sweep")
    """Folder of the sweep: a run for each cell in cells/, and the comparison. Finished cells are not trained again,
    unfinished ones go on; more recipes, values and seeds may be asked for later."""
    recipes: str = "default"
    """Names of recipes, or recipe files, separated by commas."""
    seeds: str = "0,1,2"
    """Seeds, separated by commas."""
    folds: int = 1
    """Train each recipe and seed so many times, each time with another part of the training and validation samples held
    out to choose epoch and threshold (1: the store's own split)."""
    vary: tuple[str, ...] = ()
    """FIELD=VALUE,VALUE …: fields of a recipe file and the values that each recipe gets in turn, such as
    objective.alpha=.05,.1 epochs=30."""
    network: str = ""
    """Network of your own that the recipe files may name, as package.module:Class; code that a file names is not run
    otherwise."""
    split: str = "test"
    """Samples that all are compared on: those of this split of the store."""
    shard: str = ""
    """I/N: the I-th of N parts of the cells, for a task of a job array."""
    ray: str = ""
    """Train on a Ray cluster that sees the same folders: local (this machine), auto, HOST:PORT or ray://HOST:PORT;
    needs the extra 'ray'."""
    cell: str = ""
    """Train and evaluate the cell of this name alone, in this process."""

    def __post_init__(self) -> None:
        refuse_url(self.out, "checkpoints need a file system. Name a folder, and copy the models from there")
        if self.folds < 1:
            raise ValueError(f"--folds {self.folds}: at least 1 is required.")
        for seed in _listed(self.seeds, "--seeds"):
            if not seed.isdecimal():
                raise ValueError(
                    f"--seeds {self.seeds}: {seed!r} is no seed; whole numbers are required, 0,1,2."
                )
            if int(seed) not in SEED:
                raise ValueError(f"--seeds {seed}: must be {SEED}.")
        _listed(self.recipes, "--recipes")
        if self.shard:
            if self.ray:
                raise ValueError("--ray spreads the trainings itself: leave out --shard.")
            Shard.parsed(self.shard)
        if self.folds > 1 and self.split != "test":
            raise ValueError(
                f"--folds {self.folds} --split {self.split}: folds hold out other samples than the split "
                f"{self.split!r}, which would be compared on what most of them were trained on. Leave out --split, or "
                "--folds."
            )
        self.varied  # noqa: B018  (refused here, before any work)

    @property
    def recipe_names(self) -> tuple[str, ...]:
        """Each once."""
        return _listed(self.recipes, "--recipes")

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """Each once."""
        return tuple(dict.fromkeys(map(int, _listed(self.seeds, "--seeds"))))

    @property
    def varied(self) -> dict[str, tuple[str, ...]]:
        """The values of each field as they were written."""
        found: dict[str, tuple[str, ...]] = {}
        for text in self.vary:
            field, equals, values = text.partition("=")
            if not (field and equals):
                raise ValueError(
                    f"--vary {text}: FIELD=VALUE,VALUE is required, such as objective.alpha=.05,.1."
                )
            if field in found:
                raise ValueError(f"--vary {text}: {field} is given twice; list its values behind one =.")
            found[field] = _listed(values, f"--vary {field}")
        return found


def _listed(text: str, option: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if "" in parts:
        raise ValueError(f"{option} {text!r}: values separated by single commas are required.")
    return parts
