"""`clprune prune` with every method and option that composes with it: what is written and what is reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import load_network
from clprune.darknet.weights import read_weights
from clprune.pruning.registry import list_methods
from tests.cli.conftest import Run
from tests.training.conftest import one_thread  # noqa: F401  # a fixture

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
pytestmark = pytest.mark.usefixtures("device_context", "one_thread")

SHORT = ["--data", "digits", "--count", "64", "--batch", "32", "--epochs", "1", "--sparsity", "0.5"]


@pytest.mark.slow
def test_filters_leave_a_smaller_network(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "small_model"
    options = ["--method", "filter", "--steps", "2", "--out", out, "--json"]
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, *options)
    assert result.status == 0, result.err
    report = json.loads(result.out)
    small = load_network(f"{out}.cfg")
    convolutions = [layer for layer in small.layers if isinstance(layer, Convolutional)]
    assert [layer.filters for layer in convolutions] == [9, 8]
    assert all(layer.prune is None for layer in small.layers if isinstance(layer, Convolutional | Connected))
    weights = read_weights(f"{out}.weights", small)
    assert all(values.weights.all() for values in weights.layers if values is not None)
    assert report["layers"][0]["kept_share"] == 0.5
    assert report["after"]["weights_kept"] < 0.6
    assert report["after"]["largest_error"] < 1e-4
    measured = json.loads(run("eval", f"{out}.cfg", "--data", "digits", "--json").out)
    assert measured["accuracy"] == report["after"]["accuracy"]


@pytest.mark.slow
def test_everything_composes_and_ends_with_a_page(run: Run, model: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "pruned", tmp_path / "report.html"
    options = ["--method", "bcbp", "--fc-sparsity", "0.4", "--permute", "--allocation", "global", "--criterion", "l2"]
    more = ["--unit", "4x1", "--parallel-tiles", "2", "--steps", "2", "--report", page, "--out", out, "--json"]
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, *options, *more)
    assert result.status == 0, result.err
    report = json.loads(result.out)
    assert report["permuted"].keys() == {"2"}
    assert report["left"] == {"3": "they reach layer 4 [softmax]"}
    assert report["criterion"] == "l2"
    convolution = report["layers"][0]
    assert convolution["imbalance"] == 1 <= convolution["imbalance_before"]
    assert 0 < convolution["norm_error"] < 1
    assert convolution["multiplied_share"] >= convolution["kept_share"] > 0
    assert report["accuracy_masked"] is not None
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert report["after"]["largest_error"] < 1e-4


def test_a_unit_for_several_devices(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "pruned"
    options = ["--for", "sm_90,sm_80", "--method", "wavefront", "--out", out]
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, *options)
    assert result.status == 0, result.err
    layer = load_network(f"{out}.cfg").layers[2]
    assert isinstance(layer, Convolutional)
    assert layer.prune is not None
    assert layer.prune.method == "wavefront"
    weights = read_weights(f"{out}.weights", load_network(f"{out}.cfg")).layers[2]
    assert weights is not None
    rows = layer.prune.unit.rows
    kept = (weights.weights.reshape(16, -1) != 0)[:rows]
    assert np.array_equal(kept.any(axis=0), kept.all(axis=0))


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        (["--for", "0:0", "--unit", "4x1"], (2, "both --unit and --for")),
        (["--for", ","], (2, "--for ',' names no device")),
        (["--for", "no such device"], (1, "no platform or device fits")),
        (["--report", "absent/page.html"], (1, "absent/page.html: no such folder")),
        (["--parallel-tiles", "0"], (2, "Invalid value for '--parallel-tiles'")),
    ],
)
def test_prune_stops_before_it_begins(
    run: Run, model: Path, tmp_path: Path, options: list[str], failure: tuple[int, str]
) -> None:
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, "--out", tmp_path / "pruned", *options)
    assert (result.status, result.out) == (failure[0], "")
    assert failure[1] in result.error
    assert not (tmp_path / "pruned.cfg").exists()


def test_help_names_every_method_and_option(run: Run) -> None:
    shown = " ".join(run("prune", "--help").out.split())
    assert [name for name in list_methods() if name not in shown] == []
    for name in ("parallel-tiles", "vector-kept-share", "winograd", "winograd-unit", "balance", "no-refit"):
        assert f"--{name}" in shown
