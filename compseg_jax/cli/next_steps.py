"""The command to type after the one that ended, filled in and quoted."""

from __future__ import annotations

import shlex
from pathlib import Path

from compseg_jax.cli.quiet import tell
from compseg_jax.config.locations import Location
from compseg_jax.runtime.typed import typed
from compseg_jax.store.read import Store


def quoted(*words: object) -> str:
    """Words as a shell takes them.

    >>> quoted("--data", "my store")
    "--data 'my store'"
    """
    return shlex.join([str(word) for word in words])


def run_of(store: Location) -> Path:
    """Where a training on a store is proposed to lie."""
    name = store.resolve().name if isinstance(store, Path) else store.name
    return Path("runs") / (name.removesuffix("_store") or "mine")


def train_on(store: Location) -> str:
    """Training on a store."""
    return typed("train", "--data", str(store), "--out", run_of(store))


def evaluate_run(run: Path, data: Location) -> str:
    """The report of a run, or of an ensemble, on the test samples of its store."""
    return typed("evaluate", "--model", run, "--data", str(data), "--out", run / "report")


def predict_with(model: Location, out: Path, *inputs: object) -> str:
    """Predictions on files; FILES stands for them where they are not known."""
    named = quoted(*inputs) if inputs else "FILES"
    return f"{typed('predict')} {named} {quoted('--model', model, '--out', out)}"


def view(folder: Location) -> str:
    """The local page of a folder, or of what lies below a URL."""
    return typed("view", str(folder))


def after_store(path: Location) -> str:
    """What to do with a store: train on it, or, where all are test samples, evaluate a model."""
    samples = Store.open(path).samples
    if all(sample.split == "test" for sample in samples):
        return typed("evaluate", "--model", "RUN", "--data", str(path), "--out", "runs/report")
    return train_on(path)


def print_next(*commands: str) -> None:
    """What a command prints last."""
    tell(next=commands)
    first, *others = commands
    print("\n".join([f"next: {first}", *(f"      {other}" for other in others)]))
