"""What people install: versions that agree, extras that exist, lines that install them, files that others lint."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import compseg_jax
from compseg_jax.runtime import extras
from compseg_jax.runtime.extras import install_line

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
GIGABYTES = {"cuda", "torch"}


def runtime_requirements() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def read_yaml(name: str):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_one_version():
    assert read_yaml("CITATION.cff")["version"] == compseg_jax.__version__
    assert read_yaml("packaging/conda/recipe.yaml")["context"]["version"] == compseg_jax.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest is not None
    assert newest[1] == compseg_jax.__version__


def test_all_is_every_extra_but_the_largest():
    (all_of_them,) = (Requirement(line) for line in EXTRAS["all"])
    assert all_of_them.name == PROJECT["name"]
    assert all_of_them.extras == set(EXTRAS) - GIGABYTES - {"all"}


def test_the_classifiers_name_the_tested_versions_of_python():
    said = [line.rpartition(" :: ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert said == read_yaml(".github/workflows/tests.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={said[0]}"


def test_the_conda_recipe_asks_for_what_pip_does():
    recipe = read_yaml("packaging/conda/recipe.yaml")
    asked = {
        name: bounds for name, _, bounds in (line.partition(" ") for line in recipe["requirements"]["run"])
    }
    assert asked.pop("python") == PROJECT["requires-python"]
    names = {"matplotlib": "matplotlib-base"}
    wanted = {names.get(each.name, each.name): each.specifier for each in runtime_requirements()}
    assert {name: Requirement(f"x{bounds}").specifier for name, bounds in asked.items()} == wanted


def said_by_the_package(extra: str) -> list[str]:
    return [f"{Requirement(line)}" for line in EXTRAS[extra]]


@pytest.fixture
def installed(monkeypatch):
    """As if the package were installed with what pyproject.toml says today."""
    lines = [f'{line}; extra == "{name}"' for name, each in EXTRAS.items() for line in each]
    monkeypatch.setattr(extras, "requires", lambda _: ["numpy>=2", *lines])


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - {"all"}))
def test_an_install_line_names_this_interpreter_and_the_libraries(extra, installed):
    python, *words = shlex.split(install_line(extra))
    assert (python, words[:3]) == (sys.executable, ["-m", "pip", "install"])
    assert [str(Requirement(word)) for word in words[3:]] == said_by_the_package(extra)


def test_an_environment_without_pip_is_given_the_line_of_uv(installed, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    words = shlex.split(install_line("tables"))
    assert words == ["uv", "pip", "install", "--python", sys.executable, *EXTRAS["tables"]]


def test_a_package_that_was_not_installed_is_named_with_the_extra(monkeypatch):
    def refuse(_):
        raise PackageNotFoundError

    monkeypatch.setattr(extras, "requires", refuse)
    assert install_line("tables").endswith("'compseg-jax[tables]'")


def test_the_extras_that_messages_name_exist():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "compseg_jax").rglob("*.py"))
    named = set(re.findall(r"""(?:extra=|install_line\()["'](\w+)["']""", sources))
    assert {"slides", "medical", "viewer", "raman"} <= named <= set(EXTRAS)


def test_the_workflow_calls_targets_that_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")
    called = set(re.findall(r"\bmake ([\w-]+)", text))
    assert {"lint", "docs"} <= called <= targets
    assert {f"test{each}" for each in ("", "-oldest")} <= targets


@pytest.mark.parametrize(("name", "extras"), [("all", {"all"}), ("cuda", {"all", "cuda"})])
def test_the_container_installs_what_is_asked_for_by_hash(name, extras):
    text = (ROOT / f"packaging/locked-{name}.txt").read_text(encoding="utf-8")
    entries = re.findall(
        r"^([\w.-]+)==([^ \n]+)[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n)+)", text, re.M
    )
    assert len(entries) == len(re.findall(r"^[\w.-]+==", text, re.M)) > 50
    locked = {canonicalize_name(each): version for each, version, _ in entries}
    chosen = extras - {"all"} | set(EXTRAS) - GIGABYTES - {"all"}
    for line in [*map(str, runtime_requirements()), *(line for each in chosen for line in EXTRAS[each])]:
        asked = Requirement(line)
        assert asked.specifier.contains(locked[canonicalize_name(asked.name)]), f"{line}: run `make lock`"
    assert "compseg-jax" not in locked
    assert "setuptools" in locked
    container = (ROOT / "packaging/Containerfile").read_text(encoding="utf-8")
    assert "--require-hashes -r locked.txt" in container
    assert "pip install --no-cache-dir --no-deps --no-build-isolation ." in container
