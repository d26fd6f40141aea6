"""Models whose activations are codes: read as float, in every format that ONNX Runtime's quantizers write."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import clprune
from clprune.errors import ExchangeError
from clprune.opencl import Session, open_device
from clprune.workflow.convert import ConvertWarning
from tests.exchange.test_convert import kinds, node, save, weights


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


class Images(CalibrationDataReader):
    """A few batches of noise."""

    def __init__(self) -> None:
        self._seeds = itertools.count(1)

    def get_next(self) -> dict[str, Any] | None:
        seed = next(self._seeds)
        return {"x": noise(seed)} if seed < 4 else None


def noise(seed: int) -> Any:
    return np.random.default_rng(seed).random((2, 3, 9, 8), np.float32)


@pytest.fixture(scope="module", params=[10, 11, 12, 17])
def floats(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of everything that those formats have operators for: ReLU6, a depthwise layer, sums, a Gemm."""
    clip = node("Clip", "c zero six", "d") if request.param > 10 else node("Clip", "c", "d", min=0.0, max=6.0)
    nodes = [
        node("Conv", "x a ab", "c", pads=[1, 1, 1, 1]), clip,
        node("Conv", "d b bb", "e", pads=[1, 1, 1, 1], group=8), node("Add", "d e", "f"), node("Relu", "f", "g"),
        node("MaxPool", "g", "h", kernel_shape=[2, 2], strides=[2, 2]), node("Sigmoid", "h", "i"),
        node("Concat", "h i", "j", axis=1), node("LeakyRelu", "j", "k", alpha=0.1),
        node("GlobalAveragePool", "k", "l"), node("Flatten", "l", "m"), node("Gemm", "m w wb", "y", transB=1),
    ]  # fmt: skip
    constants = {
        "a": 4 * weights(8, 3, 3, 3), "ab": weights(8), "b": weights(8, 1, 3, 3), "bb": weights(8),
        "w": weights(5, 16), "wb": weights(5), "zero": np.float32(0), "six": np.float32(6),
    }  # fmt: skip
    return save(tmp_path_factory.mktemp("codes") / "float.onnx", nodes, constants=constants, opset=request.param)


def answers(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path)).run(None, {"x": noise(0)})[0]


WAYS: dict[str, dict[str, Any]] = {
    "QDQ": {},
    "QDQ, signed": {"activation_type": QuantType.QInt8, "per_channel": True},
    "QDQ, 16 bits": {"activation_type": QuantType.QUInt16},
    "operators": {"quant_format": QuantFormat.QOperator},
    "operators, a scale for each channel": {"quant_format": QuantFormat.QOperator, "per_channel": True},
}


@pytest.mark.parametrize("way", [*WAYS, "dynamic"])
def test_every_format(way: str, floats: Path, tmp_path: Path, session: Session) -> None:
    """Ours is at least as close to the float model as that of codes is."""
    path = tmp_path / "codes.onnx"
    opset = onnx.load(floats).opset_import[0].version
    if way == "dynamic":
        if opset < 11:
            pytest.skip("has no DynamicQuantizeLinear: its steps are no constants")
        quantize_dynamic(floats, path, weight_type=QuantType.QUInt8)
    else:
        settings = WAYS[way]
        if opset < 13 and settings.get("per_channel") and "quant_format" not in settings:
            pytest.skip("a DequantizeLinear of so early a version has one scale")
        quantize_static(floats, path, Images(), **settings)
    with pytest.warns(ConvertWarning, match="its activations are codes: read as float"):
        found = clprune.convert(path, out=tmp_path / "m", device=session)
    assert found.relative_error < 1e-5
    assert "avgpool" in kinds(found.model)
    with clprune.Runner(found.model, session=session) as runner:
        ours = runner(noise(0))
    exact = answers(floats)
    assert np.abs(ours - exact).max() < 1.5 * np.abs(answers(path) - exact).max() + 1e-3 * np.abs(exact).max()


def test_what_codes_cut_off(tmp_path: Path, session: Session) -> None:
    """Codes from 0 on do the work of a ReLU, those from 0 to 6 that of a ReLU6, others cut off nothing."""
    for zero, scale, expected in ((0, 0.1, "relu"), (0, 6 / 255, "relu6"), (3, 0.1, "linear")):
        constants = {"w": weights(4, 3, 1, 1), "s": np.float32(scale), "z": np.uint8(zero)}
        nodes = [node("Conv", "x w", "c"), node("QuantizeLinear", "c s z", "q"), node("DequantizeLinear", "q s z")]
        with pytest.warns(ConvertWarning):
            found = clprune.convert(
                save(tmp_path / "m.onnx", nodes, constants=constants), out=tmp_path / "m", device=session
            )
        assert [layer.activation for layer in found.model.network.matrix_layers] == [expected]


