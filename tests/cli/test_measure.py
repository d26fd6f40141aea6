"""`clprune bench`, `clprune verify` and `clprune eval`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clprune.runner.verify import LayerError
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("device_context")


def test_bench_json(run: Run, model: Path) -> None:
    result = run("bench", model, "--json", "--rounds", "2")
    assert (result.status, result.err) == (0, "")
    report = json.loads(result.out)
    assert 0 < report["best_ms"] <= report["median_ms"]
    assert isinstance(report["device"], str)
    assert report["rounds"] == 2
    assert report["peak_gflops"] > 0
    kinds = [layer["label"] for layer in report["layers"] if layer["layer"] is not None]
    assert kinds == ["convolutional", "maxpool", "convolutional", "connected", "softmax"]
    assert all(0 < layer["best_ms"] <= layer["median_ms"] for layer in report["layers"])


def test_bench_text(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run("bench", model, "--layers", "--rounds", "1", "--batch", "2")
    assert result.status == 0
    assert "kept" in result.out.splitlines()[0]
    assert "ms for 2 images" in result.out
    assert "GFLOP/s" in result.out
    assert "convolutional" not in run("bench", model, "--rounds", "1").out


def test_random_weights_lose_the_units_that_are_asked_for(run: Run, model: Path) -> None:
    model.with_suffix(".weights").unlink()
    options = ["--random-weights", "--rounds", "1", "--json"]
    dense = json.loads(run("bench", model, *options).out)
    assert [layer["kept_share"] for layer in dense["layers"]] == [1.0] * len(dense["layers"])
    pruned = json.loads(
        run("bench", model, *options, "--sparsity", "0.75", "--fc-sparsity", "0.5", "--unit", "1x1").out
    )
    kept = {layer["layer"]: layer["kept_share"] for layer in pruned["layers"]}
    assert kept[0] == 1.0
    assert 0.25 <= kept[2] <= 1.0  # single weights: a tile of several rows keeps the columns that any of them needs
    by_tile = json.loads(run("bench", model, *options, "--sparsity", "0.75", "--fc-sparsity", "0.5").out)
    kept = {layer["layer"]: layer["kept_share"] for layer in by_tile["layers"]}
    assert kept[2] == pytest.approx(0.25, abs=0.01)
    assert kept[3] == pytest.approx(0.5, abs=0.1)  # the last unit has fewer rows


@pytest.mark.parametrize("command", ["bench", "verify"])
@pytest.mark.parametrize(
    ("options", "failure"),
    [
        (["--random-weights", "--sparsity", "1"], (2, "sparsity 1.0: expected a share")),
        (["--random-weights", "--sparsity", "-0.1"], (2, "sparsity -0.1: expected a share")),
        (["--random-weights", "--fc-sparsity", "1.5"], (2, "sparsity 1.5: expected a share")),
        (["--random-weights", "--sparsity", "nan"], (2, "'nan': expected a number")),
        (["--random-weights", "--method", "magic"], (2, "pruning method 'magic': expected one of ")),
        (["--random-weights", "--sparsity", ".5", "--method", "magic"], (2, "pruning method 'magic'")),
        (["--random-weights", "--unit", "8"], (2, "unit '8': expected ROWSxCOLUMNS such as 8x1")),
        (["--random-weights", "--seed", "-1"], (2, "Invalid value for '--seed'")),
        (["--sparsity", "0.5"], (2, "--sparsity without --random-weights")),
        (["--unit", "8x1"], (2, "--unit without --random-weights")),
        (["small.weights", "--random-weights"], (2, "both small.weights and --random-weights")),
        (["small.weights", "other.weights"], (2, "Got unexpected extra argument")),
        (["absent.weights"], (1, "absent.weights: no such file")),
        (["--device", "nothing"], (1, "the device selection is 'nothing'")),
    ],
)
def test_wrong_options(run: Run, model: Path, command: str, options: list[str], failure: tuple[int, str]) -> None:
    result = run(command, model, *options)
    assert (result.status, result.out) == (failure[0], "")
    assert failure[1] in result.error


def test_network_that_computes_nothing(run: Run, tmp_path: Path) -> None:
    cfg = tmp_path / "nothing.cfg"
    cfg.write_text("[net]\nwidth=1600\nheight=1600\nchannels=3\n[dropout]\n")
    for command in ("bench", "verify"):
        assert run(command, cfg, "--random-weights").status == 0


@pytest.mark.parametrize("command", ["bench", "verify", "infer"])
def test_missing_weights_say_what_was_expected(run: Run, model: Path, command: str) -> None:
    weights = model.with_suffix(".weights")
    weights.unlink()
    result = run(command, model)
    assert result.status == 1
    assert result.error.startswith(f"{weights}: no such file: expected the weights beside small.cfg")
    assert ("--random-weights" in result.error) == (command != "infer")


def test_verify(run: Run, model: Path) -> None:
    result = run("verify", model)
    assert result.status == 0
    assert "largest error" in result.out
    assert "WRONG" not in result.out
    report = json.loads(run("verify", model, "--batch", "3", "--json").out)
    assert report["is_within"]
    assert all(layer["relative_error"] <= layer["tolerance"] < 1e-4 for layer in report["layers"])
    assert report["layers"][-1]["label"] == "answer"
    pruned = run("verify", model, "--random-weights", "--sparsity", "0.5", "--fc-sparsity", "0.5", "--unit", "3x2")
    assert pruned.status == 0


def test_verify_fails_where_a_layer_is_wrong(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [
        LayerError(layer=0, label="convolutional", relative_error=1e-7, tolerance=1e-5),
        LayerError(layer=1, label="maxpool", relative_error=float("inf"), tolerance=2e-5),
    ]
    monkeypatch.setattr("clprune.workflow.verify.verify_model", lambda *_, **__: errors)
    result = run("verify", model)
    assert result.status == 1
    assert "WRONG" in result.out
    assert result.error.startswith("1 of 2 layers are wrong on ")
    assert result.error.endswith("first layer 1 [maxpool]")
    result = run("verify", model, "--json")
    assert result.status == 1
    assert json.loads(result.out)["layers"][1] == {
        "layer": 1,
        "label": "maxpool",
        "relative_error": None,
        "tolerance": 2e-5,
        "is_within": False,
    }


def test_eval(run: Run, model: Path) -> None:
    result = run("eval", model, "--data", "synthetic", "--count", "23", "--json")
    assert result.status == 0
    report = json.loads(result.out)
    assert report["images"] == 23
    assert 0 <= report["accuracy"] <= report["top5_accuracy"] <= 1
    text = run("eval", model, "--data", "synthetic", "--count", "23", "--batch", "4")
    assert text.out.startswith(f"{100 * report['accuracy']:.2f} % right, ")
    assert "of 23 images of synthetic" in text.out


def test_eval_needs_no_torch(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "clprune.training", None)
    result = run("eval", model, "--data", "digits-on-photos", "--count", "5")
    assert result.status == 0
    assert "of 5 images of digits-on-photos" in result.out


def test_eval_of_a_folder_with_an_unreadable_image(run: Run, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "classes"
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / split / name / "a.png")
    assert run("eval", model, "--data", f"folder:{folder}").out.endswith(f"of 2 images of folder:{folder}\n")
    (folder / "test" / "dog" / "a.png").write_text("no image")
    left = run("eval", model, "--data", f"folder:{folder}")
    assert (left.status, left.out.endswith(f"of 1 images of folder:{folder}\n")) == (0, True)
    assert "1 of 2 images cannot be read and are left out" in left.err
    result = run("eval", model, "--data", f"folder:{folder}", "--strict")
    assert result.status == 1
    assert "a.png: cannot be read as an image" in result.error


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        ("nothing", 2, "data 'nothing': expected one of cifar10:PATH, "),
        ("folder", 2, "expected folder:PATH"),
        ("folder:absent", 1, "absent: no such folder"),
    ],
)
def test_eval_without_such_data(run: Run, model: Path, data: str, status: int, text: str) -> None:
    result = run("eval", model, "--data", data)
    assert (result.status, result.out) == (status, "")
    assert text in result.error


def test_eval_of_a_network_with_too_few_outputs(run: Run, model: Path) -> None:
    model.write_text(model.read_text().replace("output=10", "output=7"))
    weights = model.with_suffix(".weights")
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) - 4 * 3 * (1 + 16 * 6 * 7)])
    result = run("eval", model, "--data", "synthetic")
    assert result.status == 2
    assert result.error == f"synthetic has 10 classes, {model} has only 7 outputs"
