"""Networks for the tests of running them, and a session that leaves tuning aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clprune.darknet.network import Network
from clprune.opencl import Session
from clprune.runner import Runner
from tests.plan.conftest import always_share, network_of

__all__ = ["always_share", "network_of"]


@pytest.fixture
def runner_of(device_context: Session) -> Callable[..., Runner]:
    """A Runner on the open device with the tiles that it has without tuning."""

    def make(network: Network, weights: Any, **options: Any) -> Runner:
        return Runner(network, weights, session=device_context, lookup=lambda *_: None, **options)

    return make


def images(network: Network, count: int, *, seed: int = 0) -> np.ndarray:
    """Seeded float32 `[count, C, H, W]`."""
    shape = network.input
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, shape.channels, shape.height, shape.width), np.float32)
