"""Several processes work as one: they find each other, compute the same, read their share, and end together."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
from joined_processes import said, slurm, start_joined

from compseg_jax.cli.main import main
from compseg_jax.cli.processes import asked_cluster
from compseg_jax.runtime.cluster import Cluster, ProcessesError, cluster_of, own_devices

LONGEST_S = 300


# Who works with whom


def test_options_say_who_works_with_whom():
    rest, cluster = asked_cluster(
        ["--data", "store", "--coordinator", "node1:29500", "--process=1", "--processes", "2", "--resume"]
    )
    assert rest == ["--data", "store", "--resume"]
    assert cluster == Cluster("--coordinator", 2, 1, "node1:29500")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--processes", "2", "--process", "0"], "give all three"),
        (["--coordinator", "node1:29500"], "give all three"),
        (["--coordinator", "node1", "--processes", "2", "--process", "0"], "must be HOST:PORT"),
        (["--coordinator", "node1:1", "--processes", "2", "--process", "2"], "must lie in 0 … 1"),
        (["--coordinator", "node1:1", "--processes", "two", "--process", "0"], "whole number"),
        (["--coordinator", "node1:1", "--processes"], "needs a value"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, says):
    with pytest.raises(ProcessesError, match=says):
        asked_cluster(arguments)


def test_commands_refuse_them_in_one_sentence(capsys):
    assert main(["train", "--processes", "2"]) == 1
    assert "give all three" in capsys.readouterr().err


OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


def test_schedulers_say_who_works_with_whom():
    assert cluster_of(None, None, None, slurm(2, 1, 1)) == Cluster("SLURM", 2, 1)
    assert cluster_of(None, None, None, OPEN_MPI) == Cluster("Open MPI", 4, 3)
    assert cluster_of(1 and None, 1, None, OPEN_MPI) is None, "--processes 1 works alone"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        slurm(1, 0, 1),
        # A batch script, or salloc: the job has four tasks, and this is none of them.
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
        {**slurm(4, 0, 1), "SLURM_STEP_NUM_TASKS": "1"},
        {**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "1"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
    ],
    ids=["nothing", "one task", "batch script", "step of one", "one rank", "a pod"],
)
def test_a_process_that_nobody_joined_is_alone(environment):
    assert cluster_of(None, None, None, environment) is None


@pytest.mark.parametrize(
    ("environment", "local", "on_node", "expected"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, 3, 8, (3,)),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, 1, 2, (4, 5, 6, 7)),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, 0, 1, (0, 1, 2, 3, 4, 5, 6, 7)),
        ({"CUDA_VISIBLE_DEVICES": "5"}, 3, 8, (0,)),
        ({"SLURM_GPUS_ON_NODE": "4"}, 1, 2, (2, 3)),
        ({}, 0, 2, None),
    ],
)
def test_the_gpus_of_a_node_are_parted_among_its_processes(environment, local, on_node, expected):
    assert own_devices(environment, local, on_node) == expected


def test_a_node_with_fewer_processes_has_more_gpus_for_each():
    told = {
        **slurm(7, 6, 1),
        "SLURM_STEP_TASKS_PER_NODE": "4(x1),3",
        "SLURM_NODEID": "1",
        "SLURM_LOCALID": "2",
    }
    cluster = cluster_of(None, None, None, {**told, "CUDA_VISIBLE_DEVICES": "0,1,2"})
    assert cluster == Cluster("SLURM", 7, 6, devices=(2,))


# Two real processes

TOGETHER = """
import json, sys, time
import compseg_jax
from pathlib import Path
from compseg_jax.cli.processes import asked_cluster
from compseg_jax.runtime.cluster import joined
rest, cluster = asked_cluster(sys.argv[1:])
with joined(cluster):
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import NamedSharding, PartitionSpec
    from compseg_jax.runtime import DATA_AXIS, data_mesh
    from compseg_jax.runtime.devices import from_own_rows, own_rows, placed
    from compseg_jax.runtime.together import any_of, is_first, spread, told
    seen = []
    def squares(some):
        for each in some:
            seen.append(each)
            yield np.full(each, each ** 2)
    found = [int(each.sum()) for each in spread(squares, range(40))]
    by_sample = NamedSharding(data_mesh(), PartitionSpec(DATA_AXIS))
    own = own_rows(by_sample, 8)
    rows = from_own_rows(np.arange(8.0)[own], by_sample, 8)
    total = jax.jit(jnp.sum, out_shardings=NamedSharding(data_mesh(), PartitionSpec()))(rows)
    result = {
        "found": found, "seen": seen, "own": [own.start, own.stop], "sum": float(total),
        "told": told(lambda: jax.process_index()), "any": any_of(not is_first()), "first": is_first(),
    }
    Path(rest[0], f"{jax.process_index()}.json").write_text(json.dumps(result))
    print("said by all")
    print("a warning", file=sys.stderr)
    if rest[1] == "wait":
        Path(rest[0], f"ready{jax.process_index()}").touch()
        time.sleep(60)
    if rest[1] == "fail" and not is_first():
        raise ValueError("process 1 fails")
"""


def finished(processes: list[subprocess.Popen]) -> list[int]:
    try:
        return [process.wait(LONGEST_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_processes_tell_each_other_what_each_has_found(tmp_path):
    codes = finished(start_joined(["-c", TOGETHER, tmp_path, "go"], 2, devices=2, folder=tmp_path))
    assert codes == [0, 0], said(tmp_path, "0") + said(tmp_path, "1")
    results = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2)]
    for result in results:
        assert result["found"] == [each**3 for each in range(40)]
        assert (result["told"], result["any"], result["sum"]) == (0, True, 28.0)
    # Each item is looked at once, each row of a batch lies with one process.
    assert sorted(results[0]["seen"] + results[1]["seen"]) == list(range(40))
    assert [result["own"] for result in results] == [[0, 4], [4, 8]]
    assert [len(result["seen"]) for result in results] == [20, 20]
    assert [result["first"] for result in results] == [True, False]
    first, second = (said(tmp_path, str(number)) for number in range(2))
    assert "2 processes (--coordinator) with 2 device(s) each, 4 in all" in first
    assert "said by all\n" in first
    assert "\na warning\n" in "\n" + (tmp_path / "0.err").read_text()
    assert second == "[process 1] a warning\n"


def test_the_others_end_where_process_0_is_killed(tmp_path):
    processes = start_joined(["-c", TOGETHER, tmp_path, "wait"], 2, devices=1, folder=tmp_path)
    wait_until(lambda: all((tmp_path / f"ready{number}").exists() for number in range(2)), processes)
    processes[0].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    processes[1].wait(LONGEST_S)
    assert time.monotonic() - killed < 60
    finished(processes)
    assert_one_sentence_says_who_is_lost(
        (tmp_path / "1.err").read_text(), "[process 1] error: process 0 of 2"
    )


def assert_one_sentence_says_who_is_lost(text: str, beginning: str) -> None:
    lines = [line for line in text.splitlines() if "warning" not in line]
    assert len(lines) == 1, text
    assert lines[0].startswith(beginning), text
    assert "has ended or cannot be reached" in lines[0]
    assert "--resume" in lines[0]


def wait_until(true, processes: list[subprocess.Popen]) -> None:
    until = time.monotonic() + LONGEST_S
    while not true():
        assert time.monotonic() < until, "nothing happened"
        assert all(process.poll() is None for process in processes), "a process ended early"
        time.sleep(0.1)
