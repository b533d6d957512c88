"""What an experiment is: frozen dataclasses with a docstring, unit and default for every field.

``RECIPES`` are values of these classes, so a recipe is a whole configuration that any field can override.
This module imports nothing of the package and nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

ALPHA = 0.1
BETA = 5.0
GAMMA = 0.001
PAPER_THRESHOLD = 0.35


@dataclass(frozen=True)
class Objective:
    """What the network is trained for."""

    target: Literal["label", "reference"] = "label"
    """'label': sample labels through the pooling neuron. 'reference': reference masks, the supervised upper
    bound, never used for a weak-label claim."""
    alpha: float = ALPHA
    """Least diseased fraction of the pooled area in a diseased sample (0 to 1); the bound of σ."""
    beta: float = BETA
    """Slope parameter of σ (its slope at zero is beta/2 + gamma)."""
    gamma: float = GAMMA
    """Asymptotic slope of σ, an incentive to mark more than alpha."""
    error: Literal["absolute", "one_sided", "cross_entropy"] = "absolute"
    """'absolute': the printed loss |o − αℓ|. 'one_sided': a diseased sample may exceed alpha unpunished.
    'cross_entropy': of the label and o/alpha, which never lies flat."""
    pooling: Literal["image", "tissue"] = "image"
    """Pool the activation map over the whole image (as printed) or over the tissue."""
    pair: bool = False
    """Train the pair of maps a⁺ and a⁻ with pooling neurons p⁺ and p⁻ instead of a⁺ alone."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1 or self.beta <= 0 or self.gamma < 0:
            raise ValueError(
                f"alpha={self.alpha}, beta={self.beta}, gamma={self.gamma}: alpha must lie in (0, 1], "
                "beta above 0 and gamma at or above 0."
            )
        if self.target == "reference" and self.pair:
            raise ValueError("pair=True needs target='label': reference masks describe one map, a⁺.")

    @property
    def n_maps(self) -> int:
        """Activation maps the network has to put out."""
        return 2 if self.pair else 1


@dataclass(frozen=True)
class Network:
    """The segmenting network."""

    network: str = "unet"
    """'unet', 'segnet', or package.module:Class, a Flax linen module of your own. Of the fields below those
    that your class has are passed on, and 'maps', the number of logits a pixel."""
    base: int = 16
    """Features of the first level; each deeper level doubles them (the paper: 64)."""
    depth: int = 4
    """Number of 2×2 poolings."""
    activation: Literal["softplus", "relu", "gelu", "elu"] = "softplus"
    """Activation of every hidden layer."""
    kernel_init: Literal["glorot_uniform", "he_normal", "lecun_normal"] = "glorot_uniform"
    """Initialiser of the kernels."""
    head_bias: float = 0.0
    """Starting bias of the logits; −3 starts the activation map at 5 %, where labels carry information."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision inside the network; parameters, logits, pooling and loss are float32 either way."""
    remat: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    convolution: Literal["fast", "plain"] = "fast"
    """'fast': 3×3 convolutions written out for CPUs where a shape gains from it. 'plain': XLA's own everywhere."""


@dataclass(frozen=True)
class Optimiser:
    """RMSprop and its schedule."""

    learning_rate: float = 1e-3
    """Step size of RMSprop."""
    decay: float = 0.9
    """Decay of the mean squared gradient."""
    rmsprop: Literal["keras", "tf1"] = "keras"
    """'keras': ε 1e-7 outside the root, accumulator from 0. 'tf1': ε 1e-10 inside it, accumulator from 1."""
    schedule: Literal["constant", "cosine"] = "constant"
    """'cosine': the learning rate rises over the first tenth of the steps and falls to zero by the last."""
    clip_norm: float = 0.0
    """Largest norm of the summed gradient (0: not clipped)."""


