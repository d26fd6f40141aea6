"""Darknet's `.data` files: lines `key = value` that say where names, lists of images and results are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clprune.errors import DataError, shown
from clprune.files import named_by, read_lines

#: Keys that name the file of class names, in the order in which darknet looks for them.
NAMES_KEYS = ("names", "labels")


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A `.data` file. Files that it names are seen from the working folder, or else from its own."""

    path: Path
    options: Mapping[str, str]

    def file(self, *keys: str) -> Path | None:
        """The file that the first of `keys` names that is there; None without."""
        found = next((self.options[key] for key in keys if key in self.options), None)
        return None if found is None else named_by(self.path, found)

    def required(self, *keys: str) -> Path:
        """The same. Raises DataError without."""
        found = self.file(*keys)
        if found is None:
            raise DataError(f"has no {'= or '.join(keys)}=: expected a .data file that names a file", path=self.path)
        return found

    def integer(self, key: str, default: int) -> int:
        """The value of `key`. Raises DataError unless it is a whole number from 1 on."""
        text = self.options.get(key, str(default)).partition("#")[0].strip()
        if not text.isdecimal() or len(text) > 9 or int(text) < 1:
            raise DataError(f"{key}={shown(text)}: expected a whole number from 1 on", path=self.path)
        return int(text)

    def numbers(self, key: str) -> tuple[int, ...]:
        """The whole numbers in the file that `key` names, one per line; none without. Raises DataError."""
        path = self.file(key)
        lines = [] if path is None else read_lines(path, expected="whole numbers, one per line")
        for number, line in enumerate(lines, start=1):
            if line and not (line.isdecimal() and len(line) < 10):
                raise DataError(f"{shown(line)!r}: expected a whole number", path=path or self.path, line=number)
        return tuple(int(line) for line in lines if line)

    def images(self, key: str) -> tuple[Path, ...]:
        """The images in the list that `key` names, seen from the working folder, the list's or this file's.

        Raises DataError for a list that is missing or empty.
        """
        path = self.required(key)
        lines = [line for line in read_lines(path, expected="paths of images, one per line") if line]
        if not lines:
            raise DataError("holds no paths: expected one image per line", path=path)
        return tuple(_found(line, path, self.path) for line in lines)


def read_data_file(path: str | Path) -> DataFile:
    """Read a `.data` file: lines that begin with `#` or `;` are comments, the first of a key counts.

    Raises DataError.
    """
    path = Path(path)
    lines = read_lines(path, expected="a .data file, lines of key=value")
    for number, line in enumerate(lines, start=1):
        if line and not line.startswith(("#", ";")) and "=" not in line:
            raise DataError(f"{shown(line)!r}: expected key=value", path=path, line=number)
    return DataFile(path=path, options=data_options(lines))


def data_options(lines: Sequence[str]) -> dict[str, str]:
    """The values of a `.data` file's lines, as far as they have any."""
    parts = [line.partition("=") for line in lines if not line.startswith(("#", ";"))]
    return {key.strip(): value.strip() for key, _, value in reversed(parts) if value.strip()}


def _found(line: str, *sources: Path) -> Path:
    return next((path for path in (named_by(source, line) for source in sources) if path.exists()), Path(line))
