"""Predictions and sweeps on a Ray cluster: errors without one, and two nodes of which one is lost."""

from __future__ import annotations

import csv
import importlib.util
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compseg_jax.cli import predict as predict_command
from compseg_jax.cli.main import main
from compseg_jax.cli.processes import without_options
from compseg_jax.prediction.predict import Shares
from compseg_jax.prediction.predict_options import PredictOptions
from compseg_jax.prediction.shard import Shard
from compseg_jax.runtime import ray_jobs
from compseg_jax.runtime.jobs import Job, JobEnd, error_in
from compseg_jax.runtime.ray_jobs import RayCluster, RayError, ray_cluster
from tests.model_example import write_model
from tests.store_example import write_store

LONGEST_S = 900
# Other tests have started jax in this process; what Ray forks here becomes another program at once.
starts_ray = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'compseg-jax[ray]'"
)


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match=r"pip install 'compseg-jax\[ray\]'"), ray_cluster("local"):
        pass


@needs_ray
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("localhost:1", "Connection refused"),
        ("ray://localhost:1", "Connection refused"),
        ("localhost:first", "'localhost:first' is no address"),
        ("auto", "no such thing"),
    ],
)
def test_no_cluster_at_an_address_is_said_at_once_with_what_may_be_given(address, reason, monkeypatch):
    import ray

    def init(**options):
        raise ConnectionError("no such thing\nand more")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RayError) as raised, ray_cluster(address):
        pass
    assert reason in str(raised.value)
    assert str(raised.value).startswith(f"--ray {address}: no Ray cluster was reached (")
    assert "Required is one of local (this machine), auto" in str(raised.value)


def test_a_slot_is_a_gpu_or_a_node():
    class Fake:
        def __init__(self, *nodes):
            self._nodes = nodes

        def nodes(self):
            return [{"Alive": alive, "Resources": resources} for alive, resources in self._nodes]

    def room(*nodes):
        return ray_jobs._room(Fake(*nodes))

    assert room((True, {"CPU": 8.0, "GPU": 4.0}), (True, {"CPU": 8.0, "GPU": 2.0})) == RayCluster(
        6, {"num_gpus": 1}
    )
    two = room((True, {"CPU": 4.0}), (True, {"CPU": 9.0}), (True, {}), (False, {"CPU": 1.0}))
    assert two == RayCluster(3, {"num_cpus": 4})
    with pytest.raises(RayError, match="neither processors nor GPUs"):
        room((True, {}))


def test_what_a_node_does_not_see_is_named_and_what_it_runs_is_logged(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_jobs, "SEEN_WITHIN_S", 0.0)
    run, log = ray_jobs._task(), tmp_path / "logs" / "a.log"
    words = ["-c", "print('error: too small'); raise SystemExit(3)"]
    code, said = run(words, str(tmp_path), str(log), str(tmp_path / "absent"))
    assert code == 1
    assert f"does not see {tmp_path / 'absent'}. With --ray the working folder" in said
    (tmp_path / "there").touch()
    code, said = run(words, str(tmp_path), str(log), str(tmp_path / "there"))
    assert (code, error_in(said, code), log.read_text()) == (3, "too small", "error: too small\n")
    with pytest.raises(RuntimeError, match="ended by signal 9"):
        run(["-c", "import os; os.kill(os.getpid(), 9)"], str(tmp_path), str(log), str(tmp_path / "there"))


def test_a_job_whose_work_is_in_other_hands_is_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_jobs, "PAUSE_S", 0.0)
    jobs = [Job(name, (), tmp_path / name) for name in ("a", "b", "c")]
    rounds: list[list[str]] = []

    def one_round(self, some, shared, watch):
        rounds.append([job.name for job in some])
        for job in some:
            yield job, JobEnd(1 if job.name == "c" else 0)

    monkeypatch.setattr(RayCluster, "_round", one_round)
    told = []
    finished = RayCluster(1, {}).run(
        jobs,
        tmp_path,
        is_done=lambda job: job.name == "a" or len(rounds) == 3,
        ended=lambda job, end: told.append((job.name, end.code)),
        watch=lambda: False,
    )
    assert finished
    assert rounds == [["a", "b", "c"], ["b"], ["b"]]
    assert told == [("a", 0), ("c", 1), ("b", 0)]
    assert not RayCluster(1, {}).run(
        jobs, tmp_path, is_done=lambda job: True, ended=lambda *_: None, watch=lambda: True
    )


