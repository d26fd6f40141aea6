"""Planes of another size: as ONNX Runtime and PyTorch make them, in and out again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clprune
from clprune.darknet.network import load_network
from clprune.darknet.resample import COORDINATES, ROUNDING, TAPS
from clprune.errors import ExchangeError
from clprune.opencl import Session, open_device

pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
from tests.exchange.test_convert import kinds, node, save


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


#: (height, width) of an input of 9 x 8.
SIDES = [(18, 16), (20, 13), (5, 3), (9, 24), (1, 1)]


@pytest.mark.parametrize(("mode", "coordinates"), [*itertools.product(TAPS, COORDINATES)])
def test_every_way_comes_in_and_goes_out(mode: str, coordinates: str, tmp_path: Path, session: Session) -> None:
    for number, (height, width) in enumerate(SIDES):
        rounding = [*ROUNDING][number % len(ROUNDING)]
        ways = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
        resize = node("Resize", "x   sizes", **ways)
        path = save(tmp_path / "m.onnx", [resize], constants={"sizes": np.int64([1, 3, height, width])})
        found = clprune.convert(path, out=tmp_path / "m", device=session)
        assert found.relative_error < 1e-5
        assert found.model.network.layers[-1].output.dimensions == (3, height, width)
        clprune.export(found.model, onnx=tmp_path / "back.onnx", batch="dynamic")
        again = clprune.convert(tmp_path / "back.onnx", out=tmp_path / "again", device=session)
        assert again.model.cfg_text.partition("\n")[2] == found.model.cfg_text.partition("\n")[2]


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 19, 23])
def test_versions_and_scales(opset: int, tmp_path: Path, session: Session) -> None:
    scales = np.float32([1, 1, 1.7, 2])
    if opset == 7:
        resize = node("Upsample", "x", mode="nearest", scales=scales.tolist())
    elif opset == 9:
        resize = node("Upsample", "x s", mode="linear")
    elif opset == 10:
        resize = node("Resize", "x s", mode="linear")
    elif opset < 18:
        resize = node("Resize", "x r s", mode="linear")
    else:
        scales = scales[2:]
        resize = node("Resize", "x  s", mode="linear", axes=[2, 3])
    path = save(tmp_path / "m.onnx", [resize], opset=opset, constants={"s": scales, "r": np.float32([])})
    found = clprune.convert(path, out=tmp_path / "m", device=session)
    assert found.relative_error < 1e-5
    assert found.model.network.layers[-1].output.dimensions == (3, 15, 16)
    assert "scale_y=1.7" in found.model.cfg_text
    clprune.export(found.model, onnx=tmp_path / "back.onnx")


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_sides_that_keep_their_ratio(policy: str, tmp_path: Path, session: Session) -> None:
    resize = node("Resize", "x   s", mode="linear", axes=[2, 3], keep_aspect_ratio_policy=policy)
    path = save(tmp_path / "m.onnx", [resize], opset=19, constants={"s": np.int64([20, 13])})
    assert clprune.convert(path, out=tmp_path / "m", device=session).relative_error < 1e-5


@pytest.mark.parametrize(
    ("ways", "text"),
    [
        ({"mode": "linear", "antialias": 1}, "antialias"),
        ({"mode": "cubic", "exclude_outside": 1}, "exclude_outside"),
        ({"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}, "expected one each of nearest"),
        ({"mode": "spline"}, "is spline"),
    ],
)
def test_ways_that_are_none(ways: dict[str, Any], text: str, tmp_path: Path, session: Session) -> None:
    path = save(
        tmp_path / "m.onnx", [node("Resize", "x  s", **ways)], opset=19, constants={"s": np.float32([1, 1, 2, 2])}
    )
    with pytest.raises(ExchangeError, match=text):
        clprune.convert(path, out=tmp_path / "m", device=session)


@pytest.mark.parametrize(
    ("ways", "kind"),
    [
        ({"scale_factor": 2, "mode": "nearest"}, "upsample"),
        ({"size": (13, 7), "mode": "nearest"}, "resize"),
        ({"scale_factor": 2, "mode": "bilinear", "align_corners": False}, "resize"),
        ({"scale_factor": (1.7, 0.6), "mode": "bilinear", "align_corners": False}, "resize"),
        ({"size": (13, 7), "mode": "bilinear", "align_corners": True}, "resize"),
        ({"size": (13, 7), "mode": "bicubic", "align_corners": False}, "resize"),
        ({"size": (13, 7), "mode": "bicubic", "align_corners": True}, "resize"),
    ],
)
def test_modules(ways: dict[str, Any], kind: str, session: Session) -> None:
    torch = pytest.importorskip("torch", reason="modules need PyTorch")
    upsample = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Upsample(**ways))
    images = torch.rand(2, 3, 11, 10)
    model = clprune.from_torch(upsample, images, device=session)
    assert kinds(model) == ["convolutional", kind]
    module = clprune.to_torch(model)
    with torch.no_grad():
        expected = upsample.eval()(images)
        torch.testing.assert_close(module(images).reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
    with clprune.Runner(model, session=session) as runner:
        np.testing.assert_allclose(runner(images.numpy()).reshape(expected.shape), expected.numpy(), atol=1e-5)


def test_sides_that_cannot_be(tmp_path: Path) -> None:
    for text in ("height=0\nwidth=3", "height=3\nwidth=3\nscale_y=-1", "height=3\nwidth=3\nmode=bilinear"):
        cfg = tmp_path / "m.cfg"
        cfg.write_text(f"[net]\nheight=4\nwidth=4\nchannels=2\n[resize]\n{text}\n")
        with pytest.raises(clprune.CfgError, match="expected"):
            load_network(cfg)
