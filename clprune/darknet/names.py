"""Darknet's names files (one class name per line) and `.data` files (where the names are, how many to print)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clprune.errors import DataError

#: No file of either kind is this large.
MAX_BYTES = 1 << 24

_BLANKS = re.compile(r"[ \t\r]")


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A `.data` file.

    `names` is the names file (the key `names`, else `labels`), or None when neither is given; `top` the number of
    classes to print; `classes` the number of classes where it is given; `options` all keys with their text.
    """

    path: Path
    names: Path | None
    top: int
    classes: int | None
    options: Mapping[str, str]


def read_names(path: str | Path) -> tuple[str, ...]:
    """Class names, one per line, by class index; empty lines at the end are dropped. Raises DataError."""
    names = [line.strip() for line in _read_lines(Path(path))]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError("holds no names: expected one class name per line", path=path)
    return tuple(names)


def read_data_file(path: str | Path) -> DataFile:
    """Read a `.data` file. Paths are relative to the working folder, else to the file's own. Raises DataError."""
    path = Path(path)
    options, lines = _read_options(path)
    key = "names" if options.get("names") else "labels"
    names = _find(options[key], data_file=path, line=lines[key]) if options.get(key) else None
    return DataFile(
        path=path,
        names=names,
        top=_count(options, lines, "top", path=path) or 1,
        classes=_count(options, lines, "classes", path=path),
        options=options,
    )


def _read_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from error
    if len(data) > MAX_BYTES or b"\0" in data:
        raise DataError("is not a text file", path=path)
    return data.decode("utf-8-sig", "replace").split("\n")


def _read_options(path: Path) -> tuple[dict[str, str], dict[str, int]]:
    """The values and the line numbers by key. Comment lines begin with # or ;."""
    options: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, raw in enumerate(_read_lines(path), start=1):
        text = raw.strip()
        if not text or text.startswith(("#", ";")):
            continue
        key, equals, value = text.partition("=")
        key = _BLANKS.sub("", key)
        if not equals or not key:
            raise DataError(f"{text[:60]!r}: expected key=value", path=path, line=number)
        if key in options:
            raise DataError(f"{key} is given twice, first in line {lines[key]}: remove one", path=path, line=number)
        options[key] = value.strip()
        lines[key] = number
    return options, lines


def _find(value: str, *, data_file: Path, line: int) -> Path:
    """The file that `value` names. Darknet deletes blanks inside it, so that reading is tried too."""
    candidates = [folder / text for text in dict.fromkeys([value, _BLANKS.sub("", value)])
                  for folder in (Path(), data_file.parent)]  # fmt: skip
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    message = f"names {value}: no such file, neither in the working folder nor in {data_file.parent}"
    raise DataError(message, path=data_file, line=line)


def _count(options: Mapping[str, str], lines: Mapping[str, int], key: str, *, path: Path) -> int | None:
    """A positive whole number, or None where the key is absent or empty."""
    text = _BLANKS.sub("", options.get(key, ""))
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,9}", text) is None or int(text) < 1:
        raise DataError(f"{key}={text[:60]}: expected a whole number of at least 1", path=path, line=lines[key])
    return int(text)