def test_options_are_left_out_with_their_values():
    words = ["store", "--ray", "auto", "--seeds", "0", "--shard=1/2"]
    assert without_options(words, "--ray", "--shard") == ["store", "--seeds", "0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "a.tif", "--ray", "auto", "--shard", "1/2"], "leave out --shard and --merge"),
        (["predict", "a.tif", "--ray", "auto", "--merge"], "leave out --shard and --merge"),
        (["sweep", "store", "--ray", "auto", "--shard", "1/2"], "leave out --shard"),
    ],
)
def test_what_ray_does_itself_is_not_asked_for(words, message, capsys):
    assert main(words) == 1
    assert message in capsys.readouterr().err


class Here:
    """Stands for a cluster: carries out the jobs of a round in this process."""

    slots = 2

    def __init__(self, lose: str = "") -> None:
        self.lose, self.words = lose, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, jobs, shared, *, is_done, ended, watch):
        assert shared.is_file()
        for job in jobs:
            self.words.append(job.words)
            lost = job.name == self.lose
            ended(job, JobEnd(1, "lost 4 times") if lost else JobEnd(main(list(job.words))))
            assert is_done(job) is not lost
        return not watch()


@pytest.mark.slow
def test_shards_of_a_prediction_are_joined_and_what_is_lost_is_said(tmp_path, monkeypatch, capsys):
    store, model = write_store(tmp_path / "store"), write_model(tmp_path / "model")
    words = [
        "predict",
        str(store.path),
        "--model",
        str(model),
        "--out",
        str(tmp_path / "p"),
        "--outputs",
        "png",
    ]
    shares = Shares.begun(
        PredictOptions(inputs=(store.path,), model=model, out=tmp_path / "p", outputs=("png",))
    )
    assert [shares.missing(Shard(number, 2)) for number in (1, 2)] == [9, 9]
    cluster = Here(lose="2/8")
    monkeypatch.setattr(predict_command, "ray_cluster", lambda address: cluster)
    assert main([*words, "--ray", "auto"]) == 1
    said = capsys.readouterr().out
    assert "Ray: 18 samples in 8 shards, 2 at once" in said
    assert "shard 2/8: failed (lost 4 times)" in said
    assert "3 not there yet" in said
    assert ("predict", *words[1:], "--shard", "8/8") in cluster.words
    cluster.lose = ""
    assert main([*words, f"--ray={'auto'}"]) == 0
    tables = json.loads((tmp_path / "p/predictions.json").read_text())
    assert len({sample["id"] for sample in tables["samples"]}) == 18


