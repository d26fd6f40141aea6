"""Some images that stand for all of a set, which may lie class by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.testing import assert_array_equal

from clprune.dataset import DataSet, Truth
from clprune.workflow.inputs import as_data
from tests.pruning.networks import CHAIN, load


def in_order(count: int) -> DataSet:
    """Ten classes, one after the other; each image is of the colour of its number."""
    labels = np.repeat(np.arange(10), count // 10)
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 12, 12)).copy()
    truths = tuple(Truth.of([(int(label), (0.5, 0.5, 1, 1))]) for label in labels)
    return DataSet(name="in order", images=images, labels=labels, class_names=tuple("abcdefghij"), truths=truths)


def test_every_class_is_among_some_and_among_the_first_of_them() -> None:
    some = in_order(200).drawn(120)
    assert len(some) == 120
    assert len({*some.labels[:40]}) == 10
    numbers = some.images[:, 0, 0, 0]
    assert len({*numbers}) == 120
    assert_array_equal(some.labels, numbers // 20)
    assert some.truths is not None
    assert [truth.classes[0] for truth in some.truths] == some.labels.tolist()


def test_all_are_drawn_where_there_are_no_more() -> None:
    data = in_order(100)
    assert_array_equal(np.sort(data.drawn(500).images, axis=0), data.images)
    assert_array_equal(data.drawn(50).images, data.drawn(50).images)
    assert (data.drawn(50).images != data.drawn(50, seed=1).images).any()


def test_a_count_of_a_set_or_of_arrays_is_drawn(tmp_path: Path) -> None:
    network, _ = load(tmp_path, CHAIN)
    labels = np.repeat(np.arange(5), 40)
    images = np.zeros((200, *network.input.dimensions), np.uint8)
    for given in (DataSet(name="a", images=images, labels=labels, class_names=tuple("abcde")), (images, labels)):
        some = as_data(given, network, split="train", count=60)
        assert len(some) == 60
        assert len({*some.labels}) == 5
        assert as_data(given, network, split="train", count=500).labels.tolist() == labels.tolist()
