"""JSON from outside: one reader, bounded in size and depth, of finite numbers and printable text only."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from clprune.errors import FileError, UsageError, shown
from clprune.files import decode_text, open_file

#: Bounds of what is read, far above what clprune writes: bytes of the unpacked text, values in it, levels of nesting,
#: characters of one text, magnitude of whole numbers.
MAX_BYTES = 1 << 26
MAX_VALUES = 4_000_000
MAX_DEPTH = 32
MAX_CHARACTERS = 1 << 16
MAX_INTEGER = (1 << 64) - 1

_GZIP = b"\x1f\x8b"
_T = TypeVar("_T")


def read_json(path: str | Path, *, error: type[FileError]) -> Any:
    """The value in a JSON file, which may be packed with gzip. Raises `error` for what `parse_json` refuses."""
    with open_file(path, error=error) as file:
        is_packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        try:
            data = gzip.GzipFile(fileobj=file).read(MAX_BYTES + 1) if is_packed else file.read(MAX_BYTES + 1)
        except (gzip.BadGzipFile, zlib.error, EOFError) as failure:
            raise error(f"not a whole gzip file ({failure}): copy it again", path=path) from failure
    try:
        return parse_json(data)
    except UsageError as failure:
        raise error(str(failure), path=path) from failure


def parse_json(data: bytes | str) -> Any:
    """The value that a JSON text stands for. Raises UsageError for anything else, and for what is out of bounds."""
    text = data if isinstance(data, str) else decode_text(data).removeprefix("\ufeff")
    if len(data) > MAX_BYTES or count_values(text) > MAX_VALUES:
        raise UsageError(f"more than {MAX_BYTES} bytes or {MAX_VALUES} values of JSON: expected a smaller file")
    try:
        value = json.loads(text, parse_int=_parse_integer, parse_float=_parse_float, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise UsageError(f"JSON nested too deeply: expected at most {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise UsageError(f"not JSON: {shown(str(error), 120)}") from error
    _check(value)
    return value


def count_values(text: str) -> int:
    """At most so many values are in a JSON text."""
    return sum(map(text.count, ",[{"))


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """`value`, or UsageError naming `what` where it is no object."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} is {shown(repr(value))}: expected an object")
    return value


def required(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    """The field `name`; a whole number is a float as well, and text has one line.

    Raises UsageError where it is missing or of another type.
    """
    value = fields.get(name)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    has_lines = isinstance(value, str) and "\n" in value
    if not isinstance(value, kind) or isinstance(value, bool) or has_lines:
        raise UsageError(f"{name} is {shown(repr(value))}: expected {kind.__name__}")
    return value


def _parse_integer(text: str) -> int:
    if len(text) > 21 or abs(int(text)) > MAX_INTEGER:  # by length first: Python is slow at thousands of digits
        raise ValueError(f"{shown(text)}: expected whole numbers of at most 64 bits")
    return int(text)


def _parse_float(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{shown(text)}: expected finite numbers")
    return float(text)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text}: expected finite numbers")


def _check(value: Any) -> None:
    """Refuse too many levels, and texts that are long or hold more than lines of printable characters."""
    level = [value]
    for _ in range(MAX_DEPTH):
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                following.extend(item)
                following.extend(item.values())
            elif isinstance(item, list):
                following.extend(item)
            elif isinstance(item, str) and not (len(item) <= MAX_CHARACTERS and item.replace("\n", "").isprintable()):
                raise UsageError(
                    f"the text {shown(item)!r}: expected at most {MAX_CHARACTERS} characters, all printable"
                )
        if not following:
            return
        level = following
    raise UsageError(f"JSON nested too deeply: expected at most {MAX_DEPTH} levels")
