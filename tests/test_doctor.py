"""The self-check passes where the machine is right, and notices where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from compseg_jax.cli.main import main
from compseg_jax.runtime import self_check as doctor


def test_this_machine_computes_right():
    checks = doctor.self_check()
    assert len(checks) == 7
    assert all(check.passed for check in checks if not check.advice), checks
    assert [bool(check.advice) for check in checks] == [False] * 3 + [True] * 3 + [False]
    doctor.refuse_wrong_results()


def test_a_wrong_convolution_is_noticed_and_training_refused(monkeypatch):
    right = doctor.jax.lax.conv_general_dilated
    monkeypatch.setattr(
        doctor.jax.lax, "conv_general_dilated", lambda *a, **k: right(*a, **k) * jnp.float32(1.001)
    )
    assert [check.passed for check in doctor.self_check()] == [False] * 6 + [True]
    with pytest.raises(doctor.WrongResults, match="convolution is off by"):
        doctor.refuse_wrong_results()


def test_the_command_shows_what_it_found(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "XLA_FLAGS" in printed
    assert printed.count("right ") == sum(check.passed for check in doctor.self_check())


def test_the_flags_are_what_makes_jaxlib_0_10_2_right():
    """With the fusion switched on by the user, jaxlib 0.10.2 fails its check; with our flag it passes."""
    import jaxlib

    if jaxlib.__version__ != "0.10.2":
        pytest.skip(f"jaxlib {jaxlib.__version__} does not have the fault of 0.10.2")
    program = "from compseg_jax.runtime.self_check import self_check; print([c.passed for c in self_check()])"
    outcomes = {}
    for name, flags in (("ours", ""), ("users", "--xla_cpu_experimental_ynn_fusion_type=dot,reduce")):
        environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(Path(__file__).parents[1])}
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
        )
        outcomes[name] = run.stdout.strip() or run.stderr[-300:]
    assert outcomes["ours"] == str([True] * 7)
    assert outcomes["users"] != outcomes["ours"]


def test_what_networks_do_without_is_told_and_not_refused(monkeypatch, capsys):
    right = doctor.jax.lax.conv_general_dilated

    def wrong_pointwise(image, kernel, *rest, **options):
        return right(image, kernel, *rest, **options) * jnp.float32(1.01 if kernel.shape[0] == 1 else 1)

    monkeypatch.setattr(doctor.jax.lax, "conv_general_dilated", wrong_pointwise)
    doctor.refuse_wrong_results()
    assert "use flax.linen.Dense" in capsys.readouterr().out
    assert "use flax.linen.Dense" in doctor.describe(doctor.self_check(), {})
