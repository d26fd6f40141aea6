"""Several sources as one: a driver takes tens of milliseconds for each program, however small, before its first line.

Each source becomes a part with names of its own: `conv` of part 3 is the kernel `conv__3`. The preprocessor does it, so
that the sources themselves stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

#: What stands at file scope in our templates, each at the beginning of a line: functions, types, and macros.
_FUNCTION = re.compile(r"^(?:(?:__)?kernel\s+)?(?:inline\s+\w+|void)\s+(\w+)\(", re.MULTILINE)
_TYPE = re.compile(r"^typedef\s+\w+\s+(\w+)\b", re.MULTILINE)
_MACRO = re.compile(r"^#define\s+(\w+)", re.MULTILINE)

#: A kernel with its attributes, which may have lines of their own, up to its parameters.
_KERNEL = re.compile(r"^__kernel\b([^;{}]*?)^void (\w+)\(", re.MULTILINE)
_AS_FUNCTION = r"static __attribute__((noinline))\nvoid \2(const uint3 chain_place, const uint3 chain_sides, "

#: What a work-group of one work-item may ask, in a function that is told which one it is. Its local memory is its own.
_SINGLE_ITEM = {
    "get_group_id(dimension)": "((size_t)chain_place.s##dimension)",
    "get_num_groups(dimension)": "((size_t)chain_sides.s##dimension)",
    "get_global_id(dimension)": "((size_t)chain_place.s##dimension)",
    "get_global_size(dimension)": "((size_t)chain_sides.s##dimension)",
    "get_local_id(dimension)": "((size_t)0)",
    "get_local_size(dimension)": "((size_t)1)",
    "barrier(flags)": "",
    "__local": "__private",
}


def part_suffix(number: int) -> str:
    """What follows the name of a kernel of part `number`."""
    return f"__{number}"


def merge_sources(sources: Sequence[str]) -> str:
    """One source whose part `number` has all that `sources[number]` has, functions and types under their name and
    `part_suffix(number)`.

    Options and extensions hold for all parts alike. Macros that a source defines must not be the compiler's own.
    """
    return "".join(_part(source, part_suffix(number)) for number, source in enumerate(sources))


def _part(source: str, suffix: str) -> str:
    names = list(dict.fromkeys([*_FUNCTION.findall(source), *_TYPE.findall(source)]))
    macros = list(dict.fromkeys(_MACRO.findall(source)))
    before = "".join(f"#define {name} {name}{suffix}\n" for name in names)
    after = "".join(f"#undef {name}\n" for name in [*names, *macros])
    return f"{before}{source}\n{after}"


def merge_as_functions(sources: Sequence[str]) -> str:
    """As `merge_sources`, for work-groups of a single work-item: kernels become functions, which take the
    work-group's place and the work-groups along each dimension, `uint3` both, before their own arguments. What cannot
    be one is the compiler's to refuse.
    """
    parts = (_part(_KERNEL.sub(_AS_FUNCTION, source), part_suffix(number)) for number, source in enumerate(sources))
    before = "".join(f"#define {macro} {text}\n" for macro, text in _SINGLE_ITEM.items())
    after = "".join(f"#undef {macro.partition('(')[0]}\n" for macro in _SINGLE_ITEM)
    return f"{before}{''.join(parts)}{after}"
