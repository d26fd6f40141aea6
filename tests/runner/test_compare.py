"""Models side by side: times in turns, what is kept, and the error that is found when something is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.runner import Runner, compare
from clprune.runner.compare import largest_error, time_in_turns, verify_model, weights_kept
from clprune.runner.verify import LayerError

if TYPE_CHECKING:
    from clprune.opencl import Session

CFG = (
    "[net]\nwidth=7\nheight=5\nchannels=3\n[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=relu\n"
    "[maxpool]\nsize=2\nstride=2\n[connected]\noutput=5\nactivation=linear\n[softmax]\n"
)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    path = tmp_path / "model.cfg"
    path.write_text(CFG)
    return load_network(path, batch=2)


def halved(weights: Weights) -> Weights:
    """The same with the upper half of the first layer's rows zero."""
    first = weights.layers[0]
    assert first is not None
    values = first.weights.copy()
    values[:2] = 0
    return dataclasses.replace(weights, layers=(dataclasses.replace(first, weights=values), *weights.layers[1:]))


def test_weights_kept(network: Network) -> None:
    weights = random_weights(network, seed=1)
    assert weights_kept(network, weights) == 1
    removed = 2 * 27
    total = 4 * 27 + 5 * network.layers[1].output.elements
    assert weights_kept(network, halved(weights)) == pytest.approx(1 - removed / total)


def test_times_in_turns(device_context: Session, network: Network) -> None:
    weights = random_weights(network, seed=1)
    runners = [Runner(network, some, session=device_context) for some in (weights, halved(weights))]
    times = time_in_turns(runners, rounds=3, warmup=1)
    assert len(times) == 2
    assert all(0 < one.best_ms <= one.median_ms for one in times)
    with pytest.raises(UsageError, match="0 rounds of 2 contestants"):
        time_in_turns(runners, rounds=0)


def test_errors_of_all_layers_and_of_the_answer(device_context: Session, network: Network) -> None:
    weights = halved(random_weights(network, seed=1))
    x = np.random.default_rng(0).random((2, 3, 5, 7), np.float32)
    errors = verify_model(device_context, network, weights, x)
    assert errors[-1].label == "answer"
    assert {error.layer for error in errors} >= {2, 3}
    assert all(error.is_within for error in errors)
    three = np.concatenate([x, x[:1]])
    assert largest_error(device_context, network, weights, three) < 1e-5


def test_the_worst_layer_of_any_batch_counts(
    device_context: Session, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, float]] = []

    def fake(session: object, network: object, weights: object, x: np.ndarray) -> list[LayerError]:
        sizes.append((len(x), float(x[1].sum())))
        return [
            LayerError(layer=0, label="a", relative_error=0.25 / len(sizes), tolerance=1.0),
            LayerError(layer=1, label="b", relative_error=0.5 / len(sizes), tolerance=1.0),
        ]

    monkeypatch.setattr(compare, "verify_model", fake)
    x = np.ones((3, 3, 5, 7), np.float32)
    assert largest_error(device_context, network, random_weights(network, seed=1), x) == 0.5
    assert sizes == [(2, 105.0), (2, 0.0)]  # the last batch is filled with zeros
