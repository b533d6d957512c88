"""Steps as people write them, `mie:reference=matrigel.csv,n_components=14`, and as JSON keeps them."""

from __future__ import annotations

import ast
import difflib
import inspect
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from compseg_jax.spectra.preparation.step_kinds import PreparationError, Step
from compseg_jax.spectra.preparation.steps import STEPS

PRESETS: Mapping[str, tuple[str, ...]] = {
    "paper2019": ("tissue", "quality", "resample", "rmies"),
}
"""Whole preparations by name. ``paper2019``: what the paper's spectra had, the reference being their mean."""


def parse_steps(words: Sequence[str]) -> tuple[Step, ...]:
    """The steps that words such as ``tissue`` or ``derivative:order=2,window=9`` name, in order.

    A word may also name a preset, which stands for its steps.

    Raises:
      PreparationError: for a step, a setting or a value that does not exist; the message lists what does.
    """
    spread = [step for word in words for step in PRESETS.get(word, (word,))]
    return tuple(_parse_step(word) for word in spread)


def _parse_step(text: str) -> Step:
    name, _, rest = text.strip().partition(":")
    settings: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise PreparationError(
                f"step {text!r}: found {part!r}; a setting is written name=value, for example "
                f"{_example(name)}. `--prepare help` lists all steps and settings."
            )
        settings[key.strip()] = value.strip()
    return step_of(name, settings)


def step_of(name: str, settings: Mapping[str, Any]) -> Step:
    """A step of a name and settings, which may be text.

    Raises:
      PreparationError: as of ``parse_steps``.
    """
    if name not in STEPS:
        near = difflib.get_close_matches(name, [*STEPS, *PRESETS], 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PreparationError(f"there is no step {name!r}; there are {', '.join(STEPS)}.{hint}")
    step = STEPS[name]
    kinds = get_type_hints(step)
    known = [each.name for each in fields(step)]
    values = {}
    for key, value in settings.items():
        if key not in known:
            raise PreparationError(
                f"step {name!r} has no setting {key!r}; it has {', '.join(known) or 'none'}."
            )
        kind = getattr(kinds[key], "__name__", str(kinds[key]))
        values[key] = _converted(value, kind, f"step {name!r}, {key}")
    try:
        return step(**values)
    except ValueError as error:
        raise PreparationError(f"step {name!r}: {error}") from error


def _converted(value: Any, kind: str, place: str) -> Any:
    """A value as its field wants it, from text or from JSON."""
    if value is None or (isinstance(value, str) and value.lower() == "none" and "None" in kind):
        if "None" in kind:
            return None
        raise PreparationError(f"{place}: found nothing; required is {kind}.")
    if "bool" in kind:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in words:
            raise PreparationError(f"{place}: found {value!r}; required is yes or no.")
        return words[str(value).lower()]
    for name, convert in (("int", int), ("float", float)):
        if name in kind:
            try:
                return convert(value)
            except (ValueError, TypeError) as error:
                raise PreparationError(f"{place}: found {value!r}; required is {kind}.") from error
    return str(value)


def step_to_json(step: Step) -> dict[str, Any]:
    """A step as JSON values."""
    return {"step": step.name, "settings": step.settings()}


def _example(name: str) -> str:
    step = STEPS.get(name)
    known = [] if step is None else fields(step)
    return f"{name}:{known[0].name}={known[0].default}" if known else "resample:points=450"


def help_text() -> str:
    """Every step with its settings, units and defaults, and every preset."""
    lines = ["Steps, applied in the order given; write NAME or NAME:SETTING=VALUE,SETTING=VALUE.", ""]
    for name, step in STEPS.items():
        lines += textwrap.wrap(f"  {name:<12} {_first_line(step)}", 100, subsequent_indent=" " * 15)
        documented = field_docs(step)
        for each in fields(step):
            text = f"{each.name}={_default(each)}: {documented.get(each.name, '')}"
            lines += textwrap.wrap(text, 100, initial_indent=" " * 15, subsequent_indent=" " * 17)
    lines += ["", "Presets:"]
    lines += [f"  {name:<12} {' '.join(words)}" for name, words in PRESETS.items()]
    return "\n".join(lines)


def _first_line(step: type[Step]) -> str:
    return (inspect.getdoc(step) or "").splitlines()[0]


def _default(each: Any) -> str:
    if isinstance(each.default, bool):
        return "yes" if each.default else "no"
    return "none" if each.default is None else str(each.default)


def field_docs(cls: type) -> dict[str, str]:
    """The docstring below each field of a dataclass and of those it builds on."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not is_dataclass(base) or base is Step:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        members = body.body if isinstance(body, ast.ClassDef) else []
        for member, below in itertools.pairwise(members):
            if not (isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name)):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[member.target.id] = " ".join(str(below.value.value).split())
    return found
