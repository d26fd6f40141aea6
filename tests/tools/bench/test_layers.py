"""Shares of a device's limits: what counts as work, and a small network timed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clprune.container.model import Model
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.opencl import Session
from clprune.turns import Series
from tools.bench.layers import (
    LayerTimes,
    LimitSeries,
    TimedModel,
    layer_table,
    model_to_dict,
    remaining_shares,
    share_of_bandwidth,
    share_of_peak,
    time_layers,
)

NetworkOf = Callable[..., Network]


def layer(*samples_ms: float, flops: float, read_bytes: float = 0.0) -> LayerTimes:
    return LayerTimes(
        index=0,
        problem="n1",
        tile_origin="tuned",
        is_convolution=True,
        remaining_share=0.25,
        kept_share=0.5,
        flops=flops,
        read_bytes=read_bytes,
        series=Series(samples_ms=samples_ms),
    )


LIMITS = LimitSeries(peak_gflops=(100.0, 50.0, 100.0), bandwidth_gbytes_per_s=(10.0, 10.0, 5.0))


def test_share_of_peak() -> None:
    """60 million operations in 1 + 0.5 ms at best: 40 GFLOP/s of 100; by rounds 20, 50 and 40 of 100, 50, 100."""
    layers = [layer(2.0, 1.0, 1.0, flops=4e7), layer(1.0, 1.4, 0.5, flops=2e7)]
    figure = share_of_peak("convolutions", layers, LIMITS, goal=40)
    assert figure.best == pytest.approx(40)
    assert figure.median == pytest.approx(40)
    assert figure.is_met


def test_share_of_bandwidth() -> None:
    figure = share_of_bandwidth("connected", [layer(1.0, 2.0, 1.0, flops=0, read_bytes=5e6)], LIMITS, goal=80)
    assert figure.best == pytest.approx(50)
    assert figure.median == pytest.approx(50)
    assert figure.is_met is False


def test_times_of_a_network(network_of: NetworkOf, device_context: Session) -> None:
    network = network_of()
    weights = random_weights(network, seed=0)
    matrix = weights.layers[5]
    assert matrix is not None
    matrix.weights[:, ::2] = 0
    shares = remaining_shares(network, weights)
    columns = matrix.weights.shape[1]
    assert shares == {0: 1.0, 2: 1.0, 5: (columns // 2) / columns}
    with TimedModel.of("some", Model(network=network, weights=weights), session=device_context) as model:
        assert model.remaining_shares == shares
        limits, (times,) = time_layers(device_context, [model], rounds=2, passes=1)
    assert len(limits.peak_gflops) == len(limits.bandwidth_gbytes_per_s) == 2
    assert [layer.index for layer in times.layers] == [0, 2, 5]
    assert [layer.is_convolution for layer in times.layers] == [True, True, False]
    assert all(len(layer.series.samples_ms) == 2 for layer in times.layers)
    connected = times.of_kind(is_convolution=False)[0]
    assert connected.flops == pytest.approx(2 * 7 * (columns // 2))
    assert times.memory_ratio >= 1
    assert len(layer_table(times, limits)["rows"]) == 3  # type: ignore[index]
    assert np.isfinite(model_to_dict(times)["memory_ratio"])
