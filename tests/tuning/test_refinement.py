"""Winners of tuning measured again in the network."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from clprune.algorithms import Algorithms
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.errors import LaunchError
from clprune.kernels.base import Choice
from clprune.kernels.winograd import WINOGRAD
from clprune.opencl import Session
from clprune.plan.plan import Plan, make_plan
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import result_key
from clprune.tiles.store import Store
from clprune.tuning import refinement
from clprune.tuning.refinement import contenders, refine
from clprune.workflow.tune import refine_in_network
from tests.imaginary import imaginary_device


def tuned_plan(network: Network, session: Session, store: Store) -> Plan:
    """A plan whose convolutions were tuned: the default tile won, the safe one was a little slower."""
    for step in make_plan(network, session.info).steps:
        for offer in step.offers if step.layer is not None and step.layer.kind == "convolutional" else ():
            kernel, operation = offer.kernel, offer.operation
            key = result_key(session.info, offer)
            tile = kernel.default_tile(operation, session.info)
            store.add_measurement(key, kernel.safe_tile(operation), time_ms=1.1)
            store.add_measurement(key, tile, time_ms=1.0)
            store.set_best(key, tile, workload=offer.workload, time_ms=1.0, default_time_ms=2.0)
    lookup = Lookup(store, session.info)
    return make_plan(network, session.info, lookup=lookup, times=lookup.time_ms)


def test_contenders_are_near_and_not_what_the_step_has(
    device_context: Session, network_of: Callable[..., Network]
) -> None:
    store = Store(None)
    plan = tuned_plan(network_of(), device_context, store)
    step = next(step for step in plan.steps if step.layer is not None and step.layer.kind == "convolutional")
    found = contenders(step, store, device_context.info, most=100)
    assert found
    assert step.choice not in found
    assert len(contenders(step, store, device_context.info, most=1)) == 1
    key = result_key(device_context.info, step.choice.offer)
    store.move_best(key, step.tile, time_ms=1e-3)  # all other kernels are far slower now, its own tiles are not
    assert {item.kernel.name for item in contenders(step, store, device_context.info, most=100)} <= {step.kernel.name}


DEEP = """\
[net]
height=14
width=14
channels=32
[convolutional]
filters=16
size=3
pad=1
activation=relu
"""


def test_other_output_tiles_with_the_same_tile_are_contenders(network_of: Callable[..., Network]) -> None:
    """F(2x2, 3x3) and F(4x4, 3x3) are one kernel with one set of tiles, and different choices."""
    device, store, network = imaginary_device(), Store(None), network_of(DEEP)
    (step,) = make_plan(network, device, algorithms=Algorithms(names=("winograd",))).steps
    offers = {offer.operation.output_tile: offer for offer in step.offers if offer.kernel is WINOGRAD}
    assert offers.keys() == {2, 4}
    tile = WINOGRAD.safe_tile(offers[4].operation)
    assert all(offer.rejection(tile, device) is None for offer in offers.values())
    for output_tile, offer in offers.items():
        key, time_ms = result_key(device, offer), 1.0 + output_tile / 100
        store.add_measurement(key, tile, time_ms=time_ms)
        store.set_best(key, tile, workload=offer.workload, time_ms=time_ms, default_time_ms=2.0)
    for own, other in ((4, 2), (2, 4)):
        step = dataclasses.replace(step, choice=Choice(offer=offers[own], tile=tile))
        assert contenders(step, store, device, most=100) == [Choice(offer=offers[other], tile=tile)]


def test_like_layers_lend_each_other_their_tiles(device_context: Session, network_of: Callable[..., Network]) -> None:
    store, info = Store(None), device_context.info
    plan = tuned_plan(network_of(), device_context, store)
    step = next(step for step in plan.steps if step.layer is not None and step.layer.kind == "convolutional")
    before = contenders(step, store, info, most=100)
    tried = {(item.kernel.name, item.tile) for item in (*before, step.choice)}
    valid = (tile for tile in step.kernel.space(info) if step.choice.offer.rejection(tile, info) is None)
    lent = next(tile for tile in valid if (step.kernel.name, tile) not in tried)
    beside = (dataclasses.replace(step, choice=dataclasses.replace(step.choice, tile=lent)),)
    after = contenders(step, store, info, most=100, beside=beside)
    assert [item.tile for item in after if item not in before and item.tile == lent] == [lent]
    assert len(after) == len(before) + 1


def test_steps_without_measurements_have_no_contenders(
    device_context: Session, network_of: Callable[..., Network]
) -> None:
    network = network_of()
    plan = make_plan(network, device_context.info)
    store = Store(None)
    assert all(contenders(step, store, device_context.info, most=5) == [] for step in plan.steps)
    assert refine(device_context, store, plan, random_weights(network, seed=0), rounds=1) == []


def test_fastest_in_the_network_is_kept(
    device_context: Session, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The safe tile is made to take half of the time: it wins everywhere, and the default's time moves along."""
    network = network_of()
    store = Store(None)
    plan = tuned_plan(network, device_context, store)

    def times(session: Session, bound: Any, steps: Sequence[Any], x: Any) -> list[float]:
        return [5.0 if item.step.tile == item.step.kernel.safe_tile(item.step.operation) else 10.0 for item in steps]

    monkeypatch.setattr(refinement, "_times_ms", times)
    refined = refine(device_context, store, plan, random_weights(network, seed=0), rounds=3, most=100)
    assert refined
    assert all((item.before_ms, item.after_ms) == (10.0, 5.0) for item in refined)
    lookup = Lookup(store, device_context.info)
    again = make_plan(network, device_context.info, lookup=lookup, times=lookup.time_ms)
    layers = {item.layer for item in refined}
    for step in again.steps:
        if step.layer is not None and step.layer.index in layers:
            assert step.tile == step.kernel.safe_tile(step.operation)
            key = result_key(device_context.info, step.choice.offer)
            assert [best.default_time_ms for best in store.all_best() if best.key == key] == [10.0]


