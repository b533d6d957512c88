"""`compseg recipe`: the recipes, and a file of one with every field explained."""

from __future__ import annotations

from dataclasses import dataclass

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.config import recipe, recipe_text
from compseg_jax.config.recipes import SUMMARIES

PAGE = HelpPage(
    "recipe",
    text="List the recipes of `compseg train`, or write one as a file with every field explained.\n\n"
    "Edit the file and train with `compseg train --recipe my.toml`.",
    example="compseg recipe default > my.toml",
    groups={"options": ("name",)},
    positional=("name", "[NAME]"),
)


@dataclass(frozen=True)
class RecipeOptions:
    """What to write."""

    name: str = ""
    """Recipe to write to standard output as TOML, or a recipe file (.toml, .json, config.json of a run) to write
    again with every field; without it the recipes are listed."""


def run(arguments: list[str]) -> None:
    """Lists the recipes or prints one as TOML."""
    name = parse(RecipeOptions, arguments, PAGE).name
    if name:
        config = recipe(name)
        print(recipe_text(config, config.recipe), end="")
        return
    lines = [f"  {each:<16} {summary}" for each, summary in SUMMARIES.items()]
    print("\n".join([*lines, "", "to edit one: compseg recipe default > my.toml"]))
    print("to train:    compseg train --recipe my.toml (or the name of one)")
