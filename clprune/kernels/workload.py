"""How much of a layer's weights is left, and how it lies: what decides, beside the problem, which tile is fast."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Seeded data for a case: how much of the weights is removed, in units of how many rows."""

    seed: int = 0
    kept_share: float = 1.0
    unit_rows: int = 8

    @property
    def key(self) -> str:
        """Stable text under which tuning results of this sparsity are kept."""
        if self.is_dense:
            return "dense"
        share = f"{self.kept_share:.3f}".removesuffix("0")
        return f"kept{share} unit{self.unit_rows}x1"

    @property
    def is_dense(self) -> bool:
        """Nothing worth skipping is removed."""
        return self.kept_share > 0.995

    def kept_columns(self, columns: int, *, tile_m: int) -> int:
        """Columns that a row block of `tile_m` keeps where every unit keeps its share of columns chosen at random."""
        units = (tile_m - math.gcd(tile_m, self.unit_rows)) / self.unit_rows + 1
        removed_share: float = (1 - self.kept_share) ** units
        return max(1, round(columns * (1 - removed_share)))


@dataclass(frozen=True, kw_only=True)
class WeightForm:
    """What was removed from a layer, and how the rest lies.

    `winograd`: output tile m of a layer that lives in the Winograd domain of F(m x m, 3 x 3), else None. `storage`: how
    the values lie in device memory, one of `clprune.kernels.storage.STORAGES`; empty where nobody has said.
    `quantizes_input`: the layer's input may be multiplied as codes of 8 bits.
    """

    workload: Workload = field(default_factory=Workload)
    winograd: int | None = None
    storage: str = ""
    quantizes_input: bool = False
