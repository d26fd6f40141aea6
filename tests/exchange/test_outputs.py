"""Networks of several answers: heads of detectors, and any tensors, in and out again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
# what follows can be used only where onnx is
import onnx

import clprune
from clprune.container.model import Model
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_images, random_weights
from clprune.detection.options import DetectionOptions
from clprune.errors import ExchangeError
from clprune.opencl import Session, open_device
from tests.exchange.test_convert import kinds, node, save, weights

NET = "[net]\nheight=12\nwidth=10\nchannels=3\n[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


def model_of(text: str, folder: Path) -> Model:
    cfg = folder / "given.cfg"
    cfg.write_text(text)
    network = load_network(cfg)
    return Model(network=network, weights=random_weights(network, seed=3))


def head(kind: str, filters: int, keys: str) -> str:
    return f"[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n[{kind}]\n{keys}\n"


YOLO = "mask=1,0\nanchors=4,4,6,8,9,9\nclasses=2\nnum=3\nscale_x_y=1.1\nnms_kind=greedynms"
#: What differs, and of a head with softmax what is not used.
OTHERS = ("index", "line", "sources", "class_function")
HEADS = {
    "yolo": head("yolo", 14, YOLO),
    "two": head("yolo", 14, YOLO) + "[route]\nlayers=0\n" + head("yolo", 7, "anchors=4,4\nclasses=2\nnum=1"),
    "new_coords": head("yolo", 14, YOLO + "\nnew_coords=1").replace("=linear", "=logistic"),
    "gaussian": head("Gaussian_yolo", 12, "anchors=4,4\nclasses=3\nnum=1\nyolo_point=left_top"),
    "region": head("region", 16, "num=2\nclasses=3\nsoftmax=1\nanchors=1,2,3,4"),
    "detection": "[connected]\noutput=52\nactivation=linear\n"
    "[detection]\nclasses=3\nnum=2\ncoords=4\nside=2\nsqrt=1\nsoftmax=1\n",
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("has_boxes", [False, True])
def test_heads_come_back(name: str, has_boxes: bool, tmp_path: Path, session: Session) -> None:
    before = model_of(NET + HEADS[name], tmp_path)
    boxes = DetectionOptions(threshold=0.1, dialect="hank-ai") if has_boxes else None
    clprune.export(before, onnx=tmp_path / "m.onnx", boxes=boxes)
    found = clprune.convert(tmp_path / "m.onnx", out=tmp_path / "back", device=session)
    after = clprune.load_model(found.cfg)
    for old, new in zip(before.network.output_layers, after.network.output_layers, strict=True):
        own = {key: value for key, value in vars(old).items() if key not in OTHERS}
        assert own == {key: vars(new)[key] for key in own}
    x = random_images(before.network, seed=5)
    with clprune.Runner(before, session=session) as one, clprune.Runner(after, session=session) as other:
        for expected, answer in zip(one.outputs(x), other.outputs(x), strict=True):
            np.testing.assert_array_equal(answer, expected)


deep = "[" * 500 + "]" * 500


@pytest.mark.parametrize(
    "change",
    [
        lambda heads: "[" * 9999,
        lambda heads: json.dumps({"yolo_2": heads["yolo_2"] | {"anchors": "deep"}}).replace('"deep"', deep),
        lambda heads: "[1]",
        lambda heads: json.dumps({"yolo_2": 3, "other": {}}),
        lambda heads: json.dumps({"yolo_2": heads["yolo_2"] | {"anchors": [[1, 2]]}}),
        lambda heads: json.dumps({"yolo_2": heads["yolo_2"] | {"nms_kind": "a\n[cost]"}}),
        lambda heads: json.dumps({"yolo_2": heads["yolo_2"] | {"num": 10**9, "anchors": []}}),
        lambda heads: json.dumps({"yolo_2": {}}),
    ],
)
def test_heads_that_are_none_are_values(change: Any, tmp_path: Path, session: Session) -> None:
    before = model_of(NET + HEADS["yolo"], tmp_path)
    clprune.export(before, onnx=tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    (entry,) = [entry for entry in model.metadata_props if entry.key == "heads"]
    entry.value = change(json.loads(entry.value))
    onnx.save(model, tmp_path / "m.onnx")
    found = clprune.convert(tmp_path / "m.onnx", out=tmp_path / "back", device=session)
    assert found.relative_error < 1e-5
    assert "yolo" not in kinds(found.model)


def test_any_outputs(tmp_path: Path, session: Session) -> None:
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("GlobalAveragePool", "b", "c"),
             node("Flatten", "c", "y")]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, constants={"w": weights(5, 3, 3, 3)}, outputs=["y", "b"])
    found = clprune.convert(path, out=tmp_path / "m", device=session)
    assert found.relative_error < 1e-5
    loaded = clprune.load_model(found.cfg)
    assert [layer.kind for layer in loaded.network.output_layers] == ["output", "output"]
    with clprune.Runner(loaded, session=session) as runner:
        x = random_images(loaded.network, seed=1)
        assert [answer.shape[1:] for answer in runner.outputs(x)] == [(5, 1, 1), (5, 7, 6)]
        parts = [part.detach().reshape(1, -1) for part in clprune.to_torch(loaded).outputs(_tensor(x))]
        np.testing.assert_allclose(np.concatenate(parts, 1), runner(x), atol=1e-5)
    exported = clprune.export(loaded, onnx=tmp_path / "again.onnx", batch="dynamic")
    assert [*exported.outputs.values()] == [(5,), (5, 7, 6)]
    again = clprune.convert(tmp_path / "again.onnx", out=tmp_path / "again", device=session)
    assert [*map(str, again.model.network.layers)] == [*map(str, loaded.network.layers)]
    chosen = clprune.convert(path, out=tmp_path / "c", output=["a", "b", "a"], device=session)
    assert [layer.output.dimensions for layer in chosen.model.network.output_layers] == [(5, 7, 6)] * 2
    with pytest.raises(ExchangeError, match="output 'z' is given by no node"):
        clprune.convert(path, out=tmp_path / "z", output=["a", "z"], device=session)


def _tensor(x: Any) -> Any:
    return pytest.importorskip("torch", reason="modules need PyTorch").from_numpy(x)


@pytest.mark.parametrize("kind", [tuple, list, dict])
def test_modules_that_give_several(kind: type, session: Session) -> None:
    torch = pytest.importorskip("torch", reason="modules need PyTorch")

    class Several(torch.nn.Module):  # type: ignore[misc]  # torch is found when the test runs
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 5, 3), torch.nn.Conv2d(5, 4, 1)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.first(x))
            parts = {"a": self.second(x), "b": x.mean([2, 3])}
            return parts if kind is dict else kind(parts.values())

    module, x = Several().eval(), torch.rand(1, 3, 9, 7)
    model = clprune.from_torch(module, x, device=session)
    with torch.no_grad():
        given = module(x)
        expected = [*(given.values() if kind is dict else given)]
        again = clprune.to_torch(model).outputs(x)
    for one, other in zip(expected, again, strict=True):
        torch.testing.assert_close(other.reshape(one.shape), one)
