"""Pieces of OpenCL C that templates and generators of source write alike: literals, vectors, attributes.

Every kernel's hash covers this file (`clprune.source_hash`). Literals go through `c_float`, because a bare `0.1` is a
double in OpenCL C.
"""

from __future__ import annotations

import math

from clprune.errors import RenderError


def c_float(value: float) -> str:
    """`value` as an exact-enough float32 literal: `c_float(0.1)` is `0.1f`. Raises RenderError for NaN and infinity."""
    if not math.isfinite(value):
        raise RenderError(f"{value} cannot be written as an OpenCL C literal")
    return f"{float(value)!r}f"


def vector_type(base: str, width: int) -> str:
    """`float`, `float4`, ...: OpenCL has no vector type of one lane."""
    return base if width == 1 else f"{base}{width}"


def vector_load(width: int, pointer: str) -> str:
    """Expression that loads `width` consecutive values at an address of element alignment."""
    return f"*({pointer})" if width == 1 else f"vload{width}(0, {pointer})"


def vector_store(width: int, value: str, pointer: str) -> str:
    """Statement that stores `width` consecutive values at an address of element alignment."""
    return f"*({pointer}) = {value};" if width == 1 else f"vstore{width}({value}, 0, {pointer});"


def work_group_attributes(*sides: int) -> str:
    """Attributes of a kernel whose work-groups have `sides` work-items; the function's type follows on a new line.

    HAS_SUB_GROUPS_OF_ONE: see `clprune.quirks`.
    """
    size = f"__attribute__((reqd_work_group_size({', '.join(map(str, sides))})))"
    if any(side != 1 for side in sides):
        return size
    return f"\n#ifdef HAS_SUB_GROUPS_OF_ONE\n__attribute__((intel_reqd_sub_group_size(1)))\n#endif\n{size}"


#: What every template sees beside its variables.
HELPERS = {
    "c_float": c_float,
    "vector_type": vector_type,
    "vector_load": vector_load,
    "vector_store": vector_store,
    "work_group_attributes": work_group_attributes,
}
