"""Models side by side on one device: timed in turns, so that a noisy moment does not hit one of them only."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.opencl import Session
from clprune.runner.runner import Runner
from clprune.runner.verify import LayerError, verify_network


@dataclass(frozen=True, kw_only=True)
class Times:
    """Milliseconds of whole inferences of one batch, from host memory to host memory."""

    best_ms: float
    median_ms: float


def time_in_turns(runners: Sequence[Runner], *, rounds: int = 50, warmup: int = 3) -> list[Times]:
    """Time each runner `rounds` times on the same random images, in turns; `warmup` rounds do not count.

    Raises UsageError when there is nothing to time.
    """
    if rounds < 1 or not runners:
        raise UsageError(f"{rounds} rounds of {len(runners)} models: expected at least 1 of each")
    random = np.random.default_rng(0)
    images = []
    for runner in runners:
        shape = runner.network.input
        images.append(
            random.random((runner.network.batch, shape.channels, shape.height, shape.width), dtype=np.float32)
        )
    samples_ms: list[list[float]] = [[] for _ in runners]
    for turn in range(warmup + rounds):
        for runner, x, samples in zip(runners, images, samples_ms, strict=True):
            start = time.perf_counter()
            runner(x)
            elapsed_ms = (time.perf_counter() - start) * 1e3
            if turn >= warmup:
                samples.append(elapsed_ms)
    return [Times(best_ms=min(samples), median_ms=statistics.median(samples)) for samples in samples_ms]


def weights_kept(network: Network, weights: Weights) -> float:
    """Share of the weights of convolutional and connected layers that are not zero, 0 to 1; 1 where there are none."""
    kept = total = 0
    for layer, values in zip(network.layers, weights.layers, strict=True):
        if values is not None and isinstance(layer, Convolutional | Connected):
            kept += int(np.count_nonzero(values.weights))
            total += values.weights.size
    return kept / total if total else 1.0


def verify_model(session: Session, network: Network, weights: Weights, x: npt.NDArray[np.float32]) -> list[LayerError]:
    """Every layer against the float64 reference for x `[batch, C, H, W]`, then the answer as `infer` computes it.

    Layers can be read only where each has a buffer of its own. A Runner shares buffers: its answer is compared with
    the one that was just verified, and is the last entry.
    """
    with Runner(network, weights, session=session, keep_tensors=True) as separate:
        errors = verify_network(separate, weights, x)
        expected = separate(x)
    with Runner(network, weights, session=session) as runner:
        got = runner(x)
    tolerance = max((error.tolerance for error in errors), default=0.0)
    finite = bool(np.all(np.isfinite(got)))
    scale = float(np.abs(expected).max(initial=0)) or 1.0
    difference = float(np.abs(got - expected).max(initial=0)) / scale if finite else float("inf")
    return [*errors, LayerError(layer=None, label="answer", relative_error=difference, tolerance=tolerance)]


def largest_error(session: Session, network: Network, weights: Weights, x: npt.NDArray[np.float32]) -> float:
    """The largest relative error that `verify_model` finds, for any number of images x `[N, C, H, W]`."""
    shape = network.input
    worst = 0.0
    for first in range(0, len(x), network.batch):
        images = np.zeros((network.batch, shape.channels, shape.height, shape.width), np.float32)
        part = x[first : first + network.batch]
        images[: len(part)] = part
        worst = max(worst, *(error.relative_error for error in verify_model(session, network, weights, images)))
    return worst
