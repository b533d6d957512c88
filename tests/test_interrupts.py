"""SIGINT and SIGTERM end a command at whatever moment, with exit code 130 or after what it had to save."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import compseg_jax
from tests.model_example import write_model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
# A command in the place of `compseg start`: what it does is given as an argument.
PROGRAM = """
import hashlib, signal, sys, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background without it
from compseg_jax.cli import main
from compseg_jax.runtime import interrupts

interrupts.GRACE_S = 0.5
when, body = sys.argv[1:]

class Command(types.ModuleType):
    def __getattr__(self, name):
        if when == "while it is imported":
            exec(body, globals())
        return lambda arguments: exec(body, globals())

sys.modules["compseg_jax.cli.start"] = Command("compseg_jax.cli.start")
sys.exit(main.program(["start"]))
"""
SWALLOWS = """
class Swallows:
    def __del__(self):
        print("now", flush=True)
        time.sleep(30)
"""
IN_C = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"


SWALLOWED = f"{SWALLOWS}\nSwallows()\ntime.sleep(30)"
ASLEEP = "print('now', flush=True); time.sleep(30)"
BEFORE_A_RUN = f"{SWALLOWS}\nSwallows()\nwith interrupts.stop_requests(): time.sleep(30)"
OBEYED = """
with interrupts.stop_requests() as stop:
    print("now", flush=True)
    while not stop.requested:
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("body", "kind", "when", "said"),
    [
        pytest.param(ASLEEP, signal.SIGINT, "", "nothing was left half-written", id="ctrl-c"),
        pytest.param(ASLEEP, signal.SIGTERM, "", "nothing was left half-written", id="sigterm"),
        pytest.param(SWALLOWED, signal.SIGINT, "while it is imported", "stopped.", id="importing"),
        pytest.param(SWALLOWED, signal.SIGINT, "", "stopped.", id="swallowed"),
        pytest.param(f"print('now', flush=True); {IN_C}", signal.SIGTERM, "", "stopped.", id="foreign code"),
        pytest.param(BEFORE_A_RUN, signal.SIGTERM, "", "half-written", id="swallowed before a run"),
    ],
)
def test_a_command_ends_wherever_a_signal_meets_it(body, kind, when, said):
    code, errors = ended(body, kind, when)
    assert (code, said in errors) == (130, True), errors


def test_a_run_goes_on_to_what_it_saves():
    code, errors = ended(f"{OBEYED}\ntime.sleep(0.7)\nprint('saved', file=sys.stderr)", signal.SIGTERM)
    assert (code, errors) == (0, "saved\n")


def test_a_request_stays_one_where_the_run_obeys_before_anything_else_looks_at_it():
    spinning = OBEYED.replace("time.sleep(0.01)", "pass")
    body = f"sys.setswitchinterval(60)\n{spinning}\ntime.sleep(0.7)\nprint('saved', file=sys.stderr)"
    assert ended(body, signal.SIGTERM) == (0, "saved\n")


def test_what_is_done_stays_done_while_python_shuts_down():
    late = "import atexit\natexit.register(lambda: [print('now', flush=True), time.sleep(30)])"
    assert ended(late, signal.SIGTERM) == (0, "")
    assert ended(late, signal.SIGINT) == (0, "")


def test_a_program_that_ends_early_does_not_wait_for_what_it_compiles():
    compiles = (
        "from compseg_jax.runtime.compilation import compiled_beside; compiled_beside(lambda: time.sleep(30))"
    )
    assert ended(f"{compiles}\n{ASLEEP}", signal.SIGINT) == (
        130,
        "\nstopped; nothing was left half-written.\n",
    )


def ended(body: str, kind: signal.Signals, when: str = "") -> tuple[int, str]:
    """Exit code and errors of a program that prints 'now' and is sent a signal then."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, when, body],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(compseg_jax.__file__).parents[1],
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "now\n"
        time.sleep(0.05)
        process.send_signal(kind)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    return process.returncode, errors


@pytest.mark.slow
def test_signals_at_any_moment_of_a_prediction_end_it_and_it_is_gone_on_with(tmp_path):
    model = write_model(tmp_path / "model", axis=None)
    rng = np.random.default_rng(0)
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", rng.normal(5.0, 2.0, (40 + number, 50, 3)).astype(np.float32))
    inputs = [str(tmp_path / f"{number}.npy") for number in range(4)]
    words = [sys.executable, "-m", "compseg_jax.cli", "predict", *inputs, "--model", str(model)]

    def files(out):
        return {
            path.relative_to(out): path.read_bytes()
            for path in sorted((out / "samples").rglob("*"))
            if path.is_file() and path.name != "sample.json"  # it states the time that was taken
        }

    began = time.monotonic()
    subprocess.run([*words, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    taken_s = time.monotonic() - began
    for kind in (signal.SIGINT, signal.SIGTERM):
        for at, share in enumerate((0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95)):
            out = tmp_path / f"{kind.name}-{at}"
            process = subprocess.Popen(
                [*words, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            time.sleep(share * taken_s)
            process.send_signal(kind)
            _, errors = process.communicate(timeout=60)
            # Before Python has imported the command, it is Python that ends.
            is_pythons = process.returncode == -kind and not out.exists()
            assert process.returncode in (0, 130) or is_pythons, (kind, share, errors)
        subprocess.run([*words, "--out", str(out)], check=True, capture_output=True)
        assert files(out) == files(tmp_path / "whole")
