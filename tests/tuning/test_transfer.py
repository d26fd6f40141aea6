"""Distances between problems, and which measurements a new problem starts from."""

from __future__ import annotations

import math

import pytest

from clprune.geometry import ConnectedProblem, Shape
from clprune.kernels.base import Offer
from clprune.kernels.connected import CONNECTED, ConnectedTile, connected_operation
from clprune.kernels.conv import CONV
from clprune.kernels.workload import Workload
from clprune.tiles.distance import problem_fields, shape_distance, workload_distance
from clprune.tiles.records import Key, result_key
from clprune.tiles.store import Store
from clprune.tuning.transfer import similar_problems, starts_from, workload_of
from tests.imaginary import imaginary_device

CONV_KEY = "n1 c63 h56 w56 m64 size3 stride1 padding1 groups1"
DEVICE = imaginary_device()


def test_fields_of_a_key() -> None:
    assert problem_fields("n1 k4096 m1000") == {"n": 1, "k": 4096, "m": 1000}
    assert problem_fields("n1 c3 size3 pooled float16") == {"n": 1, "c": 3, "size": 3}


def test_distance_counts_doublings() -> None:
    assert shape_distance(CONV_KEY, CONV_KEY) == 0
    doubled = CONV_KEY.replace("c63", "c127")
    assert shape_distance(CONV_KEY, doubled) == shape_distance(doubled, CONV_KEY) == pytest.approx(1.0)
    assert shape_distance(CONV_KEY, CONV_KEY.replace("stride1", "stride2")) == pytest.approx(2 * math.log2(3 / 2))
    assert shape_distance(CONV_KEY, CONV_KEY + " pooled") == 1
    assert shape_distance("n1 k7 m3 float16", "n1 k7 m3") == shape_distance("n1 k7 m3", "n1 k7 m3 float16") == 1
    assert shape_distance(CONV_KEY, "n1 k4096 m1000") == math.inf


def test_distance_of_sparsities() -> None:
    quarter, half = Workload(kept_share=0.25, unit_rows=8), Workload(kept_share=0.5, unit_rows=8)
    assert workload_distance(quarter, quarter) == 0
    assert workload_distance(quarter, half) == pytest.approx(1.0)
    assert workload_distance(quarter, Workload(kept_share=0.25, unit_rows=16)) == pytest.approx(2.0)
    assert workload_distance(Workload(), half) == pytest.approx(2.0)  # one doubling, and dense against pruned


@pytest.mark.parametrize("workload", [Workload(), Workload(kept_share=0.25, unit_rows=8)])
def test_workload_from_its_key(workload: Workload) -> None:
    assert workload_of(workload.key) == workload


def tile(k_unroll: int) -> ConnectedTile:
    return ConnectedTile(vector_width=1, vectors=1, group_m=32, group_k=8, k_unroll=k_unroll)


def key(outputs: int = 256, **device: str) -> Key:
    problem = ConnectedProblem(batch=1, inputs=512, outputs=outputs)
    return result_key(imaginary_device(**device), Offer(kernel=CONNECTED, operation=connected_operation(problem)))


def measure(store: Store, where: Key, **times_ms: float | None) -> None:
    for name, time_ms in times_ms.items():
        store.add_measurement(where, tile(int(name[1:])), time_ms=time_ms)


def test_similar_problems_nearest_first_and_never_the_problem_itself() -> None:
    store = Store(None)
    for device in (DEVICE, imaginary_device(driver_version="9"), imaginary_device(type="cpu", name="CPU")):
        store.add_device(device)
    measure(store, key(), u1=1.0, u2=2.0)
    measure(store, key(1024), u1=3.0, u2=2.0, u4=None)
    measure(store, key(300), u1=1.0, u2=2.0, u4=3.0)
    measure(store, key(driver_version="9"), u1=1.5, u4=1.0)
    measure(store, key(256, type="cpu", name="CPU"), u1=1.0, u2=1.0)  # another type of device says nothing
    measure(store, key(257), u1=1.0)  # too little to learn from
    similar = similar_problems(store, key(), CONNECTED)
    assert [round(other.distance, 2) for other in similar] == [0.23, 0.5, 2.0]
    assert similar[1].times_ms == {tile(1): 1.5, tile(4): 1.0}
    assert starts_from(similar) == [tile(1), tile(2), tile(4)]


def test_nothing_known() -> None:
    assert similar_problems(Store(None), key(), CONNECTED) == []
    assert starts_from([]) == []


def test_large_layers_are_shortened_to_whole_multiples() -> None:
    cpu = imaginary_device(type="cpu")
    whole = connected_operation(ConnectedProblem(batch=2, inputs=25088, outputs=4096))
    short = CONNECTED.shortened(whole, Workload(), cpu)
    assert short.key == "n2 k25088 m1024"
    assert short.input == whole.input
    assert short.output.shape == Shape(channels=1024, height=1, width=1)
    assert CONNECTED.shortened(whole, Workload(kept_share=0.25), cpu).problem.outputs == 2048
    small = connected_operation(ConnectedProblem(batch=1, inputs=4096, outputs=1000))
    assert CONNECTED.shortened(small, Workload(), cpu) is small
    assert CONNECTED.shortened(whole, Workload(), imaginary_device(compute_units=132)) is whole
    assert CONNECTED.shortened(whole, Workload(), imaginary_device(compute_units=60)).problem.outputs == 1920
    conv = CONV.sample_operations()[0]
    assert CONV.shortened(conv, Workload(), cpu) is conv
