"""Two convolutions band by band: which rows, and that nothing changes in the answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clprune.algorithms import Algorithms
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.geometry import ConvProblem
from clprune.kernels.conv import conv_operation
from clprune.opencl import Session
from clprune.runner import Runner
from clprune.runner.bands import Band, banded_pairs, cut_bands, in_band
from clprune.runner.verify import verify_network

PAIR = """\
[net]
height=22
width=19
channels=2

[convolutional]
filters=17
size=3
pad=1
activation=relu

[convolutional]
filters=5
size=3
pad=1
activation=leaky
{more}
"""


def problem(*, in_channels: int, out_channels: int, height: int, size: int = 3, padding: int = 1) -> ConvProblem:
    return ConvProblem(
        batch=1,
        in_channels=in_channels,
        in_height=height,
        in_width=10,
        out_channels=out_channels,
        size=size,
        padding=padding,
    )


def test_each_band_of_the_second_finds_the_rows_that_it_reads() -> None:
    first = conv_operation(problem(in_channels=2, out_channels=4, height=10))
    second = conv_operation(problem(in_channels=4, out_channels=3, height=10))
    assert cut_bands(first, second, band_bytes=4 * 4 * 4 * 10) == [
        (Band(first=0, end=5), Band(first=0, end=4)),
        (Band(first=5, end=9), Band(first=4, end=8)),
        (Band(first=9, end=10), Band(first=8, end=10)),
    ]
    narrow = conv_operation(problem(in_channels=4, out_channels=3, height=10, size=1, padding=0))
    assert cut_bands(first, narrow, band_bytes=4 * 4 * 8 * 10) == [
        (Band(first=0, end=8), Band(first=0, end=8)),
        (Band(first=8, end=10), Band(first=8, end=10)),
    ]


def test_part_of_an_operation() -> None:
    whole = conv_operation(problem(in_channels=4, out_channels=3, height=10), pooled=True)
    part = in_band(whole, Band(first=4, end=8))
    assert (part.problem.in_height, part.problem.out_height) == (4, 4)
    assert part.input.origin == whole.input.origin + 4 * whole.input.pitch
    assert part.output.origin == whole.output.origin + 2 * whole.output.pitch
    assert (part.input.channel_stride, part.output.shape.height) == (whole.input.channel_stride, 2)


def test_pairs_are_plain_neighbours(network_of: Callable[..., Network]) -> None:
    network = network_of(PAIR.format(more=""))
    plane_bytes = 4 * 17 * 22 * 19
    assert banded_pairs(network, {}, band_bytes=plane_bytes // 4) == {0: 1}
    assert banded_pairs(network, {}, band_bytes=plane_bytes // 2) == {}
    assert banded_pairs(network, {}, band_bytes=0) == {}
    looked_at_again = network_of(PAIR.format(more="[route]\nlayers=-2,-1"))
    assert banded_pairs(looked_at_again, {}, band_bytes=64) == {}


@pytest.mark.parametrize("name", ["direct", "winograd"])
@pytest.mark.parametrize(("more", "batch"), [("", 1), ("[maxpool]\nsize=2\nstride=2", 2)])
def test_answers_stay(
    name: str,
    more: str,
    batch: int,
    *,
    network_of: Callable[..., Network],
    device_context: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clprune.runner.offers.FEWEST_WINOGRAD_CHANNELS", 1)
    monkeypatch.setattr("clprune.runner.batching.CACHED_BYTES", 0)
    network = network_of(PAIR.format(more=more), batch=batch)
    weights = random_weights(network, seed=0)
    x = np.random.default_rng(0).random((batch, 2, 22, 19), np.float32)
    monkeypatch.setattr("clprune.runner.plan.BYTES_PER_UNIT", 64)
    with Runner(
        network, weights, session=device_context, keep_tensors=True, algorithms=Algorithms(names=(name,))
    ) as runner:
        bands = [step.step.band for step in runner.bound.steps if step.step.band is not None]
        is_cpu = device_context.info.type == "cpu"
        assert len(bands) == (2 * 6 * batch if is_cpu else 0)
        assert all(error.is_within for error in verify_network(runner, weights, x))
