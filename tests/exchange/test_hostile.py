"""ONNX files of strangers: what little text would make much of is refused before it is made, or never looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
# what follows can be used only where onnx is
import itertools

import onnx
from onnx import TensorProto, helper

import clprune
from clprune.errors import ExchangeError
from clprune.exchange.read import largest_result
from clprune.opencl import Session, open_device
from tests.exchange.test_convert import node, save


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


def concats(count: int) -> list[Any]:
    """Each twice as large as what it takes."""
    names = ["x", *(f"d{number}" for number in range(count))]
    moves = [node("Concat", f"{before} {before}", after, axis=1) for before, after in itertools.pairwise(names)]
    return [*moves, node("Relu", names[-1])]


def many(operator: str, count: int, before: Sequence[str], **attributes: Any) -> list[Any]:
    """So many constants, and their sum."""
    made = [node(operator, " ".join(before), f"c{number}", **attributes) for number in range(count)]
    sums = [
        node("Add", f"{'c0' if number == 1 else f's{number - 1}'} c{number}", f"s{number}")
        for number in range(1, count)
    ]
    return [*made, *sums, node("Add", f"x s{count - 1}")]


def functions(path: Path, bodies: Sequence[Sequence[str]]) -> Path:
    """A model of local functions F0, F1, ..., each of which calls those that are named, one after another; the last is
    called.
    """
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    made = []
    for number, calls in enumerate(bodies):
        nodes = [
            helper.make_node(call, [f"t{place}"], [f"t{place + 1}"], domain="f" if call[0] == "F" else "")
            for place, call in enumerate(calls)
        ]
        made.append(helper.make_function("f", f"F{number}", ["t0"], [f"t{len(calls)}"], nodes, opsets))
    call = helper.make_node(f"F{len(bodies) - 1}", ["x"], ["y"], domain="f")
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in
             (("x", ["N", 3, 9, 8]), ("y", None))]  # fmt: skip
    graph = helper.make_graph([call], "graph", sides[:1], sides[1:])
    model = helper.make_model(graph, opset_imports=opsets, functions=made, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def overloads(path: Path, call: Callable[[str], tuple[str, str]]) -> None:
    """The same with one name for all functions, told apart by overloads; `call` says how one is called."""
    functions(path, [["Relu"], *([f"F{number}"] * 2 for number in range(60))])
    model = onnx.load(path)
    for function in model.functions:
        function.overload, function.name = function.name, "F"
    for caller in [*model.graph.node, *(caller for function in model.functions for caller in function.node)]:
        if caller.domain == "f":
            caller.op_type, caller.overload = call(caller.op_type)
    path.write_bytes(model.SerializeToString())


def rows(count: int, operator: str = "Mul", *before: Any) -> list[Any]:
    """Each node takes what is before it twice."""
    names = ["c", *(f"r{number}" for number in range(count)), "y"]
    return [*before, *(node(operator, f"{first} {first}", second) for first, second in itertools.pairwise(names))]


#: Of which the tests let a file hold so many; a file with too many nodes has fewer.
FIELDS = 1 << 18


def fields(path: Path, *places: int) -> None:
    """Empty messages, two bytes each: fields of those numbers in the first of which they are, and so on."""
    data = bytes([places[-1] << 3 | 2, 0]) * (2 * FIELDS)
    for place in reversed(places[:-1]):
        data = bytes([place << 3 | 2]) + varint(len(data)) + data
    save(path, [node("Relu", "x")])
    path.write_bytes(path.read_bytes() + data)


def varint(number: int) -> bytes:
    """As protocol buffers have it."""
    places = []
    while number > 127:
        places.append(number & 127 | 128)
        number >>= 7
    return bytes([*places, number])


def outside(path: Path, *, bytes_each: int, count: int, size: int) -> None:
    """So many constants that are parts of one file of a size, most of which is on no disk."""
    with (path.parent / "values").open("wb") as file:
        file.truncate(size)
    save(path, many("Identity", count, ["w0"]), constants={"w0": np.zeros(3, "f4")})
    model = onnx.load(path)
    del model.graph.initializer[:]
    for number in range(count):
        tensor = model.graph.initializer.add(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[bytes_each // 4])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "values"), ("offset", "0"), ("length", str(bytes_each))):
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


CONVOLUTION, FILTERS = node("Conv", "x w", "c"), {"w": np.ones((3, 3, 1, 1), "f4")}
SIZE = {"s": np.int64([1 << 24])}
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "doubled": (lambda path: save(path, concats(40)), r"\(Concat\) makes more than \d+ values"),
    "expanded": (lambda path: save(path, [node("Expand", "c s", "e"), node("Add", "x e")],
                                   constants={"c": np.zeros((1, 1), "f4"), "s": np.int64([1 << 20, 1 << 20])}),
                 r"\(Expand\) makes a constant of 1099511627776 values"),
    "outer": (lambda path: save(path, [node("Mul", "a b", "e"), node("Add", "x e")],
                                constants={"a": np.zeros((1 << 13, 1), "f4"), "b": np.zeros((1, 1 << 13), "f4")}),
              r"\(Mul\) makes a constant of 67108864 values"),
    "many": (lambda path: save(path, many("ConstantOfShape", 40, ["s"]), constants=SIZE), "than could be held"),
    "parts": (lambda path: save(path, [helper.make_node("Split", ["x"], ["a", "b"], num_outputs=1 << 30, axis=1),
                                       node("Add", "a b")], opset=18), "makes 1073741824 parts and names 2"),
    "sizes": (lambda path: save(path, [helper.make_node("Split", ["c", "k"], ["a", "b"]), node("Add", "x a")],
                                constants={"c": np.ones(4, "f4"), "k": np.ones(1 << 16, "i8")}, opset=18),
              "makes 65536 parts and names 2"),
    "texts": (lambda path: save(path, [node("Cast", "c", "d", to=TensorProto.STRING), node("Add", "x d")],
                                constants={"c": np.ones(4, "f4")}), "makes texts: expected numbers"),
    "resized": (lambda path: save(path, [node("Resize", "x  s", mode="nearest")], shape=["N", 1, 1, 4096],
                                  constants={"s": np.float32([1, 1, 1, 1e6])}),
                r"\(Resize\) makes 1x1x4096000000 values: expected at most"),
    "centred": (lambda path: save(path, [node("Conv", "x w", "c"), node("ReduceMean", "c", "m", axes=[1]),
                                         node("Sub", "c m")], constants={"w": np.zeros((10_000, 3, 9, 8), "f4")}),
                r"\(Sub\) takes the mean of 10000 channels from each: expected at most"),
    "nodes": (lambda path: save(path, [*(node("Identity", "x", f"i{number}") for number in range(40_000)),
                                       node("Relu", "x")]), "holds 40001 nodes: expected at most 32768"),
    "functions": (lambda path: functions(path, [["Relu"], *([f"F{number}"] * 2 for number in range(60))]),
                  "holds 1152921504606846976 nodes"),
    "overloads": (lambda path: overloads(path, lambda name: ("F", name)), "holds 1152921504606846976 nodes"),
    "named alike": (lambda path: overloads(path, lambda name: (f"F::{name}", "")), "holds 1152921504606846976 nodes"),
    "fields": (lambda path: fields(path, 14), "holds more than 262144 fields"),
    "fields of nodes": (lambda path: fields(path, 7, 1), "holds more than 262144 fields"),
    "fields of fields": (lambda path: fields(path, 7, 5, 8), "holds more than 262144 fields"),
    "all of one file": (lambda path: outside(path, bytes_each=4096, count=9, size=8192), "takes more of 'values' than"),
    "large": (lambda path: outside(path, bytes_each=1 << 40, count=1, size=1 << 40),
              "takes 1099511627776 bytes of other files: expected at most 2147483648"),
    "long row": (lambda path: save(path, rows(3000, "Mul", CONVOLUTION), constants=FILTERS),
                 "'y' comes after more functions in a row than can be resolved"),
    "itself": (lambda path: functions(path, [["F0"]]), "local functions cannot be inlined"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_little_that_makes_much_is_refused(
    name: str, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clprune.exchange.read.MAX_FIELDS", FIELDS)
    write, text = HOSTILE[name]
    write(tmp_path / "model.onnx")
    with pytest.raises(ExchangeError, match=text) as found:
        clprune.convert(tmp_path / "model.onnx", out=tmp_path / "out", device=session)
    assert str(found.value).startswith(f"{tmp_path / 'model.onnx'}: ") and "\n" not in str(found.value)


def test_outputs_of_layers_count(tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of another shape, of all values of a layer."""
    monkeypatch.setattr("clprune.exchange.importer.MAX_VALUES", 300)
    names = ["x", *(f"p{number}" for number in range(5)), "y"]
    pools = [node("MaxPool", before, after, kernel_shape=[2, 2]) for before, after in itertools.pairwise(names)]
    path = save(tmp_path / "model.onnx", pools)
    with pytest.raises(ExchangeError, match=r"\(MaxPool\) and those before it make more values than could be held"):
        clprune.convert(path, out=tmp_path / "out", device=session)


