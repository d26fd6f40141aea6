"""Darknet's `.cfg` format: text to sections with typed options.

The format as darknet's parser has it: every space, tab and carriage return in a line is deleted, a line that begins
with `#` or `;` is a comment, any other is `[section]` or `key=value`. Where darknet is silent and silence hurts (an
unknown section, a line without `=`, a duplicate key, a value that is no number) this reader raises `CfgError`.
Comments behind a value and a byte order mark are accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from clprune.darknet.keys import ALIASES, KINDS, UNSUPPORTED
from clprune.errors import CfgError

#: No cfg is this large; a weights file given in its place is.
MAX_BYTES = 1 << 24

#: Darknet keeps sizes in 32-bit integers.
MAX_INTEGER = (1 << 31) - 1

_BLANKS = str.maketrans("", "", " \t\r\v\f")
_COMMENT = re.compile(r"[#;].*")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class CfgWarning(UserWarning):
    """A cfg holds something that does not change what is computed but may be a mistake; the text names file:line."""


@dataclass(frozen=True)
class Option:
    """One `key=value`: the value without blanks and comments, and its line (1-based)."""

    value: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Section:
    """One `[section]`: its name with aliases resolved, its line (1-based), its options by key."""

    path: Path
    name: str
    line: int
    options: Mapping[str, Option]

    def error(self, message: str, *, key: str | None = None) -> CfgError:
        """A CfgError at the line of `key` where that is given, else at the section's own line."""
        option = self.options.get(key) if key is not None else None
        return CfgError(f"[{self.name}] {message}", path=self.path, line=option.line if option else self.line)

    def text(self, key: str, default: str | None = None) -> str:
        """The value as text. Without a default the key is required."""
        option = self.options.get(key)
        if option is not None:
            return option.value
        if default is None:
            raise self.error(f"has no {key}=, which is required")
        return default

    def integer(self, key: str, default: int | None = None, *, minimum: int | None = None) -> int:
        """The value as a whole number of at most 31 bits, at least `minimum`."""
        option = self.options.get(key)
        if option is None and default is not None:
            return default
        value = self._to_integer(key, self.text(key))
        if minimum is not None and value < minimum:
            raise self.error(f"{key}={value}: expected at least {minimum}", key=key)
        return value

    def boolean(self, key: str, default: bool = False) -> bool:
        """The value as darknet reads a switch: 0 is off, any other whole number is on."""
        return self.integer(key, int(default)) != 0

    def number(self, key: str, default: float) -> float:
        """The value as a finite decimal number."""
        option = self.options.get(key)
        if option is None:
            return default
        if _NUMBER.fullmatch(option.value) is None:
            raise self.error(f"{key}={_shown(option.value)}: expected a number", key=key)
        value = float(option.value)
        if value in (float("inf"), float("-inf")):
            raise self.error(f"{key}={_shown(option.value)}: too large a number", key=key)
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        """The value as whole numbers separated by commas; the key is required."""
        return tuple(self._to_integer(key, word) for word in self.text(key).split(","))

    def _to_integer(self, key: str, word: str) -> int:
        if _INTEGER.fullmatch(word) is None:
            shown = _shown(self.text(key))
            raise self.error(f"{key}={shown}: expected a whole number{_where(word, self.text(key))}", key=key)
        # Compared by length first: Python refuses to convert thousands of digits.
        if len(word) > 12 or abs(int(word)) > MAX_INTEGER:
            raise self.error(f"{key}={_shown(word)}: expected at most {MAX_INTEGER}", key=key)
        return int(word)


def read_cfg_text(path: str | Path) -> str:
    """The file's text with its newlines and, through `surrogateescape`, its undecodable bytes kept. Raises CfgError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise CfgError("no such file", path=path) from error
    except OSError as error:
        raise CfgError(f"cannot be read: {error.strerror or error}", path=path) from error
    if len(data) > MAX_BYTES:
        raise CfgError(f"more than {MAX_BYTES} bytes: expected a darknet cfg file (text)", path=path)
    return data.decode("utf-8", "surrogateescape")


def stripped(line: str) -> str:
    """A line as darknet sees it: without blanks, and without a comment."""
    return _COMMENT.sub("", line.translate(_BLANKS).removeprefix("\ufeff"))


def split_lines(text: str) -> list[str]:
    """Lines with their line ends kept; only newline ends a line, as in darknet."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def parse_cfg(path: str | Path) -> list[Section]:
    """Read a cfg into its sections, `[net]` first. Raises CfgError naming file and line."""
    path = Path(path)
    sections: list[Section] = []
    options: dict[str, Option] = {}
    for number, raw in enumerate(split_lines(read_cfg_text(path)), start=1):
        line = stripped(raw.rstrip("\n"))
        if not line:
            continue
        if line.startswith("["):
            options = {}
            name = _section_name(line, path=path, number=number)
            _check_order(name, first=not sections, path=path, number=number)
            sections.append(Section(path=path, name=name, line=number, options=MappingProxyType(options)))
            continue
        if not sections:
            raise CfgError(f"{_shown(line)!r} before the first section: expected [net]", path=path, line=number)
        _add_option(options, line, section=sections[-1], number=number)
    if not sections:
        raise CfgError("has no sections: expected [net] and at least one layer", path=path)
    return sections


def _section_name(line: str, *, path: Path, number: int) -> str:
    if not line.endswith("]") or len(line) < 3:
        raise CfgError(f"{_shown(line)!r}: expected a section such as [convolutional]", path=path, line=number)
    name = ALIASES.get(line[1:-1], line[1:-1])
    if name != "net" and name not in KINDS and name not in UNSUPPORTED:
        known = ", ".join(sorted(KINDS))
        raise CfgError(f"unknown section {_shown(line)}: expected one of {known}", path=path, line=number)
    return name


def _check_order(name: str, *, first: bool, path: Path, number: int) -> None:
    if first and name != "net":
        raise CfgError(f"the first section is [{name}]: expected [net] or [network]", path=path, line=number)
    if not first and name == "net":
        raise CfgError("a second [net] section: expected a layer", path=path, line=number)


def _add_option(options: dict[str, Option], line: str, *, section: Section, number: int) -> None:
    key, equals, value = line.partition("=")
    if not equals or not key:
        message = f"{_shown(line)!r}: expected key=value or [section]"
        raise CfgError(message, path=section.path, line=number)
    if not value:
        raise CfgError(f"{_shown(key)}= has no value", path=section.path, line=number)
    if key in options:
        message = f"{_shown(key)} is given twice in [{section.name}], first in line {options[key].line}: remove one"
        raise CfgError(message, path=section.path, line=number)
    options[key] = Option(value, number)


def _shown(text: str, length: int = 60) -> str:
    """Text from a file that may be anything, made fit for one line of an error."""
    printable = "".join(character if character.isprintable() else "?" for character in text[: length + 1])
    return printable if len(text) <= length else printable[:length] + "..."


def _where(word: str, value: str) -> str:
    """Which of several numbers is meant, for an error."""
    return "" if word == value else f", found {_shown(word)!r} between the commas"
