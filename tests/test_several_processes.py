"""Several processes work as one: they find each other, compute the same, read their share, and end together."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from joined_processes import EVALUATE, TRAIN, free_port, said, slurm, start, start_joined

from compseg_jax.cli.main import main
from compseg_jax.cli.processes import apart, asked_cluster
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model.model_files import load_network
from compseg_jax.runtime.cluster import Cluster, ProcessesError, cluster_of, own_devices
from tests.model_example import write_model
from tests.store_example import write_store

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
    assert cluster_of(None, 1, None, OPEN_MPI) is None, "--processes 1 works alone"


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


def test_each_process_of_a_node_predicts_on_its_own_gpus(monkeypatch):
    seen = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: seen.append((name, value)))
    told = {**slurm(2, 1, 1), "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert apart(lambda rest: len(rest), ["slides", "--out", "predictions"]) == 3
    assert seen == [("jax_cuda_visible_devices", "2,3")]


# Two real processes

TOGETHER = """
import json, sys, time
import compseg_jax
from pathlib import Path
from compseg_jax.cli.processes import apart, asked_cluster
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model.model_files import load_network
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_others_end_where_one_is_killed_or_fails(tmp_path):
    """Found by their heartbeats: nothing but process 0 is connected to all."""
    for number, end in enumerate(("wait", "fail")):
        folder = tmp_path / str(number)
        folder.mkdir()
        processes = start_joined(["-c", TOGETHER, folder, end], 2, devices=1, folder=folder)
        if end == "wait":
            wait_until(lambda: all((folder / f"ready{n}").exists() for n in range(2)), processes)  # noqa: B023
            processes[1].send_signal(signal.SIGKILL)
        assert processes[1].wait(LONGEST_S) == (-signal.SIGKILL if end == "wait" else 1)
        ended = time.monotonic()
        assert processes[0].wait(LONGEST_S) != 0
        assert time.monotonic() - ended < 60
        finished(processes)
        assert_one_sentence_says_who_is_lost((folder / "0.err").read_text(), "error: process 1 of 2")
    assert "[process 1] ValueError: process 1 fails" in (folder / "1.err").read_text()


# Training

SHORT = ["--epochs", "3", "--base", "2", "--depth", "0", "--seed", "3", "--no-second-view"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "data"
    config = PhantomConfig(size=16, channels=6, difficulty=0.0)
    write_phantom(PhantomOptions(out=path, train=12, val=8, test=2, phantom=config))
    return path


def train_together(store: Path, out: Path, processes: int, devices: int, *options: str) -> None:
    out.parent.mkdir(exist_ok=True)
    command = [TRAIN, "--data", store, "--out", out, *options]
    if processes == 1:
        codes = finished([start(command, devices=devices, folder=out.parent, name="0")])
    else:
        codes = finished(start_joined(command, processes, devices=devices, folder=out.parent))
    assert not any(codes), "".join(said(out.parent, str(number)) for number in range(processes))


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def assert_same_training(found: Path, expected: Path) -> None:
    own, other = log(found), log(expected)
    assert [record["epoch"] for record in own] == [record["epoch"] for record in other]
    for name in ("loss", "val_loss", "gradient_norm"):
        np.testing.assert_allclose([r[name] for r in own], [r[name] for r in other], rtol=1e-5)
    a, b = (load_network(run / "model") for run in (found, expected))
    assert a.threshold == pytest.approx(b.threshold, rel=1e-5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a.variables, b.variables
    )
    assert a.distribution is not None
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5),
        *(network.distribution.to_arrays() for network in (a, b)),
    )


def files(run: Path) -> set[str]:
    """Files of a run but for those of Orbax, which are several for several processes."""
    inside = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return {str(path) for path in inside if not {"checkpoints", "params"}.intersection(path.parts)}


