"""`clprune quantize`: what is written, what is reported, and what stops a run before it begins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clprune.container.read import read_packed
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import load_network
from clprune.quantization.coding import CodebookCoding, HalfCoding, LinearCoding
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("device_context")

SHORT = ["--data", "digits", "--count", "64", "--batch", "32", "--epochs", "1"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "small"


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], (LinearCoding, 8)), (["--scheme", "codebook", "--bits", "4"], (CodebookCoding, 4)),
     (["--scheme", "codebook"], (CodebookCoding, 8)), (["--scheme", "half", "--bits", "16"], (HalfCoding, 16))],
)  # fmt: skip
def test_writes_a_model_like_any_other(
    run: Run, model: Path, out: Path, options: list[str], expected: tuple[type, int]
) -> None:
    coding, bits = expected
    result = run("quantize", model, *options, "--out", out, "--json")
    assert result.status == 0, result.err
    report = json.loads(result.out)
    assert (report["cfg"], report["weights"]) == (f"{out}.cfg", f"{out}.safetensors")
    network = load_network(f"{out}.cfg")
    assert not any(isinstance(layer, Convolutional) and layer.batch_normalize for layer in network.layers)
    weights = read_packed(f"{out}.safetensors", network)
    for index in (0, 2, 3):
        values = weights.layers[index]
        assert values is not None
        assert isinstance(values.coding, coding)
    assert [layer["layer"] for layer in report["layers"]] == [0, 2, 3]
    assert {layer["bits"] for layer in report["layers"]} == {bits}
    assert report["size_bytes"] == Path(report["weights"]).stat().st_size
    assert report["left"] == []
    assert "accuracy_before" not in report


def test_random_weights_pruned(run: Run, model: Path, out: Path) -> None:
    options = ["--random-weights", "--method", "unstructured", "--sparsity", "0.9", "--fc-sparsity", "0.75"]
    result = run("quantize", model, *options, "--out", f"{out}.safetensors", "--scheme", "codebook", "--bits", "4")
    assert result.status == 0, result.err
    assert f"written: {out}.cfg, {out}.safetensors" in result.out
    network = load_network(f"{out}.cfg")
    weights = read_packed(f"{out}.safetensors", network)
    for index, sparsity in ((2, 0.9), (3, 0.75)):
        layer, values = network.layers[index], weights.layers[index]
        assert isinstance(layer, Convolutional | Connected)
        assert layer.prune is not None
        assert (layer.prune.method, layer.prune.sparsity) == ("unstructured", sparsity)
        assert values is not None
        assert np.mean(values.weights == 0) == pytest.approx(sparsity, abs=0.01)


def test_activations_get_scales(run: Run, model: Path, out: Path) -> None:
    result = run(
        "quantize", model, "--activations", "--calibrate", "digits", "--calibrate-images", "5", "--out", out, "--json"
    )
    assert result.status == 0, result.err
    network = load_network(f"{out}.cfg")
    weights = read_packed(f"{out}.safetensors", network)
    for layer in json.loads(result.out)["layers"]:
        values = weights.layers[layer["layer"]]
        assert values is not None
        assert isinstance(values.coding, LinearCoding)
        assert values.coding.activation_scale == layer["activation_scale"] > 0


def test_prunes_and_retrains_first(run: Run, model: Path, out: Path) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch")
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    options = ["--prune-first", "--method", "unstructured", "--sparsity", "0.5", "--fc-sparsity", "0.5"]
    result = run("quantize", model, *options, *SHORT, "--activations", "--out", out, "--json")
    assert result.status == 0, result.err
    report = json.loads(result.out)
    assert len(report["losses"]) == 2
    assert 0 <= report["accuracy_after"] <= 1
    assert 0 <= report["accuracy_before"] <= 1
    kept = {layer["layer"]: layer["kept_share"] for layer in report["layers"]}
    assert kept[0] > 0.9
    assert kept[2] == pytest.approx(0.5, abs=0.05)
    assert kept[3] == pytest.approx(0.5, abs=0.05)
    layer = load_network(f"{out}.cfg").layers[2]
    assert isinstance(layer, Convolutional)
    assert layer.prune is not None


def test_prunes_filters_without_training(run: Run, model: Path, out: Path) -> None:
    options = ["--prune-first", "--method", "filter", "--sparsity", "0.5"]
    result = run("quantize", model, *options, "--data", "digits", "--out", out)
    assert result.status == 0, result.err
    assert "accuracy: " in result.out
    layer = load_network(f"{out}.cfg").layers[2]
    assert isinstance(layer, Convolutional)
    assert layer.filters == 8


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        (["--bits", "4"], (2, "4 bits by scheme linear: expected 8")),
        (["--scheme", "magic"], (2, "scheme 'magic': expected one of linear, codebook, half")),
        (["--activations"], (2, "activations without calibrate or data")),
        (["--activations", "--scheme", "codebook"], (2, "activations with scheme codebook: expected linear")),
        (["--calibrate", "digits"], (2, "calibrate without activations")),
        (["--sparsity", "0.5"], (2, "--sparsity without --random-weights")),
        (["--prune-first"], (2, "--prune-first without --sparsity")),
        (["--prune-first", "--random-weights", "--sparsity", "0.5"], (2, "both --prune-first and --random-weights")),
        (["--prune-first", "--sparsity", "1"], (2, "sparsity 1.0: expected a share")),
        (["--epochs", "1"], (2, "epochs without data")),
        (["--learning-rate", "0.1"], (2, "--learning-rate without --epochs")),
        (["--checkpoint", "state"], (2, "--checkpoint without --epochs")),
        (["--distillation", "0.5"], (2, "--distillation without --epochs")),
        (["--data", "nothing"], (2, "data 'nothing': expected one of ")),
        (["--activations", "--calibrate", "folder:absent"], (1, "absent: no such folder")),
    ],
)
def test_stops_before_it_begins(run: Run, model: Path, out: Path, options: list[str], failure: tuple[int, str]) -> None:
    result = run("quantize", model, "--out", out, *options)
    assert (result.status, result.out) == (failure[0], "")
    assert failure[1] in result.error
    assert list(out.parent.iterdir()) == []


def test_inputs_are_not_replaced(run: Run, model: Path) -> None:
    before = model.read_text()
    result = run("quantize", model, "--out", model.with_suffix(""))
    assert result.status == 2
    assert "would replace" in result.error
    assert model.read_text() == before
