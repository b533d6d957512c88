"""Batch files for clusters: they are shell that runs, with every word of the command as it was given."""

from __future__ import annotations

import os
import subprocess

import pytest

from compseg_jax.cli.main import main

FAKE_SRUN = """#!/bin/bash
printf '%s\\n' "$@" > "$CALLED"
exit ${CODE:-0}
"""


@pytest.fixture
def cluster(tmp_path):
    """Runs a batch file with commands that only note what they are called with."""
    place = tmp_path / "bin"
    place.mkdir()
    for name in ("srun", "scontrol"):
        (place / name).write_text(FAKE_SRUN.replace("$CALLED", str(tmp_path / name)))
        (place / name).chmod(0o755)

    def submit(text, **variables):
        (tmp_path / "job").write_text(text)
        ended = subprocess.run(
            ["bash", str(tmp_path / "job")],
            cwd=tmp_path,
            env={"PATH": f"{place}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", **variables},
            check=False,
        )
        called = {
            name: (tmp_path / name).read_text().splitlines()
            for name in ("srun", "scontrol")
            if (tmp_path / name).exists()
        }
        return ended.returncode, called

    return submit


def printed(capsys, *words):
    assert main(["slurm", *words]) == 0
    return capsys.readouterr().out


def directives(text):
    return dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in text.splitlines()
        if line.startswith("#SBATCH --")
    )


def test_a_training_starts_one_process_a_gpu_and_keeps_every_word(capsys, cluster):
    text = printed(
        capsys, "train", "--nodes", "2", "--gpus", "4", "--partition", "gpu", "--",
        "--data", "my store", "--out", "runs/it's", "--epochs", "3",
    )  # fmt: skip
    asked = directives(text)
    assert (asked["nodes"], asked["ntasks-per-node"], asked["gpus-per-node"]) == ("2", "4", "4")
    assert (asked["partition"], asked["signal"], asked["time"]) == ("gpu", "TERM@120", "04:00:00")
    code, called = cluster(text)
    words = ["compseg", "train", "--data", "my store", "--out", "runs/it's", "--epochs", "3"]
    assert (code, called["srun"]) == (0, words)
    assert "scontrol" not in called


def test_a_training_that_ran_out_of_time_is_queued_again_and_goes_on(capsys, cluster, tmp_path):
    text = printed(capsys, "train", "--gpus", "0", "--container", "image.sif", "--", "--out", "runs/a b")
    assert "gpus-per-node" not in directives(text)
    (tmp_path / "runs/a b").mkdir(parents=True)
    (tmp_path / "runs/a b/config.json").touch()
    code, called = cluster(text, CODE="130")
    assert code == 130
    words = ["apptainer", "exec", "image.sif", "compseg", "train", "--out", "runs/a b", "--resume"]
    assert called == {"srun": words, "scontrol": ["requeue", "7"]}
    (tmp_path / "scontrol").unlink()
    assert "scontrol" not in cluster(text, CODE="1")[1]


def test_a_prediction_is_an_array_of_shards(capsys, cluster):
    text = printed(capsys, "predict", "--shards", "4", "--", "slides", "--model", "m", "--out", "p q")
    assert directives(text)["array"] == "1-4"
    code, called = cluster(text, SLURM_ARRAY_TASK_ID="3")
    words = ["compseg", "predict", "slides", "--model", "m", "--out", "p q", "--shard", "3/4"]
    assert (code, called["srun"]) == (0, words)


def test_a_sweep_is_an_array_of_at_most_its_trainings_and_is_queued_again(capsys, cluster):
    text = printed(capsys, "sweep", "--gpus", "1", "--", "my store", "--out", "s", "--seeds", "0,1,2")
    assert (directives(text)["array"], directives(text)["gpus"]) == ("1-3", "1")
    variables = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "5"}
    code, called = cluster(text, CODE="130", **variables)
    words = ["compseg", "sweep", "my store", "--out", "s", "--seeds", "0,1,2", "--shard", "2/3"]
    assert (code, called) == (130, {"srun": words, "scontrol": ["requeue", "5_2"]})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "--nodes", "2", "--", "store"], "a sweep is spread by --shards"),
        (["sweep", "--", "store", "--ray", "auto"], "leave it out after --"),
        (["sweep", "--", "store", "--recipes", "none"], "there is none of that name"),
        (["train"], "what is to run is missing: `compseg slurm train"),
        (["predict", "--nodes", "2", "--", "slides"], "a prediction is spread by --shards"),
        (["predict", "--", "slides", "--shard", "1/2"], "leave them out after --"),
        (["train", "--time", "tomorrow", "--", "--out", "a"], "D-HH:MM:SS"),
        (["train", "--partition", "a b; rm", "--", "--out", "a"], "letters, digits"),
        (["train", "--gpus", "-1", "--", "--out", "a"], "at least 0"),
        (["predict", "--", "slides", "--threshold", "2"], "--threshold 2.0"),
    ],
)
def test_what_cannot_run_is_refused_before_the_queue(words, message, capsys):
    assert main(["slurm", *words]) == 1
    assert message in capsys.readouterr().err
