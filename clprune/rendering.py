"""Templates to OpenCL C: a pure function of (name, variables). The only import of mako.

Every template sees the helpers of `clprune.opencl_c` beside its variables, and an undefined name is an error.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import FunctionType
from typing import Any

from mako import exceptions
from mako.lookup import TemplateLookup

from clprune.errors import RenderError
from clprune.opencl_c import HELPERS
from clprune.resources import templates_folder

SUFFIX = ".cl.mako"


def template_folders(folders: tuple[Path, ...] = ()) -> tuple[Path, ...]:
    """Where templates are looked for: in `folders` of another package, then among clprune's own."""
    return (*folders, templates_folder())


@functools.cache
def _lookup(folders: tuple[Path, ...]) -> TemplateLookup:
    return TemplateLookup(directories=list(map(str, folders)), strict_undefined=True, input_encoding="utf-8")


def render(name: str, variables: Mapping[str, Any], *, folders: tuple[Path, ...] = ()) -> str:
    """OpenCL C source of template `name` (without suffix), found in `folders` or clprune's own, for `variables`.

    Variables are numbers, words (letters, digits, underscores), sequences and mappings of those, and functions that
    generate source. Raises RenderError for others, and naming the template, its line and the variables.
    """
    for variable, value in variables.items():
        if not _is_plain(value):
            raise RenderError(f"template {name}{SUFFIX}: {variable} is {value!r}; expected numbers and words")
    try:
        text: str = _lookup(template_folders(folders)).get_template(name + SUFFIX).render(**HELPERS, **variables)
    except Exception as error:  # Mako lets any error of the template's Python through
        trace = exceptions.RichTraceback(error=error)
        line = next((record[5] for record in reversed(trace.records) if record[4] is not None), None)
        where = f"template {name}{SUFFIX}" + (f", line {line}" if line else "")
        raise RenderError(f"{where}: {type(error).__name__}: {error}; variables: {dict(variables)}") from error
    return re.sub(r"\n\s*\n+", "\n", text).strip() + "\n"


def _is_plain(value: object) -> bool:
    """Nothing that could bring code of its own into a source."""
    if isinstance(value, str):
        return re.fullmatch(r"\w*", value, re.ASCII) is not None
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value, *value.values()]))
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | Fraction | FunctionType)
