"""Curves of time over accuracy: what a method needs for an accuracy that another one reaches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def front(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (accuracy, time) that no other beats in both, by falling accuracy: the Pareto front."""
    best: list[tuple[float, float]] = []
    for accuracy, time in sorted(places, key=lambda place: (-place[0], place[1])):
        if not best or time < best[-1][1]:
            best.append((accuracy, time))
    return best


def time_at(places: Sequence[tuple[float, float]], accuracy: float) -> float | None:
    """The time at which `places` (accuracy, time) reach `accuracy`: straight lines between neighbours of their front.

    None for an accuracy above all of them. Below the lowest it is the lowest one's: what is more accurate will do.
    """
    edge = front(places)
    if not edge or accuracy > edge[0][0]:
        return None
    for (high, slow), (low, fast) in itertools.pairwise(edge):
        if accuracy >= low:
            share = (accuracy - low) / (high - low)
            return fast + share * (slow - fast)
    return edge[-1][1]
