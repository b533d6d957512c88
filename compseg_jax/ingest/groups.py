"""Groups out of names: which part of a sample's name says what it belongs to, such as a patient."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from compseg_jax.ingest.ingest_options import IngestError

_WORDS = "patient|pat|case|subject|subj|donor|animal|mouse|rat|slide|biopsy|block|p"
_NUMBERED = re.compile(rf"(?<![A-Za-z])({_WORDS})([ _-]?)\d+(?![A-Za-z0-9])", re.IGNORECASE)
_TCGA = r"TCGA[-_]\w\w[-_]\w{4}"
_NAMED = 3


@dataclass
class GroupPattern:
    """The pattern of `--group-pattern`, and where it was found.

    Attributes:
      pattern: compiled; None where none is given: every sample is a group of its own.
      without: names in which it was not found.
    """

    pattern: re.Pattern[str] | None
    without: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, text: str) -> GroupPattern:
        """Compiles a pattern, '' for none; raises IngestError where it is no regular expression."""
        try:
            return cls(re.compile(text) if text else None)
        except re.error as error:
            raise IngestError(
                f"--group-pattern {text!r}: it is no regular expression ({error}). Put what names the group into "
                r"parentheses, such as '(patient\d+)'."
            ) from error

    def group(self, name: str, sample_id: str) -> str:
        """The group in a name: the first parentheses of the pattern, or all that it finds."""
        if self.pattern is None:
            return sample_id
        match = self.pattern.search(name)
        found = "" if match is None else (match[1] if self.pattern.groups else match[0]) or ""
        if not found:
            self.without.append(name)
        return found or sample_id

    def problems(self, samples: int) -> list[str]:
        """One line where the pattern was not found in some names."""
        if self.pattern is None or not self.without:
            return []
        more = f" and {len(self.without) - _NAMED} more" if len(self.without) > _NAMED else ""
        return [
            f"--group-pattern {shlex.quote(self.pattern.pattern)} finds no group in {len(self.without)} of {samples} "
            f"names: {', '.join(self.without[:_NAMED])}{more}. Widen it so that every name has one."
        ]

    def notes(self, ids: Sequence[str], groups: Sequence[str]) -> list[str]:
        """How many groups were found; where no pattern is given, one that would find some."""
        if self.pattern is not None:
            largest, number = Counter(groups).most_common(1)[0]
            return [
                f"groups by --group-pattern: {len({*groups})} of {len(ids)} samples (largest: {largest}, {number})"
            ]
        proposed = likely_pattern(ids)
        if not proposed:
            return []
        return [
            "every sample counts as a group of its own, but names repeat a part that may be a patient's: "
            f"--group-pattern {shlex.quote(proposed)} would keep its samples together"
        ]


def likely_pattern(names: Sequence[str]) -> str:
    """A pattern that finds a group in every name, and several samples of some; '' where none of the usual ones does.

    It is proposed and never used unasked.

    >>> likely_pattern(["patient7_a", "patient7_b", "patient8_a"])
    '(patient\\\\d+)'
    """
    numbered = [_NUMBERED.search(name) for name in names]
    words = {f"{match[1]}{match[2]}" for match in numbered if match is not None}
    proposals = [rf"({word}\d+)" for word in words if len(words) == 1]
    for pattern in (*proposals, f"({_TCGA})"):
        found = [re.search(pattern, name) for name in names]
        groups = {match[1] for match in found if match is not None}
        if all(found) and 1 < len(groups) < len(names):
            return pattern
    return ""
