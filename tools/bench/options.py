"""Options that several benchmarks share: what is tuned beforehand, in which units is pruned, the seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from clprune.errors import UsageError
from clprune.tuning.effort import EFFORTS, effort_by_name
from tools.bench.prepare import Preparation
from tools.bench.units import CONNECTED_ROWS, CONVOLUTION_ROWS, Tuning, UnitRows

_Command = TypeVar("_Command", bound=Callable[..., Any])


def preparation_options(function: _Command) -> _Command:
    """Add the options that `take_preparation` takes."""
    for option in (
        click.option("--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True,
                     help="Seed of weights that no file has, and of the images."),
        click.option("--fc-rows", metavar="R,...", default=_text(CONNECTED_ROWS), show_default=True,
                     help="Unit rows to choose from in connected layers."),
        click.option("--conv-rows", metavar="R,...", default=_text(CONVOLUTION_ROWS), show_default=True,
                     help="Unit rows to choose from in convolutions; 16 and 32 as well where images are small."),
        click.option("--effort", type=click.Choice([effort.name for effort in EFFORTS]), default="quick",
                     show_default=True, help="Of the tuning that comes first."),
        click.option("--tune", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
                     help="Tune what is missing first, for so long at most per model and batch size."),
    ):  # fmt: skip
        function = option(function)
    return function


def take_preparation(options: dict[str, Any]) -> Preparation:
    """Take the options of `preparation_options` out of `options`. Raises UsageError."""
    seconds, effort = options.pop("tune"), options.pop("effort")
    return Preparation(
        tuning=Tuning(effort=effort_by_name(effort), budget_s=seconds) if seconds else Tuning(),
        unit_rows=UnitRows(
            convolution=parse_rows(options.pop("conv_rows")), connected=parse_rows(options.pop("fc_rows"))
        ),
        seed=options.pop("seed"),
    )


def parse_rows(text: str) -> tuple[int, ...]:
    """Such as `8,12`. Raises UsageError."""
    try:
        rows = tuple(int(part) for part in text.split(","))
    except ValueError:
        rows = ()
    if not rows or min(rows) < 1:
        raise UsageError(f"unit rows {text!r}: expected numbers such as 8,12")
    return rows


def _text(rows: tuple[int, ...]) -> str:
    return ",".join(map(str, rows))
