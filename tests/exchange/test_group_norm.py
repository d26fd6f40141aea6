"""Normalization by each image's own statistics: in from PyTorch and ONNX, trained, out again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
import clprune
from clprune.darknet.network import load_network
from clprune.errors import CfgError, ExchangeError
from clprune.opencl import Session, open_device
from tests.exchange.test_convert import kinds, node, save, weights


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


@pytest.mark.parametrize(("groups", "opset", "count"), [(2, 18, 2), (2, 21, 8), (8, 21, 8), (1, 18, 1)])
def test_groups(groups: int, opset: int, count: int, tmp_path: Path, session: Session) -> None:
    """Version 21 has a scale for each channel, version 18 one for each group."""
    constants = {"w": weights(8, 3, 3, 3), "s": 1 + weights(count), "b": weights(count)}
    nodes = [node("Conv", "x w", "c"), node("GroupNormalization", "c s b", num_groups=groups, epsilon=1e-3)]
    path = save(tmp_path / "m.onnx", nodes, constants=constants, opset=opset)
    if opset == 18:  # ONNX Runtime has no kernel for it: the same by an instance normalization
        constants |= {"one": np.ones(groups, np.float32), "zero": np.zeros(groups, np.float32),
                      "f": np.int64([0, groups, -1]), "l": np.int64([0, 8, 7, 6])}  # fmt: skip
        constants |= {name: np.repeat(constants[name], 8 // count)[:, None, None] for name in "sb"}
        nodes = [nodes[0], node("Reshape", "c f", "r"),
                 node("InstanceNormalization", "r one zero", "i", epsilon=1e-3), node("Reshape", "i l", "n"),
                 node("Mul", "n s", "m"), node("Add", "m b")]  # fmt: skip
        path = save(tmp_path / "m.onnx", nodes, constants=constants)
    found = clprune.convert(path, out=tmp_path / "m", device=session)
    assert found.relative_error < 1e-5
    assert kinds(found.model) == ["convolutional", "groupnorm"]
    clprune.export(found.model, onnx=tmp_path / "back.onnx", batch="dynamic")
    again = clprune.convert(tmp_path / "back.onnx", out=tmp_path / "again", device=session)
    assert again.model.cfg_text.partition("\n")[2] == found.model.cfg_text.partition("\n")[2]
    for old, new in zip(found.model.weights.layers, again.model.weights.layers, strict=True):
        assert old is not None
        assert new is not None
        assert np.array_equal(old.weights, new.weights)
        assert np.array_equal(old.biases, new.biases)


def test_modules_there_and_back(tmp_path: Path, session: Session) -> None:
    torch = pytest.importorskip("torch", reason="modules need PyTorch")
    nn = torch.nn
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.GroupNorm(4, 12), nn.ReLU(), nn.Conv2d(12, 6, 3), nn.InstanceNorm2d(6, affine=True),
        nn.ReLU(), nn.InstanceNorm2d(6),
    ).eval()  # fmt: skip
    for part in module:
        if getattr(part, "weight", None) is not None and part.weight.ndim == 1:
            nn.init.normal_(part.weight, 1, 0.2)
            nn.init.normal_(part.bias, 0, 0.2)
    x = torch.rand(2, 3, 9, 11)
    model = clprune.from_torch(module, x, device=session)
    assert kinds(model) == ["convolutional", "groupnorm", "activation", "convolutional", "groupnorm", "activation",
                            "groupnorm"]  # fmt: skip
    with clprune.Runner(clprune.load_model(model.save(tmp_path / "m")[0], batch=2), session=session) as runner:
        ours = runner(x.numpy())
    packed = clprune.load_model(model.save(tmp_path / "packed", file_format="packed")[0])
    for old, new in zip(model.weights.layers, packed.weights.layers, strict=True):
        assert (old is None) == (new is None)
        assert old is None or (np.array_equal(old.weights, new.weights) and np.array_equal(old.biases, new.biases))
    back = clprune.to_torch(model)
    with torch.no_grad():
        theirs = module(x).numpy()
        theirs = theirs.reshape(ours.shape)
        assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
        assert np.abs(back(x).numpy() - theirs).max() < 1e-5 * np.abs(theirs).max()
    assert sum(parameter.requires_grad for parameter in back.parameters()) == 10


@pytest.mark.parametrize(
    ("keys", "text"), [("groups=2", "does not divide the 3 channels"), ("epsilon=0", "expected 1e-9 to 1e6")]
)
def test_what_cannot_be(keys: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "m.cfg").write_text(f"[net]\nwidth=8\nheight=9\nchannels=3\n\n[groupnorm]\n{keys}\n")
    with pytest.raises(CfgError, match=text):
        load_network(tmp_path / "m.cfg")


def test_other_parts_are_one_line(tmp_path: Path) -> None:
    constants: dict[str, Any] = {"s": weights(9), "b": weights(9), "f": np.int64([0, 9, 24])}
    nodes = [node("Reshape", "x f", "t"), node("InstanceNormalization", "t s b")]
    with pytest.raises(ExchangeError, match="expected runs of its channels"):
        clprune.convert(save(tmp_path / "m.onnx", nodes, constants=constants), out=tmp_path / "m")


@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_neighbouring_channels(size: int, tmp_path: Path, session: Session) -> None:
    """No square is left out, as darknet does it."""
    facts = {"alpha": 0.3, "beta": 0.6, "bias": 1.5}
    path = save(tmp_path / "m.onnx", [node("LRN", "x", size=size, **facts)], shape=["N", 7, 3, 5])
    found = clprune.convert(path, out=tmp_path / "m", device=session)
    assert (found.relative_error < 1e-5, kinds(found.model)) == (True, ["normalization"])
    clprune.export(found.model, onnx=tmp_path / "back.onnx")
