"""Packed models on the command line: every command that takes `.weights` takes them, and `info` describes them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clprune.container.write import write_packed
from clprune.darknet.network import load_network
from clprune.darknet.weights import read_weights
from clprune.pruning.network import apply_masks
from clprune.quantization.coding import HalfCoding
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("device_context")


@pytest.fixture
def packed(model: Path) -> Path:
    """The model's weights in a container in place of darknet's file, its second convolution pruned and coded."""
    network = load_network(model)
    darknet = model.with_suffix(".weights")
    weights = read_weights(darknet, network)
    values = weights.layers[2]
    assert values is not None
    keep = np.random.default_rng(0).random((len(values.weights), values.weights[0].size)) < 0.2
    layers = list(apply_masks(weights, {2: keep}).layers)
    pruned = layers[2]
    assert pruned is not None
    coding = HalfCoding(values=pruned.weights.astype(np.float16))
    layers[2] = replace(pruned, weights=coding.decode(), coding=coding)
    path = model.with_suffix(".safetensors")
    write_packed(path, network, replace(weights, layers=tuple(layers)))
    darknet.unlink()
    return path


def test_infer_takes_it_beside_the_cfg_and_by_its_path(run: Run, model: Path, packed: Path, images: list[Path]) -> None:
    beside = run("infer", model, *images)
    assert beside.status == 0
    moved = packed.rename(packed.with_name("moved.safetensors"))
    assert run("infer", model, moved, *images).out == beside.out
    missing = run("infer", model, *images)
    assert missing.status == 1
    assert missing.error.startswith(f"{model.with_suffix('.weights')}: no such file: expected the weights beside")


@pytest.mark.parametrize("command", [["bench", "--rounds", "1"], ["verify"], ["eval", "--data", "synthetic"]])
def test_other_commands_take_it(run: Run, model: Path, packed: Path, command: list[str]) -> None:
    name, *options = command
    assert run(name, model, *options).status == 0
    assert run(name, model, packed, *options).status == 0


@pytest.mark.parametrize("command", [["bench"], ["verify"], ["infer"], ["tune"]])
def test_one_line_for_a_broken_file(run: Run, model: Path, packed: Path, command: list[str]) -> None:
    packed.write_bytes(packed.read_bytes()[:-1])
    result = run(*command, model, packed)
    assert result.status == 1
    assert result.error.startswith(f"{packed}: ")
    assert "cut short or no safetensors file" in result.error


def test_info(run: Run, model: Path, packed: Path) -> None:
    result = run("info", packed)
    assert result.status == 0
    assert "float16" in result.out
    assert f"{packed}: 0.0" in result.out
    facts = json.loads(run("info", packed, "--json").out)
    assert facts["size_bytes"] == packed.stat().st_size
    layer = next(layer for layer in facts["layers"] if layer["layer"] == 2)
    assert (layer["domain"], layer["coding"], layer["bits"], layer["unit_rows"]) == ("spatial", "float16", 16, 1)
    assert layer["kept_share"] == pytest.approx(0.2, abs=0.05)
    assert sum(layer["size_bytes"] for layer in facts["layers"]) < facts["size_bytes"]


def test_info_of_other_files(run: Run, model: Path) -> None:
    result = run("info", model.with_suffix(".weights"))
    assert result.status == 1
    assert result.error == (
        f"{model.with_suffix('.weights')}: expected a packed model, PREFIX.safetensors: other files do not say what "
        "they hold"
    )


@pytest.mark.slow
def test_prune_writes_it(run: Run, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch")
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    out = tmp_path / "pruned"
    short = ["--data", "digits", "--count", "64", "--batch", "32", "--epochs", "1", "--sparsity", "0.75"]
    result = run("prune", model, model.with_suffix(".weights"), *short, "--format", "packed", "--out", out, "--json")
    assert result.status == 0
    report = json.loads(result.out)
    assert report["weights"] == f"{out}.safetensors"
    assert not out.with_suffix(".weights").exists()
    layers = json.loads(run("info", f"{out}.safetensors", "--json").out)["layers"]
    assert next(layer["method"] for layer in layers if layer["layer"] == 2) == "workgroup"
    measured = json.loads(run("eval", f"{out}.cfg", "--data", "digits", "--json").out)
    assert measured["accuracy"] == report["after"]["accuracy"]
    shutil.copy(model.with_suffix(".weights"), tmp_path / "other.weights")
    shadowed = run(
        "prune", model, model.with_suffix(".weights"), *short, "--format", "packed", "--out", tmp_path / "other"
    )
    assert shadowed.status == 2
    assert "would be loaded in place of other.safetensors" in shadowed.error
