"""Numbers as people write them. Python's own reading also takes 1_0, digits of every script, infinities and NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import click

#: No seed or size is longer, and libraries have no integers for more.
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def whole_number(text: str) -> int:
    """The number of at most 18 digits that `text` is. Raises ValueError."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("expected a whole number")
    return int(text)


def finite_number(text: str) -> float:
    """The number that `text` is. Raises ValueError, also for one that no float holds."""
    number = float(text) if _DECIMAL.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise ValueError("expected a number")
    return number


class _Number(click.ParamType[Any]):
    """What `read` makes of a text; its bounds are the command's business."""

    name = "number"

    def __init__(self, read: Callable[[str], float]) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(f"{value[:40]!r}: {error}", param, ctx)


WHOLE, FINITE = _Number(whole_number), _Number(finite_number)


class WholeRange(click.IntRange):
    """A range of whole numbers."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(WHOLE.convert(value, param, ctx), param, ctx)


class FiniteRange(click.FloatRange):
    """A range of numbers, none of which is infinite or NaN: that one is in every range to click."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(FINITE.convert(value, param, ctx), param, ctx)
