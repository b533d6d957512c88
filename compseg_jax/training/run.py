"""A training run from store to extracted network: `compseg train`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from compseg_jax.config import PAPER_THRESHOLD, Training, to_json
from compseg_jax.evaluation.cross_validation import choice_as_json
from compseg_jax.model import ExtractedNetwork, load_model
from compseg_jax.model.model_card import LEARNT_FROM, LICENCE
from compseg_jax.model.model_files import is_ensemble_run, load_network, save_network
from compseg_jax.model.run_folder import read_run
from compseg_jax.model.scale import TRAINED_RANGE_UM
from compseg_jax.model.seen import Role, Seen, SeenSample
from compseg_jax.model.training_trouble import TROUBLE
from compseg_jax.networks.build import build_network, count_parameters
from compseg_jax.networks.front import front_from_principal_components
from compseg_jax.readers.axis import same_axis
from compseg_jax.runtime import data_mesh
from compseg_jax.runtime.interrupts import Interrupted
from compseg_jax.runtime.self_check import refuse_wrong_results
from compseg_jax.runtime.together import is_first, process_count, spread, wait_for_all
from compseg_jax.runtime.versions import versions
from compseg_jax.spectra.preparation import KeptChunks, Preparation
from compseg_jax.store.check import FEWEST_VALIDATION_SAMPLES, check_table, refuse_problems
from compseg_jax.store.folds import as_configured
from compseg_jax.store.input_preparation import fit_input_preparation, instead_of_auto
from compseg_jax.store.prepared import (
    FOLDER,
    CubeMemory,
    PreparedStore,
    axis_after,
    fit_scaling,
)
from compseg_jax.store.read import Sample, Store
from compseg_jax.training.checkpoint import Checkpoints, has_checkpoint
from compseg_jax.training.epochs import with_epochs
from compseg_jax.training.feed import ResidentFeed
from compseg_jax.training.grafting import (
    Grafted,
    begins_with,
    described,
    grafting,
    is_due,
    marked_part,
    marks_of,
)
from compseg_jax.training.initial_state import (
    RunError,
    as_first,
    initial_state,
    later_state,
    ordering_of,
    with_front_that_pays,
)
from compseg_jax.training.loop import Run, train_epochs, write_config
from compseg_jax.training.map_and_calls import map_and_calls, results
from compseg_jax.training.microbatch import with_microbatch_that_fits
from compseg_jax.training.one_writer import Guard, only_writer
from compseg_jax.training.programs import Programs
from compseg_jax.training.progress import Progress, TrainingError, resuming
from compseg_jax.training.recipe_hint import recipe_hint
from compseg_jax.training.same_run import (
    fingerprint_of,
    fingerprint_of_values,
    refuse_another_store,
    refuse_other_options,
)
from compseg_jax.training.samples import Marks, Samples, Shapes, drawn_spectra
from compseg_jax.training.second_view import agreement_on_validation, has_second_view, second_view
from compseg_jax.training.step import TrainState
from compseg_jax.training.trouble import told_by_model


@dataclass(frozen=True)
class Setup:
    """What a run starts from.

    Attributes:
      config: the run.
      store: its samples, split as the run needs them.
      training: its training samples, prepared and scaled.
      state: the state before the first step.
      run: data on the devices and compiled steps.
      seen: samples that train and choose the network, and those of a network that it goes on from.
      fingerprint: what tells the store from any other.
    """

    config: Training
    store: Store
    training: Samples
    state: TrainState
    run: Run
    seen: Seen
    fingerprint: dict[str, str]

    def begun(self, checkpoints: Checkpoints) -> tuple[TrainState, Progress]:
        """Where the run stands: at its start, or at the latest checkpoint where it is resumed.

        ``config.json`` is written once that is known: what cannot go on leaves its folder as it was.
        """
        state, progress = self.state, Progress(history=[])
        if self.config.resume:
            state, best, saved = checkpoints.restore(state)
            progress = Progress(**saved, best=best)
        wait_for_all()  # each has looked at what the folder held
        write_config(self.config.out, self.config, self.fingerprint)
        return state, progress


def set_up(
    config: Training,
    shared: Setup | None = None,
    memory: CubeMemory | None = None,
    *,
    marks: Marks | None = None,
    compile_beside: bool = False,
) -> Setup:
    """Checks a run, reads its data and builds its network; nothing is written.

    Args:
      config: the run, of one network.
      shared: a run on the same samples that differs in seed or network alone, whose data is used again.
      memory: cubes that runs on other folds of the same store have read; one of this run alone when None.
      marks: of the training and validation samples of ``shared``, to learn from.
      compile_beside: compiles the steps in a thread while cubes are read, for a run that trains at once.

    Raises:
      RunError, StoreError, ModelError, SplitError: when run, store or starting network do not fit.
    """
    if config.ensemble.n_members > 1:
        raise RunError(
            f"{config.ensemble.n_members} networks are asked for; train them with "
            "compseg_jax.training.ensemble.train_ensemble."
        )
    if config.objective.target == "marks" and (shared is None or marks is None):
        raise RunError(
            "target='marks' is what `grafting` sets for its second phase, and needs the network of a first one. Choose "
            "target='label' and grafting=True."
        )
    if shared is None:
        given = Store.open(config.data)
        config = with_epochs(config, len(given.split("train")), len(given.split("val")))
        store = as_configured(given, config.ensemble)
    else:
        store = shared.store
    refuse_problems(
        store, check_table(store, to_train=True, supervised=config.objective.target == "reference")
    )
    _check_folder(config)
    cubes = (
        PreparedStore(store, memory=memory or memory_beside(config))
        if shared is None
        else shared.training.cubes
    )
    fingerprint = fingerprint_of(cubes, (*store.split("train"), *store.split("val")))
    if config.resume:
        refuse_another_store(config, fingerprint)
        refuse_other_options(config, but_for=("network.front",))
    if config.microbatch == "auto" and (config.resume or shared is not None):
        before = read_run(config.out) if shared is None else shared.config
        config = replace(config, microbatch=before.microbatch)
    start = _starting_network(config)
    if (
        start is not None
        and config.network.front
        and not getattr(start.network, "front", config.network.front)
    ):
        print(f"no front: {config.init_from} has none, as it learnt from grafts")
        config = replace(config, network=replace(config.network, front=0))
    if shared is None:
        cubes = cubes.after(_preparation(config, cubes, start))
    preparation = cubes.preparation
    axis = axis_after(store, preparation)
    channels = store.channels if preparation is None else preparation.wavenumbers_cm1.size
    if start is not None and not (
        channels == len(start.scaling.mean) and same_axis(axis, start.wavenumbers_cm1)
    ):
        raise RunError(
            f"{config.data} gives {channels} channels after its preparation, {config.init_from} was trained on "
            f"{len(start.scaling.mean)}; number and axis must be the same to go on from it. Ingest the files with "
            "--prepare resample to that axis, or start anew without --init-from."
        )
    if config.self_check:
        refuse_wrong_results()
    asked, config = config, with_front_that_pays(config, channels)
    if asked.network.front != config.network.front:
        print(
            f"no front: {channels} channels are fewer than four for each of its {asked.network.front} features"
        )
    if config.resume:
        refuse_other_options(config)
    mesh = data_mesh()
    state = initial_state(config, store, start, mesh, channels)
    print(_summary(config, store, state, mesh))
    if shared is None and (hint := recipe_hint(config, store)):
        print(hint)
    if shared is not None:
        run = shared.run if marks is None else shared.run.marked(marks)
        programs = replace(run.programs, config=config)
        ordering = ordering_of(config, store)
        run = replace(run, config=config, ordering=ordering, programs=programs, compiling=None)
        training = shared.training
    else:
        programs = _programs(config, store, channels, mesh)
        if config.microbatch == "auto":
            programs, state, said = with_microbatch_that_fits(programs, state)
            config = programs.config
            print(said)
        alone = process_count() == 1  # several would have to compile in one order
        compiling = programs.compile_beside(state) if compile_beside and alone else None
        training, run = _data(config, cubes, start, programs)
        run = replace(run, compiling=compiling)
    fingerprint |= fingerprint_of_values(cubes, store.split("train"))
    if config.resume:
        refuse_another_store(config, fingerprint)
    spectra = None
    if config.network.front and config.network.front_start == "principal_components" and start is None:
        spectra = jnp.asarray(drawn_spectra(training, config.seed))
        state = replace(state, variables=front_from_principal_components(state.variables, spectra))
    state = as_first(state, mesh)
    run = replace(run, fresh_state=partial(later_state, run, store, mesh, channels, spectra))
    return Setup(config, store, training, state, run, _seen(cubes, start), fingerprint)


def _programs(config: Training, store: Store, channels: int, mesh: Mesh) -> Programs:
    supervised = config.objective.target == "reference"
    train, val = (Shapes(store.split(name), channels, supervised) for name in ("train", "val"))
    return Programs.of(config, train, val, mesh)


def _data(
    config: Training, cubes: PreparedStore, start: ExtractedNetwork | None, programs: Programs
) -> tuple[Samples, Run]:
    """The training samples, and both splits made ready on the devices."""
    # A network that goes on from another one expects the scaling it was trained with.
    scaling = fit_scaling(cubes, cubes.store.split("train")) if start is None else start.scaling
    supervised = config.objective.target == "reference"
    train, val = (Samples(cubes, cubes.store.split(name), scaling, supervised) for name in ("train", "val"))
    return train, Run.prepare(config, train, val, programs)


def train(config: Training) -> Path:
    """Trains, extracts the network of the best validation epoch and returns its folder, ``out``/model.

    Raises:
      RunError, StoreError, ModelError: before any work, when run, store or starting network do not fit, or another
        process trains in the same folder.
      TrainingError: when the loss is no longer finite; the network of the best epoch before is in ``out``/model.
      Interrupted: after Ctrl-C or SIGTERM; the run is saved, and what it has learnt so far is in ``out``/model.
    """
    with only_writer(config.out) as guard:
        return _train(config, guard)


def _train(config: Training, guard: Guard) -> Path:
    setup = set_up(config, compile_beside=True)
    memory = setup.training.cubes.memory
    # While the cubes are at hand: it is kept with the samples.
    _ = setup.training.distribution
    if isinstance(setup.run.train_feed, ResidentFeed):
        memory.forget(sample.id for sample in setup.training.samples)
    extracted = graft(setup, _to_the_end(setup, guard), guard)
    if has_second_view(config):
        _compare_with_second_view(setup, extracted, guard)
    wait_for_all()
    if is_first():
        memory.remove_files()
    return extracted


def _to_the_end(setup: Setup, guard: Guard, *, quiet: bool = False) -> Path:
    """Trains from where a run stands, and extracts the network of its best epoch, whatever ends it."""
    config = setup.config
    with Checkpoints(config.out / "checkpoints", guard) as checkpoints:
        state, progress = setup.begun(checkpoints)
        try:
            progress = train_epochs(setup.run, state, progress, checkpoints, config.out)
        except (Interrupted, TrainingError):
            # What was learnt must not be lost with the run, whatever stopped it.
            if progress.best_epoch:
                extract(setup, progress)
            raise
        return extract(setup, progress, quiet=quiet)


def graft(setup: Setup, extracted: Path, guard: Guard) -> Path:
    """Goes on from an extracted network where a run has a second phase and it is due; returns its folder.

    The network that is kept lies in the same folder afterwards, and says in model.json what decided.
    """
    config = setup.config
    if not config.grafting:
        return extracted
    own_network = config.network.network
    first = load_network(extracted, own_network)
    second = None
    if not is_due(first.description):
        grafted = Grafted(begun=False, kept=False, why="labels of validation samples give no threshold")
    else:
        print("second phase, which learns from grafts:", end=" ", flush=True)
        cubes, samples = setup.training.cubes, setup.training.samples
        marks = marks_of(results(first, (*samples, *cubes.store.split("val")), cubes), first.threshold)
        following = set_up(grafting(config), shared=setup, marks=marks)
        # Read once more: training takes the arrays of its first state for itself.
        begun_with = begins_with(load_network(extracted, own_network).variables)
        state = as_first(replace(following.state, variables=begun_with), data_mesh())
        following = replace(following, state=state)
        try:
            second = load_network(_to_the_end(following, guard, quiet=True), own_network)
            grafted = Grafted.compare(first.description, second.description, marked_part(marks, samples))
        except Interrupted as stopped:
            raise Interrupted(
                "stopped in the second phase, which learns from grafts; the network of the first lies in "
                f"{extracted}. Go on with: {resuming(config)}"
            ) from stopped
        except TrainingError as error:
            grafted = Grafted(begun=True, kept=False, why=f"given up: {error}")
        print(f"second phase: {'kept' if grafted.kept else 'not kept'}, {grafted.why}")
    own = second if second is not None and grafted.kept else first
    said = described(first.description, None if second is None else second.description, grafted)
    wait_for_all()  # all have read what is replaced
    if is_first():
        _put_back(extracted, replace(own, description=said), config)
    wait_for_all()
    return extracted


def _put_back(folder: Path, network: ExtractedNetwork, config: Training) -> None:
    """Writes a network of a run anew; one of the second phase has no front."""
    front = getattr(network.network, "front", config.network.front)
    save_network(folder, network, replace(config.network, front=front))


def _compare_with_second_view(setup: Setup, extracted: Path, guard: Guard) -> None:
    """Trains a second network of another view, and writes into model.json how far both agree."""
    config = setup.config
    print("second view:", end=" ", flush=True)
    second = set_up(second_view(config), shared=setup)
    try:
        folder = _to_the_end(second, guard, quiet=True)
    except Interrupted as stopped:
        raise Interrupted(
            f"stopped in the second network, which checks the map; the first is trained and lies in {extracted}. "
            f"Go on with: {resuming(config)}"
        ) from stopped
    except TrainingError as error:
        # The network that was asked for is trained; only its check is missing, and reports say so.
        print(f"second view: given up, the map stays unchecked: {error}")
        return
    first = load_network(extracted)
    found = agreement_on_validation(first, load_network(folder), setup.training.cubes)
    first = replace(first, description={**first.description, "second_view": found})
    wait_for_all()  # all have read what is replaced
    if is_first():
        _put_back(extracted, first, config)


def memory_beside(config: Training, *, for_folds: bool = False) -> CubeMemory:
    """Where cubes of a run, or of all runs of an ensemble, are held and kept."""
    return CubeMemory(KeptChunks(config.out / FOLDER), for_folds=for_folds)


def _preparation(
    config: Training, cubes: PreparedStore, start: ExtractedNetwork | None
) -> Preparation | None:
    """Steps between store and scaling; a network that goes on from another one keeps the other's."""
    store = cubes.store
    if start is not None:
        return start.steps_after(store.preparation or (), str(store.path))
    words, told = instead_of_auto(cubes, store.split("train"), config.prepare)
    if told:
        print(told)
    return fit_input_preparation(cubes, store.split("train"), words)


