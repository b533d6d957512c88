"""Whether a run that is resumed is the one that was started: its options, and the samples it learns from.

Losses before and after a change cannot be compared, and the best epoch is chosen by them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping

from compseg_jax.config import Training, to_json
from compseg_jax.config.serialisation import flat
from compseg_jax.model.run_folder import from_the_root, read_fingerprint, read_run
from compseg_jax.runtime.together import spread
from compseg_jax.store.fingerprint import DIGEST_BYTES, mask_of
from compseg_jax.store.prepared import PreparedStore
from compseg_jax.store.read import Sample, Store
from compseg_jax.training.initial_state import RunError

MAY_CHANGE = frozenset(
    {
        "data", "out", "feed", "resident_limit_gib", "checkpoint_every", "microbatch", "resume", "self_check",
        "licence", "grafting", "second_view", "smooth_maps", "tensorboard", "threshold", "ensemble.seeds",
        "ensemble.side_by_side",
    }
)  # fmt: skip
"""Options that change no loss; where the store lies may change, what it holds may not."""
PARTS = {
    "description": "axis, background or preparation",
    "samples": "samples, labels, splits, groups or images",
    "values": "values of the training images",
    "references": "reference masks",
}
"""What the hashes of a fingerprint are of, in words."""


def refuse_other_options(config: Training, *, but_for: Collection[str] = ()) -> None:
    """Raises RunError where a run is resumed with other options than it was started with, and names them.

    More or fewer epochs are taken where the learning rate is constant: a schedule reaches to the last one.

    Args:
      config: the run as asked for.
      but_for: fields that are not compared.

    Raises:
      ModelError: when config.json cannot be read.
    """
    # A field that the run's version did not have is what it is by default.
    before = flat(to_json(from_the_root(read_run(config.out))))
    allowed = {*MAY_CHANGE, *but_for, *(("epochs",) if config.optimiser.schedule == "constant" else ())}
    changed = [
        f"{name} {before.get(name)} → {value}"
        for name, value in flat(to_json(from_the_root(config))).items()
        if name not in allowed and before.get(name) != value
    ]
    if changed:
        raise RunError(
            f"{config.out} was started with other options ({'; '.join(changed)}). Resume with those it was started "
            "with, or choose another --out."
        )


def fingerprint_of(cubes: PreparedStore, samples: Iterable[Sample]) -> dict[str, str]:
    """What tells a store from any other before a cube is read: hashes of its description and of its samples.

    Args:
      cubes: the store; images whose hash it does not state are read.
      samples: those that train and choose the network.
    """
    chosen = list(samples)
    contents = spread(lambda some: (cubes.content(each) for each in some), chosen)
    return {
        "description": _description_hash(cubes.store),
        "samples": _samples_hash(chosen, contents),
        "references": _hash(_reference_hash(cubes.store, each) for each in chosen if each.has_reference),
    }


def fingerprint_of_values(cubes: PreparedStore, samples: Iterable[Sample]) -> dict[str, str]:
    """The rest of it: a hash of the values of training samples, which have been read by now."""
    values = spread(lambda some: (cubes.values(each) for each in some), list(samples))
    return {"values": _values_hash(values)}


def refuse_another_store(config: Training, fingerprint: Mapping[str, str]) -> None:
    """Raises RunError where the store of a run that is resumed does not hold what it held when it was started.

    Args:
      config: the run.
      fingerprint: of its store now, or some parts of it. Runs of earlier releases keep none, and are not compared.
    """
    before = read_fingerprint(config.out)
    changed = [PARTS[part] for part, found in fingerprint.items() if before.get(part, found) != found]
    if changed:
        raise RunError(
            f"{config.data} is not the store that {config.out} was started with: other {'; other '.join(changed)}. "
            "Resume with that store, or choose another --out."
        )


def _description_hash(store: Store) -> str:
    """Hash of what a store says of all its cubes: channels, axis, background, preparation."""
    axis = store.wavenumbers_cm1
    return _hash(
        [store.channels, None if axis is None else axis.tolist(), store.background, store.preparation]
    )


def _samples_hash(samples: Iterable[Sample], contents: Iterable[str]) -> str:
    """Hash of samples in their order: id, label, split, group, size, and what the image of each is recognised by."""
    return _hash(
        [each.id, each.label, each.split, each.group, each.height, each.width, each.has_reference, content]
        for each, content in zip(samples, contents, strict=True)
    )


def _reference_hash(store: Store, sample: Sample) -> str:
    """As samples.csv states it, else of the mask, which is read for it."""
    return sample.reference_hash or mask_of(store.reference(sample.id))


def _values_hash(values: Iterable[str]) -> str:
    """Hash of what :func:`compseg_jax.store.fingerprint.values_of` gives for several samples, in their order."""
    return _hash(values)


def _hash(values: Iterable[object]) -> str:
    text = json.dumps(list(values), ensure_ascii=True, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