@dataclass(frozen=True)
class Ensemble:
    """Several networks instead of one, whose spread tells how sure they are."""

    folds: int = 1
    """Parts that training and validation samples are dealt into, whole groups each; every part in turn chooses epoch
    and threshold of networks trained on the others (1: the store's own split). The test split is left alone."""
    seeds: int = 1
    """Networks a fold, of the seeds from --seed on; more than one network in all makes an ensemble."""
    fold: int | None = None
    """Train this fold (from 0) alone, an ordinary run; 'None': all of them, an ensemble."""
    fold_seed: int = 0
    """Seed of dealing the folds."""
    side_by_side: Literal["auto"] | int = "auto"
    """Networks of an ensemble trained at once. 'auto': on accelerators as many as fit; on CPUs one after the other,
    which is faster there."""

    def __post_init__(self) -> None:
        for name in ("folds", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1.")
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

    data: Path = Path("data")
    """Store directory, as made by `compseg ingest` or `compseg phantom`."""
    out: Path = Path("runs/train")
    """Run directory: checkpoints/, log.jsonl, config.json and the extracted network in model/."""
    recipe: str = "default"
    """Whole configuration to start from; every field below can still be overridden."""
    prepare: tuple[str, ...] = ()
    """Preparation steps between store and scaling, such as: emsc vector (`compseg ingest --prepare help` explains
    them); stored with the network, which repeats them. 'auto': emsc, for spectra that nothing has normalised yet."""
    objective: Objective = field(default_factory=Objective)
    network: Network = field(default_factory=Network)
    optimiser: Optimiser = field(default_factory=Optimiser)
    ensemble: Ensemble = field(default_factory=Ensemble)
    epochs: int = 60
    """Passes over the training samples."""
    batch_size: int = 7
    """Samples a step."""
    microbatch: int = 0
    """Samples of a batch that are computed at once, for cards that are too small (0: all). The loss is a
    sum over samples, so the result is the same."""
    seed: int = 0
    """Seed of the starting parameters, the order of samples and the augmentation."""
    augment: Literal["none", "flips", "dihedral"] = "none"
    """Random mirroring ('flips'), with random quarter turns of square images ('dihedral')."""
    balance: Literal["none", "weights", "sampling"] = "none"
    """Make both labels count evenly, by weights in the loss or by drawing the rarer one more often."""
    threshold: Literal["validation", "paper"] = "validation"
    """'paper': .35. 'validation': chosen from the labels of the validation samples, stated in model.json."""
    feed: Literal["auto", "resident", "stream"] = "auto"
    """Keep the scaled data set on the device, or read it ahead from the store ('auto': by its size)."""
    resident_limit_gib: float = 0.0
    """Largest scaled data set that 'auto' keeps on the device, in GiB; 0: a third of an accelerator's memory, 4 on
    CPUs."""
    checkpoint_every: int = 1
    """Epochs between checkpoints. Each holds the network of the best epoch too, and so does the end."""
    resume: bool = False
    """Go on with the run in `out`, exactly as if it had not stopped."""
    init_from: Path | None = None
    """Extracted network (RUN/model) to start from instead of random parameters."""
    self_check: bool = True
    """Compare a convolution and known bad patterns with NumPy first, and refuse to train on wrong results."""
    tensorboard: bool = False
    """Write TensorBoard events into `out`/tensorboard too (needs the extra 'tensorboard')."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("microbatch", 0), ("checkpoint_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least {least}.")


RECIPES: dict[str, Training] = {
    "default": Training(
        recipe="default",
        objective=Objective(alpha=0.2, error="cross_entropy", pooling="tissue"),
        network=Network(base=16, depth=1, head_bias=-3.0),
        optimiser=Optimiser(learning_rate=1e-3, schedule="cosine"),
        epochs=60,
        augment="dihedral",
    ),
    "paper2019": Training(
        recipe="paper2019",
        objective=Objective(),
        network=Network(base=64),
        optimiser=Optimiser(),
        epochs=400,
        threshold="paper",
        checkpoint_every=20,
    ),
    "supervised": Training(
        recipe="supervised",
        objective=Objective(target="reference", pooling="tissue"),
        network=Network(base=16, depth=2, activation="relu", kernel_init="he_normal", head_bias=-3.0),
        optimiser=Optimiser(learning_rate=1e-3, schedule="cosine"),
        epochs=60,
        augment="dihedral",
    ),
}

Config = TypeVar("Config")


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def from_json(cls: type[Config], values: dict[str, Any]) -> Config:
    """The configuration that :func:`to_json` wrote; keys this version does not know are refused."""
    hints = get_type_hints(cls)
    unknown = set(values) - set(hints)
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no field {', '.join(sorted(unknown))}; the file was written by a newer version."
        )
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
            value = from_json(hints[name], value)
        elif value is not None and "Path" in str(hints[name]):
            value = Path(value)
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return cls(**arguments)
