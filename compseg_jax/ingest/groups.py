"""Groups out of names: which part of a sample's name says what it belongs to, such as a patient."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from compseg_jax.ingest.ingest_options import IngestError

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

    def notes(self, groups: Sequence[str]) -> list[str]:
        """How many groups were found, where a pattern is given."""
        if self.pattern is None:
            return []
        largest, number = Counter(groups).most_common(1)[0]
        return [
            f"groups by --group-pattern: {len({*groups})} of {len(groups)} samples (largest: {largest}, {number})"
        ]
