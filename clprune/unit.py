"""The noun that ties the halves together: the pruning unit, cut from a kernel's tile. No imports of ours but errors.

The tuner finds a tile, the pruner removes units of its shape, the kernels skip them. A kernel whose tile rows divide
the unit's rows skips everything that was removed; one whose tile is taller skips only what all its units share.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clprune.errors import UsageError, shown


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The group of weights kept or removed together: `rows` output channels x `columns` values of K."""

    rows: int
    columns: int = 1

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise UsageError(f"unit {self.rows}x{self.columns}: both sides must be at least 1")

    @classmethod
    def parse(cls, text: str) -> Unit:
        """Read `"8x1"`: rows x columns. Raises UsageError."""
        match = re.fullmatch(r"\s*(\d+)\s*x\s*(\d+)\s*", text)
        if match is None:
            raise UsageError(f"unit {shown(repr(text))}: expected ROWSxCOLUMNS such as 8x1")
        return cls(rows=int(match[1]), columns=int(match[2]))

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"
