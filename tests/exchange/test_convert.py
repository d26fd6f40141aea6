"""Networks out of ONNX files and PyTorch modules: they compute what those do, or the error names what they cannot."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="ONNX files need clprune[onnx]")
# what follows can be used only where onnx is
import onnx
from onnx import TensorProto, helper, numpy_helper

import clprune
from clprune.container.model import Model
from clprune.errors import ClpruneError, ExchangeError
from clprune.exchange.feature import PROBES, activation_of, line_of
from clprune.exchange.read import class_names_of
from clprune.exchange.sketch import normalization_values
from clprune.opencl import Session, open_device
from tests.fuzz.mutation import mutated_bytes
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_device(None) as opened:
        yield opened


def save(path: Path, nodes: Sequence[Any], *, opset: int = 17, **settings: Any) -> Path:
    """A file of these nodes, from `x` to `y`; `constants` by name."""
    constants = {name: np.asarray(value) for name, value in settings.get("constants", {}).items()}
    dtype = settings.get("dtype", TensorProto.FLOAT)
    inputs = [helper.make_tensor_value_info("x", dtype, settings.get("shape", ["N", 3, 9, 8]))]
    outputs = [helper.make_tensor_value_info(name, dtype, None) for name in settings.get("outputs", ["y"])]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "graph", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    for key, value in settings.get("metadata", {}).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def weights(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def node(operator: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(" "), [output], name=f"{operator}_{output}", **attributes)


def kinds(model: Model) -> list[str]:
    return [layer.kind for layer in model.network.layers]


@pytest.mark.parametrize("channels", [48, 49, 98])
def test_a_mean_is_told_whatever_its_share_rounds_to(channels: int, tmp_path: Path, session: Session) -> None:
    nodes = [node("ReduceMean", "x", "m", axes=[1]), node("Sub", "x m")]
    found = clprune.convert(save(tmp_path / "m.onnx", nodes, shape=["N", channels, 3, 2]), out=tmp_path / "m",
                            device=session)  # fmt: skip
    assert (found.relative_error < 1e-5, kinds(found.model)) == (True, ["convolutional"])


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_sum_that_is_no_root(tmp_path: Path, session: Session) -> None:
    """Its inverse is infinite where the sum is zero."""
    nodes = [node("ReduceSumSquare", "x", "s", axes=[1]), node("Mul", "x s")]
    path = save(tmp_path / "m.onnx", nodes)
    assert clprune.convert(path, out=tmp_path / "m", device=session).relative_error < 1e-5


# --- round trips ---


#: What has operators that no layer is told by.
NOT_READ = {"l2norm", "normalization", "local"}


@pytest.mark.parametrize("seed", [2, 3, 4, 6, 12])
def test_what_was_exported_comes_back(seed: int, tmp_path: Path, session: Session) -> None:
    network, values = random_network(tmp_path, seed)
    before = Model(network=network, weights=values)
    if NOT_READ.intersection(kinds(before)):
        pytest.skip("has a layer that is not read back")
    try:
        clprune.export(before, onnx=tmp_path / "model.onnx")
    except clprune.UnsupportedLayerError:
        pytest.skip("has a layer that is not exported")
    found = clprune.convert(tmp_path / "model.onnx", out=tmp_path / "back", device=session)
    assert found.relative_error < 1e-5
    after = clprune.load_model(found.cfg)
    if kinds(after) == kinds(before):
        for old, new in zip(values.layers, after.weights.layers, strict=True):
            for name in () if old is None else ("weights", "biases", "scales", "mean", "variance"):
                assert np.array_equal(getattr(old, name), getattr(new, name)), name


@pytest.mark.parametrize("seed", range(2))
def test_torch_there_and_back(seed: int, tmp_path: Path, session: Session) -> None:
    torch = pytest.importorskip("torch", reason="modules need PyTorch")
    model = clprune.from_torch(module(torch, seed), torch.rand(1, 3, 20, 23), device=session)
    again = clprune.from_torch(clprune.to_torch(model), torch.rand(1, 3, 20, 23), device=session)
    for old, new in zip(model.network.matrix_layers, again.network.matrix_layers, strict=True):
        before, after = model.weights.layers[old.index], again.weights.layers[new.index]
        assert before is not None
        assert after is not None
        assert np.array_equal(before.weights, after.weights)


# --- modules ---


def module(torch: Any, seed: int = 0) -> Any:
    """A bit of everything that classifiers of the last years are made of."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):  # type: ignore[misc]  # torch is found when the test runs
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            self.norm = nn.BatchNorm2d(channels, eps=1e-3)
            self.out = nn.Conv2d(channels, channels, 1)

        def forward(self, x: Any) -> Any:
            y = functional.hardswish(self.norm(self.depthwise(x)))
            return functional.relu(x + self.out(y * torch.sigmoid(y)))

    class Network(nn.Module):  # type: ignore[misc]  # likewise
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(3, 2, 1)
            )
            self.block = Block(8)
            self.pre = nn.Sequential(nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 6, 3, padding=1))
            self.head = nn.Linear(14, 5)

        def forward(self, x: Any) -> Any:
            x = self.block(self.stem(x))
            x = torch.cat([self.pre(x), x], 1)
            return self.head(nn.functional.dropout(x.mean([2, 3]), 0.5, self.training))

    torch.manual_seed(seed)
    made = Network().eval()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.7, 1.4)
            part.weight.data.normal_(1, 0.1)
            part.bias.data.normal_(0, 0.1)
    return made


