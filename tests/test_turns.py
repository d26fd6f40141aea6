"""Rounds of measuring: who is called when, and what counts."""

from __future__ import annotations

from functools import partial

import pytest

from clprune.errors import UsageError
from clprune.turns import Series, in_turns, milliseconds


class Clock:
    """Says which call it is, and keeps the order of the callers."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, name: str, last: int = 100) -> int | None:
        self.calls.append(name)
        return len(self.calls) if len(self.calls) <= last else None


def test_rounds_go_through_all_contestants_and_the_first_do_not_count() -> None:
    clock = Clock()
    samples = in_turns([partial(clock, "a"), partial(clock, "b")], rounds=2, warmup=1)
    assert clock.calls == ["a", "b"] * 3
    assert samples == [[3, 5], [4, 6]]


def test_rotation_begins_each_round_with_another() -> None:
    clock = Clock()
    in_turns([partial(clock, name) for name in "abc"], rounds=2, warmup=1, is_rotating=True)
    assert "".join(clock.calls) == "abcbcacab"


def test_one_that_drops_out_is_called_no_more() -> None:
    clock = Clock()
    samples = in_turns([partial(clock, "a", 3), partial(clock, "b")], rounds=4, warmup=0)
    assert "".join(clock.calls) == "abababb"
    assert samples == [[1, 3], [2, 4, 6, 7]]


@pytest.mark.parametrize("rounds", [0, -1, 10**12])
def test_no_rounds_and_rounds_without_end_are_refused(rounds: int) -> None:
    with pytest.raises(UsageError, match=f"{rounds} rounds of 1 contestants: expected 1 to 1000000"):
        in_turns([lambda: 1], rounds=rounds)
    assert in_turns([], rounds=1) == []


def test_series_are_of_runs() -> None:
    series = Series(samples_ms=(milliseconds(lambda: None), 1e9, 2e9))
    assert 0 <= series.best_ms < 1e3
    assert series.median_ms == 1e9
