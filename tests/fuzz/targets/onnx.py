"""Models of other frameworks."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from clprune.container.model import Model
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from tests.fuzz.mutation import mutated_bytes
from tests.fuzz.targets.target import HEADS_CFG, RUNNABLE_CFG, SHORTCUT_CFG, Target

if TYPE_CHECKING:
    from clprune.opencl import Session


def _onnx_seeds(folder: Path) -> None:
    from clprune.workflow.export import export

    texts = {"runnable": RUNNABLE_CFG, "shortcut": SHORTCUT_CFG, "heads": HEADS_CFG}
    for name, text in texts.items():
        cfg = folder / f"{name}.cfg"
        cfg.write_text(text)
        network = load_network(cfg)
        export(Model(network=network, weights=random_weights(network, seed=1)), onnx=folder / f"{name}.onnx")
        cfg.unlink()
    (folder / "others.onnx").write_bytes(_other_operators())


def _other_operators() -> bytes:
    """A model of operators that no export writes: codes, a transposed convolution, borders, normalization."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        helper.make_node("ConvTranspose", ["d", "w"], ["t"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 0]),
        helper.make_node("InstanceNormalization", ["t", "s", "s"], ["i"], epsilon=1e-3),
        helper.make_node("Pad", ["i", "p"], ["b"], mode="reflect"),
        helper.make_node("AveragePool", ["b"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1),
        helper.make_node("LRN", ["a"], ["l"], size=3),
        helper.make_node("Softmax", ["l"], ["y"], axis=1),
    ]
    values = {
        "step": np.float32(0.1), "zero": np.uint8(0), "w": np.linspace(-1, 1, 96, dtype=np.float32).reshape(3, 2, 4, 4),
        "s": np.float32([1, 2]), "p": np.int64([0, 0, 1, 0, 0, 0, 2, 1]),
    }  # fmt: skip
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    ends = [helper.make_tensor_value_info(*end) for end in (("x", TensorProto.FLOAT, [1, 3, 5, 6]),
                                                            ("y", TensorProto.FLOAT, None))]  # fmt: skip
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors)
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return content


def _mutated_onnx(random: Random, data: bytes, corpus: Any) -> bytes:
    """A node, a constant or the input changed, or bytes."""
    if random.randrange(3):
        with suppress(Exception):  # protobuf promises no types of errors: neither for a file nor for text in one
            return _with_changed_parts(random, data, corpus)
    return mutated_bytes(random, data, corpus)


def _with_changed_parts(random: Random, data: bytes, corpus: Any) -> bytes:
    from onnx import ModelProto

    model = ModelProto()
    model.ParseFromString(data)
    graph = model.graph
    parts = (graph.node, graph.initializer, graph.input, graph.output, model.opset_import, model.metadata_props)
    lists = [part for part in parts if part]
    for _ in range(random.choice([1, 1, 2, 4])) if graph.node else ():
        item = random.choice(random.choice(lists))
        numbers: list[Any] = [part.ints for part in getattr(item, "attribute", ()) if part.ints]
        numbers += [item.dims] if getattr(item, "dims", None) else []
        match random.randrange(5):
            case 0 if numbers:
                some = random.choice(numbers)
                some[random.randrange(len(some))] = random.choice([0, -1, 1, 2, 7, 255, 1 << 31, 1 << 40, -(1 << 62)])
            case 1 if hasattr(item, "op_type"):
                item.op_type = random.choice(graph.node).op_type
            case 2 if getattr(item, "input", None):
                item.input[random.randrange(len(item.input))] = random.choice(
                    [name for part in graph.node for name in part.output] or [""]
                )
            case 3 if hasattr(item, "version"):
                item.version = random.choice([0, 1, 6, 7, 9, 11, 12, 18, 23, 99, 1 << 40])
            case _:
                changed = mutated_bytes(random, item.SerializeToString(), corpus)
                with suppress(Exception):  # of a part that is none, what could be read stays
                    item.ParseFromString(changed)
    written: bytes = model.SerializeToString()
    return written


def _handle_onnx(path: Path, session: Session | None) -> str:
    """Read, and on a device converted as a whole."""
    from clprune.exchange.codes import with_float_activations
    from clprune.exchange.import_graph import import_graph
    from clprune.exchange.read import read_onnx
    from clprune.workflow.convert import convert, make_model

    if session is not None:
        with tempfile.TemporaryDirectory(prefix="clprune-fuzz-") as folder:
            return f"{convert(path, out=Path(folder) / 'a', device=session).relative_error < 1e-4}"
    graph = read_onnx(path)
    with_float_activations(graph, path)
    model = make_model(import_graph(graph, path), str(path))
    return " ".join(layer.kind for layer in model.network.layers)


TARGETS = [Target(name="onnx", suffix=".onnx", seeds=_onnx_seeds, handle=_handle_onnx, mutate=_mutated_onnx, runs=True)]