@pytest.fixture(scope="module")
def alone(store, tmp_path_factory) -> Path:
    """The run of one process with four devices."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train_together(store, out, 1, 4, *SHORT, "--second-view")
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (4, 1)])
def test_several_processes_train_as_one(store, alone, tmp_path, processes, devices):
    train_together(store, tmp_path / "run", processes, devices, *SHORT, "--second-view")
    assert_same_training(tmp_path / "run", alone)
    assert_same_training(tmp_path / "run" / "second_view", alone / "second_view")
    assert files(tmp_path / "run") == files(alone)
    own, other = (load_network(run / "model").description["second_view"] for run in (tmp_path / "run", alone))
    assert own.keys() == other.keys()
    assert all(own[name] == (value and pytest.approx(value, rel=1e-4)) for name, value in other.items())
    assert said(tmp_path, "1") == ""


@pytest.mark.slow
def test_a_killed_training_goes_on_with_other_processes(store, tmp_path):
    """Two processes, one of them killed, and then one alone: what an uninterrupted run gives, bit for bit its log."""
    epochs = ["--epochs", "24", *SHORT[2:]]
    train_together(store, tmp_path / "whole" / "run", 1, 4, *epochs)
    out = tmp_path / "run"
    processes = start_joined([TRAIN, "--data", store, "--out", out, *epochs], 2, devices=2, folder=tmp_path)
    checkpoints = out / "checkpoints"
    wait_until(
        lambda: checkpoints.is_dir() and any(p.name.isdigit() for p in checkpoints.iterdir()), processes
    )
    processes[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    assert processes[0].wait(LONGEST_S) != 0
    assert time.monotonic() - killed < 60
    finished(processes)
    assert_one_sentence_says_who_is_lost((tmp_path / "0.err").read_text(), "error: process 1 of 2")
    assert len(log(out)) < 24
    train_together(store, out, 1, 4, "--resume")
    assert_same_training(out, tmp_path / "whole" / "run")


@pytest.mark.slow
def test_one_process_that_is_asked_to_stop_stops_all(store, tmp_path):
    out = tmp_path / "run"
    recipe = tmp_path / "constant.toml"  # a schedule reaches to the last epoch, which could not change
    recipe.write_text('recipe = "default"\n[optimiser]\nschedule = "constant"\n')
    command = [TRAIN, "--data", store, "--out", out, "--recipe", recipe, "--epochs", "500", *SHORT[2:]]
    processes = start_joined(command, 2, devices=1, folder=tmp_path)
    wait_until(lambda: (out / "log.jsonl").exists() and log(out), processes)
    processes[1].send_signal(signal.SIGTERM)
    assert finished(processes) == [130, 130]
    done = len(log(out))
    assert 0 < done < 500
    assert "everything is saved" in (tmp_path / "0.err").read_text()
    # More processes than before.
    train_together(store, out, 4, 1, "--resume", "--epochs", str(done + 2))
    assert len(log(out)) == done + 2


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
def test_slurm_starts_an_ensemble(store, tmp_path, at_once):
    recipe = tmp_path / "ensemble.toml"
    recipe.write_text(f'recipe = "default"\n[ensemble]\nside_by_side = {at_once}\n')
    options = ["--recipe", str(recipe), "--seeds", "2", "--epochs", "2", *SHORT[2:]]
    train_together(store, tmp_path / "alone" / "run", 1, 2, *options)
    port, out = free_port(), tmp_path / "run"
    command = [TRAIN, "--data", store, "--out", out, *options]
    codes = finished(
        [start(command, devices=1, folder=tmp_path, name=str(n), **slurm(2, n, port)) for n in range(2)]
    )
    assert codes == [0, 0], said(tmp_path, "0") + said(tmp_path, "1")
    assert "2 processes (SLURM) with 1 device(s) each" in said(tmp_path, "0")
    assert files(out) == files(tmp_path / "alone" / "run")
    tables = [json.loads((run / "ensemble.json").read_text()) for run in (out, tmp_path / "alone" / "run")]
    assert tables[0]["threshold"] == pytest.approx(tables[1]["threshold"], rel=1e-4)
    for member in tables[0]["members"]:
        own = (out / member["model"]).parent
        assert_same_training(own, tmp_path / "alone" / "run" / own.relative_to(out))


COUNTING = """
import os, sys
from collections import Counter
from pathlib import Path
import compseg_jax
from compseg_jax.store import prepared
from compseg_jax.store.read import Store
prepared.SHARE_OF_FREE_MEMORY = 0.0
reads, read_later = Counter(), Store.read_later
def counting(self, sample_id):
    reads[sample_id] += 1
    return read_later(self, sample_id)
Store.read_later = counting
from compseg_jax.cli.main import main
code = main(["train", *sys.argv[2:]])
Path(sys.argv[1], f"{os.getpid()}.reads").write_text(str(reads.total()))
sys.exit(code)
"""


@pytest.mark.slow
def test_each_process_reads_its_share(store, tmp_path):
    """Without memory for cubes, so that everything that is looked at is read; memory makes it less."""
    options = ["--data", store, "--epochs", "8", "--batch-size", "4", *SHORT[2:]]
    recipe = tmp_path / "stream.toml"
    recipe.write_text('recipe = "default"\nfeed = "stream"\n')
    options += ["--recipe", str(recipe)]
    reads = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        command = ["-c", COUNTING, folder, "--out", folder / "run", *options]
        if processes == 1:
            started = [start(command, devices=2, folder=folder, name="0")]
        else:
            started = start_joined(command, processes, devices=1, folder=folder)
        codes = finished(started)
        assert not any(codes), "".join(said(folder, str(number)) for number in range(processes))
        reads.append([int(path.read_text()) for path in folder.glob("*.reads")])
    (whole,), shares = reads
    assert sum(shares) == whole
    assert shares == pytest.approx([whole / 2] * 2, rel=0.1)


@pytest.mark.slow
def test_a_report_of_several_processes_is_that_of_one(tmp_path):
    """To the last bit: every sample is predicted by one process, on a device of its own."""
    model = write_model(tmp_path / "model")
    write_store(tmp_path / "store", sizes=((12, 20), (17, 19), (24, 18)), splits=("test",))
    command = [
        EVALUATE,
        "--model",
        model,
        "--data",
        tmp_path / "store",
        "--bootstrap",
        "20",
        "--importance",
        "no",
    ]
    (tmp_path / "1").mkdir()
    alone = start([*command, "--out", tmp_path / "1/out"], devices=1, folder=tmp_path / "1", name="0")
    assert finished([alone]) == [0], said(tmp_path / "1", "0")
    (tmp_path / "2").mkdir()
    codes = finished(
        start_joined([*command, "--out", tmp_path / "2/out"], 2, devices=2, folder=tmp_path / "2")
    )
    assert codes == [0, 0], said(tmp_path / "2", "0") + said(tmp_path / "2", "1")
    assert "report: " in said(tmp_path / "2", "0")
    assert said(tmp_path / "2", "1") == ""
    written, wanted = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "2/out", tmp_path / "1/out")
    )
    assert written.keys() == wanted.keys()
    assert {path.name for path in written} > {"metrics.json", "samples.csv", "report.html"}
    for path, content in wanted.items():
        if path.suffix in (".png", ".csv") or path.name == "metrics.json":
            assert written[path] == content, path
