"""Ids that look like several samples of one patient, where nothing says so: such samples leak between splits."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence

from compseg_jax.store.read import Sample

OF_A_PATIENT = re.compile(
    r"(?<![a-z])(patient|pat|pt|case|subject|subj|sub|donor|person|individual|animal|mouse|rat)(?![a-z])",
    re.I,
)
OF_AN_ARRAY = re.compile(
    r"(?<![a-z])(array|tma|slide|scan|block|chip|plate|batch|day|run|core|spot|fold|set|stack|roi)(?![a-z])",
    re.I,
)
"""Words before a number that says which array or measurement a sample is of, not which patient."""
LAST_PART = re.compile(r"^(?P<stem>.*\d)(?:[\s_.-]+[a-z0-9]+|[a-z])$", re.I)
"""A name with a number in it, and one part more: patient7_a, P07-1, 12b."""
SHARE_OF_A_PATIENT = 0.5
"""Of all samples; a beginning that as many or more share names the study or the array, unless it says patient."""
_WORDS = "patient|pat|case|subject|subj|donor|animal|mouse|rat|slide|biopsy|block|p"
_NUMBERED = re.compile(rf"(?<![A-Za-z])({_WORDS})([ _-]?)\d+(?![A-Za-z0-9])", re.IGNORECASE)
_TCGA = r"TCGA[-_]\w\w[-_]\w{4}"


def like_one_patient(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Samples whose ids differ in their last part alone, by what they share; nothing where groups are stated.

    ``patient7_a`` and ``patient7_b`` share ``patient7``. Ids of arrays (``array1-003``) and of numbered samples
    (``spot_12``) look like no patient's.
    """
    if any(sample.group != sample.id for sample in samples):
        return {}
    stems = {sample.id: parts["stem"] for sample in samples if (parts := LAST_PART.match(sample.id))}
    counts = Counter(stems.values())
    alike = {
        stem
        for stem, times in counts.items()
        if times > 1
        and (
            OF_A_PATIENT.search(stem)
            or (not OF_AN_ARRAY.search(stem) and times < SHARE_OF_A_PATIENT * len(samples))
        )
    }
    shared: dict[str, list[Sample]] = {}
    for sample in samples:
        if stems.get(sample.id) in alike:
            shared.setdefault(stems[sample.id], []).append(sample)
    return shared


def leakage_note(samples: Sequence[Sample]) -> str:
    """What to say of such samples, with the option that mends it; '' where there are none."""
    found = like_one_patient(samples)
    if not found:
        return ""
    # One that is in several splits shows best what is at stake.
    stem, example = max(found.items(), key=lambda item: len({each.split for each in item[1]}))
    splits = list(dict.fromkeys(each.split for each in example))
    where = f"in {' and '.join(splits)}" if len(splits) > 1 else f"all in {splits[0]}"
    named = ", ".join(each.id for each in example[:3]) + (" …" if len(example) > 3 else "")
    n = sum(map(len, found.values()))
    pattern = likely_pattern([sample.id for sample in samples])
    or_pattern = (
        f", or --group-pattern {shlex.quote(pattern)}, which finds it in their names" if pattern else ""
    )
    return (
        f"leakage cannot be excluded: no groups are given, and {n} samples look like several of one patient ({stem}: "
        f"{named}, {where}). Samples of a patient must stay in one split: ingest again with --group COLUMN, a column "
        f"of the table that names the patient{or_pattern}."
    )


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
