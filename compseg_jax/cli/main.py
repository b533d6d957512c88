"""The command line: `compseg COMMAND …`, and what train.py and evaluate.py call.

Commands are parsed by tyro from the dataclasses they take; modules are imported only by the command that
needs them, so `compseg --help` answers at once.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compseg_jax.cli.parsing import parse, progress_bar

INTERRUPTED_EXIT_CODE = 130
RETURNS_MEMORY = frozenset({"predict"})
"""Commands with a bound on their memory: what is freed between others' arrays does not hold the next large one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `compseg`; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from compseg_jax.runtime.versions import __version__

        print(f"compseg {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        print(f"compseg: unknown command {arguments[0]!r}.\n\n{_overview()}", file=sys.stderr)
        return 2
    return run_command(COMMANDS[arguments[0]], arguments[1:], keep_memory=arguments[0] not in RETURNS_MEMORY)


def run_command(
    command: Callable[[list[str]], int | None],
    arguments: list[str] | None = None,
    *,
    keep_memory: bool = True,
) -> int:
    """Runs one command, which may return its exit code; bad input ends with its message alone and exit code 1."""
    if keep_memory:
        from compseg_jax.runtime import keep_freed_memory

        keep_freed_memory()
    from compseg_jax.runtime.interrupts import Interrupted

    try:
        code = command(list(sys.argv[1:] if arguments is None else arguments))
    except Interrupted as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except KeyboardInterrupt:
        print("\nstopped; nothing was left half-written.", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except (ValueError, OSError, RuntimeError) as error:
        if type(error).__module__.startswith("jax"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code or 0


def train_command(arguments: list[str]) -> None:
    """Train a segmenting network from sample labels."""
    from compseg_jax.config import RECIPES, Training

    if _asks_for_steps(arguments):
        return
    name = _recipe_of(arguments)
    if name not in RECIPES:
        raise ValueError(f"--recipe {name}: there is none of that name; choose one of {', '.join(RECIPES)}.")
    resuming = "--resume" in arguments
    default = _configuration_of_run(arguments) if resuming else RECIPES[name]
    config = parse(Training, arguments, "compseg train", default=default)
    from compseg_jax.runtime import cache_compilations

    cache_compilations()
    if config.ensemble.n_members > 1:
        from compseg_jax.training.ensemble import train_ensemble

        print(f"ensemble: {train_ensemble(config)}")
    else:
        from compseg_jax.training.run import train

        print(f"extracted network: {train(config)}")


def evaluate_command(arguments: list[str]) -> None:
    """Evaluate an extracted network and write a report."""
    from compseg_jax.evaluation.evaluate import EvaluateOptions

    options = parse(EvaluateOptions, arguments, "compseg evaluate")
    from compseg_jax.evaluation.evaluate import evaluate
    from compseg_jax.runtime import cache_compilations

    cache_compilations()
    page, numbers = evaluate(options)
    print(f"{numbers}\nreport: {page}")


def phantom_command(arguments: list[str]) -> None:
    """Simulate tissue arrays with ground truth."""
    from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom

    options = parse(PhantomOptions, arguments, "compseg phantom")
    with progress_bar("spots") as progress:
        write_phantom(options, progress=progress)
    print(f"store: {options.out}")


def info_command(arguments: list[str]) -> None:
    """Say what a file holds, and draw it."""
    from compseg_jax.readers.info.inspection import InfoOptions, inspect

    if arguments and not arguments[0].startswith("-"):
        arguments = ["--file", *arguments]
    print(inspect(parse(InfoOptions, arguments, "compseg info FILE")))


def dearray_command(arguments: list[str]) -> None:
    """Find the cores of a tissue-array scan."""
    from compseg_jax.ingest.cores.core_search import DearrayScan, dearray

    if arguments and not arguments[0].startswith("-"):
        arguments = ["--scan", *arguments]
    print(dearray(parse(DearrayScan, arguments, "compseg dearray SCAN")))


def ingest_command(arguments: list[str]) -> None:
    """Make a store from a table and images, arrays of cores or instrument files."""
    from compseg_jax.ingest.ingest_options import IngestOptions, split_commas

    @dataclasses.dataclass(frozen=True)
    class Ingest(IngestOptions):
        """Make a store from a table of labels and the images, arrays or scans it names."""

        table: Path = Path("table.csv")
        """CSV table with the columns id, label, path (relative to the table; not needed with --images or --scans)
        and, where known, split, group, reference and tissue (paths of masks)."""
        out: Path = Path("data")
        """Store to write; it must not exist."""

    if _asks_for_steps(arguments):
        return
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--table", *arguments]
    options = parse(Ingest, split_commas(arguments), "compseg ingest TABLE.csv")
    from compseg_jax.ingest.to_store import ingest, kept_folder

    try:
        with progress_bar("samples") as progress:
            ingest(options.table, options.out, options, progress=progress)
    except BaseException:
        kept = kept_folder(options.out)
        if kept.is_dir():
            print(f"\ncorrected spectra are kept in {kept}; the same command goes on there.", file=sys.stderr)
        raise
    if (options.out / "summary.html").is_file():
        print(f"summary: {options.out / 'summary.html'}")
    check_command(["--data", str(options.out)])


def check_command(arguments: list[str]) -> None:
    """Say what is wrong or remarkable with a store."""

    @dataclasses.dataclass(frozen=True)
    class Check:
        """Say at once what is wrong or remarkable with a store: counts, leakage, value ranges."""

        data: Path = Path("data")
        """Store directory."""

    if arguments and not arguments[0].startswith("-"):
        arguments = ["--data", *arguments]
    options = parse(Check, arguments, "compseg check STORE")
    from compseg_jax.store.check import check_values, describe, refuse_problems
    from compseg_jax.store.read import Store

    store = Store.open(options.data)
    findings, ranges = check_values(store)
    print(describe(store, findings, ranges))
    refuse_problems(store, findings)


def view_command(arguments: list[str]) -> None:
    """Look at predictions, a report or a run in the browser."""
    from compseg_jax.cli.view import view

    view(arguments)


def export_command(arguments: list[str]) -> None:
    """Write an extracted network for other programs: ONNX, TorchScript, bioimage.io."""
    from compseg_jax.model.portable.export import ExportOptions, export

    print(export(parse(ExportOptions, arguments, "compseg export")))


def doctor_command(arguments: list[str]) -> None:
    """Show devices, versions and flags, and check that they compute right."""

    @dataclasses.dataclass(frozen=True)
    class Doctor:
        """Show devices, versions and XLA flags, and compare convolutions and known bad patterns with NumPy."""

    parse(Doctor, arguments, "compseg doctor")
    from compseg_jax.runtime.self_check import describe, refuse_wrong_results, self_check
    from compseg_jax.runtime.versions import versions

    print(describe(self_check(), versions()))
    refuse_wrong_results()


def predict_command(arguments: list[str]) -> int:
    """Predict files, folders and stores of any size, for viewers and QuPath."""
    from compseg_jax.cli.predict import predict_samples

    return predict_samples(arguments)


COMMANDS: dict[str, Callable[[list[str]], int | None]] = {
    "phantom": phantom_command,
    "info": info_command,
    "dearray": dearray_command,
    "ingest": ingest_command,
    "check": check_command,
    "train": train_command,
    "evaluate": evaluate_command,
    "predict": predict_command,
    "view": view_command,
    "export": export_command,
    "doctor": doctor_command,
}


def _overview() -> str:
    lines = [f"  {name:<10} {command.__doc__}" for name, command in COMMANDS.items()]
    return (
        "compseg: pixel-level segmentations from sample-level labels (CompSegNet in JAX)\n\n"
        "usage: compseg COMMAND [--help] …\n\ncommands:\n" + "\n".join(lines) + "\n\n"
        "compseg COMMAND --help explains every option with its unit and default."
    )


def _asks_for_steps(arguments: list[str]) -> bool:
    """Whether ``--prepare help`` was asked for, which is answered here."""
    asked = any(pair == ("--prepare", "help") for pair in itertools.pairwise(arguments))
    if asked:
        from compseg_jax.spectra.preparation import help_text

        print(help_text())
    return asked


def _recipe_of(arguments: list[str]) -> str:
    for index, argument in enumerate(arguments):
        if argument == "--recipe" and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith("--recipe="):
            return argument.partition("=")[2]
    return "default"


def _configuration_of_run(arguments: list[str]) -> Any:
    """The configuration a run was started with, so that --resume needs only --out."""
    import json

    from compseg_jax.config import Training, from_json

    places = [arguments[i + 1] for i, a in enumerate(arguments[:-1]) if a == "--out"]
    places += [a.partition("=")[2] for a in arguments if a.startswith("--out=")]
    path = Path(places[0] if places else Training().out) / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{path.parent} holds no run to resume (no config.json). Name its folder with --out."
        )
    return from_json(Training, json.loads(path.read_text()))


if __name__ == "__main__":
    sys.exit(main())
