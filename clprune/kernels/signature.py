"""Parameters of the OpenCL functions in a source, and arguments brought into their order by their names."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clprune.errors import RenderError
from clprune.layout import Layout

#: Where a tensor lies; parameters are called like the tensor and one of these: `x_pitch`.
PLACES = ("origin", "pitch", "image_stride", "channel_stride")

#: Types of scalar parameters -> dtype.
_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "int": np.int32,
    "uint": np.uint32,
    "long": np.int64,
    "ulong": np.uint64,
    "float": np.float32,
}

_FUNCTION = re.compile(r"__kernel\b[^;{}]*?\bvoid\s+(\w+)\s*\(([^()]*)\)\s*\{")
_PARAMETER = re.compile(r"(?:const\s+)?([\w\s]+?)\s*(\*\s*)?(?:restrict\s+)?(\w+)")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """`type` is as in OpenCL C, of a pointer that of what it points to."""

    name: str
    type: str
    is_pointer: bool


def signature(source: str, function: str) -> tuple[Parameter, ...]:
    """Parameters of a kernel function of an OpenCL C source.

    Raises RenderError where there is none of that name, and for a parameter in another form than a type and a name.
    """
    found = _signatures(source)
    if function not in found:
        raise RenderError(f"the source has no kernel function {function!r}: it has {', '.join(found) or 'none'}")
    return found[function]


@functools.lru_cache(maxsize=256)
def _signatures(source: str) -> Mapping[str, tuple[Parameter, ...]]:
    return {name: tuple(map(_parameter, parameters.split(","))) for name, parameters in _FUNCTION.findall(source)}


def _parameter(text: str) -> Parameter:
    found = _PARAMETER.fullmatch(text.strip())
    if found is None:
        raise RenderError(f"parameter {text.strip()!r}: expected a type and a name such as 'const int count'")
    return Parameter(name=found[3], type=found[1].split()[-1], is_pointer=found[2] is not None)


def places(**layouts: Layout) -> dict[str, int]:
    """Where tensors lie, by parameters such as `x_pitch`; a function takes those that it needs."""
    return {f"{name}_{place}": getattr(layout, place) for name, layout in layouts.items() for place in PLACES}


def in_order(
    function: str, parameters: tuple[Parameter, ...], arguments: Mapping[str, Any], *, takes: Mapping[str, str]
) -> tuple[Any, ...]:
    """`arguments` as the function's parameters want them; numbers become scalars of the parameter's type.

    `takes`: parameter -> argument where they are called differently. Raises RenderError for a parameter without an
    argument, and for one of another sort.
    """
    found = []
    for parameter in parameters:
        name = takes.get(parameter.name, parameter.name)
        if name not in arguments:
            raise RenderError(f"{function} takes {name!r}, arguments are {', '.join(arguments)}: name them alike")
        value = arguments[name]
        if not parameter.is_pointer:
            value = _scalar(f"{function}: {name}", parameter.type, value)
        elif isinstance(value, int | float | np.generic):
            raise RenderError(f"{function} takes {name!r} as an array, the argument is {value!r}")
        found.append(value)
    return tuple(found)


def check_all_are_taken(
    arguments: Mapping[str, Any], functions: Mapping[str, tuple[tuple[Parameter, ...], Mapping[str, str]]]
) -> None:
    """Raise RenderError for an argument that none of the functions takes, unless it says where a tensor lies.

    `functions`: name -> parameters and `takes`, as for `in_order`.
    """
    taken = {takes.get(p.name, p.name) for parameters, takes in functions.values() for p in parameters}
    spare = [name for name in arguments if name not in taken and not name.endswith(PLACES)]
    if spare:
        raise RenderError(f"{' and '.join(functions)}: nothing takes the argument {spare[0]!r}: name it as there")


def _scalar(where: str, type_: str, value: Any) -> np.generic:
    numbers = (int, float, np.floating) if type_ == "float" else (int, np.integer)
    if type_ not in _SCALARS or isinstance(value, bool) or not isinstance(value, numbers):
        raise RenderError(f"{where} is of type {type_}, the argument is {value!r}")
    scalar: np.generic = _SCALARS[type_](value)
    return scalar
