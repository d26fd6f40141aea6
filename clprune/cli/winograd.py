"""Options of pruning in the Winograd domain, beside `--winograd`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def winograd_options(function: _Command) -> _Command:
    """Add `--winograd-unit`, `--balance`, `--refit` and `--winograd-learning-rate`."""
    for option in (
        click.option("--winograd-learning-rate", type=click.FloatRange(min=0, min_open=True), metavar="F", default=1.0,
                     show_default=True, help="What multiplies --learning-rate for weights in the Winograd domain."),
        click.option("--refit/--no-refit", default=True, show_default=True,
                     help="wsp, bwsp, abwsp: fit what stays of a filter to what goes, before retraining."),
        click.option("--balance", metavar="list|matrix", default="list", show_default=True,
                     help="bwsp: keep as much in every row block of every matrix, or only in every matrix."),
        click.option("--winograd-unit", metavar="tile|column|row", default="tile", show_default=True,
                     help="wsp, bwsp, abwsp: a column in the rows of --unit, a whole one, or a whole row of a matrix."),
    ):  # fmt: skip
        function = option(function)
    return function
