"""What a model has seen of samples, so that nobody takes them for a test: what trained it, and what chose for it.

A test on samples that a model was fitted to, or chosen by, says nothing of others (Kapoor and Narayanan 2023, 'Leakage
and the reproducibility crisis in machine-learning-based science', doi 10.1016/j.patter.2023.100804, L1.1 to L3.2).
Samples are recognised by the hash of their image (``store.fingerprint``), so neither another id nor another store nor
another split hides them; other samples of a group that was seen count, too. docs/format.md writes the entry ``seen``
of model.json down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from compseg_jax.store.fingerprint import size_of

Role = Literal["training", "choice"]
Sighting = Literal["training", "choice", "training group", "choice group", "same id", "no"]
"""What a model saw of a sample: the image itself, another of its group, another image of its id, or nothing."""

SAW: dict[Sighting, str] = {
    "training": "trained on",
    "choice": "chose epoch and threshold",
    "training group": "of groups that were trained on",
    "choice group": "of groups that chose epoch and threshold",
}
UNKNOWN_SEEN = (
    "the model does not say what it saw (it is of an earlier release, or goes on from one; train again)"
)
SAME_ID = "but are other images, unless they were cut or changed before"


@dataclass(frozen=True)
class SeenSample:
    """A sample that a model saw.

    Attributes:
      content: what its image is recognised by (``store.fingerprint``).
      role: 'training': weights, scaling and preparation were fitted to it. 'choice': it chose epoch and threshold.
      id: its id; '' in models that were handed over without names.
      group: its group; its id where it has none.
    """

    content: str
    role: Role
    id: str = ""
    group: str = ""


@dataclass(frozen=True)
class Seen:
    """All samples that a model saw.

    Attributes:
      samples: each once a role.
      is_complete: whether there are no others; not so where it went on from a network that does not say.
    """

    samples: tuple[SeenSample, ...]
    is_complete: bool = True

    @classmethod
    def of_description(cls, description: Mapping[str, Any]) -> Seen:
        """What model.json says; of an earlier release nothing, which is not complete."""
        values = description.get("seen")
        if values is None:
            return cls((), is_complete=False)
        return cls(tuple(SeenSample(**each) for each in values["samples"]), values["is_complete"])

    def to_json(self) -> dict[str, Any]:
        """As model.json holds it."""
        return asdict(self) | {"samples": [asdict(each) for each in self.samples]}

    def nameless(self) -> Seen:
        """The same without ids and groups, for a model that is handed over: images are still recognised."""
        kept = [SeenSample(each.content, each.role) for each in self.samples]
        return Seen(tuple(kept), self.is_complete)

    def __or__(self, other: Seen) -> Seen:
        """What either saw."""
        both = tuple(dict.fromkeys((*self.samples, *other.samples)))
        return Seen(both, self.is_complete and other.is_complete)

    @cached_property
    def sizes_px(self) -> frozenset[tuple[int, int]]:
        """Rows and columns of its images: no image of another size is one of them."""
        return frozenset(size_of(each.content) for each in self.samples)

    def how(self, content: str | None, sample_id: str, group: str = "") -> Sighting | None:
        """What was seen of a sample, the gravest first; None where nothing is known of it.

        Args:
          content: hash of its image; None where its size says already that it is no image that was seen.
          sample_id: its id.
          group: its group; its id, or '', where it has none.
        """
        found = self._contents.get(content or "")
        if found is not None:
            return found
        if group not in ("", sample_id) and group in self._groups:
            return "training group" if self._groups[group] == "training" else "choice group"
        if not self.is_complete:
            return None
        return "same id" if sample_id in self._ids else "no"

    @cached_property
    def _contents(self) -> dict[str, Role]:
        return _gravest((each.content, each.role) for each in self.samples)

    @cached_property
    def _groups(self) -> dict[str, Role]:
        return _gravest((each.group, each.role) for each in self.samples if each.group not in ("", each.id))

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(each.id for each in self.samples)


def _gravest(roles: Iterable[tuple[str, Role]]) -> dict[str, Role]:
    found: dict[str, Role] = {}
    for name, role in roles:
        if found.get(name) != "training":
            found[name] = role
    return found


@dataclass(frozen=True)
class Sightings:
    """What a model saw of the samples that it is asked about, in their order."""

    each: tuple[Sighting | None, ...]

    @property
    def n_seen(self) -> int:
        """Samples that the model saw, or whose group it saw."""
        return sum(sighting in SAW for sighting in self.each)

    @property
    def is_test(self) -> bool:
        """Whether the model certainly saw none of them, and none of their groups."""
        return not self.n_seen and None not in self.each

    def counts(self) -> dict[str, int]:
        """Number of samples by what was seen, ``unknown`` included."""
        found = Counter("unknown" if each is None else each for each in self.each)
        return {name.replace(" ", "_"): found[name] for name in (*SAW, "same id", "no", "unknown")}

    def in_words(self) -> str:
        """How many were seen, and by what role: one sentence without its full stop."""
        n, found = len(self.each), Counter(self.each)
        parts = [f"{found[name]} {said}" for name, said in SAW.items() if found[name]]
        said = f"{', '.join(parts)} (of {n} samples): no test of these" if parts else ""
        if found[None]:
            rest = f"of the other {found[None]} nothing is known" if parts else "not known"
            said = "; ".join(filter(None, [said, f"{rest}: {UNKNOWN_SEEN}"]))
        elif not parts:
            said = f"none of {n} samples"
        if found["same id"]:
            said += f"; {found['same id']} have the id of one that was seen, {SAME_ID}"
        return said
