"""Recipes as files: what is written is what is read, and what is wrong is refused by name."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

from compseg_jax.cli.main import main
from compseg_jax.config import RECIPES, Training, recipe, recipe_text, to_json
from compseg_jax.config.fields import described
from compseg_jax.config.recipe_file import OF_A_RUN
from compseg_jax.config.recipes import SUMMARIES

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_its_file(name, tmp_path, capsys):
    assert main(["recipe", name]) == 0
    text = capsys.readouterr().out
    (tmp_path / "my.toml").write_text(text)
    assert recipe(str(tmp_path / "my.toml")) == RECIPES[name]
    # Every value stands in the file itself: from another recipe it gives the same but for the name.
    (tmp_path / "my.toml").write_text(text.replace(f'recipe = "{name}"', 'recipe = "maxmin"'))
    assert dataclasses.replace(recipe(str(tmp_path / "my.toml")), recipe=name) == RECIPES[name]
    (tmp_path / "config.json").write_text(json.dumps(to_json(RECIPES[name])))
    assert recipe(str(tmp_path / "config.json")) == RECIPES[name]
    assert main(["recipe", str(tmp_path / "config.json")]) == 0
    assert capsys.readouterr().out == text


def test_a_file_explains_every_field_in_short_lines():
    text = recipe_text(RECIPES["default"], "default")
    assert max(map(len, text.splitlines())) <= 100
    values = tomllib.loads(text)
    for path, field in described(Training).items():
        part, _, name = path.rpartition(".")
        assert field.doc, path
        if path in OF_A_RUN - {"recipe"}:
            assert name not in values
            continue
        held = values[part] if part else values
        default = RECIPES["default"]
        for each in path.split("."):
            default = getattr(default, each)
        assert held.get(name) == (list(default) if isinstance(default, tuple) else default), path
        assert path == "recipe" or " ".join(field.doc.split()[:4]) in text


def test_the_documentation_shows_the_file_as_it_is_written():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert f"```toml\n{recipe_text(RECIPES['default'], 'default')}```" in page
    assert all(f"| `{name}` | {summary} |" in page for name, summary in SUMMARIES.items())


def test_every_recipe_is_listed_with_a_line(capsys):
    assert main(["recipe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert SUMMARIES.keys() == RECIPES.keys()
    assert all(any(line.split()[:1] == [name] for line in lines) for name in RECIPES)
    assert max(map(len, lines)) <= 80


def test_a_file_of_some_fields_leaves_the_others_to_its_recipe(tmp_path):
    (tmp_path / "a.toml").write_text('[objective]\nerror = "cross_entropy"\nalpha = 1\n')
    default = RECIPES["default"]
    found = recipe(str(tmp_path / "a.toml"))
    assert found == dataclasses.replace(default, objective=dataclasses.replace(default.objective, alpha=1.0))
    assert isinstance(found.objective.alpha, float)
    (tmp_path / "a.json").write_text(
        '{"recipe": "cam", "ensemble": {"folds": 3, "side_by_side": 2}, "prepare": []}'
    )
    found = recipe(str(tmp_path / "a.json"))
    assert (found.ensemble.folds, found.ensemble.side_by_side, found.prepare) == (3, 2, ())
    assert (found.recipe, found.objective) == ("cam", RECIPES["cam"].objective)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('error = "maxmin"', "error: there is no field of that name; did you mean objective.error?"),
        (
            "[objective]\nalhpa = 0.2",
            "objective.alhpa: there is no field of that name; did you mean objective.alpha?",
        ),
        ("batch-size = 3", "batch-size: there is no field of that name; did you mean batch_size?"),
        ('network = "segnet"', "did you mean network.network?"),
        ("zzz = 1", "zzz: there is no field of that name; the file may come from a newer version"),
        (
            '[objective]\nerror = "square"',
            'objective.error = "square": must be one of "absolute", "one_sided"',
        ),
        ("epochs = 2.5", "epochs = 2.5: must be an integer."),
        ("epochs = true", "epochs = true: must be an integer."),
        ("epochs = -1", "epochs=-1: must be at least 0 and at most 1,000,000."),
        ('prepare = "emsc"', 'prepare = "emsc": must be a list whose entries are text.'),
        ("[ensemble]\nfold = 1.5", "ensemble.fold = 1.5: must be an integer or left out."),
        ('[ensemble]\nside_by_side = "all"', 'must be "auto" or an integer.'),
        ("[network]\nbase = 0", "base=0: must be at least 1 and at most 1,024."),
        ("[network]\ndepth = -1", "depth=-1: must be at least 0 and at most 8."),
        ("[optimiser]\nlearning_rate = 0", "learning_rate=0.0"),
        ("[optimiser]\nlearning_rate = nan", "optimiser.learning_rate = NaN: must be a finite number."),
        ("[optimiser]\ndecay = 1.5", "decay=1.5"),
        ("resident_limit_gib = -1", "resident_limit_gib=-1.0: must be at least 0."),
        ("[objective]\nalpha = 2", "alpha=2.0: must be above 0 and at most 1."),
        ('recipe = "other"', 'recipe = "other": must be one of default, paper2019'),
        ("resume = true", "belongs on the command line"),
        ("epochs 3", "line 1"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_file_field_value_and_what_is_allowed(
    text, message, tmp_path, capsys
):
    path = tmp_path / "my.toml"
    path.write_text(text)
    assert main(["train", "--recipe", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ")
    assert message in error


def test_recipes_that_are_not_there(tmp_path, capsys):
    (tmp_path / "list.json").write_text("[1]")
    for named, message in (
        ("papr2019", "Did you mean paper2019?"),
        (str(tmp_path / "none.toml"), "no such recipe file; `compseg recipe default >"),
        (str(tmp_path / "list.json"), "holds list; a recipe holds fields and their values"),
    ):
        assert main(["recipe", named]) == 1
        assert message in capsys.readouterr().err


def test_the_recipe_of_the_demo_is_the_default_one_with_fewer_checkpoints():
    assert recipe(str(ROOT / "tools" / "demo.toml")) == dataclasses.replace(
        RECIPES["default"], checkpoint_every=10
    )
