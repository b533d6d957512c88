"""Networks in formats of other programs: each computes what the model computes, by its own runtime."""

from __future__ import annotations

import dataclasses
import gc
import json
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy

from compseg_jax.cli.main import main
from compseg_jax.config import Network
from compseg_jax.model import ExtractedNetwork, Model, ModelError
from compseg_jax.model.model_files import load_network, save_network
from compseg_jax.model.portable import bioimageio_package, export, onnx_file, torchscript
from compseg_jax.model.portable.comparison import expected_activation, random_cubes, refuse_disagreement
from compseg_jax.model.portable.description import PortableError, describe
from compseg_jax.model.portable.export import ExportOptions, write_portable
from compseg_jax.model.portable.facts import facts, instructions
from compseg_jax.model.portable.operations import Convolution
from compseg_jax.model.portable.safetensors_file import load_safetensors
from compseg_jax.networks.build import build_network, init_variables
from compseg_jax.runtime.extras import install_line
from compseg_jax.runtime.processes import machine
from compseg_jax.spectra.preparation import Preparation, fit_preparation, parse_steps
from compseg_jax.spectra.scaling import Scaling

CHANNELS = 6
ODD = (2, 31, 45)
NETWORKS = {
    "paper": Network(),
    "openvibspec": Network(activation="relu", normalisation="batch", head_norm=True, dropout=0.2),
    "front and groups": Network(activation="gelu", normalisation="group", front=3, remat=True),
    "attention by pixel": Network(activation="elu", normalisation="layer", activation_map="attention"),
    "gated attention": Network(normalisation="batch", activation_map="attention", attention_features=3),
    "unread attention": Network(attention_features=3, normalisation="group"),
    "bfloat16": Network(compute_dtype="bfloat16", convolution="plain"),
    "segnet": Network("segnet", normalisation="batch", depth=3),
    "segnet groups": Network("segnet", normalisation="group", activation="relu"),
    "no levels": Network(depth=0),
    "bilinear way up": Network(way_up="bilinear", normalisation="batch", depth=3),
    "smoothed": Network(depth=1, smoothing_px=1.4),
}
DEEPER = ("paper", "gated attention", "segnet")
EVERY_PIXEL = ("attention by pixel", "segnet groups")
LIKE_OTHERS = (
    "attention by pixel", "bfloat16", "gated attention", "paper", "segnet", "segnet groups", "unread attention",
)  # fmt: skip
"""Made of the layers of the others; written and run by `make test-all`."""


class OwnNet(nn.Module):
    maps: int = 1

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.maps, (1, 1))(x)


def small(name: str) -> Network:
    config = NETWORKS[name]
    return dataclasses.replace(config, base=4, depth=min(config.depth, 2 if name in DEEPER else 1))


