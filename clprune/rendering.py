"""Templates to OpenCL C: a pure function of (name, variables). The only import of mako.

Every template sees the helpers below beside its variables, and an undefined name is an error. Literals go through
`c_float`, because a bare `0.1` is a double in OpenCL C.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mako import exceptions
from mako.lookup import TemplateLookup

from clprune.errors import RenderError
from clprune.resources import templates_folder

SUFFIX = ".cl.mako"


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


HELPERS = {
    "c_float": c_float,
    "vector_type": vector_type,
    "vector_load": vector_load,
    "vector_store": vector_store,
    "work_group_attributes": work_group_attributes,
}


@functools.lru_cache(maxsize=1)
def _lookup(folder: Path) -> TemplateLookup:
    return TemplateLookup(directories=[str(folder)], strict_undefined=True, input_encoding="utf-8")


def render(name: str, variables: Mapping[str, Any]) -> str:
    """OpenCL C source of template `name` (without suffix) for `variables`.

    Raises RenderError naming the template, its line and the variables.
    """
    try:
        text: str = _lookup(templates_folder()).get_template(name + SUFFIX).render(**HELPERS, **variables)
    except Exception as error:  # Mako lets any error of the template's Python through
        trace = exceptions.RichTraceback(error=error)
        line = next((record[5] for record in reversed(trace.records) if record[4] is not None), None)
        where = f"template {name}{SUFFIX}" + (f", line {line}" if line else "")
        raise RenderError(f"{where}: {type(error).__name__}: {error}; variables: {dict(variables)}") from error
    return re.sub(r"\n\s*\n+", "\n", text).strip() + "\n"


@functools.cache
def template_hash(name: str) -> str:
    """Short hash of the template and of every file that templates share: changes when the kernel's source may."""
    folder = templates_folder()
    digest = hashlib.sha256()
    for path in [folder / (name + SUFFIX), *sorted(folder.glob("*.mako"))]:
        if path.name == name + SUFFIX or not path.name.endswith(SUFFIX):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
