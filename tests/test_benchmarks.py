"""The benchmarks count right, say what they measured, and the GPU's script runs, small, on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.cases import Case, cases, flop_per_step
from benchmarks.gpu_program import kernels_of
from benchmarks.record import Results, measurement, table
from benchmarks.scaling import count_collectives

ROOT = Path(__file__).parents[1]


def test_operations_of_the_paper_network():
    """65.04 GMAC forward and 356.3 GFLOP a training image of 256×256×450, counted by hand from the topology."""
    assert flop_per_step(Case("forward", 64, 450, 256, 1)) / 2 == pytest.approx(65.04e9, rel=1e-4)
    assert flop_per_step(Case("train_step", 64, 450, 256, 1)) == pytest.approx(356.3e9, rel=1e-4)


def test_names_of_cases_are_read_back():
    for case in cases(((16, 450, 64, 7), (64, 32, 128, 2))):
        assert Case.of_name(case.name) == case
    with pytest.raises(ValueError, match="expected train_step"):
        Case.of_name("backward/base16_c450_s64_b7")


def test_a_record_holds_medians_and_their_ratio():
    record = measurement("x", "cpu", {}, [1.0, 2.0, 9.0], ("peer 1", [4.0, 4.0, 5.0]), remark="seen")
    assert (record["median_s"], record["peer_median_s"], record["ratio"]) == (2.0, 4.0, 0.5)
    row = table([record]).splitlines()[-1]
    assert row == "| `x` (seen) | 2.00 s | 4.00 s peer 1 | **0.50** | – / – |"


def test_collectives_are_counted_with_their_bytes():
    program = """
      %all-reduce.1 = (f32[3,4]{1,0}, f32[]) all-reduce(%a, %b), channel_id=1
      %all-gather-start = (f32[2]{0}, f32[4]{0}) all-gather-start(%c), dimensions={0}
      %add.3 = f32[5] add(%all-reduce.1, %c)
    """
    found = count_collectives(program)
    assert found == {"all-reduce": {"count": 1, "bytes": 52}, "all-gather": {"count": 1, "bytes": 24}}


PROGRAM = """
%picks (a: f32[9]) -> f32[2] {
  ROOT %g = bf16[7,4,4,8]{3,2,1,0} gather(%a, %i), offset_dims={1,2,3}
}
%body.1 (p: f32[2]) -> bf16[2] {
  %x = bf16[7,4,4,8]{3,2,1,0} parameter(0)
  %w = bf16[8,3,3,8]{3,2,1,0} parameter(1)
  %all = bf16[100,4,4,8]{3,2,1,0} parameter(2)
  %batch = bf16[7,4,4,8]{3,2,1,0} fusion(%all), kind=kLoop, calls=%picks, metadata={op_name="while/body/jit(_pad)/pad"}
  %conv = (bf16[7,4,4,8]{3,2,1,0}, u8[0]{0}) custom-call(%x, %w), custom_call_target="__cudnn$convForward"
  %y = bf16[7,4,4,8]{3,2,1,0} get-tuple-element(%conv), index=0
  ROOT %act = bf16[7,4,4,8]{3,2,1,0} fusion(%y), kind=kLoop, calls=%f, metadata={op_name="body/jvp(UNet)/down_0/add"}
}
ENTRY %main (a: f32[2]) -> f32[2] {
  %big = f32[1000,1000]{1,0} fusion(%a), kind=kLoop, calls=%g
}
"""


def test_bytes_and_kernels_are_those_of_the_step():
    """By hand: 7·4·4·8 values of 2 bytes are 1,792 bytes, the kernel's 576 are 1,152; a tuple's element is free."""
    batch, convolution, activation = kernels_of(PROGRAM)
    assert (batch.kind, batch.n_bytes) == ("batch: gather and pad", 2 * 1792), "not all samples are read"
    assert (convolution.kind, convolution.n_bytes) == ("convolution", 1792 + 1152 + 1792)
    assert (activation.kind, activation.n_bytes) == ("bias and activation, forward", 2 * 1792)


def test_no_call_on_a_gpu_can_outlast_ten_minutes():
    assert {name for names in gpu.PARTS.values() for name in names} == set(gpu.LIMIT_S)
    assert [gpu.longest_s([part]) for part in gpu.PARTS] == [300, 180, 180]
    assert gpu.LIMIT_S["variants"] > gpu.VARIANTS_BEGIN_WITHIN_S


@pytest.mark.parametrize(
    ("asked", "said"), [([], "name one or two"), (["speed"], "found"), (list(gpu.PARTS), "660 s")]
)
def test_a_call_that_cannot_be_made_is_refused(asked, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.sh", *asked])
    with pytest.raises(SystemExit):
        gpu.main()
    assert said in capsys.readouterr().err


def test_what_was_measured_before_a_limit_is_kept_and_nothing_is_left_running(tmp_path, capsys):
    child = "import time; time.sleep(60)"
    program = (
        f"import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', {child!r}]);"
        'print(\'{"name": "first", "pid": %d}\' % child.pid, flush=True); time.sleep(60)'
    )
    results = Results(tmp_path, "card", "command")
    assert not gpu.run(gpu.Measurement("steps", [sys.executable, "-c", program]), results, 2.0)
    assert "steps was ended after its limit of 2 s" in capsys.readouterr().out
    (record,) = results.records
    assert record["name"] == "first"
    for _ in range(100):
        try:
            os.kill(record["pid"], 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("its child still runs")


def test_what_a_gpu_runs_is_imported_without_the_libraries_of_commands(tmp_path):
    """As docs/performance.md says: the machine with a GPU has no tyro."""
    for library in ("tyro", "tifffile", "matplotlib", "jinja2"):
        (tmp_path / f"{library}.py").write_text("raise ImportError(__name__)")
    modules = [f"benchmarks.{name}" for name in ("gpu_check", "paper_training", "jax_worker", "gpu_variants")]
    program = f"import {', '.join([*modules, 'compseg_jax.training.run'])}"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)


@pytest.mark.slow
def test_the_gpu_script_runs_small_on_a_cpu(tmp_path):
    command = ["sh", str(ROOT / "benchmarks" / "gpu.sh"), "--small", "--no-peer", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHON": sys.executable}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    (file,) = tmp_path.glob("*.jsonl")
    first, *lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert first["command"].startswith("benchmarks/gpu.sh --small")
    assert [line["name"] for line in lines] == [
        "self_check",
        "paper_training/base4_c6_s16_b4",
        "train_step/base4_c6_s16_b4",
        "forward/base4_c6_s16_b4",
        "variant/as shipped",
        "variant/relu",
    ]
    assert all(line["median_s"] > 0 for line in lines[1:])
    training = lines[1]
    assert training["epochs"] == 3
    assert 0 < training["loop_without_compilation_s"] <= training["loop_s"] <= training["median_s"]
