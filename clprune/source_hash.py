"""The hash of a kernel's source: of its template, of what that includes, and of the Python that generates source.

Line endings, comments, docstrings and blank lines do not count, nor does the version of Python: what is hashed is text.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import linecache
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from clprune import opencl_c
from clprune.errors import RenderError
from clprune.rendering import SUFFIX, template_folders

#: Something whose text decides about a source.
Generator = ModuleType | Callable[..., Any] | property

_INCLUDE = re.compile(r"""<%(?:namespace|include|inherit)\b[^>]*?\bfile\s*=\s*["']([^"']+)["']""")
_TEMPLATE_COMMENT = re.compile(r"<%doc>.*?</%doc>", re.DOTALL)
_DOCSTRING = re.compile(r'(\A|:\n)[ \t]*[rR]?""".*?"""\n', re.DOTALL)


@functools.cache
def source_hash(template: str, *, generators: tuple[Generator, ...] = (), folders: tuple[Path, ...] = ()) -> str:
    """Short hash of template `template` (without suffix), found in `folders` or clprune's own, and of `generators`.

    Raises RenderError for a file that is not there.
    """
    parts = [*_template_texts(template + SUFFIX, template_folders(folders)), *map(_text, (opencl_c, *generators))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _template_texts(name: str, folders: tuple[Path, ...]) -> list[str]:
    """The template's text and those of all files that it includes, each once, in the order in which they are met."""
    texts: dict[str, str] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop(0).lstrip("/")
        if name in texts:
            continue
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise RenderError(f"template {name} is in none of {', '.join(map(str, folders))}")
        texts[name], included = _template(path)
        waiting += included
    return list(texts.values())


@functools.cache
def _template(path: Path) -> tuple[str, list[str]]:
    """A file's text, and the names of the files that it includes."""
    text = _TEMPLATE_COMMENT.sub("", path.read_text(encoding="utf-8"))
    return _lines(text, comment="##"), _INCLUDE.findall(text)


@functools.cache
def _text(generator: Generator) -> str:
    """Its text, dedented; nothing where an installation has no sources."""
    if isinstance(generator, property):
        return "" if generator.fget is None else _text(generator.fget)
    if isinstance(generator, ModuleType):
        lines = linecache.getlines(generator.__file__ or "")
    else:
        code = inspect.unwrap(generator).__code__
        lines = _block(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :])
    return _DOCSTRING.sub(r"\1", _lines(textwrap.dedent("".join(lines)), comment="#"))


def _block(lines: list[str]) -> list[str]:
    """The lines of the function that begins at the first of `lines`. (`inspect` reads tokens, which takes too long.)"""
    if not lines:
        return []
    indent = len(lines[0]) - len(lines[0].lstrip())
    head = next((number for number, line in enumerate(lines) if line.lstrip().startswith("def ")), 0)
    for number, line in enumerate(lines[head + 1 :], head + 1):
        if line.strip() and len(line) - len(line.lstrip()) <= indent and not line.lstrip().startswith(")"):
            return lines[:number]
    return lines


def _lines(text: str, *, comment: str) -> str:
    """Without blank lines, lines that are comments, and white space at ends of lines."""
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join([line for line in lines if line and not line.lstrip().startswith(comment)])
