"""Weights in fewer bits: what runs then is what the codes were judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clprune.container.model import load_model
from clprune.darknet.fold import fold_network
from clprune.errors import UsageError
from clprune.fitting.kinds import kinds_of, ways_of
from clprune.fitting.stored import check_bits, rounded, stored
from tests.cli.conftest import with_weights

CFG = """[net]
width=8
height=8
channels=3
[convolutional]
batch_normalize=1
filters=6
size=3
pad=1
activation=leaky
[connected]
output=5
activation=linear
[softmax]
"""


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_what_is_judged_is_what_runs(tmp_path: Path, bits: int) -> None:
    model = load_model(with_weights(tmp_path / "small.cfg", CFG))
    few = {0: bits, 1: bits}
    coded = stored(model, few)
    _, judged = fold_network(model.network, rounded(model.network, model.weights, few))
    for index in few:
        runs, counted = coded.weights.layers[index], judged.layers[index]
        assert runs is not None and counted is not None and runs.coding is not None
        assert runs.coding.bits == bits
        np.testing.assert_allclose(counted.weights, runs.weights, rtol=1e-6)
    assert stored(model, {}) is model
    assert "batch_normalize=1" not in coded.text
    again = load_model(coded.save(tmp_path / "coded", file_format="packed")[0])
    assert again.weights.layers[0] is not None and again.weights.layers[0].coding is not None


def test_bits_are_those_that_exist() -> None:
    assert check_bits([8, 16, 8]) == (16, 8)
    with pytest.raises(UsageError, match="5 bits: expected any of 16, 8, 4"):
        check_bits([5])


def test_every_way_that_makes_sense_is_timed_once() -> None:
    names = [str(way) for way in ways_of(kinds_of(("workgroup", "bwsp", "filter")), (8,))]
    assert names[0] == "dense" and len(names) == len(set(names))
    assert "dense 8 bits" in names and "workgroup 4 0.75 8 bits" in names and "filter 0.5" in names
    assert not [name for name in names if name.endswith("bits") and ("bwsp" in name or "filter" in name)]
