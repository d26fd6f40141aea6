"""Results on stdout as tables and JSON, notes on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # importing rich takes longer than running a small network: where it is used
    from rich.console import Console

#: Columns: a pipe has no edge at which a table would have to wrap.
PIPED_WIDTH = 200


def stdout_console() -> Console:
    """Return the console for results; piped output is as wide as it needs to be, unless COLUMNS says otherwise."""
    from rich.console import Console

    piped_width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPED_WIDTH
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=piped_width)


def stderr_console() -> Console:
    """Return the console for progress and notes."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout. NaN and infinities, which JSON does not have, are a bug and raise ValueError."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Print a line of progress on stderr."""
    click.echo(text, err=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table on stdout; columns whose cells are all numbers are aligned to the right."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    texts = [[str(cell) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        numbers = bool(texts) and all(_is_number(row[index]) for row in texts)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in texts:
        table.add_row(*row)
    stdout_console().print(table)


def tile_text(tile: dict[str, Any]) -> str:
    """A tile's parameters as `name=value`, those that are 1, 0 or off left out."""
    return " ".join(f"{name}={value}" for name, value in tile.items() if value not in (0, 1))


def _is_number(text: str) -> bool:
    try:
        float(text.strip().rstrip("%x").replace(",", ""))
    except ValueError:
        return text.strip() in {"", "-"}
    return True
