"""Units and tiles found together: what is tuned, which unit wins, what is pruned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.kernels.base import Offer
from clprune.kernels.workload import Workload
from clprune.tiles.records import result_key
from clprune.tiles.store import Store
from clprune.unit import Unit
from clprune.workflow.tune import without_tuned
from tests.imaginary import imaginary_device
from tools.bench.gpu import tf32_variants
from tools.bench.peers.contestants import TF32_VARIANTS
from tools.bench.peers.gpu_plan import GpuPlan
from tools.bench.units import (
    Cut,
    Tuning,
    UnitRows,
    Variant,
    fastest_cuts,
    layer_cuts,
    prune_in_cuts,
    tune_missing,
    variant_tasks,
)

NetworkOf = Callable[..., Network]

DEVICE = imaginary_device(type="cpu", native_vector_width_float=8)
DENSE = Variant(name="dense")
PRUNED = Variant(name="pruned", sparsity=0.75, fc_sparsity=0.5)
ROWS = UnitRows(convolution=(2, 4), connected=(8,))

TEXT = """\
[net]
height=8
width=8
channels=3

[convolutional]
filters=4
size=3
pad=1
activation=relu

[convolutional]
filters=8
size=3
pad=1
activation=relu

[connected]
output=16
activation=linear
"""


@pytest.fixture
def network(network_of: NetworkOf) -> Network:
    return network_of(TEXT)


def keys(tasks: list[Offer]) -> list[tuple[str, str]]:
    return [(task.kernel.name, task.workload.key) for task in tasks]


def test_names() -> None:
    assert DENSE.is_dense
    assert DENSE.weights_name == "dense"
    assert PRUNED.weights_name == "75-50"
    half = Variant(name="half", sparsity=0.75, fc_sparsity=0.5, connected_storage="float16")
    assert half.weights_name == PRUNED.weights_name


def test_first_convolution_stays_dense(network: Network) -> None:
    assert PRUNED.kept_shares(network) == {1: 0.25, 2: 0.5}
    assert DENSE.kept_shares(network) == {}


def test_tasks_hold_every_unit(network: Network) -> None:
    assert keys(variant_tasks(network, DEVICE, [DENSE, PRUNED], ROWS)) == [
        ("conv", "dense"),
        ("conv", "dense"),
        ("connected", "dense"),
        ("conv", "kept0.25 unit2x1"),
        ("connected", "kept0.50 unit8x1"),
        ("conv", "kept0.25 unit4x1"),
    ]


def test_small_images_are_also_cut_in_units_of_vectors(network_of: NetworkOf) -> None:
    network = network_of(TEXT.replace("filters=8", "filters=24"))
    assert [str(cut) for cut in layer_cuts(network.layers[1], PRUNED, ROWS)] == ["2x1", "4x1", "16x1"]
    large = network_of(TEXT.replace("=8\n", "=15\n").replace("filters=15", "filters=24"))
    assert [str(cut) for cut in layer_cuts(large.layers[1], PRUNED, ROWS)] == ["2x1", "4x1"]


def set_best(store: Store, task: Offer, *, time_ms: float) -> None:
    tile = task.kernel.default_tile(task.operation, DEVICE)
    key = result_key(DEVICE, task)
    store.set_best(key, tile, workload=task.workload, time_ms=time_ms, default_time_ms=time_ms)


def test_fastest_unit_wins(network: Network) -> None:
    store = Store(None)
    store.add_device(DEVICE)
    tasks = variant_tasks(network, DEVICE, [PRUNED], ROWS)
    for task in tasks:
        if task.workload == Workload(kept_share=0.25, unit_rows=2):
            set_best(store, task, time_ms=3.0)
        if task.workload == Workload(kept_share=0.25, unit_rows=4):
            set_best(store, task, time_ms=2.0)
    assert fastest_cuts(network, DEVICE, store, PRUNED, unit_rows=ROWS)[1] == Cut(unit=Unit(rows=4))
    assert [task.kernel.name for task in without_tuned(store, DEVICE, tasks)] == ["conv", "connected"]


def test_unit_of_the_tile_where_nothing_is_tuned(network: Network) -> None:
    units = fastest_cuts(network, DEVICE, Store(None), PRUNED, unit_rows=ROWS)
    step = next(task for task in variant_tasks(network, DEVICE, [PRUNED], ROWS) if task.workload.kept_share == 0.25)
    assert units[1] == Cut(
        unit=Unit(rows=step.kernel.default_for(step.operation, Workload(kept_share=0.25), DEVICE).tile_m)
    )


def test_pruned_in_units(network: Network) -> None:
    weights = random_weights(network, seed=0)
    pruned = prune_in_cuts(network, weights, PRUNED, {1: Cut(unit=Unit(rows=4)), 2: Cut(unit=Unit(rows=8))})
    layer, matrix = pruned.network.layers[1], pruned.weights.layers[1]
    assert isinstance(layer, Convolutional)
    assert layer.prune is not None
    assert layer.prune.unit == Unit(rows=4)
    assert matrix is not None
    kept = matrix.weights.reshape(2, 4, -1) != 0
    assert np.array_equal(kept.any(axis=1), kept.all(axis=1))
    assert np.count_nonzero(kept) == pytest.approx(0.25 * kept.size)
    dense = prune_in_cuts(network, weights, DENSE, {})
    assert (dense.network, dense.weights) == (network, weights)


def test_untuned_is_said(network: Network) -> None:
    said: list[str] = []
    tasks = variant_tasks(network, DEVICE, [DENSE], ROWS)

    class Closed:
        info = DEVICE

    tune_missing(Closed(), Store(None), tasks, Tuning(), say=said.append)  # type: ignore[arg-type]
    assert said == ["3 of 3 problems are not tuned: the nearest tuned tiles are used"]


@pytest.mark.parametrize(("architecture", "expected"), [("sm_90", [1, 1]), ("gfx90a", []), ("sm_70", [])])
def test_rows_in_tf32_are_for_devices_that_have_it(
    network_of: NetworkOf, architecture: str, expected: list[int]
) -> None:
    """They are pruned in units of matrix instructions, as networks of their own."""
    device = imaginary_device(architecture=architecture)
    plan = GpuPlan(title="", device=device, torch_device="", notes=())
    assert [1 for _ in tf32_variants(plan)] == expected
    layer = network_of(TEXT).layers[0]
    pruned = TF32_VARIANTS[-1]
    assert {cut.unit.rows for cut in layer_cuts(layer, pruned, ROWS)} == {2, 4, 16, 32}
    assert pruned.weights_name == "75-90-tf32"
    assert pruned.choice.precision == "tf32"


def test_unit_rows_by_the_registers_of_the_device() -> None:
    wide = imaginary_device(type="cpu", native_vector_width_float=16)
    assert UnitRows.on(DEVICE).convolution == (6,)
    assert UnitRows.on(wide).convolution == UnitRows.on(None).convolution == (8,)
    assert UnitRows.on(imaginary_device(type="gpu")).convolution == (8,)
    assert UnitRows.on(DEVICE, convolution=(4,)) == UnitRows(convolution=(4,))
