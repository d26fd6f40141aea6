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

#: Residual, concatenating and depthwise, with batch normalization and two activations that ONNX composes.
BRANCHES = """\
[net]
height=8
width=8
channels=3

[convolutional]
filters=8
size=3
pad=1
batch_normalize=1
activation=mish

[convolutional]
filters=8
size=3
pad=1
groups=8
activation=hard_mish

[shortcut]
from=0
activation=linear

[route]
layers=-1,0

[upsample]
stride=2

[convolutional]
filters=4
size=1
activation=swish
"""


@pytest.mark.parametrize("engine", ["clprune", "pytorch", "onnxruntime", "openvino", "ncnn", "deepsparse"])
@pytest.mark.parametrize(("text", "batch"), [(TEXT, 1), (TEXT, 3), (AVERAGE, 2), (BRANCHES, 2)])
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
        "precision": "float32",
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
