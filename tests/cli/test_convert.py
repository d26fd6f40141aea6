"""`clprune convert`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import clprune
from tests.cli.conftest import Run


def test_there_and_back(run: Run, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    path = tmp_path / "small.onnx"
    assert run("export", model, "--onnx", path).status == 0
    result = run("convert", path, "--out", tmp_path / "back")
    assert result.status == 0
    first, second, last = result.out.splitlines()
    assert first.endswith("to 10 values")
    assert second.startswith("largest error ")
    assert last == f"written: {tmp_path / 'back.cfg'}, {tmp_path / 'back.weights'}"
    again = run("convert", path, "--out", tmp_path / "back", "--json")
    assert json.loads(again.out)["relative_error"] < 1e-5


def test_a_state_dict_of_torchvisions(run: Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    from clprune.training.vision import import_torchvision

    state = import_torchvision().models.squeezenet1_1(num_classes=7).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "s.pt")
    arguments = ("convert", "torchvision:squeezenet1_1", "--out", tmp_path / "s", "--state-dict")
    assert run(*arguments, tmp_path / "s.pt").status == 0
    model = clprune.load_model(tmp_path / "s.cfg")
    assert (str(model.network.input), model.network.outputs) == ("3x224x224", 7)
    assert model.network.layers[0].arrays["weights"] == (3, 1, 1, 1)
    from safetensors.torch import save_file

    save_file({f"_orig_mod.module.{name}": value for name, value in state.items()}, tmp_path / "s.safetensors")
    assert run(*arguments, tmp_path / "s.safetensors").status == 0  # whose names are sorted
    for old, new in zip(model.weights.layers, clprune.load_model(tmp_path / "s.cfg").weights.layers, strict=True):
        assert old is None or (new is not None and np.array_equal(old.weights, new.weights))
    state["more"] = state.pop("classifier.1.bias")
    torch.save(state, tmp_path / "other.pt")
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "repeats.pt")
    torch.save({"a": torch.empty(1 << 40, device="meta")}, tmp_path / "promises.pt")
    many = torch.zeros((1 << 17) + 1, dtype=torch.uint8)
    torch.save({"classifier.1.bias": many}, tmp_path / "many.pt")
    (tmp_path / "bad.pt").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    for name, text in (
        ("other.pt", "does not fit SqueezeNet: "),
        ("bad.pt", "no state dict that can be read safely"),
        ("no.pt", "no such file"),
        ("repeats.pt", "tensor a is not in it value by value"),
        ("promises.pt", "tensor a is not in it value by value"),
        ("many.pt", "its last tensor has 131073 values: expected one of each class, at most 131072"),
    ):
        result = run(*arguments, tmp_path / name)
        assert (result.status, text in result.error) == (1, True), result.error
    result = run("convert", "torchvision:resnet1", "--out", tmp_path / "r")
    assert result.status == 2
    assert "torchvision:resnet1: expected one of alexnet, " in result.error


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("missing.onnx", "--out", "x"), 1, "missing.onnx: no such file"),
        (("missing.onnx", "--out", "absent/x"), 1, "no such folder"),
        (("missing.onnx", "--out", "x", "--size", "big"), 2, "'big': expected HEIGHTxWIDTH"),
    ],
)
def test_refusals(run: Run, arguments: tuple[str, ...], status: int, message: str) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
    result = run("convert", *arguments)
    assert result.status == status
    assert message in result.error