def model_of(config: Network, background="zero", *, seed=0, description=None) -> ExtractedNetwork:
    """A model as if trained: every bias, scale and statistic away from its start, maps that span most of [0, 1]."""
    maps = 2 if config.activation_map == "attention" or config.attention_features else 1
    network = build_network(config, maps)
    rng = np.random.default_rng(seed)

    def drawn(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        return leaf if name == "kernel" else jnp.asarray(rng.normal(0, 0.4, leaf.shape), jnp.float32)

    variables = init_variables(network, jax.random.key(seed), CHANNELS, maps)
    variables = jax.tree_util.tree_map_with_path(drawn, dict(variables))
    scaling = Scaling(*(np.linspace(*ends, CHANNELS, dtype=np.float32) for ends in ((0.5, 2), (0.1, 0.3))))
    axis = np.linspace(1800, 948, CHANNELS)
    return ExtractedNetwork(network, variables, scaling, axis, 0.35, background, description or {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model folder with batch statistics and a preparation."""
    config = small("openvibspec")
    steps = fit_preparation(parse_steps(["vector"]), np.linspace(1800, 948, CHANNELS), lambda: [])
    model = model_of(config, description={"preparation": steps.to_json(), "recipe": "default"})
    place = tmp_path_factory.mktemp("run") / "model"
    save_network(place, model, config)
    return place


def onnx_runner(model: ExtractedNetwork, path: Path):
    onnx_file.write(path, describe(model), {})
    return onnx_file.runner(path)


def torch_runner(model: ExtractedNetwork, path: Path):
    pytest.importorskip("torch", reason="TorchScript needs torch: pip install 'compseg-jax[torch]'")
    torchscript.write(path, describe(model), "{}")
    return torchscript.runner(path)


@pytest.mark.parametrize("runner", [onnx_runner, torch_runner])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ()) for name in NETWORKS]
)
def test_every_kind_of_network_computes_what_the_model_computes(name, runner, tmp_path):
    model = model_of(small(name), "none" if name in EVERY_PIXEL else "zero")
    run = runner(model, tmp_path / "network")
    cubes = random_cubes(model, *ODD)
    expected, found = expected_activation(model, cubes), run(cubes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)
    tissue = np.any(cubes != 0, axis=1, keepdims=True)
    assert np.std(expected[tissue]) > 0.01, "a map that is the same everywhere compares nothing"
    assert np.all(found[~tissue] == 0) == (model.background == "zero")


@pytest.mark.parametrize("runner", [onnx_runner, torch_runner])
@pytest.mark.parametrize("name", ["paper", pytest.param("segnet", marks=pytest.mark.slow)])
def test_any_height_and_width(name, runner, tmp_path):
    model = model_of(small(name))
    run = runner(model, tmp_path / "network")
    for size in ((1, 1, 1), (3, 5, 24)):
        cubes = random_cubes(model, *size)
        np.testing.assert_allclose(run(cubes), expected_activation(model, cubes), atol=2e-5)


def test_tissue_without_a_pixel_and_huge_values(tmp_path):
    model = model_of(small("gated attention"))
    run = onnx_runner(model, tmp_path / "network")
    cubes = random_cubes(model, *ODD)
    cubes[0] = 0
    cubes[1] *= 1e4
    found = run(cubes)
    assert not found[0].any()
    np.testing.assert_allclose(found, expected_activation(model, cubes), atol=1e-4)


@pytest.mark.slow
def test_maps_of_bfloat16_models_are_compared_in_float32():
    model = model_of(small("bfloat16"))
    cubes = random_cubes(model, 1, 16, 16)
    rounded = Model.of(model)(np.moveaxis(cubes, 1, -1), prepared=True)
    assert 1e-4 < np.max(np.abs(rounded - expected_activation(model, cubes)[:, 0])) < 0.1


def test_bfloat16_models_are_said_to_be_computed_in_float32():
    assert "itself computes in bfloat16" in instructions(model_of(small("bfloat16")))
    assert "computes in" not in instructions(model_of(small("paper")))


def test_every_fact_is_explained_in_the_documentation(folder):
    page = (Path(__file__).parents[1] / "docs" / "portable.md").read_text()
    for name in facts(load_network(folder)):
        assert f"`{name}`" in page
    assert f"operator set {onnx_file.OPSET}, IR version {onnx_file.IR_VERSION}" in page


def test_variables_without_an_operation_are_refused():
    model = model_of(small("paper"))
    params = {**model.variables["params"], "new_layer": {"Conv_0": {"kernel": jnp.ones((1, 1))}}}
    other = dataclasses.replace(model, variables={"params": params})
    with pytest.raises(PortableError, match="no operation for: params/new_layer/Conv_0/kernel"):
        describe(other)


def test_batch_statistics_become_part_of_the_convolution():
    network = describe(model_of(small("openvibspec")))
    convolutions = [each for each in network.operations if isinstance(each, Convolution)]
    assert len(convolutions) == 2 * 2 + 2 + 1, "two a level down and up, two at the bottom, the head"
    assert not [each for each in network.operations if type(each).__name__ == "Normalise"]


def command(model: Path, out: Path, *more: str) -> int:
    return main(["export", "--model", str(model), "--out", str(out), *more])


def test_an_onnx_file_says_what_it_is_and_runs_alone(folder, tmp_path, capsys):
    out = tmp_path / "new" / "network.onnx"
    assert command(folder, out) == 0
    said = capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ["network.onnx"]
    for part in (
        "onnxruntime",
        "6 wavenumbers, 1800 … 948 cm⁻¹",
        "not part of it",
        "1. vector",
        "threshold of 0.35",
    ):
        assert part in said
    written = onnx.load(out)
    assert (written.ir_version, [each.version for each in written.opset_import]) == (8, [17])
    metadata = {each.key: each.value for each in written.metadata_props}
    assert "unscaled" in written.graph.input[0].doc_string
    assert json.loads(metadata["wavenumbers_cm1"]) == pytest.approx(np.linspace(1800, 948, CHANNELS))
    assert (metadata["threshold"], metadata["background"]) == ("0.35", "zero")
    steps = Preparation.from_json(json.loads(metadata["preparation"]))
    assert [each.step.name for each in steps.steps] == ["vector"]

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", CHANNELS, "y", "x"]
    assert session.get_outputs()[0].shape == ["batch", 1, "y", "x"]
    model = load_network(folder)
    cube = random_cubes(model, 1, 20, 12)
    (found,) = session.run(["activation"], {"absorbance": cube})
    np.testing.assert_allclose(
        found[0, 0], Model.of(model)(cube[0].transpose(1, 2, 0), prepared=True), atol=1e-4
    )


def test_a_torchscript_file_says_what_it_is_and_runs_alone(folder, tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="TorchScript needs torch: pip install 'compseg-jax[torch]'")
    out = tmp_path / "network.pt"
    assert command(folder, out, "--format", "torchscript") == 0
    assert f"torch {torch.__version__}" in capsys.readouterr().out
    extra = {"compseg.json": ""}
    with torchscript._deprecation_of_torchscript():
        module = torch.jit.load(out, _extra_files=extra)
    assert json.loads(extra["compseg.json"])["threshold"] == "0.35"
    model = load_network(folder)
    cube = random_cubes(model, 3, 9, 12)
    np.testing.assert_allclose(module(torch.from_numpy(cube)), expected_activation(model, cube), atol=1e-4)


def test_safetensors_hold_the_model_bit_for_bit(folder, tmp_path):
    out = tmp_path / "network.safetensors"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (
        tmp_path / f".{out.name}.{machine()}-{ended.pid}-1-0.partial"
    ).mkdir()  # left by a process that was killed
    assert command(folder, out, "--format", "safetensors") == 0
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert out.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    before, after = load_network(folder), load_safetensors(out).networks[0]
    assert jax.tree.structure(before.variables) == jax.tree.structure(after.variables)
    for a, b in zip(jax.tree.leaves(before.variables), jax.tree.leaves(after.variables), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    for name in ("mean", "sd"):
        assert getattr(before.scaling, name).tobytes() == getattr(after.scaling, name).tobytes()
    np.testing.assert_array_equal(before.wavenumbers_cm1, after.wavenumbers_cm1)
    assert (after.threshold, after.background, after.network) == (0.35, "zero", before.network)
    assert after.description["preparation"] == before.description["preparation"]

    plain = safetensors.numpy.load_file(out)
    kernel = before.variables["params"]["down_0"]["Conv_1"]["kernel"]
    np.testing.assert_array_equal(plain["params/down_0/Conv_1/kernel"], kernel)
    assert "batch_stats/down_0/Normalisation_0/batch_norm/var" in plain
    np.testing.assert_array_equal(plain["scaling/mean"], before.scaling.mean)


def current_umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_changed_threshold_is_what_safetensors_keep(folder, tmp_path):
    changed = dataclasses.replace(load_network(folder), threshold=0.5)
    write_portable(changed, tmp_path / "a.safetensors", "safetensors")
    assert load_safetensors(tmp_path / "a.safetensors").threshold == 0.5


def test_safetensors_of_others_and_damaged_ones_are_refused(folder, tmp_path):
    whole, other = tmp_path / "whole.safetensors", tmp_path / "other.safetensors"
    write_portable(load_network(folder), whole, "safetensors")
    tensors = safetensors.numpy.load_file(whole)
    with safetensors.safe_open(str(whole), framework="numpy") as file:
        metadata = file.metadata()

    def written(arrays, facts=metadata):
        other.write_bytes(safetensors.numpy.save(arrays, metadata=facts))
        return other

    with pytest.raises(ModelError, match="no 'model'"):
        load_safetensors(written(tensors, {"format": "pt"}))
    name = "params/down_0/Conv_0/bias"
    with pytest.raises(ModelError, match="hash"):
        load_safetensors(written({**tensors, name: tensors[name] + 1}))
    with pytest.raises(ModelError, match="scaling/sd missing"):
        load_safetensors(written({key: value for key, value in tensors.items() if key != "scaling/sd"}))
    other.write_bytes(whole.read_bytes()[:-7])
    with pytest.raises(ModelError, match="cannot be read"):
        load_safetensors(other)
    with pytest.raises(ModelError, match="no such file"):
        load_safetensors(tmp_path / "absent.safetensors")


def test_a_user_module_is_kept_by_safetensors_only(tmp_path):
    name = "tests.test_portable:OwnNet"
    config = Network(network=name)
    save_network(tmp_path / "model", model_of(config), config)
    for format_name, ending in (("onnx", "onnx"), ("torchscript", "pt"), ("bioimageio", "zip")):
        with pytest.raises(PortableError, match=r"tests\.test_portable:OwnNet, a Flax module of your own"):
            write_portable(load_network(tmp_path / "model", name), tmp_path / f"n.{ending}", format_name)
    write_portable(load_network(tmp_path / "model", name), tmp_path / "n.safetensors", "safetensors")
    with pytest.raises(ModelError, match=f"--network {name}"):
        load_safetensors(tmp_path / "n.safetensors")
    again = load_safetensors(tmp_path / "n.safetensors", network=name)
    assert type(again.networks[0].network).__qualname__ == "OwnNet"
    np.testing.assert_array_equal(
        again.networks[0].variables["params"]["Conv_0"]["kernel"].shape, (1, 1, CHANNELS, 1)
    )


def test_a_map_that_is_a_gradient_is_refused():
    with pytest.raises(PortableError, match=r"activation_map='saliency'.*safetensors"):
        describe(model_of(Network(base=2, depth=1, activation_map="saliency")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("n.pt",), "ends with .onnx"),
        (("n.onnx", "--name", "Some name"), "--name: only a bioimage.io package"),
        (("n.zip", "--format", "bioimageio", "--author", "A B"), "--name and --license missing"),
        (("taken.onnx",), "exists already"),
    ],
)
def test_options_that_do_not_fit_are_said_before_any_work(options, message, folder, tmp_path, capsys):
    (tmp_path / "taken.onnx").write_text("mine")
    out, *more = options
    assert command(folder, tmp_path / out, *more) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["taken.onnx"]
    assert (tmp_path / "taken.onnx").read_text() == "mine"


def test_an_ensemble_is_exported_one_network_at_a_time(tmp_path, capsys):
    config = small("paper")
    members = []
    for name in ("one", "other"):
        save_network(tmp_path / "run" / "members" / name, model_of(config), config)
        saved = load_network(tmp_path / "run" / "members" / name)
        members.append({"model": f"members/{name}", "weights_sha256": saved.description["weights_sha256"]})
    values = {
        "format": "compseg-ensemble",
        "version": 1,
        "threshold": 0.4,
        "area_cut": 0.1,
        "prepared_steps": 0,
    }
    (tmp_path / "run" / "ensemble.json").write_text(json.dumps({**values, "members": members}))
    assert command(tmp_path / "run", tmp_path / "n.onnx") == 1
    assert "one at a time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "format_name", "ending", "extra"),
    [("onnxruntime", "onnx", "onnx", "onnx"), ("torch", "torchscript", "pt", "torch"),
     ("safetensors", "safetensors", "safetensors", "safetensors"),
     ("bioimageio.core", "bioimageio", "zip", "bioimageio")],
)  # fmt: skip
def test_a_missing_library_is_named_with_its_extra(
    missing, format_name, ending, extra, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PortableError, match=re.escape(install_line(extra))):
        write_portable(model_of(small("paper")), tmp_path / f"n.{ending}", format_name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda y: y + 2e-4, "differs from the model by 0.0002"), (lambda y: y * np.nan, "by inf"),
     (lambda y: y[:, 0], "returns")],
)  # fmt: skip
def test_a_network_that_disagrees_is_not_kept(change, message, tmp_path, monkeypatch):
    model = model_of(Network(base=2, depth=0))
    runner = onnx_file.runner
    monkeypatch.setattr(onnx_file, "runner", lambda path: lambda x: change(runner(path)(x)))
    with pytest.raises(PortableError, match=message):
        write_portable(model, tmp_path / "n.onnx", "onnx")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert refuse_disagreement(model, onnx_runner(model, tmp_path / "n.onnx"), "onnx") < 1e-6


PUBLICATION = (
    "--format",
    "bioimageio",
    "--name",
    "Tumour in spots (FTIR)",
    "--author",
    "Jane Doe",
    "John Doe",
)


# bioimageio.spec leaves closing its files to the garbage collector.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_package_is_accepted_by_the_tools_of_bioimageio(folder, tmp_path, capsys):
    from bioimageio.spec import load_description

    out = tmp_path / "network.zip"
    assert command(folder, out, *PUBLICATION, "--license", "CC-BY-4.0") == 0
    assert "its test passed by bioimageio.core" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["network.zip"]
    description = load_description(out, perform_io_checks=True)
    assert description.validation_summary.status in ("valid-format", "passed")
    assert [each.name for each in description.authors] == ["Jane Doe", "John Doe"]
    axes = [str(axis.id) for axis in description.inputs[0].axes]
    assert axes == ["batch", "channel", "y", "x"]
    names = description.inputs[0].axes[1].channel_names
    assert names[:2] == ["wavenumber_1800_cm1", "wavenumber_1629_6_cm1"]
    assert description.config.model_extra["compseg"]["threshold"] == 0.35
    with zipfile.ZipFile(out) as package:
        readme = package.read("README.md").decode()
        stored = json.loads(package.read("compseg.json"))
    assert "1. vector" in readme
    weights = description.weights
    has_torch = find_spec("torch") is not None
    assert weights.onnx is not None
    assert (weights.torchscript is not None) == has_torch
    assert ("ONNX and TorchScript" in readme) == has_torch
    assert "## Validation" in readme
    model = load_network(folder)
    assert stored["preparation"] == facts(model)["preparation"]
    del description
    gc.collect()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("label", "and no mask"),
        ("reference", "masks trained it"),
        (None, "It is for research and no medical"),
    ],
)
def test_a_package_says_what_its_network_learnt_from(target, said):
    description = {"config": {"objective": {"target": target}}} if target else {}
    publication = bioimageio_package.Publication("Name of it", ("Jane Doe",), "CC-BY-4.0")
    model = model_of(small("paper"), description=description)
    readme = bioimageio_package._readme(model, publication, has_torchscript=False)
    assert said in readme
    assert readme.startswith("# Name of it\n\nA UNet of ")
    assert "## Licence\n\nCC-BY-4.0" in readme
    assert "QuPath and deepImageJ run TorchScript" in readme
    assert instructions(model) in readme


def test_a_package_has_the_licence_that_its_model_states(tmp_path, monkeypatch):
    config = small("paper")
    save_network(tmp_path / "model", model_of(config, description={"licence": "CC0-1.0"}), config)
    asked = []
    monkeypatch.setattr(export, "write_portable", lambda *given: asked.append(given[-1]) or given[1].touch())
    assert command(tmp_path / "model", tmp_path / "n.zip", *PUBLICATION) == 0
    assert asked[0].license == "CC0-1.0"
    assert command(tmp_path / "model", tmp_path / "m.zip", *PUBLICATION, "--license", "MIT") == 0
    assert asked[1].license == "MIT"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_what_bioimageio_refuses_is_said_and_not_kept(folder, tmp_path, capsys):
    assert command(folder, tmp_path / "n.zip", *PUBLICATION, "--license", "my own") == 1
    said = capsys.readouterr().err
    assert "bioimage.io does not accept the package" in said
    assert "license" in said
    assert not list(tmp_path.iterdir())
    gc.collect()


def test_options_are_explained(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    said = capsys.readouterr().out
    for field in dataclasses.fields(ExportOptions):
        assert f"--{field.name}" in said
    assert set(export.FORMATS) == {"onnx", "torchscript", "safetensors", "bioimageio"}
