"""What other engines are given, and their answers where they are installed (tools/bench/peers/requirements.txt)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_images, random_weights
from clprune.darknet.weights import write_weights
from clprune.errors import UsageError
from tools.bench.chain import Chain, chain_of
from tools.bench.models import reference_answer

NetworkOf = Callable[..., Network]

#: Unequal sides, groups, strides, borders on some sides only, both activations.
TEXT = """\
[net]
height=9
width=12
channels=4

[convolutional]
filters=6
size=3
pad=1
groups=2
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=8
size=3
stride=2
pad=1
activation=relu

[maxpool]
size=3
stride=1

[connected]
output=9
activation=relu

[connected]
output=7
activation=linear

[softmax]
"""

AVERAGE = """\
[net]
height=5
width=4
channels=3

[convolutional]
filters=5
size=1
activation=linear

[avgpool]

[softmax]
"""

SMALL = """\
[net]
height=2
width=3
channels=1

[convolutional]
filters=2
size=1
activation=leaky

[connected]
output=2
activation=relu

[softmax]
"""


@pytest.fixture
def small(network_of: NetworkOf) -> Chain:
    network = network_of(SMALL)
    return chain_of(network, random_weights(network, seed=0))


def test_ncnn_files(small: Chain) -> None:
    from tools.bench.peers.ncnn_file import ncnn_files

    text, content = ncnn_files(small)
    assert text.splitlines() == [
        "7767517",
        "4 4",
        "Input images 0 1 images 0=3 1=2 2=1",
        "Convolution layer0 1 1 images blob0 0=2 5=1 6=2 1=1 3=1 4=0 9=2 -23310=1,0.1",
        "InnerProduct layer1 1 1 blob0 blob1 0=2 1=1 2=24 9=1",
        "Softmax layer2 1 1 blob1 answer 0=0 1=1",
    ]
    (_, first), (_, second) = small.links[:2]
    assert first is not None
    assert second is not None
    values = np.frombuffer(content, np.float32)
    mark = np.zeros(1, np.float32)
    expected = [mark, first.weights.ravel(), first.biases, mark, second.weights.ravel(), second.biases]
    np.testing.assert_array_equal(values, np.concatenate(expected))


def test_onnx_model(small: Chain) -> None:
    pytest.importorskip("onnx", reason="pip install -r tools/bench/peers/requirements.txt")
    from tools.bench.peers.onnx_file import onnx_model

    graph = onnx_model(small).graph
    assert [node.op_type for node in graph.node] == [
        "Conv", "LeakyRelu", "Flatten", "Gemm", "Relu", "Flatten", "Softmax",
    ]  # fmt: skip
    assert (graph.input[0].name, graph.output[0].name) == ("images", "answer")
    assert [dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim] == [1, 1, 2, 3]


@pytest.mark.parametrize("engine", ["pytorch", "onnxruntime", "openvino", "ncnn", "deepsparse", "clprune"])
@pytest.mark.parametrize(("text", "batch"), [(TEXT, 1), (TEXT, 3), (AVERAGE, 2)])
def test_engine_gives_the_right_answer(
    network_of: NetworkOf, tmp_path: Path, engine: str, text: str, batch: int
) -> None:
    from tools.bench.peers.engines import ENGINES, load_engine

    pytest.importorskip(ENGINES[engine][1], reason="pip install -r tools/bench/peers/requirements.txt")
    if engine == "clprune":
        request_device()
    network = network_of(text, batch=batch)
    weights = random_weights(network, seed=3)
    write_weights(tmp_path / "network.weights", network, weights)
    options = {
        "model": str(network.path),
        "batch": batch,
        "threads": 1,
        "device": None if engine == "clprune" else "cpu",
        "memory_format": "channels_last",
        "tf32": False,
        "connected_storage": "float32",
        "algorithms": "direct,winograd,sparse",
    }
    x = random_images(network, seed=1)
    expected = reference_answer(network.path, x)
    loaded = load_engine(engine, options)
    np.testing.assert_allclose(loaded.run(x), expected, rtol=1e-4, atol=1e-6)
    assert loaded.description["version"]


def request_device() -> None:
    from clprune.errors import NoDeviceError
    from clprune.opencl import choose

    try:
        choose()
    except NoDeviceError as error:
        pytest.skip(f"no OpenCL device: {error}")


def test_unknown_engine() -> None:
    from tools.bench.peers.engines import load_engine

    with pytest.raises(UsageError, match="engine 'absent': expected one of clprune, pytorch"):
        load_engine("absent", {})
