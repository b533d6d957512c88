"""The campaign, small: every part runs, and nothing crashes, hangs or is silently another than it was."""

from __future__ import annotations

import random

import pytest

from torture.campaign import CASES, in_a_process, write
from torture.damage import damaged
from torture.outcomes import Outcome, Row, digest, in_process

SMALL = {"stored": 36, "reading": 250}
"""Cases of the parts that are quick; the others are of `make torture` alone."""


@pytest.mark.parametrize("part", SMALL)
def test_a_part_of_the_campaign_holds(part):
    rows = in_a_process(part, SMALL[part], seed=20)
    assert {row.name: row.examples for row in rows if row.unforeseen} == {}
    assert sum(row.tried for row in rows) > SMALL[part] // 2
    assert set(SMALL) <= set(CASES)


def test_what_is_bad_is_seen_and_named_with_its_seed(tmp_path):
    def found_out(number):
        def read():
            if number == 0:
                return "another"
            if number == 1:
                raise KeyError("foreign")
            if number == 2:
                raise ValueError  # of no sentence, and not ours
            if number == 3:
                return open(tmp_path / "none")
            return "whole"

        return in_process(read, digest("whole")).kind

    assert [found_out(n) for n in range(5)] == ["other result", "crash", "crash", "refused", "equal"]
    row = Row("what", 7, may_differ="it is not covered")
    row.count(3, "a bit", Outcome("other result", "1 | 2"))
    assert (row.bad, row.unforeseen) == (1, 0)
    row.count(4, "a cut", Outcome("hang", "`x`"))
    assert (row.bad, row.unforeseen) == (2, 1)
    text = write(tmp_path, [row], "python -m torture").read_text()
    assert "| what (it is not covered) | 2 | 0 | 0 | 2 | 0 % | 7 |" in text
    assert "`seed 7 case 4, a cut: hang: 'x'`" in text


def test_what_was_damaged_is_given_back(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for number, path in enumerate(files):
        path.write_bytes(bytes([number, 2]))
    seen = set()
    for seed in range(40):
        with damaged(random.Random(seed), files) as what:
            seen.add(what.split()[1])
            found = [path.read_bytes() if path.exists() else None for path in files]
            assert found != [b"\0\2", b"\1\2"]
        assert [path.read_bytes() for path in files] == [b"\0\2", b"\1\2"]
    assert seen == {"bit", "cut", "deleted", "swapped"}
