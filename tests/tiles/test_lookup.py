"""From which result a tile is taken: the nearest, checked where it comes from elsewhere, and always named."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from clprune.candidate import small_operations
from clprune.device import DeviceInfo
from clprune.errors import LaunchError
from clprune.geometry import ConnectedProblem, ConvProblem
from clprune.kernels.base import Offer
from clprune.kernels.connected import CONNECTED, ConnectedOperation, ConnectedTile, connected_operation
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import result_key
from clprune.tiles.store import Store
from tests.imaginary import imaginary_device
from tests.tuning.kernels import ODD, OddOperation, OddTile

DEVICE = imaginary_device(architecture="arch-1")
OTHER_DRIVER = imaginary_device(architecture="arch-1", driver_version="9.9", version="OpenCL 3.1")
SIBLING = imaginary_device(architecture="arch-1", name="Example GPU Lite")
DENSE = Workload()
LARGE_CONV = ConvProblem.square(
    batch=8, in_channels=512, in_height=56, in_width=56, out_channels=512, size=3, padding=1
)
LARGE = {
    "conv": [conv_operation(LARGE_CONV, pooled=pooled) for pooled in (False, True)],
    "connected": [connected_operation(ConnectedProblem(batch=8, inputs=4096, outputs=4096))],
}


def operation(inputs: int = 512, outputs: int = 256) -> ConnectedOperation:
    return connected_operation(ConnectedProblem(batch=1, inputs=inputs, outputs=outputs))


def tile(k_unroll: int) -> ConnectedTile:
    return ConnectedTile(vector_width=1, vectors=1, group_m=32, group_k=8, k_unroll=k_unroll)


def put(
    store: Store, device: DeviceInfo, chosen: Any, *, what: ConnectedOperation | None = None, **options: Any
) -> None:
    workload = options.pop("workload", DENSE)
    store.add_device(device)
    key = result_key(device, Offer(kernel=CONNECTED, operation=what or operation(), workload=workload))
    store.set_best(key, chosen, workload=workload, time_ms=1.0, default_time_ms=2.0, **options)


def find(store: Store, *, device: DeviceInfo = DEVICE, workload: Workload = DENSE) -> tuple[Any, str] | None:
    return Lookup(store, device)(Offer(kernel=CONNECTED, operation=operation(), workload=workload))


def test_the_whole_chain() -> None:
    """Results are added from the farthest to the nearest: each wins over all before it."""
    store = Store(None)
    assert find(store) is None
    put(store, imaginary_device(name="nowhere", vendor="X", architecture="arch-1"), tile(1), origin="offline")
    assert find(store) == (tile(1), "offline, arch-1")
    put(store, SIBLING, tile(2), what=operation(inputs=1023))
    assert find(store) == (tile(2), "tuned on Example GPU Lite for n1 k1023 m256 dense")
    put(store, OTHER_DRIVER, tile(4), what=operation(inputs=1023))
    assert find(store) == (tile(4), "tuned, driver 9.9 for n1 k1023 m256 dense")
    put(store, DEVICE, tile(1), what=operation(outputs=511))
    assert find(store) == (tile(1), "tuned for n1 k512 m511 dense")
    put(store, DEVICE, tile(2), what=operation(outputs=300))
    assert find(store) == (tile(2), "tuned for n1 k512 m300 dense")
    put(store, SIBLING, tile(4))
    assert find(store) == (tile(4), "tuned on Example GPU Lite")
    put(store, OTHER_DRIVER, tile(1))
    assert find(store) == (tile(1), "tuned, driver 9.9")
    put(store, DEVICE, tile(2))
    assert find(store) == (tile(2), "tuned")


def test_nearest_sparsity_and_unit() -> None:
    store = Store(None)
    put(store, DEVICE, tile(1))
    put(store, DEVICE, tile(2), workload=Workload(kept_share=0.25, unit_rows=8))
    put(store, DEVICE, tile(4), workload=Workload(kept_share=0.3, unit_rows=32))
    found = find(store, workload=Workload(kept_share=0.3, unit_rows=8))
    assert found == (tile(2), "tuned for n1 k512 m256 kept0.25 unit8x1")
    assert find(store, workload=Workload(kept_share=0.98, unit_rows=8)) == (tile(1), "tuned for n1 k512 m256 dense")


def test_too_far_is_nothing() -> None:
    store = Store(None)
    put(store, DEVICE, tile(1), what=operation(inputs=512 * 2**7))
    assert find(store) is None


def test_tile_that_breaks_a_constraint_here_is_passed_over() -> None:
    """The sibling's larger work-group does not fit this device."""
    store = Store(None)
    large = ConnectedTile(vector_width=1, vectors=1, group_m=64, group_k=8)
    put(store, SIBLING, large)
    put(store, SIBLING, tile(2), what=operation(inputs=600))
    assert find(store) == (tile(2), "tuned on Example GPU Lite for n1 k600 m256 dense")


