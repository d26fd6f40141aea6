"""Darknet's names files, one class name per line, and `.data` files, which say where they are."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from clprune.darknet.data_file import NAMES_KEYS, DataFile, data_options
from clprune.errors import DataError
from clprune.files import read_lines

_EXPECTED = "class names, one per line"


def read_names(path: str | Path) -> tuple[str, ...]:
    """Class names, composed (NFC), one per line, by class index; empty lines at the end are dropped. Raises DataError.

    Lines that are no UTF-8 are read as Windows-1252. A `.data` file leads to the file of names that it names, seen from
    the working folder or else from its own.
    """
    path = Path(path)
    lines = read_lines(path, expected=_EXPECTED)
    options = data_options(lines)
    is_data = all(line.partition("=")[2] for line in lines if line) and not options.keys().isdisjoint(NAMES_KEYS)
    if is_data or path.suffix.lower() == ".data":
        path = DataFile(path=path, options=options).required(*NAMES_KEYS)
        lines = read_lines(path, expected=_EXPECTED)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError("holds no names: expected one class name per line", path=path)
    return tuple(unicodedata.normalize("NFC", line) for line in lines)
