"""Every command on small data of its own: what is typed, what it makes, and what that is recognised by."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import load_file

from compseg_jax.config import RECIPES, Network
from compseg_jax.config.recipe_file import recipe_text
from compseg_jax.model import load_model
from compseg_jax.store.read import Store
from tests.model_example import write_model
from tests.store_example import write_store
from torture.outcomes import Outcome, digest
from torture.stored import contents

ROOT = Path(__file__).parents[1]
HANG_S = 300
TITLES = ("ingest", "predict", "export", "evaluate", "train", "train an ensemble")
SAMPLES = 6


@dataclass(frozen=True)
class Command:
    """One that makes ``out``.

    Attributes:
      name: of the command.
      words: what is typed, but for the place that is made.
      result: what is recognised of it, by its place.
      goes_on_with: words that are added where something is there already.
      remark: what tells it from others of its name.
    """

    name: str
    words: tuple[str, ...]
    result: Callable[[Path], object]
    goes_on_with: tuple[str, ...] = ()
    remark: str = ""

    @property
    def title(self) -> str:
        """Its name in a table."""
        return f"{self.name} {self.remark}".strip()

    @property
    def is_whole_or_absent(self) -> bool:
        """Whether it makes its result at once and refuses where one is."""
        return self.name in ("ingest", "export")

    def typed(self, out: Path, *, anew: bool = False) -> list[str]:
        """The whole line, as it is typed for the first time (or ``anew``) or to go on."""
        more = self.goes_on_with if (out / "config.json").is_file() and not anew else ()
        return [self.name, *self.words, "--out", str(out), *more]


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    said: str

    def outcome(self, result: Callable[[], object], expected: str) -> Outcome:
        """What became of it: its result where it says that it is done, else its sentence."""
        if "Traceback" in self.said:
            return Outcome("crash", self.said[-300:])
        if self.code < 0:
            return Outcome("hang" if self.code == -9 else "crash", f"ended by signal {-self.code}")
        if self.code:
            errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
            return Outcome("refused", errors[0]) if errors else Outcome("crash", self.said[-300:])
        try:
            found = digest(result())
        except Exception as error:  # it said that it was done
            return Outcome("other result", f"exit code 0, then {error}")
        return Outcome("equal") if found == expected else Outcome("other result", "exit code 0")


def commands(folder: Path, seed: int) -> list[Command]:
    """Ingest, predict, export, evaluate and train, one network and an ensemble, with what they need in a folder."""
    rng = np.random.default_rng(seed)
    axis = np.array([1700.25, 1650.0, 1100.5])
    lines = ["id,label,path,split"]
    for number in range(SAMPLES):
        cube = rng.normal(5.0, 2.0, (20, 24, 3)).astype(np.float32)
        np.savez(folder / f"s{number}.npz", absorbance=cube, wavenumbers_cm1=axis)
        lines.append(f"s{number},{number % 2},s{number}.npz,{('train', 'val', 'test')[number // 2]}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    store = str(write_store(folder / "store", sizes=[(12, 10), (10, 12)]).path)
    model = str(write_model(folder / "model"))
    small = dataclasses.replace(
        RECIPES["default"], network=Network(base=2, depth=0, front=0), prepare=(), self_check=False, starts=1,
        second_view=False, epochs=6, optimiser=dataclasses.replace(RECIPES["default"].optimiser, schedule="constant"),
    )  # fmt: skip
    (folder / "small.toml").write_text(recipe_text(small, "default"), encoding="utf-8")
    train = ("--data", store, "--recipe", str(folder / "small.toml"))
    cubes = [str(folder / f"s{number}.npz") for number in range(SAMPLES)]
    return [
        Command("ingest", (str(folder / "table.csv"),), _store_of),
        Command("predict", (*cubes, "--model", model), _predictions_of),
        Command("export", ("--model", model, "--format", "safetensors"), _file_of),
        Command(
            "evaluate",
            ("--model", model, "--data", store, "--bootstrap", "20", "--importance", "no"),
            _report_of,
        ),
        Command("train", train, _model_of, ("--resume",)),
        Command("train", (*train, "--epochs", "3", "--seeds", "2"), _model_of, ("--resume",), "an ensemble"),
    ]


def _store_of(out: Path) -> object:
    return contents(Store.open(out))


def _predictions_of(out: Path) -> object:
    timed = {"seconds": None}
    samples = json.loads((out / "predictions.json").read_text())["samples"]
    files = [path for path in sorted((out / "samples").rglob("*")) if path.is_file()]
    kept = [
        (path.relative_to(out).as_posix(), path.read_bytes()) for path in files if path.name != "sample.json"
    ]
    return [each | timed for each in samples], kept


def _file_of(out: Path) -> object:
    return load_file(out)


def _report_of(out: Path) -> object:
    files = [path for path in sorted(out.rglob("*")) if path.suffix in (".csv", ".png")]
    metrics = (out / "metrics.json").read_text()
    return [(path.relative_to(out).as_posix(), path.read_bytes()) for path in files], metrics


def _model_of(out: Path) -> object:
    model = load_model(out)
    return [
        (jax.tree.leaves(network.variables), network.scaling.mean, network.threshold)
        for network in model.networks
    ]


def out_of(folder: Path, command: Command, name: str) -> Path:
    """A place for a command to make, which need not be there."""
    return folder / (f"{name}.safetensors" if command.name == "export" else name.replace(" ", "-"))


def begun(words: Sequence[str], before: str = "") -> subprocess.Popen[str]:
    """A command in a process of its own, after statements of Python that set its limits."""
    program = (
        f"{before}\nimport sys\nfrom compseg_jax.cli.main import program\nsys.exit(program(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], within_s: float = HANG_S) -> Ran:
    """Waits for its end, or ends it where it hangs."""
    try:
        out, errors = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, errors = process.communicate()
    return Ran(process.returncode, f"{out}\n{errors}")


def undisturbed(folder: Path, seed: int, only: Sequence[str] = ()) -> list[tuple[Command, str]]:
    """The commands of these titles, or all, and the digest of what each makes when nothing disturbs it."""
    found = []
    for command in commands(folder, seed):
        if only and command.title not in only:
            continue
        out = out_of(folder, command, f"{command.title}-undisturbed")
        ran = ended(begun(command.typed(out)))
        if ran.code:
            raise RuntimeError(f"compseg {command.name} fails undisturbed: {ran.said}")
        found.append((command, digest(command.result(out))))
    return found