def test_imported_says_so() -> None:
    store = Store(None)
    put(store, DEVICE, tile(2), origin="imported")
    assert find(store) == (tile(2), "tuned (imported)")


@pytest.mark.parametrize(("mood", "expected"), [("fine", True), ("wrong", False), ("stray", False), ("syntax", False)])
def test_tile_from_elsewhere_is_tried_once_before_it_is_used(
    device_context: Session, mood: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, info, what = Store(None), device_context.info, OddOperation()
    chosen = OddTile(mood=mood)
    store.add_device(info)
    key = result_key(info, Offer(kernel=ODD, operation=what))
    store.set_best(key, chosen, workload=DENSE, time_ms=1.0, default_time_ms=1.0, origin="imported")
    answer = (chosen, "tuned (imported)") if expected else None
    assert Lookup(store, info)(Offer(kernel=ODD, operation=what)) == (
        chosen,
        "tuned (imported)",
    )  # no device to try it on yet
    assert Lookup(store, info, session=device_context)(Offer(kernel=ODD, operation=what)) == answer
    assert store.is_right(info, ODD, chosen) is expected
    monkeypatch.setattr("clprune.candidate.gives_right_answers", None)  # not asked again
    assert Lookup(store, info, session=device_context)(Offer(kernel=ODD, operation=what)) == answer
    assert Lookup(store, info)(Offer(kernel=ODD, operation=what)) == answer


def test_what_could_not_be_run_is_tried_again(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory may be short for a moment: that says nothing of a tile, here or in the next process."""
    store, info, chosen = Store(None), device_context.info, OddTile(repeats=2)
    offer, calls = Offer(kernel=ODD, operation=OddOperation()), []
    store.add_device(info)
    store.set_best(result_key(info, offer), chosen, workload=DENSE, time_ms=1.0, default_time_ms=1.0, origin="imported")

    def refused(*arguments: object) -> None:
        calls.append(arguments)
        raise LaunchError("out of memory")

    with monkeypatch.context() as short:
        short.setattr("clprune.candidate.verify", refused)
        lookup = Lookup(store, info, session=device_context)
        assert [lookup(offer), lookup(offer)] == [None, None]
    assert len(calls) == 1
    assert store.is_right(info, ODD, chosen) is None
    assert Lookup(store, info, session=device_context)(offer) == (chosen, "tuned (imported)")


def test_own_result_needs_no_trial(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clprune.candidate.gives_right_answers", None)
    store, info, what = Store(None), device_context.info, OddOperation()
    key = result_key(info, Offer(kernel=ODD, operation=what))
    store.set_best(key, OddTile(), workload=DENSE, time_ms=1.0, default_time_ms=1.0)
    assert Lookup(store, info, session=device_context)(Offer(kernel=ODD, operation=what)) == (OddTile(), "tuned")


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize("kernel", [CONV, CONNECTED], ids=lambda kernel: kernel.name)
def test_every_tile_of_a_search_can_be_tried_on_something_small(kernel: Any, kind: str) -> None:
    device = imaginary_device(
        type=kind, native_vector_width_float=16, max_work_group_size=1024, max_work_item_sizes=(1024, 1024, 64)
    )
    values = {**kernel.parameters, **(kernel.cpu_values if kind == "cpu" else kernel.gpu_values)}
    some = itertools.islice(itertools.product(*values.values()), 0, None, 97)
    named = [t for t in (*kernel.cpu_tiles, *kernel.gpu_tiles) if all(getattr(t, n) in values[n] for n in values)]
    for candidate in (*(kernel.tile_type(**dict(zip(values, one, strict=True))) for one in some), *named):
        large = [what for what in LARGE[kernel.name] if kernel.rejection(candidate, what, device) is None]
        assert not large or small_operations(kernel, candidate, device), candidate
