"""Transposed convolutions, borders and parts of planes: as ONNX Runtime computes them, and back again."""

from __future__ import annotations

import itertools
import random
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


def converted(tmp_path: Path, session: Session, nodes: list[Any], **settings: Any) -> Any:
    path = save(tmp_path / "m.onnx", nodes, **settings)
    return clprune.convert(path, out=tmp_path / "m", device=session)


@pytest.mark.parametrize("seed", range(12))
def test_transposed_convolutions(seed: int, tmp_path: Path, session: Session) -> None:
    draw = random.Random(seed)
    size, dilations, stride = [draw.randint(2, 5) for _ in "yx"], [draw.randint(1, 2) for _ in "yx"], draw.randint(1, 4)
    groups, outputs = draw.choice((1, 1, 2, 6)), draw.randint(1, 3)
    attributes: dict[str, Any] = {"strides": [stride] * 2, "dilations": dilations, "group": groups}
    if seed % 3 == 2 and min(size) >= stride:
        attributes["auto_pad"] = draw.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))
    else:
        attributes["pads"] = [draw.randint(0, 1) for _ in range(4)]
        attributes["output_padding"] = [draw.randint(0, stride - 1) for _ in "yx"]
    constants = {"w": weights(6, outputs, *size), "b": weights(outputs * groups)}
    found = converted(
        tmp_path, session, [node("ConvTranspose", "x w b", **attributes)], constants=constants, shape=["N", 6, 9, 8]
    )
    assert found.relative_error < 1e-5
    assert kinds(found.model)[:2] == ["convolutional", "reorg"][: 1 + (stride > 1)]
    weights_file = found.model.weights
    assert weights_file.layers[0] is not None


def test_the_usual_one_multiplies_nothing_in_vain(tmp_path: Path, session: Session) -> None:
    """Twice the size by 4x4: each of four places sums 2x2."""
    found = converted(
        tmp_path, session, [node("ConvTranspose", "x w", strides=[2, 2], pads=[1, 1, 1, 1])],
        constants={"w": weights(3, 5, 4, 4)},
    )  # fmt: skip
    assert kinds(found.model) == ["convolutional", "reorg", "crop"]
    assert found.model.network.layers[0].arrays["weights"] == (20, 3, 2, 2)
    assert np.count_nonzero(found.model.weights.layers[0].weights) == 3 * 5 * 4 * 4


@pytest.mark.parametrize(
    ("attributes", "shape", "text"),
    [
        ({"strides": [1, 2]}, (3, 4, 3, 3), "expected one stride"),
        ({"output_shape": [40, 40]}, (3, 4, 3, 3), "expected none negative"),
        ({"pads": [1]}, (3, 4, 3, 3), "expected four"),
        ({"strides": [2]}, (3, 4, 3), "has weights of shape"),
        ({}, (2, 4, 3, 3), "for 3 channels"),
        ({"strides": [2000, 2000]}, (3, 400, 3, 3), "expected"),
        ({"strides": [64, 64], "pads": [240, 99000, 260, 99900]}, (3, 1, 3, 200_000), "expected a product of at most"),
    ],
)
def test_what_is_not_transposed_is_one_line(attributes: Any, shape: Any, text: str, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("ConvTranspose", "x w", **attributes)], constants={"w": weights(*shape)})
    with pytest.raises(ExchangeError, match=text) as found:
        clprune.convert(path, out=tmp_path / "m")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_borders(mode: str, tmp_path: Path, session: Session) -> None:
    """What no window takes in, and what is cut off; back again, but for those that ONNX lacked before version 19."""
    pads = {"p": np.int64([0, 0, 2, 1, 0, 0, -1, 3])}
    nodes = [node("Pad", "x p", "a", mode=mode), node("Relu", "a")]
    found = converted(tmp_path, session, nodes, constants=pads, opset=19)
    expected = ["activation", "crop", "pad"] if mode == "constant" else ["pad", "activation"]  # zeros stay zeros
    assert (found.relative_error, kinds(found.model)) == (0, expected)
    clprune.export(found.model, onnx=tmp_path / "back.onnx")
    if mode != "wrap":
        assert clprune.convert(tmp_path / "back.onnx", out=tmp_path / "m", device=session).relative_error == 0


def test_borders_of_other_values_and_axes(tmp_path: Path, session: Session) -> None:
    constants = {
        "p": np.int64([1, 2]),
        "v": np.float32(-1.5),
        "a": np.int64([-2]),
        "c": np.int64([0, 2, 0, 0, 0, 1, 0, 0]),
    }
    nodes = [node("Pad", "x p v a", "s"), node("Pad", "s c")]
    found = converted(tmp_path, session, nodes, constants=constants, opset=18)
    assert found.relative_error < 1e-6
    assert found.model.network.layers[-1].output.dimensions == (6, 12, 8)


def test_windows_over_borders(tmp_path: Path, session: Session) -> None:
    """A maximum over zeros, and means that count the zeros of a Pad and not their own border."""
    constants = {"p": np.int64([0, 0, 1, 1, 0, 0, 1, 1])}
    pool = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    for operator in ("MaxPool", "AveragePool"):
        nodes = [node("Neg", "x", "n"), node("Pad", "n p", "s"), node(operator, "s", **pool)]
        found = converted(tmp_path, session, nodes, constants=constants)
        assert found.relative_error < 1e-6
        assert "pad" in kinds(found.model)


def test_borders_of_a_mean_that_are_as_long_as_needed(tmp_path: Path, session: Session) -> None:
    """They count where it is said, and do not where it is not."""
    for way, counts in itertools.product(("SAME_UPPER", "SAME_LOWER", "VALID"), (0, 1)):
        attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": way, "count_include_pad": counts}
        found = converted(tmp_path, session, [node("AveragePool", "x", **attributes)])
        assert found.relative_error < 1e-6


def test_a_part_that_is_not_the_centre(tmp_path: Path, session: Session) -> None:
    nodes = [node("Slice", "x f e a")]
    constants = {"f": np.int64([0, 3]), "e": np.int64([4, 8]), "a": np.int64([2, 3])}
    found = converted(tmp_path, session, nodes, constants=constants)
    assert (found.relative_error, kinds(found.model)) == (0, ["pad"])


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("top=-5\nbottom=-4", "expected something to stay"),
        ("mode=reflect\nleft=8", "at most 7"),
        ("mode=mirror", "unknown mode 'mirror'"),
        ("top=100000", "expected"),
    ],
)
def test_borders_that_cannot_be(keys: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "m.cfg").write_text(f"[net]\nwidth=8\nheight=9\nchannels=3\n\n[pad]\n{keys}\n")
    with pytest.raises(CfgError, match=text):
        load_network(tmp_path / "m.cfg")