@pytest.fixture
def two_nodes(monkeypatch):
    """A Ray cluster of two nodes on this machine, one task each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # a token would be left in the home of whoever tests
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # as if it was installed
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    lost = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster, lost
    cluster.shutdown()


@pytest.fixture
def started(tmp_path):
    """Starts a command in a process of its own, which ends with the test at the latest."""
    processes = []

    def start(*words: str) -> subprocess.Popen:
        with (tmp_path / "said.txt").open("w") as said:
            command = [sys.executable, "-m", "compseg_jax.cli", *words]
            processes.append(subprocess.Popen(command, stdout=said, stderr=said, cwd=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def wait_until(done, process: subprocess.Popen, folder: Path) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not done():
        assert process.poll() is None, (folder / "said.txt").read_text()
        assert time.monotonic() < deadline, (folder / "said.txt").read_text()
        time.sleep(0.1)


def processes_of(node) -> dict[int, str]:
    """All processes of a node, those that its tasks started included: what each was started with."""
    shown = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    lines = [line.split(None, 2) for line in shown.stdout.splitlines()]
    found = {node.all_processes["raylet"][0].process.pid: "raylet"}
    for _ in range(4):
        found |= {int(pid): words for pid, above, words in lines if int(above) in found}
    return found


def is_at_work(node) -> bool:
    return any("compseg_jax.cli" in words for words in processes_of(node).values())


def kill_node(cluster, node) -> None:
    """Kills all processes of a node at once."""
    for pid in processes_of(node):
        os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


def areas(out: Path) -> dict[str, str]:
    lines = (out / "predictions.csv").read_text().splitlines()
    return {row["id"]: row["area_fraction"] for row in csv.DictReader(lines)}


@needs_ray
@pytest.mark.slow
@starts_ray
def test_a_lost_node_loses_no_prediction(two_nodes, started, tmp_path):
    cluster, lost = two_nodes
    store, model = (
        write_store(tmp_path / "store", sizes=[(12, 20), (7, 9)] * 20),
        write_model(tmp_path / "model"),
    )
    words = ("predict", str(store.path), "--model", str(model), "--outputs", "png")
    process = started(*words, "--out", "p", "--ray", cluster.address)
    finished = (tmp_path / "p" / "samples").glob
    wait_until(lambda: len(list(finished("*/sample.json"))) >= 20 and is_at_work(lost), process, tmp_path)
    kill_node(cluster, lost)
    assert process.poll() is None
    assert process.wait(LONGEST_S) == 0, (tmp_path / "said.txt").read_text()
    assert main([*words, "--out", str(tmp_path / "alone")]) == 0
    with_ray, alone = (areas(tmp_path / name) for name in ("p", "alone"))
    assert len(with_ray) == len(store.samples)
    assert with_ray == alone


@needs_ray
@pytest.mark.slow
@starts_ray
def test_a_lost_node_loses_no_training(two_nodes, started, tmp_path):
    from tests.test_sweep import SMALL, phantom

    cluster, lost = two_nodes
    phantom(tmp_path / "store")
    words = ["sweep", "store", "--seeds", "0,1", "--recipes", "cam", "--vary", "epochs=60", *SMALL[2:]]
    process = started(*words, "--out", "s", "--ray", cluster.address)
    wait_until(lambda: len(list((tmp_path / "s").glob("cells/*/checkpoints/[0-9]*"))) >= 2, process, tmp_path)
    kill_node(cluster, lost)
    assert process.poll() is None
    assert process.wait(LONGEST_S) == 0, (tmp_path / "said.txt").read_text()
    subprocess.run(
        [sys.executable, "-m", "compseg_jax.cli", *words, "--out", "alone"], cwd=tmp_path, check=True
    )
    with_ray, alone = (
        json.loads((tmp_path / name / "sweep.json").read_text())["cells"] for name in ("s", "alone")
    )
    assert len(alone) == 2
    for one, other in zip(with_ray, alone, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


@needs_ray
@pytest.mark.slow
@starts_ray
def test_a_cluster_of_this_machine_is_started_and_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    # What a node runs goes there as a value, and these tests' checks of calls cannot travel.
    sent = inspect.unwrap(ray_jobs._task())
    monkeypatch.setattr(ray_jobs, "_task", lambda: sent)
    with ray_cluster("local") as cluster:
        assert cluster.slots == 1
        (tmp_path / "seen").touch()
        ends = []
        cluster.run(
            [Job("fails", ("recipe", "none-such"), tmp_path / "log")],
            tmp_path / "seen",
            is_done=lambda job: True,
            ended=lambda job, end: ends.append(end),
            watch=lambda: False,
        )
        assert [end.code for end in ends] == [1]
        began = time.monotonic()
        words = ("phantom", "--out", str(tmp_path / "large"), "--train", "5000")
        stopped = cluster.run(
            [Job("long", words, tmp_path / "log")],
            tmp_path / "seen",
            is_done=lambda job: False,
            ended=lambda job, end: ends.append(end),
            watch=lambda: time.monotonic() > began + 10,
        )
        assert stopped is False
        assert time.monotonic() < began + 60
    assert len(ends) == 1
    assert not (tmp_path / "large").exists()
    assert "there is none of that name" in ends[0].error