def test_a_module_becomes_a_network_that_darknets_layers_make(session: Session) -> None:
    torch = pytest.importorskip("torch", reason="modules need PyTorch")
    made, images = module(torch), torch.rand(2, 3, 20, 23)
    made.train()
    model = clprune.from_torch(
        made, images, mean=(0.4, 0.5, 0.6), deviation=(0.2, 0.3, 0.4), class_names="abcde", device=session
    )
    assert made.training
    assert model.names == tuple("abcde")
    assert kinds(model)[:5] == ["convolutional", "convolutional", "maxpool", "convolutional", "activation"]
    first, second, *_ = model.network.matrix_layers
    assert (first.problem(1).groups, second.batch_normalize, second.activation) == (3, True, "relu6")
    mean, deviation = (torch.tensor(values)[:, None, None] for values in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    with torch.no_grad():
        expected = made.eval()((images - mean) / deviation).numpy()
    with clprune.Runner(model, session=session) as runner:
        np.testing.assert_allclose(runner(images.numpy()), expected, rtol=1e-4, atol=1e-5)


def test_modules_that_cannot_be_had_are_one_line(session: Session, capfd: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="modules need PyTorch")
    nn = torch.nn
    for made, text in (
        (nn.Conv2d(4, 4, 3), r"Conv2d: cannot be traced: RuntimeError"),
        (nn.ReflectionPad1d((1, 1)), r"\(Pad\) .*, expected: rows and columns|Pad1d"),
        (nn.LPPool2d(3, 2), r"expected|supported"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(5)),
            "cannot be traced: .*output size that are not factor",
        ),
        (nn.LSTM(8, 3), r"LSTM: .*"),
    ):
        with pytest.raises(ExchangeError, match=text) as found:
            clprune.from_torch(made, torch.rand(1, 3, 8, 8), device=session)
        assert "\n" not in str(found.value)
    assert "graph(" not in capfd.readouterr().out  # which the exporter would print
    with pytest.raises(clprune.UsageError, match=r"expected float32 \[N, C, H, W\]"):
        clprune.from_torch(nn.ReLU(), torch.rand(3, 8, 8), device=session)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 23])
