"""The command to type after the one that ended, filled in and quoted."""

from __future__ import annotations

import shlex
from pathlib import Path

from compseg_jax.cli.quiet import tell
from compseg_jax.store.read import Store


def command(*words: object) -> str:
    """A line that a shell takes as these words.

    >>> command("compseg", "check", "my store")
    "compseg check 'my store'"
    """
    return shlex.join([str(word) for word in words])


def run_of(store: Path) -> Path:
    """Where a training on a store is proposed to lie."""
    return Path("runs") / (store.resolve().name.removesuffix("_store") or "mine")


def train_on(store: Path) -> str:
    """Training on a store."""
    return command("compseg", "train", "--data", store, "--out", run_of(store))


def evaluate_run(run: Path, data: Path) -> str:
    """The report of a run, or of an ensemble, on the test samples of its store."""
    return command("compseg", "evaluate", "--model", run, "--data", data, "--out", run / "report")


def predict_with(model: Path, out: Path, *inputs: object) -> str:
    """Predictions on files; FILES stands for them where they are not known."""
    named = command(*inputs) if inputs else "FILES"
    return f"compseg predict {named} {command('--model', model, '--out', out)}"


def view(folder: Path) -> str:
    """The local page of a folder."""
    return command("compseg", "view", folder)


def after_store(path: Path) -> str:
    """What to do with a store: train on it, or, where all are test samples, evaluate a model."""
    samples = Store.open(path).samples
    if all(sample.split == "test" for sample in samples):
        return f"compseg evaluate --model RUN {command('--data', path, '--out', Path('runs/report'))}"
    return train_on(path)


def print_next(*commands: str) -> None:
    """What a command prints last."""
    tell(next=commands)
    first, *others = commands
    print("\n".join([f"next: {first}", *(f"      {other}" for other in others)]))
