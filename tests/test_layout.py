"""The shape of the house: data moves left to right, imports are cheap, flags are set and take effect."""

from __future__ import annotations

import ast
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import compseg_jax
from compseg_jax.runtime import flags_for_jaxlib, has_onednn_convolutions, merged_flags

PACKAGE = Path(compseg_jax.__file__).parent
ROOMS = [
    "config", "runtime", "drawing", "readers", "spectra", "store", "ingest", "networks", "objective",
    "model", "prediction", "evaluation", "training", "viewer", "cli",
]  # fmt: skip


def room(module: str) -> int:
    """Position of a module in the direction of data."""
    name = module.split(".")[0]
    assert name in ROOMS, f"{module} lies in no room; move it to the room whose thing it is"
    return ROOMS.index(name)


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            yield name, path


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("compseg_jax."):
            yield node.module.removeprefix("compseg_jax.")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("compseg_jax."):
                    yield alias.name.removeprefix("compseg_jax.")


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_a_module_imports_from_its_left_only(name, path):
    for imported in imports(path):
        assert room(imported) <= room(name), f"{name} imports {imported}, which lies to its right"


def test_config_and_cube_import_nothing_of_ours():
    for path in [*(PACKAGE / "config").glob("*.py"), PACKAGE / "readers" / "cube.py"]:
        assert all(name.startswith("config.") for name in imports(path)), path


HOMES = {
    "flax": ("networks/",),
    "optax": ("training/",),
    "orbax": ("training/checkpoint.py", "model/parameters.py"),
    "tensorstore": ("store/",),
    "matplotlib": ("drawing/", "readers/info/", "ingest/summary_page.py", "evaluation/report/"),
    "jinja2": ("drawing/", "viewer/"),
    "bokeh": ("viewer/",),
    **dict.fromkeys(("onnx", "onnxruntime", "torch", "safetensors", "bioimageio"), ("model/portable/",)),
    "tifffile": ("readers/", "prediction/formats/ome_tiff.py"),
    **dict.fromkeys(("h5py", "zarr"), ("readers/",)),
}


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library):
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith(HOMES[library]):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = [name for name in names if name == library or name.startswith(library + ".")]
            assert not found, f"{place} imports {library}, whose home is {' and '.join(HOMES[library])}"


def python(program: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**clean, "PYTHONPATH": str(PACKAGE.parent), **environment},
        check=False,
    )


def test_importing_the_package_imports_nothing_heavy():
    heavy = "['jax', 'flax', 'orbax', 'matplotlib', 'sklearn', 'tensorstore', 'tyro', 'h5py', 'bokeh']"
    result = python(
        f"import sys, compseg_jax, compseg_jax.cli.main; print([m for m in {heavy} if m in sys.modules])"
    )
    assert result.stdout.strip() == "[]", result.stderr


def test_every_public_name_is_there():
    for name in compseg_jax.__all__:
        assert getattr(compseg_jax, name) is not None
    with pytest.raises(AttributeError, match="it offers"):
        _ = compseg_jax.no_such_name


def documented_imports():
    """Imports of the package in README, docs and notebook: the module and the names taken from it."""
    root = PACKAGE.parent
    for path in [
        root / "README.md",
        *sorted((root / "docs").rglob("*.md")),
        root / "examples/quickstart.ipynb",
    ]:
        text = path.read_text()
        if path.suffix == ".ipynb":
            text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
        for module, taken in re.findall(
            r"^from (compseg_jax[\w.]*) import \(?([\w, ]+|[\w,\s]+\))", text, re.M
        ):
            names = re.findall(r"\w+", taken)
            yield pytest.param(module, names, id=f"{path.name}-{module}-{names[0]}")


@pytest.mark.parametrize(("module", "names"), list(documented_imports()))
def test_what_is_documented_is_public(module, names):
    assert module.count(".") <= 1, f"{module} lies deep in its room; export {names} from the room"
    public = importlib.import_module(module)
    for name in names:
        assert name in public.__all__, f"{module} does not list {name} in __all__"
        assert not isinstance(getattr(public, name), types.ModuleType)


def test_every_listed_name_of_a_room_is_there():
    for name in ROOMS:
        module = importlib.import_module(f"compseg_jax.{name}")
        for listed in getattr(module, "__all__", []):
            assert getattr(module, listed) is not None


def test_flags_are_appended_and_never_override():
    assert merged_flags("", ("--a=1", "--b=2")) == "--a=1 --b=2"
    assert merged_flags("--b=7 --c", ("--a=1", "--b=2")) == "--b=7 --c --a=1"
    assert flags_for_jaxlib("0.10.2") == ("--xla_cpu_experimental_ynn_fusion_type=",)
    assert "--xla_cpu_experimental_ynn_fusion_type=" in flags_for_jaxlib("0.11.2")
    assert flags_for_jaxlib("9.9.9") == ()


def test_flags_reach_xla_and_the_users_win():
    program = "import os, compseg_jax, jax; jax.devices(); print(os.environ['XLA_FLAGS'])"
    result = python(program)
    assert result.returncode == 0, result.stderr
    assert "--xla_cpu_experimental_ynn_fusion_type=" in result.stdout
    own = "--xla_cpu_experimental_ynn_fusion_type=dot"
    assert python(program, XLA_FLAGS=own).stdout.split().count(own) == 1


def test_a_warning_when_jax_already_runs():
    result = python("import jax; jax.devices(); import compseg_jax")
    assert "Import compseg_jax first" in result.stderr
    assert "Import compseg_jax first" not in python("import jax; import compseg_jax").stderr


def test_flags_take_effect_on_what_is_compiled():
    """A product that XLA hands to oneDNN with our flags, and to its own code where the user forbids it."""
    import jaxlib

    program = (
        "import compseg_jax, jax, jax.numpy as jnp; a = jnp.ones((256, 256));"
        "print('onednn' in jax.jit(lambda a: a @ a).lower(a).compile().as_text())"
    )
    has_it = has_onednn_convolutions()
    assert has_it == (tuple(int(n) for n in jaxlib.__version__.split(".")[:2]) >= (0, 11))
    assert python(program).stdout.strip() == str(has_it)
    if has_it:
        forbidden = python(program, XLA_FLAGS="--xla_cpu_experimental_onednn_custom_call=false")
        assert forbidden.stdout.strip() == "False"


def test_memory_is_kept_unless_the_user_or_a_running_jax_says_otherwise():
    program = "from compseg_jax.runtime import keep_freed_memory; print(keep_freed_memory())"
    is_glibc = platform.libc_ver()[0] == "glibc"
    assert python(program).stdout.strip() == str(is_glibc)
    assert python(program, MALLOC_ARENA_MAX="4").stdout.strip() == "False"
    assert python("import compseg_jax, jax; jax.devices();" + program).stdout.strip() == "False"


def test_compilations_are_cached_where_they_can_be(tmp_path):
    program = (
        "from compseg_jax.runtime import cache_compilations; import jax, jax.numpy as jnp;"
        "folder = cache_compilations(); jax.config.update('jax_persistent_cache_min_compile_time_secs', 0);"
        "jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((64, 64))); print(folder)"
    )
    run = python(program, XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR="")
    if has_onednn_convolutions():
        assert run.stdout.strip() == "None"
        assert list(tmp_path.iterdir()) == []
    else:
        assert run.stdout.strip() == str(tmp_path / "compseg_jax" / "xla")
        assert list((tmp_path / "compseg_jax" / "xla").iterdir())
