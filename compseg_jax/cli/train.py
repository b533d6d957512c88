"""`compseg train`: options on one screen, everything else in a recipe file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compseg_jax.cli.next_steps import evaluate_run, print_next, view
from compseg_jax.cli.parsing import HelpPage, asks_for_steps, parse
from compseg_jax.cli.processes import HELP, together
from compseg_jax.cli.quiet import tell
from compseg_jax.config import Training, recipe
from compseg_jax.config.fields import Described, described
from compseg_jax.config.network import refuse_foreign
from compseg_jax.config.recipe_file import toml_value
from compseg_jax.runtime import cache_compilations

PAGE = HelpPage(
    "train",
    text="Train a segmenting network from sample labels.\n\n"
    "What is no option here (objective, schedule, random starts and so on) is set in a recipe file: "
    "`compseg recipe default > my.toml` writes one with every field explained, --recipe my.toml trains with it.\n\n"
    + HELP,
    example="compseg train --data store --out runs/mine --epochs 100",
    groups={
        "options": ("data", "out", "recipe", "init_from", "resume", "tensorboard", "licence"),
        "training": (
            "prepare", "objective.alpha", "epochs", "optimiser.learning_rate", "batch_size", "microbatch", "seed",
            "augment", "threshold", "second_view",
        ),
        "network": (
            "network.network", "network.base", "network.depth", "network.front", "network.compute_dtype",
        ),
        "ensemble": ("ensemble.folds", "ensemble.seeds"),
    },
)  # fmt: skip
"""The one place that says which fields of a run are options; the others are given in a recipe file."""


def run(arguments: list[str]) -> None:
    """Trains a segmenting network, or an ensemble of them, from sample labels."""
    if not asks_for_steps(arguments):
        together(_train, arguments)


def _train(arguments: list[str]) -> None:
    config = configuration(arguments)
    cache_compilations()
    if config.ensemble.n_members > 1:
        from compseg_jax.training.ensemble import train_ensemble

        print(f"ensemble: {train_ensemble(config)}")
    else:
        from compseg_jax.training.run import train

        print(f"extracted network: {train(config)}")
    tell(run=config.out)
    print_next(evaluate_run(config.out, config.data), view(config.out))


def configuration(arguments: list[str]) -> Training:
    """The run that arguments ask for; raises ValueError where they do not fit together."""
    given = _value_of("--recipe", arguments)
    named = given or "default"
    _refuse_fields_of_recipe_files(arguments, named)
    start = recipe(named)
    if "--resume" in arguments:
        own = _configuration_of_run(arguments)
        # A recipe that is given again starts anew from it; training refuses what differs from the run.
        start = own if given is None else replace(start, data=own.data, out=own.out, init_from=own.init_from)
    config = replace(parse(Training, arguments, PAGE, default=start), recipe=start.recipe)
    if "--resume" not in arguments or given is not None:
        refuse_foreign(config.network.network, _value_of("--network", arguments) or "", named)
    return config


def _value_of(option: str, arguments: list[str]) -> str | None:
    for index, argument in enumerate(arguments):
        if argument == option and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None


def _configuration_of_run(arguments: list[str]) -> Training:
    """The configuration a run was started with, so that --resume needs only --out."""
    from compseg_jax.model.run_folder import CONFIG, read_run
    from compseg_jax.training.progress import resuming

    folder = Path(_value_of("--out", arguments) or Training().out)
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no run to resume (no {CONFIG}). Name its folder with --out.")
    config = read_run(folder)
    if config.network.is_foreign and _value_of("--network", arguments) != config.network.network:
        raise ValueError(
            f"{folder / CONFIG} names the network {config.network.network!r}, code that is none of compseg's. Where "
            f"you trust it, name it as well: {resuming(config)}"
        )
    return config


def _refuse_fields_of_recipe_files(arguments: list[str], named: str) -> None:
    """Says where a field belongs that is none of the options."""
    shown = {name for names in PAGE.groups.values() for name in names}
    options = {
        prefix + path.rpartition(".")[2].replace("_", "-"): (path, field)
        for path, field in described(Training).items()
        if path not in shown
        for prefix in ("--", "--no-")
    }
    for argument in arguments:
        option = argument.partition("=")[0].replace("_", "-")
        if option in options:
            path, field = options[option]
            part, _, name = path.rpartition(".")
            line = f"{name} = {_as_toml(field, option, _value_of(argument.partition('=')[0], arguments))}"
            raise ValueError(
                f"{option} is no option of `compseg train`; `{line}` belongs in a recipe file. Write one:\n"
                f"    compseg recipe {named} > my.toml\n"
                f"set {f'under [{part}]' if part else 'before its first part'}:\n"
                f"    {line}\n"
                "and train with --recipe my.toml."
            )


def _as_toml(field: Described, option: str, value: str | None) -> str:
    if field.hint is bool:
        return toml_value(not option.startswith("--no-"))
    for kind in (int, float):
        try:
            return toml_value(kind(value or ""))
        except ValueError:
            continue
    return toml_value("…" if value is None else value)