ROLES: dict[str, Role] = {"train": "training", "val": "choice"}


def _seen(cubes: PreparedStore, start: ExtractedNetwork | None) -> Seen:
    def contents(some: Iterable[Sample]) -> Iterator[str]:
        return map(cubes.content, some)

    own = Seen(
        tuple(
            SeenSample(content, role, each.id, each.group)
            for split, role in ROLES.items()
            for each, content in zip(
                cubes.store.split(split), spread(contents, cubes.store.split(split)), strict=True
            )
        )
    )
    return own if start is None else own | Seen.of_description(start.description)


def _starting_network(config: Training) -> ExtractedNetwork | None:
    path = config.init_from
    if path is None:
        return None
    networks = load_model(path, network=config.network.network).networks
    if len(networks) > 1:
        raise RunError(
            f"{path} is an ensemble; a run goes on from one network. Name one of its folders in members."
        )
    return networks[0]


def _check_folder(config: Training) -> None:
    if is_ensemble_run(config.out):
        raise RunError(
            f"{config.out} holds an ensemble. Give its --folds and --seeds, or choose another --out."
        )
    has_run = has_checkpoint(config.out / "checkpoints")
    if config.resume and not has_run:
        raise RunError(
            f"{config.out} holds no run to resume. Leave out --resume, or name its folder with --out."
        )
    if has_run and not config.resume:
        raise RunError(
            f"{config.out} holds a run already. Go on with it by --resume, or choose another --out."
        )