def test_rows_of_nodes_that_take_the_same_twice(tmp_path: Path, session: Session) -> None:
    """What is open of each is resolved once: not twice, and four, eight, sixteen times before."""
    path = save(tmp_path / "model.onnx", [CONVOLUTION, node("Exp", "c", "e"), *rows(40, "Mul")], constants=FILTERS)
    with pytest.raises(ExchangeError, match="its own answers to noise are not finite"):
        clprune.convert(path, out=tmp_path / "out", device=session)
    tall = [node("Sigmoid", "x", "c"), *rows(20)]
    assert clprune.convert(save(tmp_path / "m.onnx", tall), out=tmp_path / "m", device=session).relative_error < 1e-6


def test_functions_of_functions_are_inlined(tmp_path: Path, session: Session) -> None:
    path = functions(tmp_path / "model.onnx", [["Relu"], ["F0", "F0"], ["F1", "Sigmoid"]])
    assert clprune.convert(path, out=tmp_path / "out", device=session).relative_error < 1e-6


def test_what_the_output_does_not_need_is_not_run(tmp_path: Path, session: Session) -> None:
    """Neither another output nor a branch that ends nowhere, whatever they would take."""
    huge = [node("ConstantOfShape", "s", "c"), node("Add", "c c", "z"), node("ReduceSum", "c", "w")]
    path = save(tmp_path / "m.onnx", [node("Relu", "x"), *huge], constants={"s": np.int64([1 << 40])},
                outputs=["y", "z"])  # fmt: skip
    assert clprune.convert(path, out=tmp_path / "out", output="y", device=session).relative_error == 0


@pytest.mark.parametrize(
    ("operator", "shapes", "size"),
    [
        ("Expand", [(3, 1), [2, 1, 4]], 2 * 3 * 4), ("Expand", [(5, 7), [1]], 5 * 7), ("Expand", [(2, 3), [3, 2]], 9),
        ("ConstantOfShape", [[4, 5]], 20), ("Gather", [(3, 4), (5,)], 60), ("Concat", [(3, 4), (2, 4)], 20),
        ("Add", [(3, 1), (1, 5)], 15),
    ],
)  # fmt: skip
def test_bounds_of_what_comes_of_constants(operator: str, shapes: list[Any], size: int) -> None:
    inputs = [np.int64(shape) if isinstance(shape, list) else np.zeros(shape) for shape in shapes]
    assert largest_result(operator, inputs, {}) == size
