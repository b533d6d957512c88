"""The cells of a sweep, and the file in its folder that says what each of them is.

``sweep_plan.json`` holds every recipe as it was when it was first asked for, with every field: a recipe file that is
edited meanwhile is another recipe, and refused under the same name.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compseg_jax.config import Training, from_json, recipe, to_json
from compseg_jax.config.fields import described, with_values
from compseg_jax.config.locations import absolute
from compseg_jax.config.network import refuse_foreign
from compseg_jax.config.recipes import RECIPES
from compseg_jax.config.serialisation import flat
from compseg_jax.model.run_folder import CONFIG, from_the_root, read_run
from compseg_jax.prediction.shard import Shard
from compseg_jax.runtime.files import JsonFormat, json_text, write_text
from compseg_jax.store.kvstore import write_new
from compseg_jax.store.read import Store, StoreError
from compseg_jax.training.checkpoint import has_checkpoint
from compseg_jax.training.ensemble import FOLDS_FILE
from compseg_jax.training.sweep.options import SweepOptions

CELLS = "cells"
REPORT = "report"
OF_THE_SWEEP = frozenset(
    {"data", "out", "recipe", "resume", "seed", "init_from", "ensemble.fold", "ensemble.folds"}
)
"""Fields that a sweep sets itself, or that a value for all recipes alike makes no sense of."""


class SweepError(ValueError):
    """What is asked for is no sweep, or not the one that a folder holds."""


PLAN = JsonFormat(
    "compseg-sweep-plan",
    version=1,
    required=("data", "split", "folds", "variants", "cells"),
    absent="Choose another --out.",
    again="choose another --out",
    error=SweepError,
)
PLAN_FILE = "sweep_plan.json"


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    Attributes:
      variant: recipe and varied fields, such as 'default alpha=0.1'.
      seed: of the training.
      fold: which is held out, from 0; None where the store's own split is used.
    """

    variant: str
    seed: int
    fold: int | None = None

    @property
    def name(self) -> str:
        """Name of its folder."""
        safe = re.sub(r"[^\w.=+-]+", "-", self.variant)
        return f"{safe}-seed{self.seed}" + ("" if self.fold is None else f"-fold{self.fold}")


@dataclass(frozen=True)
class Plan:
    """All that a folder of a sweep was asked for.

    Attributes:
      out: the folder.
      data: the store, from the root.
      split: whose samples all are compared on.
      folds: parts that training and validation samples are dealt into.
      variants: the whole configuration of each, without seed and places.
      cells: in the order in which they were asked for.
    """

    out: Path
    data: str
    split: str
    folds: int
    variants: Mapping[str, Training]
    cells: tuple[Cell, ...]

    def folder(self, cell: Cell) -> Path:
        """The run of a cell."""
        return self.out / CELLS / cell.name

    def log(self, cell: Cell) -> Path:
        """What the process of a cell says."""
        return self.out / CELLS / f"{cell.name}.log"

    def failure(self, cell: Cell) -> str:
        """Why a cell failed when it was tried last; empty where it did not."""
        try:
            return self._failed(cell).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def put_failure(self, cell: Cell, why: str) -> None:
        """Notes why a cell failed, for the comparison."""
        write_text(self._failed(cell), why + "\n")

    def forget_failure(self, cell: Cell) -> None:
        """Removes the note, before a cell is tried again."""
        self._failed(cell).unlink(missing_ok=True)

    def _failed(self, cell: Cell) -> Path:
        return self.out / CELLS / f"{cell.name}.failed.txt"

    def is_settled(self, cell: Cell) -> bool:
        """Whether a cell is finished or has failed."""
        return self.is_finished(cell) or self._failed(cell).exists()

    def progress(self, cell: Cell) -> float:
        """About how much of a cell is done, from 0 to 1, by the epochs in its log."""
        if self.is_settled(cell):
            return 1.0
        folder = self.folder(cell)
        if not (folder / CONFIG).is_file():
            return 0.0
        config = read_run(folder)  # with the number of epochs that the run has chosen, where that is its own
        done = sum(log.read_bytes().count(b"\n") for log in folder.glob("**/log.jsonl"))
        return min(0.99, done / max(1, config.epochs * config.ensemble.n_members))

    def is_finished(self, cell: Cell) -> bool:
        """Whether a cell is trained and evaluated; its report is written last."""
        return (self.folder(cell) / REPORT / "metrics.json").is_file()

    def config(self, cell: Cell, options: SweepOptions) -> Training:
        """The training of a cell from where it stands."""
        folder, config = self.folder(cell), self.variants[cell.variant]
        if cell.fold is not None:
            config = with_values(config, {"ensemble.folds": self.folds, "ensemble.fold": cell.fold})
        refuse_foreign(config.network.network, options.network, self.out / PLAN_FILE, error=SweepError)
        begun = has_checkpoint(folder / "checkpoints") or (folder / FOLDS_FILE).is_file()
        return replace(config, data=options.data, out=folder, seed=cell.seed, resume=begun)

    def named(self, name: str) -> Cell:
        """The cell of a name."""
        for cell in self.cells:
            if cell.name == name:
                return cell
        raise SweepError(f"--cell {name}: there is none of that name; {self.out / PLAN_FILE} lists them.")

    def with_cells_of(self, other: Plan) -> Plan:
        """Both together.

        Raises:
          SweepError: where store, split, folds or a variant of both differ.
        """
        for name in ("data", "split", "folds"):
            if getattr(self, name) != getattr(other, name):
                raise SweepError(
                    f"{self.out} was begun with {name} {getattr(self, name)}, not {getattr(other, name)}. Go on with "
                    "that, or choose another --out."
                )
        for name in self.variants.keys() & other.variants.keys():
            before, now = (flat(to_json(plan.variants[name])) for plan in (self, other))
            changed = [f"{key} {before.get(key)} → {now[key]}" for key in now if before.get(key) != now[key]]
            if changed:
                raise SweepError(
                    f"{name}: {self.out} was begun with another recipe of this name ({'; '.join(changed)}). Save it "
                    "under another name, or choose another --out."
                )
        return replace(
            self,
            variants={**self.variants, **other.variants},
            cells=tuple(dict.fromkeys((*self.cells, *other.cells))),
        )

    def to_json(self) -> dict[str, Any]:
        """As `sweep_plan.json` holds it."""
        return PLAN.stamped(
            {
                "data": self.data,
                "split": self.split,
                "folds": self.folds,
                "variants": {name: to_json(config) for name, config in self.variants.items()},
                "cells": [asdict(cell) for cell in self.cells],
            }
        )


