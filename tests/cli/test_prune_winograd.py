"""`clprune prune` in the Winograd domain: what is written runs as it was trained, and what is chosen is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clprune.container.load import load_weights
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import load_network
from tests.cli.conftest import Run
from tests.training.conftest import one_thread  # noqa: F401  # a fixture

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
pytestmark = pytest.mark.usefixtures("device_context", "one_thread")

SHORT = ["--data", "digits", "--count", "64", "--batch", "32", "--epochs", "1", "--sparsity", "0.5"]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "tile"), [("wsp", 4), ("bwsp", 2)])
def test_what_is_written_runs_as_it_was_trained(run: Run, model: Path, tmp_path: Path, method: str, tile: int) -> None:
    out = tmp_path / "pruned"
    options = ["--method", method, "--winograd", tile, "--unit", "4x1", "--fc-sparsity", "0.4", "--out", out, "--json"]
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, *options)
    assert result.status == 0, result.err
    report = json.loads(result.out)
    assert report["weights"] == f"{out}.safetensors"
    assert report["after"]["largest_error"] < 1e-4
    assert report["choices"] == []
    network = load_network(f"{out}.cfg")
    layer, values = network.layers[2], load_weights(f"{out}.safetensors", network).layers[2]
    assert isinstance(layer, Convolutional) and layer.prune is not None and values is not None
    assert (layer.prune.method, str(layer.prune.unit), layer.prune.winograd) == (method, "4x1", tile)
    assert values.winograd == tile
    assert np.mean(values.weights == 0) == pytest.approx(0.5, abs=0.07)
    assert report["layers"][0]["winograd"] == tile
    assert report["layers"][0]["matrix_imbalance"] >= 1
    measured = json.loads(run("eval", f"{out}.cfg", "--data", "digits", "--json").out)
    assert measured["accuracy"] == report["after"]["accuracy"]
    verified = run("verify", f"{out}.cfg")
    assert verified.status == 0, verified.err


@pytest.mark.slow
def test_abwsp_says_what_it_chose_and_why(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "pruned"
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, "--method", "abwsp", "--out", out)
    assert result.status == 0, result.err
    assert "because" in result.out and "wsp's loss is" in result.out
    layer = load_network(f"{out}.cfg").layers[2]
    assert isinstance(layer, Convolutional) and layer.prune is not None
    assert layer.prune.method in ("wsp", "bwsp")


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        (["--method", "wsp", "--winograd", "3"], (2, "winograd 3: expected one of 2, 4")),
        (["--method", "bcbp", "--winograd", "2"], (2, "--winograd 2 with --method bcbp")),
        (["--method", "wsp", "--winograd-unit", "plane"], (2, "winograd_unit 'plane': expected one of")),
        (["--method", "bwsp", "--balance", "all"], (2, "balance 'all': expected one of list, matrix")),
    ],
)
def test_options_are_checked(
    run: Run, model: Path, tmp_path: Path, options: list[str], failure: tuple[int, str]
) -> None:
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, "--out", tmp_path / "pruned", *options)
    assert (result.status, result.out) == (failure[0], "")
    assert failure[1] in result.error


def test_random_weights_in_the_winograd_domain(run: Run, model: Path) -> None:
    options = ["--random-weights", "--method", "bwsp", "--sparsity", "0.5", "--winograd", "4", "--unit", "4x1"]
    result = run("verify", model, *options)
    assert result.status == 0, result.err
