"""The shape of the house: data moves left to right, imports are cheap, flags are set and take effect."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import types
from pathlib import Path

import jaxlib
import pytest

import compseg_jax
from compseg_jax.runtime import flags_for_jaxlib, has_onednn_convolutions, merged_flags, xla_flags

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


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """Full names of the modules that a file imports, at its top or inside a function."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return tuple(names)


def imports(path: Path):
    """Modules of ours that a file imports, without the name of the package."""
    return [name.removeprefix("compseg_jax.") for name in imported(path) if name.startswith("compseg_jax.")]


def test_a_module_imports_from_its_left_only():
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name == "__init__":
            continue
        for other in imports(path):
            assert room(other) <= room(name), f"{name} imports {other}, which lies to its right"


def test_config_and_cube_import_nothing_of_ours():
    for path in [*(PACKAGE / "config").glob("*.py"), PACKAGE / "readers" / "cube.py"]:
        assert all(name.startswith("config.") for name in imports(path)), path


HOMES = {
    "flax": ("networks/",),
    "optax": ("training/",),
    "tyro": ("cli/",),
    "orbax": ("training/checkpoint.py", "model/parameters.py"),
    "tensorstore": ("store/",),
    "matplotlib": ("drawing/",),
    "jinja2": ("drawing/",),
    "bokeh": ("viewer/",),
    **dict.fromkeys(("onnx", "onnxruntime", "torch", "safetensors", "bioimageio"), ("model/portable/",)),
    "tifffile": ("readers/", "prediction/formats/ome_tiff.py"),
    **dict.fromkeys(("h5py", "zarr"), ("readers/",)),
    "mlflow": ("runtime/tracking.py",),
    "openpyxl": ("ingest/workbook.py",),
    "ray": ("runtime/ray_jobs.py",),
}


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library):
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if not place.startswith(HOMES[library]):
            found = [name for name in imported(path) if name == library or name.startswith(library + ".")]
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
    heavy = (
        "['jax', 'flax', 'orbax', 'matplotlib', 'sklearn', 'tensorstore', 'tyro', 'h5py', 'bokeh', 'mlflow']"
    )
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
    assert flags_for_jaxlib("0.12.0.1") == flags_for_jaxlib("0.11.2")
    assert flags_for_jaxlib("9.9.9") == ()


def test_a_jaxlib_that_is_not_known_is_named_and_gets_no_flags(monkeypatch):
    monkeypatch.setattr(xla_flags, "version", lambda name: "0.13.1")
    monkeypatch.setenv("XLA_FLAGS", "--own=1")
    with pytest.warns(
        RuntimeWarning, match=r"jaxlib 0\.13\.1 .* knows 0\.10 to 0\.12, .*oneDNN is off.*'jax<0\.13'"
    ):
        xla_flags.append_xla_flags()
    assert os.environ["XLA_FLAGS"] == "--own=1"
    assert not has_onednn_convolutions(), "nothing counts on what no flag asked for"


# Each process costs seconds, so what one process says serves several tests.
SAYS = """
import json, os, jax, compseg_jax, jax.numpy as jnp
from compseg_jax.runtime import cache_compilations
folder = cache_compilations()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
compiled = jax.jit(lambda x: x @ x).lower(jnp.ones((256, 256))).compile()
print(json.dumps([os.environ["XLA_FLAGS"], "onednn" in compiled.as_text(), str(folder)]))
"""
OWN_FLAGS = "--xla_cpu_experimental_ynn_fusion_type=dot --xla_cpu_experimental_onednn_custom_call=false"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A process with no flags of the user's and a cache folder of its own: its flags, oneDNN, cache and warnings."""
    home = tmp_path_factory.mktemp("cache")
    run = python(SAYS, XDG_CACHE_HOME=str(home), JAX_COMPILATION_CACHE_DIR="")
    assert run.returncode == 0, run.stderr
    return *json.loads(run.stdout), home, run.stderr


def test_flags_take_effect_on_what_is_compiled_and_the_users_win(fresh):
    """A product that XLA hands to oneDNN with our flags, and to its own code where the user forbids it."""
    flags, uses_onednn, *_ = fresh
    assert "--xla_cpu_experimental_ynn_fusion_type=" in flags.split()
    release = tuple(int(number) for number in jaxlib.__version__.split(".")[:2])
    assert uses_onednn == has_onednn_convolutions() == (release >= (0, 11))
    # A flag that jaxlib does not know aborts the process.
    own = OWN_FLAGS if has_onednn_convolutions() else OWN_FLAGS.split()[0]
    run = python(SAYS, XLA_FLAGS=own, JAX_COMPILATION_CACHE_DIR="")
    assert run.returncode == 0, run.stderr
    flags, uses_onednn, _ = json.loads(run.stdout)
    assert flags.split()[: len(own.split())] == own.split()
    assert flags.count("ynn_fusion_type") == 1
    assert not uses_onednn


def test_compilations_are_cached_where_they_can_be(fresh):
    *_, folder, home, _ = fresh
    if has_onednn_convolutions():
        assert folder == "None"
        assert list(home.iterdir()) == []
    else:
        assert folder == str(home / "compseg_jax" / "xla")
        assert list(Path(folder).iterdir())


MEMORY = "from compseg_jax.runtime import keep_freed_memory; print(keep_freed_memory())"


def test_a_running_jax_is_warned_of_and_left_its_memory(fresh):
    run = python("import jax; jax.devices(); import compseg_jax;" + MEMORY)
    assert "Import compseg_jax first" in run.stderr
    assert run.stdout.strip() == "False"
    assert "Import compseg_jax first" not in fresh[-1]


def test_memory_is_kept_unless_the_user_says_otherwise():
    is_glibc = platform.libc_ver()[0] == "glibc"
    assert python(MEMORY).stdout.strip() == str(is_glibc)
    assert python(MEMORY, MALLOC_ARENA_MAX="4").stdout.strip() == "False"


RETURNED = """
import ctypes
from pathlib import Path
from compseg_jax.runtime import keep_freed_memory
from compseg_jax.runtime.memory import return_kept_memory
def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
assert KEPT is False or keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.memset.restype = ctypes.c_void_p
libc.free.argtypes = (ctypes.c_void_p,)
blocks = [libc.malloc(2**16) for _ in range(1600)]
for block in blocks:
    libc.memset(ctypes.c_void_p(block), 1, 2**16)
behind = libc.malloc(100)  # so that the blocks are not at the end, which is returned at once
for block in blocks:
    libc.free(block)
before = resident_mib()
return_kept_memory()
print(round(before - resident_mib()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc is what keeps memory")
def test_kept_memory_is_returned_where_it_was_asked_to_be_kept():
    assert int(python(RETURNED.replace("KEPT", "True")).stdout) > 90
    assert int(python(RETURNED.replace("KEPT", "False")).stdout) == 0


PEERS = {"torch_peer": "torch", "docs_site": "mkdocs"}
"""Scripts that run in an environment of their own, and the library that it has."""
SCRIPTS = sorted(
    path for folder in ("benchmarks", "tools", "torture") for path in (PACKAGE.parent / folder).glob("*.py")
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_scripts_can_be_imported_and_then_do_nothing(path, capfd):
    """A name that moved breaks benchmarks and tools here and not months later; their work waits for `main`."""
    if path.stem in PEERS:
        pytest.importorskip(PEERS[path.stem])
    importlib.import_module(f"{path.parent.name}.{path.stem}")
    assert capfd.readouterr() == ("", "")
