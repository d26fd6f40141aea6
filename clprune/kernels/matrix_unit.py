"""How the matrix instructions of GPUs spread a small product over the lanes of a warp: one table for all of them.

An instruction multiplies A `[16 rows, K columns]` by B `[K columns, N positions]` and adds D `[16, N]`. Each lane holds
some elements of the three, its *fragment*. Instructions number the columns differently; as a sum knows no order, each
lane is given neighbouring columns here, in A and B alike, so that it reads its part of a list in one load.

Sources: PTX ISA 7.0 (mma.m16n8k8 and .m16n8k16, sm_80 and later), LLVM's AMDGPU builtins and AMD's manuals of CDNA
(MFMA) and RDNA 3 (WMMA), Khronos' cl_intel_subgroup_matrix_multiply_accumulate and _tf32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clprune.device import MATRIX_UNITS, MFMA, MMA, WMMA, XMX8, XMX16, DeviceInfo
from clprune.precision import BFLOAT16, FLOAT16, FLOAT32, FORMATS, TF32

#: Rows of every instruction: the finest unit that pruning may remove.
UNIT_ROWS = 16

#: A work-item on its own, without any instruction: what runs on every device.
SINGLE = "single"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Where along one axis the elements of each lane lie: `lane / divisor % modulus * factor`, plus `places`."""

    divisor: int = 1
    modulus: int = 1
    factor: int = 0
    places: tuple[int, ...]

    def of_lanes(self, lanes: int) -> npt.NDArray[np.int64]:
        """`[lanes, elements]`."""
        lane = np.arange(lanes)[:, None]
        found: npt.NDArray[np.int64] = lane // self.divisor % self.modulus * self.factor + np.array(self.places)
        return found


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """One instruction: `columns` are K, `positions` are N, both per step of `lanes` work-items.

    Elements of B lie at neighbouring columns and one position per lane.
    """

    lanes: int
    columns: int
    positions: int
    a_rows: Spread
    a_columns: Spread
    b_columns: Spread
    b_positions: Spread
    d_rows: Spread
    d_positions: Spread

    @property
    def accumulators(self) -> int:
        """float32 sums of one lane."""
        return len(self.d_rows.places)


def _all(count: int) -> Spread:
    return Spread(places=tuple(range(count)))


_MMA_D = {
    "d_rows": Spread(divisor=4, modulus=8, factor=1, places=(0, 0, 8, 8)),
    "d_positions": Spread(modulus=4, factor=2, places=(0, 1, 0, 1)),
    "b_positions": Spread(divisor=4, modulus=8, factor=1, places=(0,)),
}
_MFMA = {
    "a_rows": Spread(modulus=16, factor=1, places=(0,)),
    "b_positions": Spread(modulus=16, factor=1, places=(0,)),
    "d_rows": Spread(divisor=16, modulus=4, factor=4, places=(0, 1, 2, 3)),
    "d_positions": Spread(modulus=16, factor=1, places=(0,) * 4),
}
_FOUR_COLUMNS = Spread(divisor=16, modulus=4, factor=4, places=(0, 1, 2, 3))
_XMX_D = {"d_rows": _all(16), "d_positions": Spread(modulus=16, factor=1, places=(0,) * 16)}
_LANE = Spread(modulus=16, factor=1, places=(0,))


def _single(columns: int) -> Fragments:
    """One work-item that holds all: pairs of columns where values go two to a word."""
    return Fragments(
        lanes=1, columns=columns, positions=1,
        a_rows=Spread(places=tuple(row for row in range(UNIT_ROWS) for _ in range(columns))),
        a_columns=Spread(places=tuple(range(columns)) * UNIT_ROWS),
        b_columns=_all(columns), b_positions=Spread(places=(0,)),
        d_rows=_all(UNIT_ROWS), d_positions=Spread(places=(0,) * UNIT_ROWS),
    )  # fmt: skip


