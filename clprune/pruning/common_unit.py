"""One unit for several devices: what all of their tiles can skip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clprune.errors import UsageError
from clprune.unit import Unit

#: A taller unit loses more accuracy than skipping it everywhere is worth; a single tile may be taller. Our choice.
MOST_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class CommonUnit:
    """`unit`, and for each tile's unit that it was chosen for whether that tile skips all of it."""

    unit: Unit
    skipped: tuple[bool, ...]


def common_unit(units: Sequence[Unit], *, most_rows: int = MOST_ROWS) -> CommonUnit:
    """The smallest unit whose rows every tile's rows divide: their least common multiple.

    `units` are those of the tiles that run one layer on each device. A multiple above `most_rows` (or the tallest tile,
    if that is more) is not taken: then the unit is the one that most tiles skip wholly, the smallest of equal ones.
    Raises UsageError without any unit.
    """
    if not units:
        raise UsageError("no device to choose a unit for: expected at least one")
    rows, columns = (unit.rows for unit in units), math.lcm(*(unit.columns for unit in units))
    multiple = math.lcm(*rows)
    limit = max(most_rows, *(unit.rows for unit in units))
    if multiple > limit:
        # max() keeps the first of equal ones, which is the smallest
        multiple = max(range(1, limit + 1), key=lambda height: sum(height % unit.rows == 0 for unit in units))
    skipped = tuple(multiple % unit.rows == 0 for unit in units)
    return CommonUnit(unit=Unit(rows=multiple, columns=columns), skipped=skipped)
