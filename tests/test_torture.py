"""The campaign, small: every part runs, and nothing crashes, hangs or is silently another than it was."""

from __future__ import annotations

import random

import pytest

from compseg_jax.readers import read
from compseg_jax.readers.cube import CubeError
from compseg_jax.runtime.memory import max_memory
from torture.bombs import BOMBS
from torture.campaign import CASES, in_a_process, put, write
from torture.commands import TITLES, commands
from torture.damage import damaged
from torture.outcomes import Outcome, Row, digest, in_process
from torture.watching import kind_of

SMALL = {"stored": 36, "reading": 250}
"""Cases of the parts that are quick; the others are of `make torture` alone."""


@pytest.mark.parametrize("part", SMALL)
def test_a_part_of_the_campaign_holds(part):
    rows = in_a_process(part, SMALL[part], seed=20)
    assert {row.name: row.examples for row in rows if row.bad} == {}
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
    row = Row("what", 7, "as it was done")
    row.count(3, "a bit", Outcome("other result", "1 | 2"))
    row.count(4, "a cut", Outcome("hang", "`x`"))
    assert row.bad == 2
    text = write(tmp_path, [row], "python -m torture").read_text()
    assert "| what (as it was done) | 2 | 0 | 0 | 2 | 0 % | 7 |" in text
    assert "`seed 7 case 4, a cut: hang: 'x'`" in text


def test_rows_are_added_to_the_table_of_the_day_and_replace_their_like(tmp_path):
    for equal in range(2):
        row = Row("what", 7)
        for case in range(equal + 1):
            row.count(case, "a bit", Outcome("equal"))
        put(tmp_path, "python -m torture --rows stored", row)
    text = write(tmp_path, [Row("other", 8)], "python -m torture --rows kills").read_text()
    assert "`python -m torture --rows stored`, `python -m torture --rows kills`" in text
    assert [
        line.split(" | ")[:2] for line in text.splitlines() if line.startswith(("| what |", "| other |"))
    ] == [
        ["| what", "2"],
        ["| other", "0"],
    ]


def test_kinds_of_files_have_no_numbers_and_commands_their_titles(tmp_path):
    assert kind_of("out/samples/.s3.0a1b2c3d-77-8-1.partial/activation.ome.zarr/c/0/12") == (
        "out/samples/.s#.partial/activation.ome.zarr/c/#/#"
    )
    assert [each.title for each in commands(tmp_path, 0)] == list(TITLES)


@pytest.mark.parametrize(
    "name", ["TIFF of 40,960²", "HDF5 of 27 GiB, no chunk written", "zarr of 27 GiB, no chunk written"]
)
def test_a_bomb_is_refused_in_one_sentence(tmp_path, name):
    if "HDF5" in name:
        pytest.importorskip("h5py")
    path = BOMBS[name](tmp_path)
    with max_memory(0.1), pytest.raises(CubeError, match=r"^\S*: ") as caught:
        read(path)
    assert "\n" not in str(caught.value)


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
