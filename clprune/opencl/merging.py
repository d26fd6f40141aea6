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
