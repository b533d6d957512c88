"""The command to type after the one that ended, filled in and quoted."""

from __future__ import annotations

import shlex
from pathlib import Path

from compseg_jax.config.locations import Location
from compseg_jax.store.read import Store


def command(*words: object) -> str:
    """A line that a shell takes as these words.

    >>> command("compseg", "check", "my store")
    "compseg check 'my store'"
    """
    return shlex.join([str(word) for word in words])


def run_of(store: Location) -> Path:
    """Where a training on a store is proposed to lie."""
    name = store.resolve().name if isinstance(store, Path) else store.name
    return Path("runs") / (name.removesuffix("_store") or "mine")


def train_on(store: Location) -> str:
    """Training on a store."""
    return command("compseg", "train", "--data", store, "--out", run_of(store))


def evaluate_run(run: Path, data: Location) -> str:
    """The report of a run, or of an ensemble, on the test samples of its store."""
    return command("compseg", "evaluate", "--model", run, "--data", data, "--out", run / "report")


def predict_with(model: Location, out: Path, *inputs: object) -> str:
    """Predictions on files; FILES stands for them where they are not known."""
    named = command(*inputs) if inputs else "FILES"
    return f"compseg predict {named} {command('--model', model, '--out', out)}"


def view(folder: Path) -> str:
    """The local page of a folder."""
    return command("compseg", "view", folder)


def after_store(path: Location) -> str:
    """What to do with a store: train on it, or, where all are test samples, evaluate a model."""
    samples = Store.open(path).samples
    if all(sample.split == "test" for sample in samples):
        return f"compseg evaluate --model RUN {command('--data', path, '--out', Path('runs/report'))}"
    return train_on(path)


def next_line(*commands: str) -> str:
    """What a command prints last."""
    first, *others = commands
    return "\n".join([f"next: {first}", *(f"      {other}" for other in others)])