def _summary(config: Training, store: Store, state: TrainState, mesh: Mesh) -> str:
    counts = {name: len(store.split(name)) for name in ("train", "val")}
    sample = store.samples[0]
    return (
        f"{config.recipe}: {config.network.network} with {count_parameters(state.variables):,} parameters on "
        f"{counts['train']} training and {counts['val']} validation samples of "
        f"{sample.height}×{sample.width}×{store.channels}, {mesh.size} {jax.devices()[0].platform} device(s)"
    )


def extract(setup: Setup, progress: Progress, *, quiet: bool = False) -> Path:
    """Writes the network of the best validation epoch with all that is needed to use it; returns its folder.

    Of several processes the first writes.
    """
    config, store, training = setup.config, setup.store, setup.training
    record = progress.history[progress.best_epoch - 1]
    own = training.cubes.preparation
    steps = [*(store.preparation or []), *([] if own is None else own.to_json())] or None
    extracted = ExtractedNetwork(
        network=build_network(config.network, config.objective.n_maps),
        variables=jax.device_put(jax.device_get(progress.best), jax.local_devices()[0]),
        scaling=training.scaling,
        wavenumbers_cm1=axis_after(store, own),
        threshold=PAPER_THRESHOLD,
        background=store.background,
        description={
            "recipe": config.recipe,
            "config": to_json(config),
            "best_epoch": record,
            "epochs_trained": len(progress.history),
            "starts_given_up": progress.start,
            TROUBLE: told_by_model(config, setup.run.ordering, progress),
            "history": progress.history,
            "parameters": count_parameters(progress.best),
            "pixel_size_um": store.pixel_size_um,
            TRAINED_RANGE_UM: _pixel_sizes_um(store),
            "preparation": steps,
            "prepared_steps": len(store.preparation or []),
            "reading": dict(store.reading),
            "device": ", ".join(sorted({device.device_kind for device in jax.devices()})),
            "versions": versions(),
            "seen": setup.seen.to_json(),
            LEARNT_FROM: _learnt_from(store),
            LICENCE: config.licence,
        },
        distribution=training.distribution,
    )
    extracted, choice, called = map_and_calls(config, extracted, training.cubes)
    if not choice.supported and not quiet:
        print(f"threshold: {choice.rule}, because {choice.reason}")
        n_val = len(store.split("val"))
        if config.threshold == "validation" and n_val < FEWEST_VALIDATION_SAMPLES:
            print(
                f"hint: {n_val} validation samples are few; --folds 5, with another --out, lets all "
                f"{n_val + len(store.split('train'))} of both splits choose a threshold"
            )
    chosen = {"threshold_choice": choice_as_json(choice), **called}
    extracted = replace(
        extracted, threshold=choice.threshold, description={**extracted.description, **chosen}
    )
    if is_first():
        save_network(config.out / "model", extracted, config.network)
    wait_for_all()
    return config.out / "model"


def _learnt_from(store: Store) -> dict[str, Any]:
    """Name of the store, and the numbers of samples and groups that trained the network and chose for it."""
    counts = {
        split: {
            "diseased": sum(sample.label == 1 for sample in store.split(split)),
            "healthy": sum(sample.label == 0 for sample in store.split(split)),
            "groups": len({sample.group for sample in store.split(split)}),
        }
        for split in ROLES
    }
    return {"store": store.name, **counts}


def _pixel_sizes_um(store: Store) -> tuple[float, float] | None:
    """Smallest and largest pixel size of the training images; None where none is known."""
    sizes = [store.pixel_size_of(sample.id) for sample in store.split("train")]
    known = [size for size in sizes if size is not None]
    return (min(known), max(known)) if known else None
