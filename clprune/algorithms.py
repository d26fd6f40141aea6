"""Names of the algorithms by which a convolution may be computed, and what a user wants of them."""

from __future__ import annotations

from dataclasses import dataclass

from clprune.errors import UsageError

#: By which a layer may be computed. Fully connected layers know "sparse" and, always, kept columns.
ALGORITHMS = ("direct", "winograd", "sparse")

#: Largest error of a layer, relative to its largest result, for which the planner may leave direct convolution.
DEFAULT_MAX_ERROR = 1e-4


@dataclass(frozen=True, kw_only=True)
class Algorithms:
    """What the planner may choose from. Raises UsageError for a name that is none of ALGORITHMS, or for no name.

    `max_error`: an algorithm with a larger relative error on a layer (against float64, unit-variance data) is not
    offered for it, unless the layer's weights leave no other.
    """

    names: tuple[str, ...] = ALGORITHMS
    max_error: float = DEFAULT_MAX_ERROR

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in ALGORITHMS]
        if unknown or not self.names:
            found = f"algorithm {unknown[0]!r}" if unknown else "no algorithm"
            raise UsageError(f"{found}: expected one or more of {', '.join(ALGORITHMS)}")
        if not self.max_error > 0:
            raise UsageError(f"max_error {self.max_error}: expected a positive number such as {DEFAULT_MAX_ERROR}")
