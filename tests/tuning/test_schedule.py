"""Which layers a budget of seconds reaches: the most worthy, with time enough for a search, until the end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from clprune.geometry import ConnectedProblem
from clprune.kernels.base import Offer
from clprune.kernels.connected import CONNECTED, connected_operation
from clprune.opencl import Session
from clprune.tiles.store import Store
from clprune.tuning.effort import effort_by_name
from clprune.tuning.schedule import Gain, Schedule, expected_gain, place_of, work_of
from clprune.tuning.tune import Moment, tune


def offer(outputs: int) -> Offer:
    return Offer(kernel=CONNECTED, operation=connected_operation(ConnectedProblem(batch=1, inputs=64, outputs=outputs)))


def schedule(seconds: float, *, leaves_none: bool = False) -> Schedule:
    return Schedule(end_s=time.monotonic() + seconds, leaves_none=leaves_none, overhead_s=1.0, tile_s=0.1)


@pytest.fixture(autouse=True)
def stopped_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no device takes time, the moment stays what it is, however busy the machine."""
    if "device_context" not in request.fixturenames:
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now)


def test_plenty_of_time_is_shared_by_roots() -> None:
    assert schedule(300).share([9.0, 4.0, 1.0]) == pytest.approx(150, abs=0.1)


def test_what_would_be_too_short_is_left_out() -> None:
    """1.6 s are the shortest search: of 4 s two of three equal layers get two, and one whole layer of 2 s."""
    assert schedule(4).share([1.0, 1.0, 1.0]) == pytest.approx(2.0, abs=0.1)
    assert schedule(2).share([1.0, 1.0, 1.0]) == pytest.approx(2.0, abs=0.1)
    assert schedule(60).share([100.0, 1e-6]) == pytest.approx(60, abs=0.1)


def test_the_end_is_the_end() -> None:
    late = schedule(0.5)
    assert late.share([1.0]) is not None  # the first in any case
    late.learn(seconds=1.0, tiles=2, searching_s=0.4)
    assert (late.overhead_s, late.tile_s) == (pytest.approx(0.6), pytest.approx(0.2))
    assert late.share([1.0]) is None
    every = schedule(-5, leaves_none=True)
    every.learn(seconds=1.0, tiles=2, searching_s=0.4)
    assert every.share([1.0, 1.0]) == 0.0


def test_what_is_known_of_a_tile_says_what_is_to_gain() -> None:
    origins = (None, "offline, sm_90", "shipped for n1 k2 m3 dense", "shipped", "tuned, driver 2", "tuned")
    gains = [expected_gain(origin) for origin in origins]
    assert gains == sorted(gains, reverse=True)
    assert expected_gain("tuned for n1 k2 m3 dense") == expected_gain("shipped for n1 k2 m3 dense")


def test_gain_counts_every_place() -> None:
    gain = Gain(places={place_of(offer(8)): 3})
    gain.add(offer(8), before_ms=2.0, after_ms=1.5)
    gain.add(offer(16), before_ms=1.0, after_ms=1.0)
    assert gain.saved_ms == pytest.approx(1.5)
    assert gain.before_ms == pytest.approx(7.0)
    assert work_of(offer(16)) > work_of(offer(8))


@pytest.mark.usefixtures("quick_candidates")
def test_short_budget_takes_the_largest_and_leaves_the_rest(device_context: Session) -> None:
    store, moments = Store(None), list[Moment]()
    offers = [offer(8), offer(2048), offer(16)]
    short: dict[str, Any] = {"budget_s": 0.1, "effort": effort_by_name("quick"), "workers": 1}
    outcomes = tune(device_context, store, offers, leaves_none=False, progress=moments.append, **short)
    assert [outcome.offer for outcome in outcomes] == [offer(2048)]
    assert outcomes[0].time_ms <= outcomes[0].untuned_ms
    assert {moment.offer for moment in moments} == {offer(2048)}
    assert (moments[0].number, moments[0].count, moments[0].saved_ms) == (0, 3, 0.0)
    found = tune(device_context, store, offers, **short)
    assert [outcome.offer for outcome in found] == offers
    places = {place_of(offer(16)): 10**6}
    (most,) = tune(device_context, Store(None), offers, leaves_none=False, places=places, **short)
    assert most.offer == offer(16)