def test_every_version_of_the_operators(opset: int, tmp_path: Path, session: Session) -> None:
    torch = pytest.importorskip("torch", reason="the file is written by PyTorch")
    nn = torch.nn
    made = nn.Sequential(
        nn.ConstantPad2d((1, 0, 1, 2), 0.0), nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.Upsample(scale_factor=2), nn.MaxPool2d(2), nn.LeakyReLU(0.1), nn.Flatten(),
        nn.Linear(8 * 63, 7),
    ).eval()  # fmt: skip
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.utils.export(made, (torch.rand(1, 3, 8, 8),), file, opset_version=min(max(opset, 9), 17))
    written = onnx.version_converter.convert_version(onnx.load_model_from_string(file.getvalue()), opset)
    (tmp_path / "model.onnx").write_bytes(written.SerializeToString())
    found = clprune.convert(tmp_path / "model.onnx", out=tmp_path / "out", device=session)
    assert found.relative_error < 1e-5
    assert kinds(found.model)[0] == "convolutional"


# --- files ---


def test_names_and_other_tensors_than_the_output(tmp_path: Path, session: Session) -> None:
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("GlobalAveragePool", "b", "c"),
             node("Flatten", "c", "y")]  # fmt: skip
    path = save(
        tmp_path / "m.onnx", nodes, constants={"w": weights(2, 3, 3, 3)}, metadata={"names": "{0: 'cat', 1: 'dog'}"}
    )
    found = clprune.convert(path, out=tmp_path / "m", device=session)
    assert clprune.load_model(found.cfg).names == ("cat", "dog")
    inner = clprune.convert(path, out=tmp_path / "inner", output="a", device=session)
    assert kinds(inner.model) == ["convolutional"]
    assert inner.model.network.outputs == 2 * 7 * 6


def test_names_that_are_none() -> None:
    for text in ("", "[1, 2]", "{0: 'a', 2: 'b'}", "__import__('os')", "['a\\n']", "[" * 9999):
        model = onnx.ModelProto()
        model.metadata_props.add(key="names", value=text)
        assert class_names_of(model) == ()


def test_halves_and_channels_last(tmp_path: Path, session: Session) -> None:
    half = save(
        tmp_path / "half.onnx",
        [node("Conv", "x w", "a"), node("Relu", "a")],
        constants={"w": weights(2, 3, 3, 3).astype(np.float16)},
        dtype=TensorProto.FLOAT16,
    )
    assert clprune.convert(half, out=tmp_path / "half", device=session).relative_error < 1e-2
    nodes = [
        node("Transpose", "x", "a", perm=[0, 3, 1, 2]), node("Conv", "a w", "b"), node("Relu", "b", "c"),
        node("Transpose", "c", "d", perm=[0, 2, 3, 1]), node("Flatten", "d", "e"), node("MatMul", "e m"),
    ]  # fmt: skip
    last = save(
        tmp_path / "last.onnx",
        nodes,
        shape=["N", 9, 8, 3],
        constants={"w": weights(5, 3, 3, 3), "m": weights(7 * 6 * 5, 4)},
    )
    found = clprune.convert(last, out=tmp_path / "last", device=session)
    assert found.relative_error < 1e-5
    assert kinds(found.model) == ["convolutional", "connected"]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("SpaceToDepth", "x", "a", blocksize=2), node("Relu", "a")], ["activation", "reorg3d"]),
        ([node("DepthToSpace", "x", "a", blocksize=2), node("Relu", "a")], ["activation", "reorg"]),
        ([node("Split", "x", "a,b", axis=1), node("Mul", "a b")], ["route", "route", "route", "sam"]),
        ([node("Reshape", "x g", "a"), node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]), node("Reshape", "b s", "c"),
          node("Relu", "c")], ["convolutional"]),
        ([node("Slice", "x two six two", "a"), node("Sub", "a half", "b"), node("Div", "b a")], []),
        ([node("Slice", "x two six two", "a"), node("Sub", "a half")], ["convolutional", "crop"]),
        ([node("Split", "x", "a,b", axis=1), node("Sub", "a b")], ["route", "convolutional", "shortcut"]),
    ],
)  # fmt: skip
def test_values_that_are_elsewhere(nodes: list[Any], expected: list[str], tmp_path: Path, session: Session) -> None:
    for one in nodes:
        outputs = one.output[0].split(",")
        del one.output[:]
        one.output.extend(outputs)
    constants = {
        "g": np.int64([0, 2, 4, 8, 6]), "s": np.int64([0, 8, 8, 6]), "six": np.int64([6]),
        "two": np.int64([2]), "half": np.float32(0.5),
    }  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, constants=constants, shape=["N", 8, 8, 6])
    if not expected:
        with pytest.raises(ExchangeError, match="comes after operators that no activation"):
            clprune.convert(path, out=tmp_path / "m", device=session)
        return
    found = clprune.convert(path, out=tmp_path / "m", device=session)
    assert found.relative_error < 1e-6
    assert kinds(found.model)[-len(expected) :] == expected


