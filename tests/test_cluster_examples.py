"""Files for workflow engines call commands with options that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compseg_jax.cli import predict

EXAMPLES = Path(__file__).parents[1] / "examples" / "cluster"


@pytest.mark.parametrize("name", ["Snakefile", "main.nf"])
def test_the_command_of_an_example_has_the_options_of_predict(name):
    lines = [line for line in (EXAMPLES / name).read_text().splitlines() if "compseg predict " in line]
    commands = [line for line in lines if "--out" in line]
    assert len(commands) == 1
    known = {"--" + field.replace("_", "-") for names in predict.PAGE.groups.values() for field in names}
    assert set(re.findall(r"--[a-z-]+", commands[0])) <= known