_FRAGMENTS: dict[tuple[str, str], Fragments] = {
    (SINGLE, FLOAT32): _single(1),
    (SINGLE, TF32): _single(1),
    (SINGLE, FLOAT16): _single(2),
    (MMA, TF32): Fragments(
        lanes=32, columns=8, positions=8, **_MMA_D,
        a_rows=Spread(divisor=4, modulus=8, factor=1, places=(0, 8, 0, 8)),
        a_columns=Spread(modulus=4, factor=2, places=(0, 0, 1, 1)),
        b_columns=Spread(modulus=4, factor=2, places=(0, 1)),
    ),
    (MMA, FLOAT16): Fragments(
        lanes=32, columns=16, positions=8, **_MMA_D,
        a_rows=Spread(divisor=4, modulus=8, factor=1, places=(0, 0, 8, 8, 0, 0, 8, 8)),
        a_columns=Spread(modulus=4, factor=4, places=(0, 1, 0, 1, 2, 3, 2, 3)),
        b_columns=Spread(modulus=4, factor=4, places=(0, 1, 2, 3)),
    ),
    (MFMA, FLOAT32): Fragments(
        lanes=64, columns=4, positions=16, **_MFMA,
        a_columns=Spread(divisor=16, modulus=4, factor=1, places=(0,)),
        b_columns=Spread(divisor=16, modulus=4, factor=1, places=(0,)),
    ),
    (MFMA, FLOAT16): Fragments(
        lanes=64, columns=16, positions=16, **_MFMA | {"a_rows": Spread(modulus=16, factor=1, places=(0,) * 4)},
        a_columns=_FOUR_COLUMNS, b_columns=_FOUR_COLUMNS,
    ),
    (WMMA, FLOAT16): Fragments(
        lanes=32, columns=16, positions=16,
        a_rows=Spread(modulus=16, factor=1, places=(0,) * 16), a_columns=_all(16),
        b_columns=_all(16), b_positions=_LANE,
        d_rows=Spread(divisor=16, modulus=2, factor=1, places=tuple(range(0, 16, 2))),
        d_positions=Spread(modulus=16, factor=1, places=(0,) * 8),
    ),
    (XMX16, TF32): Fragments(
        lanes=16, columns=8, positions=16, **_XMX_D,
        a_rows=Spread(divisor=8, modulus=2, factor=1, places=tuple(range(0, 16, 2))),
        a_columns=Spread(modulus=8, factor=1, places=(0,) * 8),
        b_columns=_all(8), b_positions=_LANE,
    ),
    (XMX16, FLOAT16): Fragments(
        lanes=16, columns=16, positions=16, **_XMX_D,
        a_rows=_all(16), a_columns=Spread(modulus=16, factor=1, places=(0,) * 16),
        b_columns=_all(16), b_positions=_LANE,
    ),
    (XMX8, FLOAT16): Fragments(
        lanes=8, columns=16, positions=8,
        a_rows=Spread(places=tuple(row for row in range(16) for _ in range(2))),
        a_columns=Spread(modulus=8, factor=2, places=(0, 1) * 16),
        b_columns=_all(16), b_positions=Spread(modulus=8, factor=1, places=(0,)),
        d_rows=_all(16), d_positions=Spread(modulus=8, factor=1, places=(0,) * 16),
    ),
}  # fmt: skip

#: (unit, precision) -> its instruction. A precision that a unit lacks is not there. Whatever multiplies float16 has the
#: same for bfloat16.
FRAGMENTS: Mapping[tuple[str, str], Fragments] = _FRAGMENTS | {
    (unit, BFLOAT16): fragments for (unit, precision), fragments in _FRAGMENTS.items() if precision == FLOAT16
}

#: Every unit, the one that is none first.
UNITS: tuple[str, ...] = (SINGLE, *MATRIX_UNITS)


def unit_precisions(unit: str) -> tuple[str, ...]:
    """Precisions in which a matrix unit multiplies, the slowest first."""
    return tuple(precision for precision in FORMATS if (unit, precision) in FRAGMENTS)


def best_precision(device: DeviceInfo, wanted: str) -> str | None:
    """The fastest precision of the device's matrix unit that is as exact as `wanted` and reaches as far; None: it has
    none.
    """
    fastest_first = reversed(unit_precisions(device.matrix_unit))
    return next((precision for precision in fastest_first if FORMATS[precision].holds(FORMATS[wanted])), None)
