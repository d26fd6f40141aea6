"""How long a search may take: three levels, each a few numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clprune.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Effort:
    """A level of effort.

    `problem_seconds`: per problem; `most_seconds`: in all, from the start of workers to comparisons in the network.
    `patience`: the search of a problem ends early when the model hopes to save less than this share of the best time,
    twice in a row; 0 never. `hopeless_ratio`: it ends, too, where the best tile of the first candidates takes so many
    times as long as what another kernel has reached for the layer. `likely_only`: leave out kernels that a layer could
    be computed by but hardly ever is fastest with. `limit_seconds`: for one candidate, from build to check. `rounds`:
    of the final comparisons in turns. `contenders`: per layer, that are measured in the network at last.
    """

    name: str
    problem_seconds: float
    most_seconds: float
    patience: float
    hopeless_ratio: float
    limit_seconds: float
    rounds: int
    contenders: int
    likely_only: bool = False

    def budget_seconds(self, problems: int) -> float:
        """Seconds for so many problems."""
        return min(self.most_seconds, self.problem_seconds * problems)


EFFORTS = (
    Effort(
        name="quick",
        problem_seconds=5,
        most_seconds=55,
        patience=0.01,
        hopeless_ratio=1.5,
        limit_seconds=10,
        rounds=7,
        contenders=2,
        likely_only=True,
    ),
    Effort(
        name="normal",
        problem_seconds=30,
        most_seconds=900,
        patience=0.003,
        hopeless_ratio=2.0,
        limit_seconds=30,
        rounds=15,
        contenders=4,
    ),
    Effort(
        name="thorough",
        problem_seconds=150,
        most_seconds=7200,
        patience=0.0,
        hopeless_ratio=math.inf,
        limit_seconds=60,
        rounds=31,
        contenders=8,
    ),
)
DEFAULT_EFFORT = "normal"


def effort_by_name(name: str) -> Effort:
    """The level called `name`. Raises UsageError."""
    for effort in EFFORTS:
        if effort.name == name:
            return effort
    raise UsageError(f"effort {name!r}: expected one of {', '.join(effort.name for effort in EFFORTS)}")
