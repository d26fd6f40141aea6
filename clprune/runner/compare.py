"""Models side by side on one device: timed in turns, so that a noisy moment does not hit one of them only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from clprune.algorithms import Algorithms
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_images
from clprune.darknet.values import Weights
from clprune.opencl import Session
from clprune.runner.runner import Runner
from clprune.runner.verify import LayerError, verify_network
from clprune.turns import Series, in_turns, milliseconds


def time_in_turns(runners: Sequence[Runner], *, rounds: int = 50, warmup: int = 3) -> list[Series]:
    """Time each runner `rounds` times on random images, in turns; `warmup` rounds do not count.

    What is timed are whole inferences of one batch, from host memory to host memory, each after one of its own that
    does not count: in use a network finds its weights where the last inference left them, not another's. Raises
    UsageError for no rounds.
    """
    runs = [partial(runner, random_images(runner.network, seed=0)) for runner in runners]
    samples = in_turns([partial(_after_its_own, run) for run in runs], rounds=rounds, warmup=warmup)
    return [Series(samples_ms=tuple(times)) for times in samples]


def _after_its_own(run: Callable[[], object]) -> float:
    run()
    return milliseconds(run)


def weights_kept(network: Network, weights: Weights) -> float:
    """Share of the weights of convolutional and connected layers that are not zero, 0 to 1; 1 where there are none."""
    kept = total = 0
    for layer in network.matrix_layers:
        values = weights.layers[layer.index]
        if values is not None:
            kept += int(np.count_nonzero(values.weights))
            total += values.weights.size
    return kept / total if total else 1.0


def verify_model(
    session: Session,
    network: Network,
    weights: Weights,
    x: npt.NDArray[np.float32],
    *,
    algorithms: Algorithms | None = None,
) -> list[LayerError]:
    """Every layer against the float64 reference for x `[batch, C, H, W]`, then the answer as `infer` computes it.

    Layers can be read only where each has a buffer of its own. A Runner shares buffers: its answer is compared with
    the one that was just verified, and is the last entry.
    """
    with Runner(network, weights, session=session, keep_tensors=True, algorithms=algorithms) as separate:
        errors = verify_network(separate, weights, x)
        expected = separate(x)
    with Runner(network, weights, session=session, algorithms=algorithms) as runner:
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