def test_steps_that_are_no_constants(tmp_path: Path) -> None:
    nodes = [node("ReduceMax", "x", "s", keepdims=0), node("QuantizeLinear", "x one z", "q"),
             node("QLinearMatMul", "q s z w one z one z")]  # fmt: skip
    constants = {"one": np.float32(1), "z": np.int8(-128), "w": np.int8([[1]])}
    path = save(tmp_path / "m.onnx", nodes, constants=constants)
    graph = onnx.load(path)
    graph.graph.node[2].input[7] = "q"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ExchangeError, match="expected a constant scale and zero point"):
        clprune.convert(path, out=tmp_path / "m")


def test_codes_told_by_no_zero_point(tmp_path: Path, session: Session) -> None:
    """Signed ones cut off nothing."""
    nodes = [node("Conv", "x w", "c"), node("QuantizeLinear", "c s", "q", output_dtype=onnx.TensorProto.INT8),
             node("DequantizeLinear", "q s")]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, constants={"w": weights(4, 3, 1, 1), "s": np.float32(0.1)}, opset=21)
    with pytest.warns(ConvertWarning):
        found = clprune.convert(path, out=tmp_path / "m", device=session)
    assert [layer.activation for layer in found.model.network.matrix_layers] == ["linear"]


MICROSOFT = {"domain": "com.microsoft"}


def as_codes(path: Path, last: Any, **constants: Any) -> Path:
    """A file of codes of the input before a node, and what they say behind it."""
    nodes = [node("Flatten", "x", "f"), node("QuantizeLinear", "f s z", "q"), last]
    steps = {"s": np.float32(0.02), "z": np.int8(3), "zero": np.int8(0)}
    save(path, nodes, constants={**steps, **constants})
    graph = onnx.load(path)
    graph.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    path.write_bytes(graph.SerializeToString())
    return path


@pytest.mark.parametrize("given", ["q s z w ws zero b", "q s z w ws zero b ys"])
def test_biases_of_a_product_that_is_scaled(given: str, tmp_path: Path, session: Session) -> None:
    """Their step is scaled as well; what is left out at the end is no bias and no scale."""
    draw = np.random.default_rng(0)
    codes, biases = draw.integers(-99, 99, (216, 5), np.int8), draw.integers(-9999, 9999, 5, np.int32)
    last = node("QGemm", given, **MICROSOFT, alpha=0.25)
    path = as_codes(tmp_path / "m.onnx", last, w=codes, b=biases, ws=np.float32(0.01), ys=np.float32(0.1))
    with pytest.warns(ConvertWarning):
        found = clprune.convert(path, out=tmp_path / "m", device=session)
    (layer,) = found.model.network.matrix_layers
    assert layer.activation == "linear"
    with clprune.Runner(found.model, session=session) as runner:
        x = noise(0)
        expected = 0.25 * (x.reshape(2, -1) @ (codes * 0.01) + biases * 0.02 * 0.01)
        np.testing.assert_allclose(runner(x).reshape(2, -1), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("operator", "attributes", "text"),
    [
        ("QLinearGlobalAveragePool", {"channels_last": 1}, "has channels_last=1: expected channels first"),
        ("QLinearSoftmax", {"opset": 11}, "is that of opset 11 in a file of 17"),
    ],
)
def test_what_codes_of_microsoft_are_not_taken(operator: str, attributes: Any, text: str, tmp_path: Path) -> None:
    path = as_codes(tmp_path / "m.onnx", node(operator, "q s z s z", **MICROSOFT, **attributes))
    with pytest.raises(ExchangeError, match=f"node '{operator}_y'.*{text}"):
        clprune.convert(path, out=tmp_path / "m")


def test_what_is_far_from_its_codes_is_warned_of(tmp_path: Path, session: Session) -> None:
    """Codes that end early cut off what float does not."""
    nodes = [node("Conv", "x w", "c"), node("QuantizeLinear", "c s z", "q"), node("DequantizeLinear", "q s z")]
    constants = {"w": weights(4, 3, 1, 1), "s": np.float32(1e-4), "z": np.int8(0)}
    path = save(tmp_path / "m.onnx", nodes, constants=constants)
    far = "far from what its codes give for noise: relative error 72"
    with pytest.warns(ConvertWarning, match="its activations are codes"), pytest.warns(ConvertWarning, match=far):
        clprune.convert(path, out=tmp_path / "m", device=session)


def test_scales_that_are_more_than_codes_are_one_line(tmp_path: Path) -> None:
    """Nothing is made of them first."""
    constants = {"w": np.zeros((1 << 20, 1), np.int8), "ws": np.ones((1, 1 << 20), np.float32)}
    path = as_codes(tmp_path / "m.onnx", node("QGemm", "q s z w ws zero", **MICROSOFT), **constants)
    with pytest.raises(ExchangeError, match=r"node 'QGemm_y'.*expected one for each of them"):
        clprune.convert(path, out=tmp_path / "m")
