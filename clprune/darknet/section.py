"""One section of a cfg: its options as text, and read as typed values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clprune.darknet.tree import Tree, read_tree
from clprune.errors import CfgError, DataError, shown
from clprune.files import named_by

#: Darknet keeps sizes in 32-bit integers.
MAX_INTEGER = (1 << 31) - 1

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Option:
    """One `key=value`: the value without blanks and comments, empty where none follows, and its line (1-based)."""

    value: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Section:
    """One `[section]`: its name with aliases resolved, its line (1-based), its options by key, and the fork of darknet
    whose rules hold (`clprune.darknet.dialect`).
    """

    path: Path
    name: str
    line: int
    options: Mapping[str, Option]
    dialect: str = "alexeyab"

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

    def word(self, key: str, meanings: Mapping[str, str]) -> str:
        """What the value means, by default the first of `meanings`."""
        found = self.text(key, next(iter(meanings)))
        if found not in meanings:
            raise self.error(f"{key}={shown(found)}: expected one of {', '.join(meanings)}", key=key)
        return meanings[found]

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
        return self._to_number(key, self.text(key)) if key in self.options else default

    def numbers(self, key: str) -> tuple[float, ...]:
        """The value as finite decimal numbers separated by commas; the key is required."""
        return tuple(self._to_number(key, word) for word in self.text(key).split(","))

    def integers(self, key: str) -> tuple[int, ...]:
        """The value as whole numbers separated by commas; the key is required."""
        return tuple(self._to_integer(key, word) for word in self.text(key).split(","))

    def tree(self) -> Tree | None:
        """The tree of classes in the file that `tree=` names; None where it names none."""
        if "tree" not in self.options:
            return None
        name = self.text("tree")
        try:
            return read_tree(named_by(self.path, name))
        except DataError as error:
            raise self.error(f"tree: {error}", key="tree") from error

    def _to_number(self, key: str, word: str) -> float:
        text = self.text(key)
        if _NUMBER.fullmatch(word) is None:
            raise self.error(f"{key}={shown(text)}: expected a number{_where(word, text)}", key=key)
        value = float(word)
        if value in (float("inf"), float("-inf")):
            raise self.error(f"{key}={shown(text)}: too large a number{_where(word, text)}", key=key)
        return value

    def _to_integer(self, key: str, word: str) -> int:
        if _INTEGER.fullmatch(word) is None:
            text = self.text(key)
            raise self.error(f"{key}={shown(text)}: expected a whole number{_where(word, text)}", key=key)
        # Compared by length first: Python refuses to convert thousands of digits.
        if len(word) > 12 or abs(int(word)) > MAX_INTEGER:
            raise self.error(f"{key}={shown(word)}: expected at most {MAX_INTEGER}", key=key)
        return int(word)


def _where(word: str, value: str) -> str:
    """Which of several numbers is meant, for an error."""
    return "" if word == value else f", found {shown(word)!r} between the commas"
