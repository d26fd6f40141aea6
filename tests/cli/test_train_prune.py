"""`clprune train` and `clprune prune`: what is written, what is reported, and what stops a run before it begins."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import load_network
from clprune.darknet.weights import read_weights
from clprune.errors import FileError
from clprune.unit import Unit
from tests.cli.conftest import Run
from tests.training.conftest import one_thread  # noqa: F401  # a fixture

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
pytestmark = pytest.mark.usefixtures("device_context", "one_thread")

SHORT = ["--data", "digits", "--count", "64", "--batch", "32", "--epochs", "1"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "pruned"


def test_train_writes_weights_that_the_runner_takes(run: Run, model: Path, out: Path) -> None:
    result = run("train", model, *SHORT, "--out", out, "--json")
    assert result.status == 0
    report = json.loads(result.out)
    assert report["weights"] == f"{out}.weights"
    assert report["epochs"] == len(report["losses"]) == 1
    assert 0 <= report["accuracy"] <= 1
    weights = read_weights(f"{out}.weights", load_network(model))
    assert weights.seen == 64
    text = run("train", model, *SHORT, "--out", f"{out}.weights").out
    assert text == f"{100 * report['accuracy']:.2f} % of 359 held-out images of digits right\nweights: {out}.weights\n"
    measured = json.loads(run("eval", model, f"{out}.weights", "--data", "digits", "--json").out)
    assert measured["accuracy"] == pytest.approx(report["accuracy"], abs=1e-3)


def test_train_starts_from_a_file_of_the_first_layers(run: Run, model: Path, out: Path) -> None:
    network = load_network(model)
    values = sum(np.prod(shape) for shape in network.layers[0].arrays.values())
    part = out.parent / "model.conv.1"
    part.write_bytes(model.with_suffix(".weights").read_bytes()[: 20 + 4 * int(values)])
    assert run("train", model, *SHORT, "--learning-rate", "1e-9", "--weights", part, "--out", out).status == 0
    given, found = (read_weights(path, network) for path in (model.with_suffix(".weights"), f"{out}.weights"))
    for index, is_kept in ((0, True), (network.matrix_layers[-1].index, False)):
        pairs = [weights.layers[index] for weights in (given, found)]
        assert all(layer is not None for layer in pairs)
        assert np.allclose(*(layer.weights for layer in pairs if layer is not None), atol=1e-6) == is_kept
    result = run("infer", model, part, model)
    assert (
        result.status == 1 and "file of the first layers, from which `clprune train --weights` starts" in result.error
    )


def test_a_log_has_a_line_for_every_epoch(run: Run, model: Path, out: Path) -> None:
    lines = run("train", model, *SHORT, "--epochs", "2", "--out", out).err.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"training epoch 1/2: loss [\d.]+, images/s [\d.e+]+, \d+ s left", lines[0])
    assert re.fullmatch(r"training epoch 2/2: loss [\d.]+, images/s [\d.e+]+", lines[1])


def test_prune_writes_a_pair_that_describes_itself(run: Run, model: Path, out: Path) -> None:
    options = ["--sparsity", "0.75", "--fc-sparsity", "0.5", "--unit", "4x1", "--out", out]
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, *options, "--json")
    assert result.status == 0
    report = json.loads(result.out)
    network = load_network(f"{out}.cfg")
    weights = read_weights(f"{out}.weights", network)
    pruned = [layer for layer in network.layers if isinstance(layer, Convolutional | Connected) and layer.prune]
    assert [layer.index for layer in pruned] == [2, 3]
    for layer, sparsity in zip(pruned, (0.75, 0.5), strict=True):
        assert layer.prune is not None
        assert (layer.prune.method, layer.prune.unit) == ("workgroup", Unit(rows=4))
        assert layer.prune.sparsity == sparsity
        values = weights.layers[layer.index]
        assert values is not None
        matrix = values.weights.reshape(len(values.weights), -1)
        units = np.add.reduceat(matrix != 0, np.arange(0, len(matrix), 4), axis=0)
        assert np.count_nonzero(units) == units.size - round(sparsity * units.size)
    assert [layer["layer"] for layer in report["layers"]] == [2, 3]
    assert report["before"]["weights_kept"] == 1
    assert report["after"]["weights_kept"] < 0.6
    assert report["after"]["largest_error"] < 1e-4
    assert report["speed_up"] == pytest.approx(report["before"]["best_ms"] / report["after"]["best_ms"])
    measured = json.loads(run("eval", f"{out}.cfg", "--data", "digits", "--json").out)
    assert measured["accuracy"] == report["after"]["accuracy"]


@pytest.mark.slow
def test_prune_learns_from_the_dense_model(run: Run, model: Path, out: Path) -> None:
    options = ["--sparsity", "0.75", "--unit", "4x1", "--out", out, "--json"]
    losses = [
        json.loads(run("prune", model, model.with_suffix(".weights"), *SHORT, *options, *more).out)["losses"]
        for more in ([], ["--distillation", "0.5", "--temperature", "2"])
    ]
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_prune_takes_the_unit_of_the_devices_tile_and_reports(run: Run, model: Path, out: Path) -> None:
    options = ["--sparsity", "0.5", "--steps", "2", "--allocation", "global", "--out", f"{out}.cfg"]
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, *options)
    assert result.status == 0
    layers = json.loads(run("bench", f"{out}.cfg", "--rounds", "1", "--json").out)["layers"]
    tile = next(layer["tile"] for layer in layers if layer["layer"] == 2)
    layer = load_network(f"{out}.cfg").layers[2]
    assert isinstance(layer, Convolutional)
    assert layer.prune is not None
    assert layer.prune.unit == Unit(rows=tile["tile_m"])
    assert "ms before" in result.out
    assert f"written: {out}.cfg, {out}.weights" in result.out
    assert "359 held-out images of digits" in result.out


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        (["--sparsity", "1"], (2, "sparsity 1.0: expected a share")),
        (["--sparsity", "-0.5"], (2, "sparsity -0.5: expected a share")),
        (["--sparsity", "0.5", "--fc-sparsity", "2"], (2, "sparsity 2.0: expected a share")),
        (["--sparsity", "half"], (2, "Invalid value for '--sparsity'")),
        ([], (2, "Missing option '--sparsity'")),
        (["--sparsity", "0.5", "--method", "magic"], (2, "pruning method 'magic': expected one of ")),
        (["--sparsity", "0.5", "--criterion", "l9"], (2, "criterion 'l9': expected one of ")),
        (["--sparsity", "0.5", "--allocation", "fair"], (2, "allocation 'fair': expected one of ")),
        (["--sparsity", "0.5", "--unit", "0x1"], (2, "unit 0x1: both sides must be at least 1")),
        (["--sparsity", "0.5", "--data", "nothing"], (2, "data 'nothing': expected one of ")),
        (["--sparsity", "0.5", "--epochs", "0"], (2, "Invalid value for '--epochs'")),
        (["--sparsity", "0.5", "--learning-rate", "-1"], (2, "learning_rate -1.0: expected more than 0")),
        (["--sparsity", "0.5", "--data", "folder:absent"], (1, "absent: no such folder")),
        (["--sparsity", "0.5", "--checkpoint", "absent/file"], (1, "absent/file: no such folder")),
    ],
)
def test_prune_stops_before_it_begins(
    run: Run, model: Path, out: Path, options: list[str], failure: tuple[int, str]
) -> None:
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, "--out", out, *options)
    assert (result.status, result.out) == (failure[0], "")
    assert failure[1] in result.error
    assert list(out.parent.iterdir()) == []


def test_output_folder_is_checked_first(run: Run, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "absent" / "pruned"
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, "--sparsity", ".5", "--out", target)
    assert (result.status, result.error) == (1, f"{target}.cfg: no such folder: {target.parent}; make it first")
    result = run("train", model, *SHORT, "--out", target)
    assert (result.status, result.error) == (1, f"{target}.weights: no such folder: {target.parent}; make it first")


def test_inputs_are_not_replaced(run: Run, model: Path) -> None:
    before = model.read_text()
    result = run(
        "prune", model, model.with_suffix(".weights"), *SHORT, "--sparsity", ".5", "--out", model.with_suffix("")
    )
    assert result.status == 2
    assert result.error.startswith(f"{model} would replace {model}: expected another name")
    assert model.read_text() == before


def test_neither_file_without_the_other(run: Run, model: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise FileError("cannot be written: No space left on device", path=f"{out}.weights")

    monkeypatch.setattr("clprune.container.load.encode_weights", full)
    result = run("prune", model, model.with_suffix(".weights"), *SHORT, "--sparsity", ".5", "--out", out)
    assert (result.status, result.error) == (1, f"{out}.weights: cannot be written: No space left on device")
    assert list(out.parent.iterdir()) == []


def test_without_torch(run: Run, model: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("clprune.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    for command in (["train", model], ["prune", model, model.with_suffix(".weights"), "--sparsity", ".5"]):
        result = run(*command, *SHORT, "--out", out)
        assert result.status == 1
        assert "pip install clprune[train]" in result.error