def planned(options: SweepOptions) -> Plan:
    """What options ask for; nothing is written.

    Raises:
      SweepError, ValueError: for recipes, fields and values that do not exist or do not fit.
    """
    variants = [each for name in options.recipe_names for each in _variants(name, options)]
    folds = range(options.folds) if options.folds > 1 else (None,)
    cells = [
        Cell(name, seed, fold) for name, _ in variants for seed in options.seed_numbers for fold in folds
    ]
    names = [cell.name for cell in cells]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SweepError(f"two cells would be called {twice}: give the recipe files names of their own.")
    return Plan(
        options.out, absolute(options.data), options.split, options.folds, dict(variants), tuple(cells)
    )


def begin(options: SweepOptions) -> tuple[Plan, tuple[Cell, ...]]:
    """Makes the folder of a sweep or adds to it what is new; returns all of it, and the cells that were asked for.

    Raises:
      SweepError, StoreError, ValueError: before any work, when recipes, store and folder do not fit together.
    """
    asked = planned(options)
    path = options.out / PLAN_FILE
    if not path.is_file():
        _check_folder(options.out)
        _check_samples(options)
        write_new(path, json_text(asked.to_json()).encode())
    kept = read_plan(options.out)
    plan = kept.with_cells_of(asked)
    if plan != kept:
        write_text(path, json_text(plan.to_json()))
    shard = Shard.parsed(options.shard) if options.shard else Shard(1, 1)
    return plan, tuple(shard.part(asked.cells))


def read_plan(out: Path) -> Plan:
    """The plan of a folder; raises SweepError where there is none or it cannot be read."""
    values = PLAN.read(out / PLAN_FILE)
    try:
        return Plan(
            out,
            values["data"],
            values["split"],
            values["folds"],
            {name: from_json(Training, config) for name, config in values["variants"].items()},
            tuple(Cell(**cell) for cell in values["cells"]),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise PLAN.damaged(out / PLAN_FILE, error) from error


def _check_folder(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(path for path in out.iterdir() if path.name[0] != ".")):
        raise SweepError(f"{out} is there and holds no sweep. Choose another --out.")


def _check_samples(options: SweepOptions) -> None:
    store = Store.open(options.data)
    if store.split(options.split):
        return
    splits = sorted({sample.split for sample in store.samples})
    why = (
        "Samples that no training has looked at are needed to compare them; --split val compares on those that chose "
        "epoch and threshold, which flatters"
        if "val" in splits and options.folds == 1
        else "Choose one with --split"
    )
    raise StoreError(
        f"{store.path} has no samples in the split {options.split!r}, only in {', '.join(splits)}. {why}."
    )


def _variants(named: str, options: SweepOptions) -> Iterator[tuple[str, Training]]:
    base = recipe(named)
    label = named if named in RECIPES else Path(named).stem
    base = replace(from_the_root(base), data=Training().data, out=Training().out, seed=0)
    fields = {_field(name): values for name, values in options.varied.items()}
    for chosen in itertools.product(*fields.values()):
        values = {field: _value(field, text) for field, text in zip(fields, chosen, strict=True)}
        words = [f"{field.rpartition('.')[2]}={text}" for field, text in zip(fields, chosen, strict=True)]
        # Checked as a recipe file is, where a value of another type is refused by name.
        config = from_json(Training, values, base=base)
        refuse_foreign(config.network.network, options.network, named, error=SweepError)
        if config.ensemble.n_members > 1 and options.folds > 1:
            raise SweepError(
                f"--folds {options.folds}: {' '.join([named, *words])} is an ensemble already. Leave out --folds, or "
                "the seeds and folds under [ensemble]."
            )
        yield " ".join([label, *words]), config


def _field(name: str) -> str:
    """The whole name of a field that is given by it, or by its last part where that is one field's alone."""
    fields = [field for field in described(Training) if field not in OF_THE_SWEEP]
    found = [name] if name in fields else [each for each in fields if each.rpartition(".")[2] == name]
    if len(found) != 1:
        near = (
            f"; did you mean {' or '.join(found)}?"
            if found
            else "; `compseg recipe default` shows all of them."
        )
        own = " The sweep sets it itself." if name in OF_THE_SWEEP else near
        raise SweepError(
            f"--vary {name}: there is no such field to vary{own if own[0] == ';' else '.' + own}"
        )
    return found[0]


def _value(field: str, text: str) -> Any:
    """A value as JSON would write it, and text for fields of text."""
    if "tuple" in str(described(Training)[field].hint):
        raise SweepError(
            f"--vary {field}={text}: a list of its own; write a recipe file for each of its values."
        )
    try:
        return json.loads(f"0{text}" if text.startswith(".") else text)
    except ValueError:
        return text
