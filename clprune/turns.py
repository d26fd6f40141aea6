"""Measuring in turns: what is compared is measured round by round, so that a disturbed moment hits all of it alike.

Every comparison of times goes through `in_turns`, be it of tiles, models, layers, engines or processes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from clprune.errors import UsageError

SampleT = TypeVar("SampleT")

#: More would never end.
MOST_ROUNDS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Series:
    """Milliseconds of many runs of the same, in the order in which they were made; never empty."""

    samples_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.samples_ms:
            raise UsageError("no runs were timed: expected at least one")

    @property
    def best_ms(self) -> float:
        """What the machine can do when nothing disturbs it."""
        return min(self.samples_ms)

    @property
    def median_ms(self) -> float:
        return statistics.median(self.samples_ms)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: how many runs there were, and how they are spread."""
        quartiles = statistics.quantiles(self.samples_ms, n=4) if len(self.samples_ms) > 1 else [self.best_ms] * 3
        return {
            "runs": len(self.samples_ms),
            "best_ms": self.best_ms,
            "median_ms": self.median_ms,
            "quartiles_ms": [quartiles[0], quartiles[2]],
        }


def in_turns(
    contestants: Sequence[Callable[[], SampleT | None]], *, rounds: int, warmup: int = 1, is_rotating: bool = False
) -> list[list[SampleT]]:
    """Call every contestant once in each round; returns what each gave in `rounds` rounds, after `warmup` others.

    One that gives None takes no further part and has fewer samples. With `is_rotating` each round begins with another
    contestant, so that none always follows the same neighbour. Raises UsageError for no rounds, and what they raise.
    """
    if not 1 <= rounds <= MOST_ROUNDS:
        raise UsageError(f"{rounds} rounds of {len(contestants)} contestants: expected 1 to {MOST_ROUNDS}")
    samples: list[list[SampleT]] = [[] for _ in contestants]
    taking_part = [True] * len(contestants)
    for number in range(warmup + rounds):
        for place in range(len(contestants)):
            index = (place + number) % len(contestants) if is_rotating else place
            sample = contestants[index]() if taking_part[index] else None
            taking_part[index] = sample is not None
            if sample is not None and number >= warmup:
                samples[index].append(sample)
    return samples


def milliseconds(run: Callable[[], object]) -> float:
    """How long `run` takes, by the host's clock."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3
