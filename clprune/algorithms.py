"""Names of the algorithms by which a convolution may be computed, and what a user wants of them."""

from __future__ import annotations

from dataclasses import dataclass

from clprune.errors import UsageError
from clprune.precision import FLOAT32, PRECISION_ERRORS, PRECISIONS

#: By which a layer may be computed. Fully connected layers know "sparse" and, always, kept columns.
ALGORITHMS = ("direct", "winograd", "sparse")

#: Largest error of a layer, relative to its largest result, for which the planner may leave direct convolution.
DEFAULT_MAX_ERROR = 1e-4


@dataclass(frozen=True, kw_only=True)
class Algorithms:
    """What the planner may choose from. Raises UsageError for a name that is none of ALGORITHMS, or for no name.

    `max_error`: an algorithm with a larger relative error on a layer (against float64, unit-variance data) is not
    offered for it, unless the layer's weights leave no other. None: DEFAULT_MAX_ERROR, or what `precision` costs.
    `precision`: one of PRECISIONS, the least that factors of products may have where a matrix unit multiplies them.
    """

    names: tuple[str, ...] = ALGORITHMS
    max_error: float | None = None
    precision: str = FLOAT32

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in ALGORITHMS]
        if unknown or not self.names:
            found = f"algorithm {unknown[0]!r}" if unknown else "no algorithm"
            raise UsageError(f"{found}: expected one or more of {', '.join(ALGORITHMS)}")
        if self.max_error is not None and not self.max_error > 0:
            raise UsageError(f"max_error {self.max_error}: expected a positive number such as {DEFAULT_MAX_ERROR}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision {self.precision!r}: expected one of {', '.join(PRECISIONS)}")
        if self.largest_error < PRECISION_ERRORS[self.precision]:
            raise UsageError(
                f"max_error {self.max_error}: products in {self.precision} have errors of up to "
                f"{PRECISION_ERRORS[self.precision]}: allow as much or compute in {FLOAT32}"
            )

    @property
    def largest_error(self) -> float:
        """`max_error`, or what holds where it is None."""
        return max(DEFAULT_MAX_ERROR, PRECISION_ERRORS[self.precision]) if self.max_error is None else self.max_error