LIKE_LAYERS = """\
[net]
height=14
width=14
channels=16
[convolutional]
filters=16
size=1
activation=relu
[convolutional]
filters=32
size=1
activation=relu
"""


@pytest.mark.parametrize("lent_ms", [5.0, 20.0])
def test_kernels_without_a_winner_get_one_by_a_lent_tile_that_is_faster(
    device_context: Session, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch, lent_ms: float
) -> None:
    """Of the second layer one kernel alone was tuned, and the first lends a tile of another."""
    network, store, info = network_of(LIKE_LAYERS), Store(None), device_context.info
    first, second = make_plan(network, info).steps
    own, other = (next(o for o in second.offers if o.kernel.name == name) for name in ("conv", "conv_channels"))
    tuned = [*(offer for offer in first.offers if offer.kernel in (own.kernel, other.kernel)), own]
    for offer in tuned:
        key, tile, time_ms = result_key(info, offer), offer.default_tile(info), 1.0 + (offer.kernel is own.kernel)
        store.add_measurement(key, tile, time_ms=time_ms)
        store.add_measurement(key, offer.kernel.safe_tile(offer.operation), time_ms=1.1 * time_ms)
        store.set_best(key, tile, workload=offer.workload, time_ms=time_ms, default_time_ms=time_ms)

    def times(session: Session, bound: Any, steps: Sequence[Any], x: Any) -> list[float]:
        return [lent_ms if item.step.kernel is other.kernel else 10.0 for item in steps]

    monkeypatch.setattr(refinement, "_times_ms", times)
    lookup = Lookup(store, info)
    plan = make_plan(network, info, lookup=lookup, times=lookup.time_ms)
    assert [step.kernel.name for step in plan.steps] == ["conv_channels", "conv"]
    refine(device_context, store, plan, random_weights(network, seed=0), rounds=3, most=100)
    found = store.best(result_key(info, other), other.kernel)
    assert found == ((plan.steps[0].tile, 5.0) if lent_ms < 10 else None)


def test_device_without_memory_for_contenders_keeps_its_winners(
    device_context: Session, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of()
    store = Store(None)
    plan = tuned_plan(network, device_context, store)
    before = store.all_best()

    def refuse(*_: Any, **settings: Any) -> None:
        raise LaunchError("cannot allocate")

    monkeypatch.setattr(refinement, "bind_others", refuse)
    assert refine(device_context, store, plan, random_weights(network, seed=0), rounds=1) == []
    assert store.all_best() == before


@dataclass
class SlowNetwork:
    """A clock by which a step takes half a second to bind and a run one."""

    now: float = 0.0
    runs: int = 0

    def monotonic(self) -> float:
        return self.now

    def bind(self, real: Callable[..., Any], *arguments: Any, check: Callable[[], None]) -> Any:
        def check_slowly() -> None:
            check()
            self.now += 0.5

        return real(*arguments, check=check_slowly)

    def times_ms(self, session: Session, bound: Any, steps: Sequence[Any], x: Any) -> list[float]:
        self.now, self.runs = self.now + 1.0, self.runs + 1
        return [1000.0 / len(steps)] * len(steps)


def test_no_second_is_spent_that_is_not_there(
    device_context: Session, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for a plan, nor for contenders or rounds; and what is begun says something."""
    network = network_of()
    weights, runs = random_weights(network, seed=0), []
    binders = {name: getattr(refinement, name) for name in ("bind_plan", "bind_others")}
    for seconds in (0.1, *range(2, 30), 1000):
        slow, store = SlowNetwork(), Store(None)
        plan = tuned_plan(network, device_context, store)
        monkeypatch.setattr(refinement, "time", slow)
        monkeypatch.setattr(refinement, "_times_ms", slow.times_ms)
        for name, real in binders.items():
            monkeypatch.setattr(refinement, name, partial(slow.bind, real))
        refine(device_context, store, plan, weights, rounds=10, most=1, until=float(seconds))
        assert slow.now <= seconds + 0.5
        runs.append(slow.runs)
    assert runs == sorted(runs)
    assert runs[0] == 0  # the plan was not even bound
    assert all(count <= 1 or count >= 1 + 2 * refinement.FEWEST_ROUNDS for count in runs)
    assert runs[-1] == 1 + 2 * 10


def test_late_network_has_no_tiles_of_elsewhere_verified(
    device_context: Session, network_of: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of()
    monkeypatch.setattr(Lookup, "__call__", lambda *_: pytest.fail("a tile was looked up"))
    weights, until = random_weights(network, seed=0), time.monotonic() - 1
    assert refine_in_network(device_context, Store(None), network, weights, until=until) == []


def test_moving_a_winner_that_is_not_there_changes_nothing(
    device_context: Session, network_of: Callable[..., Network]
) -> None:
    store = Store(None)
    step = make_plan(network_of(), device_context.info).steps[0]
    key = result_key(device_context.info, step.choice.offer)
    store.move_best(key, step.tile, time_ms=1.0)
    assert store.all_best() == []
