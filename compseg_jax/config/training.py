"""A training run: recipe, data, outputs and everything in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from compseg_jax.config.locations import Location, refuse_url
from compseg_jax.config.network import Network
from compseg_jax.config.objective import Objective
from compseg_jax.config.ranges import Range, Seed, check_ranges

PAPER_THRESHOLD = 0.35
"""Activation above which the paper calls a pixel tumour, .35 · 255 of its 8-bit maps."""


@dataclass(frozen=True)
class Optimiser:
    """RMSprop and its schedule."""

    learning_rate: Annotated[float, Range(0, above=True)] = 1e-3
    """Step size of RMSprop."""
    decay: Annotated[float, Range(0, 1, below=True)] = 0.9
    """Decay of the mean squared gradient (OpenVibSpec's code passes learning rate / epochs here, 1.67e-5)."""
    rmsprop: Literal["keras", "tf1"] = "keras"
    """'keras': ε 1e-7 outside the root, accumulator from 0. 'tf1': ε 1e-10 inside it, accumulator from 1."""
    schedule: Literal["constant", "cosine", "step"] = "constant"
    """'cosine': the learning rate rises over the first tenth of the steps and falls to zero by the last. 'step': it is
    multiplied by step_factor every step_epochs epochs."""
    step_factor: Annotated[float, Range(0, 1, above=True)] = 0.9
    """Factor of the 'step' schedule."""
    step_epochs: Annotated[int, Range(1)] = 30
    """Epochs between two steps of the 'step' schedule."""
    clip_norm: Annotated[float, Range(0)] = 0.0
    """Largest norm of the summed gradient (0: not clipped)."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Ensemble:
    """Several networks instead of one, whose spread says how sure they are."""

    folds: Annotated[int, Range(1, 1000)] = 1
    """Parts that training and validation samples are dealt into, whole groups each; every part in turn chooses epoch
    and threshold of networks trained on the others (1: the store's own split). The test split is left alone."""
    seeds: Annotated[int, Range(1, 1000)] = 1
    """Networks per fold, of the seeds from `seed` on; more than one network in all makes an ensemble."""
    fold: int | None = None
    """Train this fold (from 0) alone, an ordinary run; not given: all of them, an ensemble."""
    fold_seed: Seed = 0
    """Seed of dealing the folds."""
    side_by_side: Literal["auto"] | int = "auto"
    """Networks of an ensemble trained at once. 'auto': on accelerators as many as fit; on CPUs one after the other,
    which is faster there."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.fold is not None and not 0 <= self.fold < self.folds:
            raise ValueError(
                f"fold={self.fold}: with folds={self.folds} it must lie in 0 … {self.folds - 1}."
            )
        if self.fold is not None and self.seeds > 1:
            raise ValueError(f"fold={self.fold} trains one network; set seeds={self.seeds} back to 1.")
        if self.side_by_side != "auto" and self.side_by_side < 1:
            raise ValueError(f"side_by_side={self.side_by_side}: must be 'auto' or at least 1.")

    @property
    def n_members(self) -> int:
        """Networks to train."""
        return 1 if self.fold is not None else self.folds * self.seeds


@dataclass(frozen=True)
class Training:
    """A training run: recipe, data, outputs and everything in between."""

    data: Location = Path("data")
    """Store, directory or URL, as made by `compseg ingest` or `compseg phantom`."""
    out: Path = Path("runs/train")
    """Run directory: checkpoints/, log.jsonl, config.json and the extracted network in model/."""
    recipe: str = "default"
    """Whole configuration to start from: a name that `compseg recipe` lists, or a recipe file (.toml or .json);
    options given beside it come before it."""
    prepare: tuple[str, ...] = ()
    """Preparation steps between store and scaling, such as: emsc vector (`--prepare help` explains them); stored
    with the network, which repeats them. 'auto': where nothing has normalised the cubes yet, emsc for spectra (after
    tissue where empty slide counts as tissue), vector for other cubes, and zscore for ordinary images whose own scale
    does not tell their labels."""
    objective: Objective = field(default_factory=Objective)
    network: Network = field(default_factory=Network)
    optimiser: Optimiser = field(default_factory=Optimiser)
    ensemble: Ensemble = field(default_factory=Ensemble)
    epochs: Annotated[int, Range(0, 1_000_000)] = 60
    """Passes over the training samples; 0: 20, or as many as make 240 steps (docs/decisions/48)."""
    starts: Annotated[int, Range(1, 1000)] = 1
    """Random starts: one whose training loss is no better than a guess after start_share of the epochs is given up for
    the next, with all its epochs before it; the last one goes on. Needs the absolute error, or cross-entropy of a
    pooled logit."""
    plain_starts: Annotated[int, Range(1)] = 3
    """Random starts before those whose hidden features are brought to variance 1 over training samples. These learn
    labels where plain ones stay on the plateau, and more often by something else than the disease. Networks with
    normalisation layers, and your own, have plain starts alone."""
    start_share: Annotated[float, Range(0, 1, above=True)] = 0.4
    """Share of the epochs after which a start is judged."""
    batch_size: Annotated[int, Range(1, 1_000_000)] = 7
    """Samples per step."""
    microbatch: Literal["auto"] | Annotated[int, Range(0)] = 0
    """Samples of a batch that are computed at once, for devices whose memory is too small (0: all). The loss is a sum
    over samples, so the result is the same to rounding. 'auto': as many as the memory allows, by what the compiled step
    takes; --resume repeats what was chosen."""
    seed: Seed = 0
    """Seed of the starting parameters, the order of samples and the augmentation."""
    augment: Literal["none", "flips", "dihedral"] = "none"
    """Random mirroring ('flips'), with random quarter turns of square images ('dihedral')."""
    balance: Literal["none", "weights", "sampling"] = "none"
    """Make both labels count evenly, by weights in the loss or by drawing the rarer one more often."""
    threshold: Literal["validation", "paper", "reference"] = "validation"
    """Activation above which a pixel is segmented. 'validation': chosen from the labels of the validation samples.
    'paper': .35. 'reference': the best Dice with their reference masks, for the supervised upper bound alone."""
    smooth_maps: Literal["no", "validation"] = "no"
    """How much finished maps are smoothed. 'validation': as much as takes the noise out of those of the validation
    samples, by their labels (docs/decisions/64). 'no': by network.smoothing_px."""
    feed: Literal["auto", "resident", "stream"] = "auto"
    """Keep the scaled data set on the device, or read it ahead from the store ('auto': by its size)."""
    resident_limit_gib: Annotated[float, Range(0)] = 0.0
    """Largest scaled data set that 'auto' keeps on the device, in GiB; 0: a third of an accelerator's memory, 4 on
    CPUs."""
    checkpoint_every: Annotated[int, Range(1)] = 1
    """Epochs between checkpoints. Each holds the network of the best epoch too, and so does the end."""
    resume: bool = False
    """Go on with the run in OUT, exactly as if it had not stopped."""
    init_from: Location | None = None
    """Extracted network (RUN/model, or its URL) to start from instead of random parameters."""
    grafting: bool = False
    """Go on with what was marked in diseased samples, grafted onto healthy ones: a second phase of as many steps, which
    learns where a lesion ends (docs/decisions/72). Without a threshold from labels there is none."""
    second_view: bool = False
    """Train a second network of another view after it, for as many epochs, and say in model.json and in reports
    whether both find the disease in the same place: a check of the map that needs no masks."""
    self_check: bool = True
    """Compare a convolution and known bad patterns with NumPy first, and refuse to train on wrong results."""
    tensorboard: bool = False
    """Write TensorBoard events into OUT/tensorboard too (needs the extra 'tensorboard')."""
    licence: str = "not stated"
    """Licence of the model, best its SPDX name such as CC-BY-4.0: stands in its card, OUT/model/README.md."""

    @property
    def at_once(self) -> int:
        """Samples of a batch that are computed at once; 0 for all, and where 'auto' has not chosen yet."""
        return 0 if self.microbatch == "auto" else self.microbatch

    def __post_init__(self) -> None:
        refuse_url(
            self.out,
            "checkpoints need a file system. Train into a folder, and copy its model at the end: "
            "compseg copy RUN --out URL",
        )
        check_ranges(self)
        if self.threshold == "reference" and self.objective.target != "reference":
            raise ValueError(
                "threshold='reference' looks at reference masks, and target='label' must not: choose 'validation'."
            )
        if self.starts > 1 and not self.objective.has_a_guess:
            raise ValueError(
                f"starts={self.starts}: what a guess would lose is known for error='absolute' and for "
                "error='cross_entropy' with transfer='logistic', with target='label', negatives_weight=0 and without a "
                "pair alone. Choose those, or starts=1."
            )
        if self.grafting and (self.objective.target != "label" or self.objective.n_maps > 1):
            raise ValueError(
                f"grafting=True with target={self.objective.target!r} and {self.objective.n_maps} map(s): goes on from "
                "one map that labels have taught. Choose target='label' and an objective of one map, or grafting=False."
            )
        if self.network.activation_map == "attention" and self.objective.pooling_function != "attention":
            raise ValueError(
                "activation_map='attention' shows the attention that pooling_function='attention' trains; this "
                f"objective pools by {self.objective.pooling_function!r}. Set both, or neither."
            )