def test_weights_of_few_bits_become_floats(tmp_path: Path, session: Session) -> None:
    codes = np.random.default_rng(1).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    nodes = [node("DequantizeLinear", "q s z", "w", axis=0), node("Conv", "x w")]
    constants = {"q": codes, "s": np.full(4, 0.01, np.float32), "z": np.zeros(4, np.int8)}
    path = save(tmp_path / "q.onnx", nodes, constants=constants)
    assert clprune.convert(path, out=tmp_path / "q", device=session).relative_error < 1e-5


CONV = {"w": weights(2, 3, 3, 3)}
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "holds no nodes"),
    "page": (lambda path: path.write_bytes(b"<!DOCTYPE html>"), "is an HTML page"),
    "text": (lambda path: path.write_bytes(b"hello\n"), "is no ONNX file, or not whole"),
    "outputs": (lambda path: save(path, [node("Relu", "x")], outputs=[]), "has no output: expected one"),
    "batch": (lambda path: save(path, [node("Relu", "x")], shape=[8, 3, 9, 8]), "input 'x' is 8x3x9x8: .* batch of 1"),
    "sides": (lambda path: save(path, [node("Relu", "x")], shape=["N", 3, "H", "W"]), "is .x3x.x.: .* --size HEIGHT"),
    "rank": (lambda path: save(path, [node("Relu", "x")], shape=["N", 3, 9]), r"expected \[N, C, H, W\]"),
    "order": (lambda path: save(path, [node("Relu", "z")]), r"'Relu_y' \(Relu\) takes 'z', which nothing"),
    "unknown": (lambda path: save(path, [node("GridSample", "x x")]), r"\(GridSample\) is not supported: expected one"),
    "domain": (lambda path: save(path, [node("Relu", "x", domain="com.x")]), r"\(Relu\) is not supported"),
    "weights": (lambda path: save(path, [node("Conv", "x x")]), "input 1 depends on the network's input"),
    "channels": (lambda path: save(path, [node("Conv", "x w")], constants={"w": weights(2, 4, 3, 3)}),
                 "has weights of shape .* for 3 channels"),
    "function": (lambda path: save(path, [node("Softplus", "x")]), "no activation of clprune equals"),
    "border": (lambda path: save(path, [node("Pad", "x p", "a"), node("Sigmoid", "a", "b"), node("Conv", "b w")],
                                 constants={**CONV, "p": np.int64([0, 0, 1, 1, 0, 0, 1, 1])}), "function of a border"),
    "huge": (lambda path: save(path, [node("ConstantOfShape", "s", "c"), node("Add", "x c")],
                               constants={"s": np.int64([1 << 40])}), "makes a constant of 1099511627776 values"),
    "not finite": (lambda path: save(path, [node("Conv", "x w")], constants={"w": np.full((2, 3, 3, 3), np.nan, "f4")}),
                   "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_one_line_and_nothing_is_written(name: str, tmp_path: Path, session: Session) -> None:
    write, text = REFUSED[name]
    write(tmp_path / "model.onnx")
    with pytest.raises(ClpruneError, match=text) as found:
        clprune.convert(tmp_path / "model.onnx", out=tmp_path / "out", device=session)
    assert str(found.value).startswith(f"{tmp_path / 'model.onnx'}:")
    assert "\n" not in str(found.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_sizes_that_a_model_leaves_free(tmp_path: Path, session: Session) -> None:
    path = save(tmp_path / "m.onnx", [node("Conv", "x w")], constants=CONV, shape=["N", 3, "H", "W"])
    found = clprune.convert(path, out=tmp_path / "m", size=(7, 11), device=session)
    assert str(found.model.network.input) == "3x7x11"
    with pytest.raises(ExchangeError, match="does not take 7x7"):
        clprune.convert(save(path, [node("Relu", "x")]), out=tmp_path / "m", size=(7, 7), device=session)


def test_external_data_are_read_beside_the_model_only(tmp_path: Path, session: Session) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = save(folder / "m.onnx", [node("Conv", "x w")], constants={"w": weights(8, 3, 3, 3)})
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert clprune.convert(path, out=tmp_path / "m", device=session).relative_error < 1e-5
    (folder / "m.data").rename(tmp_path / "m.data")
    for location in ("../m.data", str(tmp_path / "m.data"), "m.data"):
        moved = onnx.load(path, load_external_data=False)
        moved.graph.initializer[0].external_data[0].value = location
        path.write_bytes(moved.SerializeToString())
        with pytest.raises(ExchangeError, match="external data cannot be read"):
            clprune.convert(path, out=tmp_path / "m", device=session)


def test_mutated_files_are_read_or_refused(tmp_path: Path, session: Session) -> None:
    nodes = [node("Pad", "x p", "a"), node("Conv", "a w", "b", strides=[2, 2]), node("Relu", "b", "c"),
             node("MaxPool", "c", "d", kernel_shape=[2, 2]), node("Reshape", "d r", "e"),
             node("Gemm", "e m b0")]  # fmt: skip
    constants = {"p": np.int64([0, 0, 1, 1, 0, 0, 1, 1]), "w": weights(4, 3, 3, 3), "r": np.int64([0, -1]),
                 "m": weights(48, 5), "b0": weights(5)}  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, constants=constants)
    whole = path.read_bytes()
    draw, read = random.Random(3), 0
    for _ in range(150):
        path.write_bytes(mutated_bytes(draw, whole, [whole]))
        try:
            clprune.convert(path, out=tmp_path / "out", device=session)
            read += 1
        except ClpruneError as error:
            assert "\n" not in str(error)
    assert read > 5


# --- pieces ---


def test_functions_are_told_by_their_values() -> None:
    assert activation_of(np.clip(PROBES / 6 + 0.5, 0, 1) * PROBES) == "hard_swish"
    assert activation_of(np.maximum(PROBES, 0) * 1.0001) is None
    assert line_of(2 * PROBES - 1) == (2, -1)
    assert line_of(np.minimum(2 * PROBES, 255)) is None


def test_another_epsilon_is_made_up_for() -> None:
    scales, variance = weights(5), np.abs(weights(5, seed=1))
    values = normalization_values(scales, scales, scales, variance, epsilon=1e-3)
    assert values.scales is not None
    np.testing.assert_allclose(values.scales / np.sqrt(variance + 1e-5), scales / np.sqrt(variance + 1e-3), rtol=1e-6)
    assert normalization_values(scales, scales, scales, variance, epsilon=1e-5).scales is scales


@pytest.mark.filterwarnings("error")
def test_factors_that_are_not_finite_are_refused_in_one_line(tmp_path: Path, session: Session) -> None:
    graph = [node("Flatten", "x", "f"), node("Gemm", "f w", alpha=float("inf"))]
    path = save(tmp_path / "m.onnx", graph, constants={"w": np.zeros((216, 2), np.float32)})
    with pytest.raises(clprune.ClpruneError, match="not finite") as found:
        clprune.convert(path, out=tmp_path / "made", device=session)
    assert "\n" not in str(found.value)
