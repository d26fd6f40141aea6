"""What replaces slow parts of Kernel Tuner answers as they do, written out here once more as they are there."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np

from tools.search.hub_fast import _knn_predict, _short_text, _snap


def test_the_nearest_of_a_history_that_grows() -> None:
    generator = random.Random(0)
    seeking = SimpleNamespace(k=5)
    history = []
    for _ in range(150):
        history.append((tuple(generator.choice((1, 2.5, "x")) for _ in range(6)), generator.random()))
        asked = tuple(generator.choice((1, 2.5, "y")) for _ in range(6))
        distances = [(sum(a != b for a, b in zip(asked, seen, strict=True)), time) for seen, time in history]
        top = sorted(distances, key=lambda pair: pair[0])[:5]
        assert _knn_predict(seeking, asked, history) == sum(time for _, time in top) / len(top)


def test_the_nearest_values_of_a_point() -> None:
    parameters = {"a": [8, 16, 32], "b": ["x"], "c": [0, 1]}
    generator, eps = np.random.default_rng(0), 1 / 3
    for point in generator.random((50, 3)):
        nearest = []
        for place, values in zip(point, parameters.values(), strict=True):
            steps = np.linspace(0.5 * eps, eps * len(values) - 0.5 * eps, len(values))
            nearest.append(values[int(np.abs(steps - place).argmin())])
        assert _snap(point, parameters, eps) == nearest


def test_only_arrays_have_no_text() -> None:
    assert (_short_text(np.zeros(3)), _short_text(np.int64(3)), _short_text((1, 2))) == ("", "3", "(1, 2)")
