"""A file that grows by a line for each finished piece of work, so that a killed run loses at most one of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clprune.errors import DataError, FileError

Row = dict[str, Any]


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line with `row` as JSON and see it onto the disk. Raises FileError."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        with path.open("ab") as file:
            # what a killed run left of its last line must not swallow this one
            start = b"" if _ends_in_newline(path) else b"\n"
            file.write(start + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FileError(f"cannot be written: {error.strerror or error}", path=path) from error


def read_rows(path: Path) -> list[Row]:
    """All whole lines, in their order; no rows where there is no file. Raises DataError, FileError."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror or error}", path=path) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        row = _parsed(line)
        if row is not None:
            rows.append(row)
        elif line.startswith("{") and line.endswith("}"):
            raise DataError(f"line {number} is no JSON object: move the file away to start anew", path=path)
    return rows


def check_experiment(rows: list[Row], *, key: str, path: Path) -> None:
    """Raise DataError when rows come from an experiment with another `key`."""
    if any(row.get("experiment") != key for row in rows):
        raise DataError("holds rows of other settings: expected the same ones, or another --work folder", path=path)


def _parsed(line: str) -> Row | None:
    """The line's object, None for an empty line and for what a killed run left of one."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _ends_in_newline(path: Path) -> bool:
    if not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
