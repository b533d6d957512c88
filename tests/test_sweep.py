"""Sweeps: which cells there are, that what is finished is not done again, and what the comparison says."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest

from compseg_jax.cli import sweep as sweep_command
from compseg_jax.cli.main import main
from compseg_jax.config import Training, recipe, recipe_text
from compseg_jax.ingest.phantom.phantom_store import PhantomOptions, write_phantom
from compseg_jax.ingest.phantom.spots import PhantomConfig
from compseg_jax.model.run_folder import write_run
from compseg_jax.prediction.claims import Claims
from compseg_jax.runtime.interrupts import StopRequest
from compseg_jax.runtime.jobs import Job, JobEnd, run_here
from compseg_jax.training.sweep.comparison import Spread
from compseg_jax.training.sweep.options import SweepOptions
from compseg_jax.training.sweep.plan import PLAN_FILE, SweepError, begin, planned, read_plan
from tests.store_example import write_store

SMALL = ("--vary", "epochs=2", "network.base=2", "network.depth=0", "starts=1")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("made") / "store").path


def asked(out: Path, store: Path = Path("store"), **changes) -> SweepOptions:
    return replace(SweepOptions(data=store, out=out), **changes)


def test_cells_are_recipes_by_values_by_seeds_by_folds(tmp_path):
    (tmp_path / "mine.toml").write_text('recipe = "cam"\nepochs = 7\n')
    own = str(tmp_path / "mine.toml")
    plan = planned(
        asked(tmp_path, recipes=f"default,{own}", seeds="3, 1", folds=2, vary=("alpha=.1,.2", "base=4"))
    )
    assert list(plan.variants) == [
        "default alpha=.1 base=4", "default alpha=.2 base=4", "mine alpha=.1 base=4", "mine alpha=.2 base=4",
    ]  # fmt: skip
    assert len(plan.cells) == 4 * 2 * 2
    assert plan.cells[0].name == "default-alpha=.1-base=4-seed3-fold0"
    config = plan.config(plan.named("mine-alpha=.2-base=4-seed1-fold1"), asked(tmp_path))
    assert (config.epochs, config.objective.alpha, config.network.base, config.seed) == (7, 0.2, 4, 1)
    assert (config.ensemble.folds, config.ensemble.fold, config.resume) == (2, 1, False)
    assert config.out == tmp_path / "cells" / "mine-alpha=.2-base=4-seed1-fold1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": "defualt"}, "Did you mean default?"),
        ({"recipes": "default,,cam"}, "single commas"),
        ({"seeds": "0,x"}, "'x' is no seed"),
        ({"seeds": "0,4294967296"}, "must be at least 0 and at most 4,294,967,295"),
        ({"folds": 0}, "at least 1"),
        ({"folds": 2, "split": "val"}, "Leave out --split"),
        ({"vary": ("alpha",)}, "FIELD=VALUE,VALUE is required"),
        ({"vary": ("alpha=1", "alpha=2")}, "given twice"),
        ({"vary": ("alfa=.1",)}, "no such field"),
        ({"vary": ("seed=1,2",)}, "The sweep sets it itself"),
        ({"vary": ("epochs=many",)}, 'epochs = "many": must be an integer'),
        ({"vary": ("optimiser.decay=2",)}, "decay=2.0: must be at least 0 and below 1"),
        ({"vary": ("prepare=emsc",)}, "a recipe file for each"),
        ({"vary": ("seeds=2",), "folds": 2}, "an ensemble already"),
        ({"shard": "3/2"}, "I from 1 to N"),
        ({"out": Path("s3:/lab/sweep")}, "checkpoints need a file system"),
    ],
)
def test_what_is_no_sweep_is_refused(changes, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?").replace("[", r"\[")):
        planned(replace(asked(Path("out")), **changes))


def test_recipe_files_of_one_name_are_refused(tmp_path):
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my.toml").write_text("epochs = 3\n")
        names.append(str(tmp_path / folder / "my.toml"))
    with pytest.raises(SweepError, match="two cells would be called my-seed0"):
        planned(asked(tmp_path, recipes=",".join(names)))


def test_a_folder_goes_on_with_more_but_not_with_something_else(tmp_path, store):
    mine, out = tmp_path / "mine.toml", tmp_path / "out"
    mine.write_text(recipe_text(recipe("cam"), "cam"))
    first, own = begin(asked(out, store, recipes=str(mine), seeds="0"))
    assert [cell.name for cell in own] == ["mine-seed0"]
    more, own = begin(asked(out, store, recipes=f"{mine},default", seeds="1"))
    assert [cell.name for cell in own] == ["mine-seed1", "default-seed1"]
    assert more.cells == (*first.cells, *own)
    assert read_plan(out) == more
    kept = (out / PLAN_FILE).read_bytes()
    mine.write_text('recipe = "cam"\nepochs = 99\n')
    with pytest.raises(SweepError, match=r"another recipe of this name .*epochs \d+ → 99"):
        begin(asked(out, store, recipes=str(mine)))
    with pytest.raises(SweepError, match="begun with folds 1, not 3"):
        begin(asked(out, store, folds=3))
    with pytest.raises(SweepError, match=r"begun with data .*store, not .*other"):
        begin(asked(out, tmp_path / "other"))
    assert (out / PLAN_FILE).read_bytes() == kept
    with pytest.raises(SweepError, match="holds no sweep"):
        begin(asked(store, store))


def test_a_store_without_test_samples_is_refused_before_any_work(tmp_path):
    few = write_store(tmp_path / "few", splits=("train", "val")).path
    with pytest.raises(ValueError, match=r"no samples in the split 'test', only in train, val\. .*flatters"):
        begin(asked(tmp_path / "out", few))
    assert not (tmp_path / "out").exists()


def test_shards_are_all_cells_once(tmp_path, store):
    options = asked(tmp_path / "out", store, recipes="default,cam", seeds="0,1,2,3")
    parts = [begin(replace(options, shard=f"{i}/3"))[1] for i in (1, 2, 3)]
    assert sorted(cell.name for part in parts for cell in part) == sorted(
        cell.name for cell in planned(options).cells
    )
    assert {len(part) for part in parts} == {2, 3}


DICE = {"default-seed0": 0.5, "default-seed1": 0.7, "cam-seed0": 0.25, "cam-seed1": None}


def write_outcome(folder: Path, dice: float | None) -> None:
    """What a finished cell leaves that the comparison looks at."""
    report = folder / "report"
    report.mkdir(parents=True)
    verdict = {"labels_learnt": True, "map_usable": dice and dice > 0.3, "sentence": "Labels: learnt <so>."}
    metrics = {"verdict": verdict, "auc_area": 0.875, "n_with_reference": 2}
    (report / "samples.csv").write_text("id,label,area_fraction\na,1,0.5\nb,0,0.125\nc,1,0.25\n")
    write_run(folder, Training(out=folder))
    (folder / "log.jsonl").write_text('{"epoch": 1, "seconds": 1.5}\n{"epoch": 2, "seconds": 2.5}\n')
    (report / "metrics.json").write_text(json.dumps(metrics | ({} if dice is None else {"dice_mean": dice})))


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))


@pytest.fixture
def jobs(monkeypatch):
    """Stands for the processes of cells: what they were started with, in their order."""
    started: list[str] = []

    def run(job: Job, *, watch) -> JobEnd:
        started.append(job.name)
        assert job.words[0] == "sweep"
        assert job.words[-2:] == ("--cell", job.name)
        assert "--shard" not in job.words
        watch()
        if run.failing == job.name:
            return JobEnd(1, "the gradient is not finite")
        write_outcome(job.log.with_suffix(""), DICE[job.name])
        return JobEnd(0)

    run.failing = ""
    monkeypatch.setattr(sweep_command, "run_here", run)
    return run, started


def words_for(store: Path, out: Path, *more: str) -> list[str]:
    return ["sweep", str(store), "--out", str(out), "--recipes", "default,cam", "--seeds", "0,1", *more]


def test_finished_cells_are_not_run_again_and_failed_ones_are(tmp_path, store, jobs, capsys):
    run, started = jobs
    words = words_for(store, tmp_path / "out")
    run.failing = "default-seed1"
    assert main(words) == 1
    assert started == list(DICE)
    said = capsys.readouterr().out
    assert "default-seed1: failed (the gradient is not finite)" in said
    rows = {row["recipe"] + row["seed"]: row for row in table(tmp_path / "out")}
    assert rows["default1"]["status"] == "failed: the gradient is not finite"
    assert rows["default0"]["status"] == "finished"
    run.failing = ""
    started.clear()
    assert main(words) == 0
    assert started == ["default-seed1"]
    assert "4 trainings, 3 of them finished before" in capsys.readouterr().out
    started.clear()
    assert main(words) == 0
    assert started == []


def test_the_comparison_has_means_and_spreads_of_each_recipe(tmp_path, store, jobs, capsys):
    assert main(words_for(store, tmp_path / "out")) == 0
    found = json.loads((tmp_path / "out/sweep.json").read_text())
    default, cam = found["recipes"]
    assert default["dice"] == {"mean": pytest.approx(0.6), "sd": pytest.approx(stdev([0.5, 0.7]))}
    assert cam["dice"] == {"mean": 0.25, "sd": None}
    assert (default["usable"], cam["usable"], cam["finished"], cam["cells"]) == (2, 0, 2, 2)
    assert default["area"]["mean"] == pytest.approx(fmean([0.5, 0.25]))
    assert default["seconds"]["mean"] == 4.0
    said = capsys.readouterr().out
    assert "0.600 ± 0.141" in said
    lines = [line.split() for line in said.splitlines() if line.startswith("cam ")]
    assert lines[0][:6] == ["cam", "0", "0.875", "0.250", "37.5", "%"]
    page = (tmp_path / "out/sweep.html").read_text()
    assert 'href="cells/default-seed0/report/report.html"' in page
    assert "Labels: learnt &lt;so&gt;." in page
    assert "<so>" not in page


def test_shards_leave_a_table_of_what_is_there_and_the_last_one_of_all(tmp_path, store, jobs, capsys):
    words = words_for(store, tmp_path / "out")
    assert main([*words, "--shard", "1/2"]) == 0
    assert "2 of 4 trainings are not finished yet" in capsys.readouterr().out
    assert main([*words, "--shard=2/2"]) == 0
    assert "not finished" not in capsys.readouterr().out
    assert {row["status"] for row in table(tmp_path / "out")} == {"finished"}


def test_a_stopped_sweep_says_how_to_go_on(tmp_path, store, monkeypatch, capsys):
    def run(job: Job, *, watch) -> JobEnd:
        write_outcome(job.log.with_suffix(""), 0.5)
        return JobEnd(130 if job.name == "default-seed1" else 0)

    monkeypatch.setattr(sweep_command, "run_here", run)
    monkeypatch.setattr(sweep_command, "note", lambda *_: None)
    assert main(words_for(store, tmp_path / "out")) == 130
    assert "2 of 4 trainings are finished" in capsys.readouterr().err
    assert StopRequest().requested is False


def test_progress_is_that_of_the_epochs_the_run_has_chosen(tmp_path, store):
    plan, (cell,) = begin(asked(tmp_path, store, seeds="0"))
    assert plan.variants["default"].epochs == 0  # chosen by the run
    assert plan.progress(cell) == 0
    folder = plan.folder(cell)
    folder.mkdir(parents=True)
    write_run(folder, Training(out=folder, epochs=4))
    (folder / "log.jsonl").write_text('{"epoch": 1}\n')
    assert plan.progress(cell) == 0.25
    plan.put_failure(cell, "no reason")
    assert (plan.progress(cell), plan.failure(cell), plan.is_finished(cell)) == (1.0, "no reason", False)


def test_a_mean_of_unknowns_is_unknown():
    assert Spread.of([None, None]) == Spread(None, None)
    assert Spread.of([0.5, None]).text(2) == "0.50"


def test_a_job_tells_its_error_and_stops_when_asked(tmp_path):
    log = tmp_path / "jobs" / "one.log"
    failed = run_here(Job("one", ("recipe", "no-such"), log), watch=lambda: False)
    assert failed.code == 1
    assert failed.error.startswith("recipe 'no-such': there is none of that name")
    assert "no-such" in log.read_text()
    began = time.monotonic()
    stopped = run_here(Job("two", ("phantom", "--out", str(tmp_path / "s")), log), watch=lambda: True)
    assert stopped.code != 0
    assert time.monotonic() - began < 20


def phantom(place: Path) -> Path:
    config = PhantomConfig(size=16, channels=4, difficulty=0.0)
    write_phantom(PhantomOptions(out=place, train=6, val=4, test=4, phantom=config))
    return place


@pytest.mark.slow
def test_a_cell_is_trained_and_evaluated_once_and_by_one_process(tmp_path, capsys, monkeypatch):
    store, out = phantom(tmp_path / "store"), tmp_path / "out"
    words = ["sweep", str(store), "--out", str(out), "--seeds", "0", "--recipes", "cam", *SMALL]
    plan, (cell,) = begin(asked(out, store, seeds="0", recipes="cam", vary=SMALL[1:]))
    (out / "cells").mkdir()
    with Claims(out / "cells").take(cell.name):
        assert main([*words, "--cell", cell.name]) == 0
        assert "in the hands of another process" in capsys.readouterr().out
        assert not plan.folder(cell).exists()
    assert main([*words, "--cell", cell.name]) == 0
    assert plan.is_finished(cell)
    assert (plan.progress(cell), plan.failure(cell)) == (1.0, "")
    assert len((plan.folder(cell) / "log.jsonl").read_text().splitlines()) == 2
    assert not list((out / "cells").glob(".*claim*"))
    before = (plan.folder(cell) / "report/metrics.json").stat().st_mtime_ns
    assert main([*words, "--cell", cell.name]) == 0
    assert (plan.folder(cell) / "report/metrics.json").stat().st_mtime_ns == before
    # Trained, but killed before its report: the training is not done again.
    shutil.rmtree(plan.folder(cell) / "report")
    assert plan.config(cell, asked(out, store)).resume
    assert main([*words, "--cell", cell.name]) == 0
    assert plan.is_finished(cell)
    assert main(["sweep", str(store), "--out", str(out), "--cell", "none"]) == 1
    assert PLAN_FILE in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_ends_as_if_it_had_not_been(tmp_path):
    store = phantom(tmp_path / "store")

    def command(out: Path) -> list[str]:
        options = ["--seeds", "0,1", "--recipes", "cam", "--vary", "epochs=40", *SMALL[2:]]
        return [sys.executable, "-m", "compseg_jax.cli", "sweep", str(store), "--out", str(out), *options]

    killed = subprocess.Popen(command(tmp_path / "a"), start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "a").glob("cells/*/checkpoints/*/progress")) and time.monotonic() < deadline:
        assert killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not list((tmp_path / "a").glob("cells/*/report"))
    for name in ("a", "b"):
        subprocess.run(command(tmp_path / name), check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads((tmp_path / name / "sweep.json").read_text())["cells"] for name in ("a", "b")]
    for one, other in zip(*rows, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert len(rows[0]) == 2
