"""Models of other types than float32: right, or one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
# what follows can be used only where onnx is
from onnx import TensorProto, helper

import clprune
from clprune.errors import ExchangeError
from clprune.opencl import Session, open_device
from tests.exchange.test_convert import node, save, weights

TYPES = [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


@pytest.mark.parametrize("dtype", TYPES)
def test_all_of_a_type(dtype: int, tmp_path: Path, session: Session) -> None:
    constants = {"w": weights(4, 3, 3, 3).astype(helper.tensor_dtype_to_np_dtype(dtype))}
    path = save(tmp_path / "m.onnx", [node("Conv", "x w", "a"), node("Relu", "a")], dtype=dtype, constants=constants)
    assert clprune.convert(path, out=tmp_path / "m", device=session).relative_error < 1e-2


@pytest.mark.parametrize("dtype", TYPES)
def test_inputs_and_outputs_of_float32(dtype: int, tmp_path: Path, session: Session) -> None:
    constants = {"w": weights(4, 3, 3, 3).astype(helper.tensor_dtype_to_np_dtype(dtype))}
    nodes = [
        node("Cast", "x", "a", to=dtype), node("Conv", "a w", "b"), node("Relu", "b", "c"),
        node("Cast", "c", to=TensorProto.FLOAT),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, constants=constants)
    assert clprune.convert(path, out=tmp_path / "m", device=session).relative_error < 1e-2


@pytest.mark.filterwarnings("ignore:.*its activations are codes")
@pytest.mark.parametrize("operator", ["QLinearReduceMean", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear"])
def test_activations_of_few_bits_are_one_line(operator: str, tmp_path: Path, session: Session) -> None:
    constants = {"s": np.float32(0.1), "z": np.uint8(0)}
    path = save(tmp_path / "m.onnx", [node(operator, "x s z", "q"), node("Relu", "q")], constants=constants)
    with pytest.raises(ExchangeError, match=rf"{operator}|ONNX Runtime refuses it") as found:
        clprune.convert(path, out=tmp_path / "m", device=session)
    assert "\n" not in str(found.value)
