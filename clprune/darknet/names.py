"""Darknet's names files, one class name per line, and `.data` files, which say where they are."""

from __future__ import annotations

import re
from pathlib import Path

from clprune.errors import DataError
from clprune.files import named_by, read_text

#: Keys of a `.data` file that name the names file, in the order in which darknet looks for them.
_KEYS = ("names", "labels")


def read_names(path: str | Path) -> tuple[str, ...]:
    """Class names, one per line, by class index; empty lines at the end are dropped. Raises DataError.

    Lines that are no UTF-8 are read as Windows-1252. A `.data` file leads to the file of names that it names, seen from
    the working folder or else from its own.
    """
    path = Path(path)
    lines = _read_lines(path)
    options = [
        (key.rstrip(), value.lstrip()) for key, equals, value in (line.partition("=") for line in lines) if value
    ]
    values = dict(reversed(options))  # the first of a key counts
    target = next((values[key] for key in _KEYS if key in values), None)
    is_data = target is not None and len(options) == sum(map(bool, lines))
    if is_data or path.suffix.lower() == ".data":
        if target is None:
            raise DataError(f"has no {'= or '.join(_KEYS)}=: expected a .data file that names a file", path=path)
        path = named_by(path, target)
        lines = _read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError("holds no names: expected one class name per line", path=path)
    return tuple(lines)


def _read_lines(path: Path) -> list[str]:
    """The lines of a text without blanks around them, fit to be printed."""
    text = read_text(path, error=DataError, expected="class names, one per line").removeprefix("\ufeff")
    return [_printable(line.strip()) for line in re.split("\r\n|\r|\n", text)]


def _printable(line: str) -> str:
    if any("\udc80" <= character <= "\udcff" for character in line):  # bytes that are no UTF-8
        line = line.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in line)
