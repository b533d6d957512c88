"""What a stranger sees of the commands: help pages, names that were mistyped, options that moved."""

from __future__ import annotations

import itertools
import re
from importlib import import_module

import pytest

from compseg_jax.cli.main import COMMANDS, main
from compseg_jax.config import RECIPES, Training
from compseg_jax.config.fields import described

PAGES = {name: import_module(f"compseg_jax.cli.{name}").PAGE for name in COMMANDS}
MOST_OPTIONS_OF_TRAIN = 24


def help_of(command: str, capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "columns"), [*((command, 80) for command in COMMANDS), ("train", 60), ("predict", 132)]
)
def test_help_fits_the_terminal_and_has_an_example(command, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = help_of(command, capsys).splitlines()
    examples = [line for line in lines if line.startswith("example: compseg ")]
    assert [line for line in lines if len(line) > columns and line not in examples] == []
    assert len(examples) == 1
    assert examples[0].split()[2] == command
    assert len(examples[0]) <= 80
    assert ragged(lines, columns) == []


def ragged(lines: list[str], columns: int) -> list[str]:
    """Lines of a box that end although the first word of the next one would still have fitted."""
    found = []
    for line, following in itertools.pairwise(lines):
        text, further = line.strip("│").rstrip(), following.strip("│").rstrip()
        indent = len(further) - len(further.lstrip())
        if line.startswith("│") and indent > 1 and text.startswith(" " * indent):
            word = re.match(r"[^ ,]*,?", further.strip())[0]
            if len(text) + len(word) + 1 <= columns - 3:
                found.append(line)
    return found


def test_the_overview_fits_80_columns_and_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"  {command} " in text for command in COMMANDS)
    assert "example: compseg train" in text


def test_train_shows_a_screen_of_options_and_names_their_defaults(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of("train", capsys)
    options = re.findall(r"^│ (--[a-z-]+)", text, re.MULTILINE)
    assert "--epochs" in options
    assert len(options) == len(set(options)) <= MOST_OPTIONS_OF_TRAIN
    assert len(re.findall(r"\(default:\s", text)) == len(options)
    assert "compseg recipe default > my.toml" in " ".join(text.split())


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("train", "doctor")])
def test_other_commands_show_every_field_of_theirs(command, capsys, monkeypatch):
    """A field that is added to the options of a command and forgotten on its page would be no option."""
    monkeypatch.setenv("COLUMNS", "80")
    module, shown = import_module(f"compseg_jax.cli.{command}"), PAGES[command].groups
    (options,) = {
        value for value in vars(module).values() if isinstance(value, type) and value.__name__ in OPTIONS
    }
    assert sorted(name for names in shown.values() for name in names) == sorted(described(options))
    assert all(field.doc for field in described(options).values())


OPTIONS = {
    "PhantomOptions", "InfoOptions", "DearrayScan", "IngestCommand", "CheckOptions", "RecipeOptions",
    "EvaluateOptions", "PredictOptions", "StartOptions", "CompletionOptions", "ViewOptions",
    "ExportOptions", "CopyOptions", "SlurmOptions", "SweepOptions", "RunsOptions", "CompareOptions",
}  # fmt: skip


def test_a_mistyped_command_is_answered_with_the_nearest_one(capsys):
    assert main(["trian"]) == 2
    assert "Did you mean `compseg train`?" in capsys.readouterr().err
    assert main(["qqq"]) == 2
    assert "Did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "part", "line"),
    [
        (["--error", "one_sided"], "under [objective]", 'error = "one_sided"'),
        (["--error=one_sided"], "under [objective]", 'error = "one_sided"'),
        (["--head-bias", "-1"], "under [network]", "head_bias = -1"),
        (["--clip_norm", "0.5"], "under [optimiser]", "clip_norm = 0.5"),
        (["--pair"], "under [objective]", "pair = true"),
        (["--no-self-check"], "before its first part", "self_check = false"),
        (["--fold", "1", "--folds", "5"], "under [ensemble]", "fold = 1"),
    ],
)
def test_an_option_that_moved_to_recipe_files_says_how_to_write_one(arguments, part, line, capsys):
    assert main(["train", "--recipe", "cam", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {arguments[0].partition('=')[0].replace('_', '-')} is no option")
    assert "compseg recipe cam > my.toml" in error
    assert f"set {part}:\n    {line}\n" in error
    assert "--recipe my.toml" in error


def test_every_field_of_a_run_is_an_option_or_belongs_in_a_recipe_file(capsys):
    shown = {name for names in PAGES["train"].groups.values() for name in names}
    assert shown < set(described(Training))
    for name in set(described(Training)) - shown:
        assert main(["train", "--" + name.rpartition(".")[2].replace("_", "-"), "1"]) == 1
        assert "belongs in a recipe file" in capsys.readouterr().err


@pytest.fixture
def trained(monkeypatch) -> list[Training]:
    """The configurations that would have been trained."""
    seen: list[Training] = []
    monkeypatch.setattr("compseg_jax.training.run.train", lambda config: seen.append(config) or "RUN")
    return seen


def test_options_come_before_the_recipe_file_and_the_file_before_its_recipe(trained, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(
        'recipe = "cam"\nepochs = 7\nbatch_size = 3\ntensorboard = true\n[network]\ndropout = 0.5\n'
    )
    assert main(["train", "--recipe", str(path), "--epochs", "9", "--base", "4", "--prepare", "vector"]) == 0
    (config,) = trained
    cam = RECIPES["cam"]
    assert (config.epochs, config.batch_size, config.recipe) == (9, 3, "cam")
    assert (config.network.base, config.network.dropout, config.prepare) == (4, 0.5, ("vector",))
    assert (config.network.normalisation, config.objective) == (cam.network.normalisation, cam.objective)
    assert config.tensorboard
    assert main(["train", "--recipe", str(path), "--no-tensorboard"]) == 0
    assert not trained[1].tensorboard


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_without_options_is_trained_as_it_is(recipe, trained):
    assert main(["train", "--recipe", recipe]) == 0
    assert trained == [RECIPES[recipe]]
