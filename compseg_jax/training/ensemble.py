"""An ensemble trained: the networks of all folds and seeds, and what they make of samples they did not see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compseg_jax.config import Ensemble, Training, to_json
from compseg_jax.evaluation.cross_validation import HeldOut, choice_as_json, cross_validate
from compseg_jax.evaluation.report.report_tables import samples_csv
from compseg_jax.model import ExtractedNetwork, Model
from compseg_jax.model.call_chance import VALIDATION_AREAS
from compseg_jax.model.level import VALIDATION_LEVELS
from compseg_jax.model.model_files import (
    ENSEMBLE,
    ENSEMBLE_JSON,
    MEMBERS,
    load_network,
    read_description,
)
from compseg_jax.model.run_folder import GRAFTING, is_trained
from compseg_jax.runtime import data_mesh
from compseg_jax.runtime.csv_tables import csv_text
from compseg_jax.runtime.files import json_text, write_text
from compseg_jax.runtime.interrupts import Interrupted, stop_requests
from compseg_jax.runtime.self_check import refuse_wrong_results
from compseg_jax.runtime.together import exchanged, is_first, spread, wait_for_all
from compseg_jax.runtime.versions import versions
from compseg_jax.store.check import check_table, refuse_problems
from compseg_jax.store.folds import fold_of_samples, holding_out
from compseg_jax.store.prepared import CubeMemory, PreparedStore
from compseg_jax.store.read import Sample, Store
from compseg_jax.training.checkpoint import Checkpoints, has_checkpoint
from compseg_jax.training.epochs import with_epochs
from compseg_jax.training.loop import train_epochs, write_config
from compseg_jax.training.one_writer import Guard, only_writer
from compseg_jax.training.progress import TrainingError, resuming
from compseg_jax.training.run import RunError, Setup, extract, graft, memory_beside, set_up
from compseg_jax.training.same_run import fingerprint_of, refuse_another_store, refuse_other_options
from compseg_jax.training.side_by_side import Member, members_that_fit, train_side_by_side

FOLDS_FILE = "folds.csv"
OUT_OF_FOLD_FILE = "out_of_fold.csv"


@dataclass(frozen=True)
class MemberRun:
    """One network of an ensemble: an ordinary run that holds one fold out."""

    fold: int
    config: Training

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.config.out.name

    @property
    def model(self) -> Path:
        """Folder of its extracted network."""
        return self.config.out / "model"

    def is_finished(self) -> bool:
        """Whether its network was extracted at the end of the run."""
        if not (self.model / "model.json").is_file():
            return False
        return is_trained(self.config, read_description(self.model))

    def continued(self) -> Training:
        """The run from where it stands."""
        return replace(self.config, resume=has_checkpoint(self.config.out / "checkpoints"))


def member_runs(config: Training) -> list[MemberRun]:
    """The runs of an ensemble, by fold and seed; each can be trained alone and gives the same network."""
    return [
        MemberRun(fold, _member_config(config, fold, config.seed + number))
        for fold in range(config.ensemble.folds)
        for number in range(config.ensemble.seeds)
    ]


def _member_config(config: Training, fold: int, seed: int) -> Training:
    own = Ensemble(folds=config.ensemble.folds, fold=fold, fold_seed=config.ensemble.fold_seed)
    out = config.out / MEMBERS / f"fold{fold}-seed{seed}"
    return replace(
        config, out=out, seed=seed, ensemble=own, second_view=False, self_check=False, resume=False
    )


def train_ensemble(config: Training) -> Path:
    """Trains the networks of all folds and seeds and returns the folder of the run, which holds ensemble.json.

    What is finished is not trained again when the run is resumed; more ``seeds`` may be asked for then.

    Raises:
      RunError, StoreError, ModelError, SplitError: before any work, when run, store or starting network do not fit, or
        another process trains in the same folder.
      TrainingError: when the loss of a network is no longer finite.
      Interrupted: after Ctrl-C or SIGTERM; everything is saved.
    """
    with only_writer(config.out) as guard:
        return _train_ensemble(config, guard)


def _train_ensemble(config: Training, guard: Guard) -> Path:
    store = Store.open(config.data)
    config = with_epochs(config, len(store.split("train")), len(store.split("val")))
    folds = fold_of_samples(store, config.ensemble)
    for fold in range(config.ensemble.folds):
        supervised = config.objective.target == "reference"
        findings = check_table(holding_out(store, folds, fold), to_train=True, supervised=supervised)
        refuse_problems(store, findings)
    table = _folds_csv(store, folds)
    _check_folder(config, table)
    cubes = PreparedStore(store, memory=memory_beside(config, for_folds=config.ensemble.folds > 1))
    fingerprint = fingerprint_of(cubes, [sample for sample in store.samples if sample.split != "test"])
    if config.resume:
        refuse_another_store(config, fingerprint)
    if config.self_check:
        refuse_wrong_results()
    wait_for_all()  # each has looked at what the folder held
    write_config(config.out, config, fingerprint)
    if is_first():
        write_text(config.out / FOLDS_FILE, table)
    members = member_runs(config)
    try:
        _train_all(config, cubes, folds, members, guard)
    except Interrupted as stopped:
        done = sum(member.is_finished() for member in members)
        raise Interrupted(
            f"stopped; {done} of {len(members)} networks are trained, everything is saved. Go on with: "
            f"{resuming(config)}"
        ) from stopped
    folder = _put_together(config, cubes, folds, members)
    wait_for_all()
    if is_first():
        cubes.memory.remove_files()
    return folder


def _check_folder(config: Training, folds_table: str) -> None:
    kept, out = config.out / FOLDS_FILE, config.out
    if not config.resume:
        if kept.exists() or has_checkpoint(out / "checkpoints"):
            raise RunError(f"{out} holds a run already. Go on with it by --resume, or choose another --out.")
        return
    if not kept.is_file():
        raise RunError(
            f"{out} holds no ensemble to resume. Leave out --resume, or name its folder with --out."
        )
    refuse_other_options(config)
    if kept.read_text(encoding="utf-8") != folds_table:
        raise RunError(
            f"{config.data} does not hold the samples, labels or groups that {out} was started with ({kept}). Resume "
            "with the same store, or choose another --out."
        )


def _folds_csv(store: Store, fold_of: dict[str, int]) -> str:
    rows = [
        (sample.id, sample.label, sample.group, fold_of.get(sample.id, ""))
        for sample in store.samples
        if sample.split != "test"
    ]
    return csv_text(("id", "label", "group", "fold"), rows)


def _train_all(
    config: Training, cubes: PreparedStore, fold_of: dict[str, int], members: list[MemberRun], guard: Guard
) -> None:
    waiting = [member for member in members if not member.is_finished()]
    wait_for_all()  # before the first of them finishes another
    likeness = {
        member.name: _likeness(holding_out(cubes.store, fold_of, member.fold), config) for member in members
    }
    latest: list[Setup] = []
    with stop_requests() as stop:
        while waiting:
            if stop.requested:
                raise Interrupted("stopped between two networks")
            if len(waiting) < len(members):
                print(f"{len(members) - len(waiting)} of {len(members)} networks are trained", flush=True)
            alike = [member for member in waiting if likeness[member.name] == likeness[waiting[0].name]]
            trained, latest = _train_some(alike, config.ensemble.side_by_side, latest, cubes.memory, guard)
            waiting = [member for member in waiting if member not in trained]


def _likeness(store: Store, config: Training) -> tuple[object, ...]:
    """Networks with equal values can be stacked: steps an epoch, size of the images, whether they are padded."""
    own = store.split("train")
    sizes = {(sample.height, sample.width) for sample in own}
    shape = max(height for height, _ in sizes), max(width for _, width in sizes)
    return -(-len(own) // config.batch_size), shape, len(sizes) > 1


def _train_some(
    alike: Sequence[MemberRun],
    at_once: str | int,
    latest: Sequence[Setup],
    memory: CubeMemory,
    guard: Guard,
) -> tuple[list[MemberRun], list[Setup]]:
    """Trains the first of some runs that can be stacked, or as many of them at once as asked for or as fit."""
    chosen: list[MemberRun] = []
    setups: list[Setup] = []
    with ExitStack() as stack:
        standing: list[Member] = []
        n = len(alike) if at_once == "auto" else int(at_once)
        # Networks side by side have another program, and how many fit is asked of the first one's own.
        alone = n == 1 or (at_once == "auto" and data_mesh().devices.flat[0].platform == "cpu")
        for run in alike:
            if len(chosen) == n:
                break
            same_data = [s for s in (*setups, *latest) if s.config.ensemble == run.config.ensemble]
            print(run.name, end=": ", flush=True)
            shared = same_data[0] if same_data else None
            own = run.continued()
            if own.microbatch == "auto" and not own.resume and (setups or latest):
                # Networks that are stacked have one plan.
                own = replace(own, microbatch=(*setups, *latest)[0].config.microbatch)
            setups.append(set_up(own, shared, memory, compile_beside=alone))
            chosen.append(run)
            standing.append(_standing(setups[-1], stack, guard))
            if at_once == "auto" and len(chosen) == 1:
                n = min(exchanged(members_that_fit(standing[0], n)))
        _to_the_end(standing)
        for setup, member in zip(setups, standing, strict=True):
            graft(setup, extract(setup, member.progress, quiet=True), guard)
    return chosen, setups


def _standing(setup: Setup, stack: ExitStack, guard: Guard) -> Member:
    folder = setup.config.out
    checkpoints = stack.enter_context(Checkpoints(folder / "checkpoints", guard))
    state, progress = setup.begun(checkpoints)
    return Member(setup.run, state, progress, checkpoints, folder)


def _to_the_end(members: Sequence[Member]) -> None:
    """Trains networks side by side that stand at the same step; killed runs and failed starts leave them apart."""
    while waiting := [m for m in members if len(m.progress.history) < m.run.config.epochs]:
        by_step: dict[tuple[int, int], list[Member]] = {}
        for member in waiting:
            step = len(member.progress.history), len(member.progress.steps)
            by_step.setdefault(step, []).append(member)
        group = next(iter(by_step.values()))
        names = ", ".join(member.folder.name for member in group)
        try:
            if len(group) == 1:
                (one,) = group
                one.progress = train_epochs(one.run, one.state, one.progress, one.checkpoints, one.folder)
            else:
                print(f"{len(group)} networks side by side: {names}", flush=True)
                train_side_by_side(group, data_mesh())
        except TrainingError as error:
            raise TrainingError(f"{names}: {error}") from error


def _put_together(
    config: Training, cubes: PreparedStore, fold_of: dict[str, int], members: Sequence[MemberRun]
) -> Path:
    """Predicts every sample by the networks that held it out, and writes ensemble.json."""
    models = {member.name: load_network(member.model, config.network.network) for member in members}
    held_out = list(_held_out(cubes, fold_of, members, models))
    # Maps are means over networks: those that learnt from grafts decide where all of them did.
    from_grafts = all((model.description.get(GRAFTING) or {}).get("kept") for model in models.values())
    outcome = cross_validate(held_out, rule=config.threshold, halfway=from_grafts, seed=config.seed)
    if not outcome.choice.supported:
        print(f"threshold: {outcome.choice.rule}, because {outcome.choice.reason}")
    values = {
        "threshold": outcome.choice.threshold,
        "area_cut": outcome.area_cut,
        VALIDATION_AREAS: outcome.validation_areas,
        VALIDATION_LEVELS: outcome.validation_levels if outcome.choice.supported else None,
        "prepared_steps": len(cubes.store.preparation or []),
        "members": [_entry(config.out, member, models[member.name]) for member in members],
        "folds": config.ensemble.folds,
        "seeds": config.ensemble.seeds,
        "threshold_choice": choice_as_json(outcome.choice),
        "cross_validation": outcome.metrics,
        "recipe": config.recipe,
        "config": to_json(config),
        "versions": versions(),
    }
    if is_first():
        write_text(config.out / OUT_OF_FOLD_FILE, samples_csv(outcome.rows))
        write_text(config.out / ENSEMBLE, json_text(ENSEMBLE_JSON.stamped(values)))
    return config.out


def _held_out(
    cubes: PreparedStore,
    fold_of: dict[str, int],
    members: Sequence[MemberRun],
    models: dict[str, ExtractedNetwork],
) -> Iterator[HeldOut]:
    store = cubes.store
    for fold in sorted({member.fold for member in members}):
        own = [models[member.name] for member in members if member.fold == fold]
        samples: list[Sample] = [sample for sample in store.samples if fold_of.get(sample.id) == fold]
        # The networks of a fold share their training samples, and so what the preparation learnt from them.
        after = cubes.after(own[0].steps_after(store.preparation or (), str(store.path)))
        model, rough = Model.of(*own), Model.of(*(each.smoothed_by(0) for each in own))
        is_smoothed = any(each.smoothing_px for each in own)

        def held_out(
            some: Iterable[Sample],
            fold: int = fold,
            after: PreparedStore = after,
            model: Model = model,
            rough: Model | None = rough if is_smoothed else None,
        ) -> Iterator[HeldOut]:
            for sample in some:
                cube, tissue = after.read(sample.id)
                prediction = model.predict(cube, tissue=tissue, prepared=True)
                before = None
                if rough is not None:
                    before = rough.predict(cube, tissue=tissue, prepared=True).activation
                yield HeldOut.of(fold, sample, prediction, store, unsmoothed=before)

        yield from spread(held_out, samples)


def _entry(run: Path, member: MemberRun, model: ExtractedNetwork) -> dict[str, Any]:
    return {
        "model": member.model.relative_to(run).as_posix(),
        "fold": member.fold,
        "seed": member.config.seed,
        "validation_loss": model.description["best_epoch"]["val_loss"],
        "threshold": model.threshold,
        "weights_sha256": model.description["weights_sha256"],
    }
