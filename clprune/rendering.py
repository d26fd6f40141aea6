"""Templates to OpenCL C: a pure function of (name, variables); and to HTML. The only import of mako.

Templates of kernels see the helpers of `clprune.opencl_c` beside their variables; an undefined name is an error. The
Python that Mako makes of a template is kept in the cache folder: making it anew would be a sixth of a start.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import FunctionType
from typing import Any

from mako import exceptions
from mako.lookup import TemplateLookup

from clprune.errors import RenderError
from clprune.files import write_atomically
from clprune.folders import cache_folder, stranger_at
from clprune.opencl_c import HELPERS
from clprune.resources import templates_folder

SUFFIX = ".cl.mako"


def template_folders(folders: tuple[Path, ...] = ()) -> tuple[Path, ...]:
    """Where templates are looked for: in `folders` of another package, then among clprune's own."""
    return (*folders, templates_folder())


def render(name: str, variables: Mapping[str, Any], *, folders: tuple[Path, ...] = ()) -> str:
    """OpenCL C source of template `name` (without suffix), found in `folders` or clprune's own, for `variables`.

    Variables are numbers, words (letters, digits, underscores), sequences and mappings of those, and functions that
    generate source. Raises RenderError for others, and naming the template, its line and the variables.
    """
    for variable, value in variables.items():
        if not _is_plain(value):
            raise RenderError(f"template {name}{SUFFIX}: {variable} is {value!r}; expected numbers and words")
    try:
        text = _render(name + SUFFIX, {**HELPERS, **variables}, template_folders(folders))
    except Exception as error:  # Mako lets any error of the template's Python through
        trace = exceptions.RichTraceback(error=error)
        line = next((record[5] for record in reversed(trace.records) if record[4] is not None), None)
        where = f"template {name}{SUFFIX}" + (f", line {line}" if line else "")
        raise RenderError(f"{where}: {type(error).__name__}: {error}; variables: {dict(variables)}") from error
    return re.sub(r"\n\s*\n+", "\n", text).strip() + "\n"


def render_page(name: str, values: Mapping[str, Any]) -> str:
    """The HTML of a template of clprune's own, for values of any kind."""
    return _render(f"{name}.html.mako", values, template_folders())


def _render(file: str, variables: Mapping[str, Any], folders: tuple[Path, ...]) -> str:
    with suppress(Exception):  # what is kept may be damaged, the disk full; other errors come again
        return str(_lookup(folders, keeps=True).get_template(file).render(**variables))
    return str(_lookup(folders, keeps=False).get_template(file).render(**variables))


@functools.cache
def _lookup(folders: tuple[Path, ...], *, keeps: bool) -> TemplateLookup:
    return TemplateLookup(
        directories=list(map(str, folders)),
        strict_undefined=True,
        input_encoding="utf-8",
        modulename_callable=_kept_module if keeps else None,
        module_writer=lambda source, path: write_atomically(path, source),
    )


def _kept_module(filename: str, uri: str) -> str | None:
    """Where the Python of a template with this text is kept; None where it cannot be or could be somebody else's."""
    digest = hashlib.sha256(Path(filename).read_bytes()).hexdigest()
    folder = cache_folder() / "templates"
    path = folder / f"{uri}.{digest[:32]}.py"
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    strange = stranger_at(cache_folder(), folder, folder / "__pycache__", path)
    return str(path) if os.access(folder, os.W_OK) and not strange else None


def _is_plain(value: object) -> bool:
    """Nothing that could bring code of its own into a source."""
    if isinstance(value, str):
        return re.fullmatch(r"\w*", value, re.ASCII) is not None
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value, *value.values()]))
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | Fraction | FunctionType)
