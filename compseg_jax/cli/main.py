"""The command line: `compseg COMMAND …`, and what train.py and evaluate.py call.

Each command is a module of this room of the same name with a function `run`. It is imported when it is asked for, so
`compseg --help` answers at once.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from io import TextIOWrapper

from compseg_jax.cli.quiet import AS_JSON, QUIET, as_json, quietly
from compseg_jax.runtime.compilation import is_compiling
from compseg_jax.runtime.interrupts import (
    INTERRUPTED_EXIT_CODE,
    Interrupted,
    all_is_done,
    begun,
    ended_by_signals,
)
from compseg_jax.runtime.memory import max_memory
from compseg_jax.runtime.visible import visibly

MAX_MEMORY = "--max-memory"
BROKEN_PIPE_EXIT_CODE = 141
"""128 and the number of SIGPIPE: what a program gets whose reader, such as `head`, has gone."""
RETURNS_MEMORY = frozenset({"predict"})
"""Commands with a bound on their memory: what is freed between others' arrays does not hold the next large one."""
COMMANDS = {
    "start": "Look at a folder or file and say what to type next",
    "phantom": "Simulate tissue arrays with ground truth",
    "info": "Say what a file holds, and draw it",
    "dearray": "Find the cores of a tissue-array scan",
    "ingest": "Make a store from a table and images, arrays or instrument files",
    "check": "Say what is wrong or remarkable with a store",
    "recipe": "List the recipes of train, or write one to a file to edit",
    "train": "Train a segmenting network from sample labels",
    "evaluate": "Evaluate an extracted network and write a report",
    "sweep": "Train recipes with several seeds, and compare them",
    "predict": "Predict files, folders and stores of any size, for QuPath",
    "view": "Look at predictions, a report or a run in the browser",
    "runs": "List trainings and reports with their verdicts and figures",
    "compare": "Hold runs or reports against one another, map by map",
    "copy": "Copy stores and models between folders and object stores",
    "export": "Write a network for other programs: ONNX, TorchScript …",
    "slurm": "Print the batch file of train, predict or sweep for a cluster",
    "completion": "Print a script that completes commands at the Tab key",
    "doctor": "Show devices, versions and flags; check that they compute right",
}


def program(arguments: Sequence[str] | None = None) -> int:
    """`main` as a program of its own, which a signal ends at any moment; returns the exit code."""
    with ended_by_signals():
        code = main(arguments)
    all_is_done(code)
    if is_compiling():  # for a run that has ended before its first step: nobody waits for it
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `compseg`; returns the exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Names of files hold whatever bytes they were given.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _main(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except SystemExit:
        if not _is_read():
            return BROKEN_PIPE_EXIT_CODE
        raise
    except BrokenPipeError:
        _is_read()
        return BROKEN_PIPE_EXIT_CODE
    return code


def _is_read() -> bool:
    """Whether somebody still reads what is printed; where not, the end of the program is kept from saying so."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "--version":
        from compseg_jax.runtime.versions import __version__

        print(f"compseg {__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean `compseg {near[0]}`?" if near else ""
        print(f"compseg: there is no command {name!r}.{hint}\n\n{_overview()}", file=sys.stderr)
        return 2

    def run(options: list[str]) -> int | None:
        command = import_module(f"compseg_jax.cli.{name}").run
        begun()
        return command(options)

    return run_command(run, rest, keep_memory=name not in RETURNS_MEMORY)


@visibly()
def run_command(
    command: Callable[[list[str]], int | None], arguments: list[str], *, keep_memory: bool = True
) -> int:
    """Runs one command, which may return its exit code; bad input ends with its message alone and exit code 1.

    With ``--quiet`` among the arguments nothing but errors is printed, with ``--json`` one object for scripts.

    Raises:
      BrokenPipeError: where nobody reads what is printed.
    """
    if AS_JSON in arguments or QUIET in arguments:
        rest = [each for each in arguments if each not in (AS_JSON, QUIET)]
        if AS_JSON in arguments:
            return as_json(lambda: run_command(command, rest, keep_memory=keep_memory))
        with quietly():
            return run_command(command, rest, keep_memory=keep_memory)
    if keep_memory:
        from compseg_jax.runtime import keep_freed_memory

        keep_freed_memory()
    try:
        rest, gib = _max_memory(arguments)
        with nullcontext() if gib is None else max_memory(gib):
            code = command(rest)
    except Interrupted as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print("\nstopped; nothing was left half-written.", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except (ValueError, OSError, RuntimeError) as error:
        if type(error).__module__.startswith("jax"):
            raise
        from compseg_jax.readers.reading_options import in_command_words

        print(f"error: {in_command_words(str(error))}", file=sys.stderr)
        return 1
    return code or 0


def _max_memory(arguments: list[str]) -> tuple[list[str], float | None]:
    """The arguments without ``--max-memory``, and its GiB; None where it is not given."""
    rest, gib, left = [], None, iter(arguments)
    for argument in left:
        name, equals, value = argument.partition("=")
        if name != MAX_MEMORY:
            rest.append(argument)
            continue
        try:
            gib = float(value if equals else next(left, ""))
        except ValueError:
            raise ValueError(f"{MAX_MEMORY}: a number of GiB is required, as in {MAX_MEMORY} 8.") from None
    return rest, gib


def _overview() -> str:
    lines = [f"  {name:<10} {summary}" for name, summary in COMMANDS.items()]
    return (
        "compseg: pixel-level segmentations from sample-level labels (CompSegNet in JAX)\n\n"
        "usage: compseg COMMAND [--help] …\n\ncommands:\n" + "\n".join(lines) + "\n\n"
        "example: compseg train --data store --out runs/mine\n\n"
        "compseg COMMAND --help explains every option with its unit and default;\n"
        "--quiet prints errors alone, --json one object for scripts;\n"
        "--max-memory GIB bounds what reading one file may take, and training with\n"
        "--microbatch auto (half of what is free)."
    )
