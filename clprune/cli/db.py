"""`clprune db`: look into the tuning database, exchange its results, forget them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clprune.cli.shared.numbers import WholeRange
from clprune.cli.shared.options import json_option
from clprune.cli.shared.text import print_json, print_json_list, print_table, say, tile_text
from clprune.errors import UsageError
from clprune.geometry import problem_text

if TYPE_CHECKING:
    from clprune.tiles.records import Best, Key, StoredDevice
    from clprune.tiles.store import Store

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Head of a column -> what stands in it.
_LIST_COLUMNS = {
    "device": "device", "driver": "driver_version", "kernel": "kernel", "problem": "problem", "weights": "workload",
    "tried": "tried", "valid": "valid", "best ms": "best_ms", "default ms": "default_ms", "from": "origin",
}  # fmt: skip
_BEST_COLUMNS = {
    "device": "device", "kernel": "kernel", "problem": "problem", "weights": "workload", "ms": "time_ms",
    "speed-up": "speed_up", "from": "origin", "tile": "tile",
}  # fmt: skip

#: Lines of a table, where nobody says.
_MOST_LINES = 1000


@click.group("db")
def command() -> None:
    """Look into the tuning database, exchange its results, forget them."""


def _filter_options(function: _Command) -> _Command:
    """Add `--kernel` and `--device`, which narrow down what a command works on."""
    function = click.option("--kernel", metavar="NAME", help="Only results of this kernel.")(function)
    return click.option(
        "--device", metavar="TEXT", help="Only results of devices whose name, platform or driver contains TEXT."
    )(function)


def _limit_option(function: _Command) -> _Command:
    """Add `--limit`: with years of results, a table that nobody reads."""
    return click.option(
        "--limit",
        type=WholeRange(min=0),
        metavar="N",
        help=f"At most so many problems; 0: all. Default: {_MOST_LINES}, with --json all.",
    )(function)


@command.command("list")
@_filter_options
@_limit_option
@json_option
def list_command(kernel: str | None, device: str | None, limit: int | None, as_json: bool) -> None:
    """One line per device, kernel and problem: how much was tried, and the best time."""
    store = _open()
    entries = _summaries(store, _chosen_devices(store, device), kernel)
    _print(store, "problems", entries, _LIST_COLUMNS, limit=limit, as_json=as_json)


@command.command("best")
@_filter_options
@_limit_option
@json_option
def best_command(kernel: str | None, device: str | None, limit: int | None, as_json: bool) -> None:
    """The fastest tile of every problem."""
    store = _open()
    devices = _chosen_devices(store, device)
    bests = (best for key in devices for best in store.winners(key, kernel=kernel))
    _print(store, "best", (_winner(best, devices) for best in bests), _BEST_COLUMNS, limit=limit, as_json=as_json)


@command.command("export")
@click.argument("file", metavar="FILE")
@_filter_options
@json_option
def export_command(file: str, kernel: str | None, device: str | None, as_json: bool) -> None:
    """Write results to FILE as T4 JSON; compressed where the name ends in .gz."""
    from clprune.files import check_writable
    from clprune.tiles.t4 import export

    store = _open()
    check_writable(Path(file), sources=[store.path] if store.path else [])
    measurements, problems = export(store, file, kernel=kernel, devices=_chosen_devices(store, device))
    counts = {"measurements": measurements, "problems": problems}
    if as_json:
        print_json({"file": file, **counts})
    else:
        click.echo(f"{counts['measurements']} measurements of {counts['problems']} tuned problems written to {file}")


@command.command("import")
@click.argument("file", metavar="FILE")
@json_option
def import_command(file: str, as_json: bool) -> None:
    """Add the results of a T4 FILE that `clprune db export` wrote.

    What was measured here stays. An imported tile is tried on a small problem before it is used the first time.
    """
    from clprune.tiles.t4 import into_store, read_t4

    results = read_t4(file)
    store = _open(to_write=True)
    added = into_store(store, results, path=file)
    if as_json:
        print_json({"file": file, "measurements": len(results.measurements), "added": added})
    else:
        click.echo(f"{added} of {len(results.measurements)} measurements in {file} were new to {store.path}")


@command.command("merge")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@json_option
def merge_command(files: tuple[str, ...], as_json: bool) -> None:
    """Add the results of others: FILEs of T4, or tuning databases, which stay as they are.

    What was measured here stays; of several that know a candidate the first one counts. `from` in `clprune db list`
    says which file a result is from. An imported tile is tried on a small problem before it is used the first time.
    """
    from clprune.tiles.t4 import into_store, read_results

    found = [(file, read_results(file)) for file in files]  # all of them, before anything is added
    store = _open(to_write=True)
    rows = [
        {"file": file, "measurements": len(results.measurements), "added": into_store(store, results, path=file)}
        for file, results in found
    ]
    if as_json:
        print_json({"database": str(store.path), "files": rows})
        return
    for row in rows:
        click.echo(f"{row['added']} of {row['measurements']} measurements in {row['file']} were new to {store.path}")


@command.command("forget")
@_filter_options
@click.option("--problem", metavar="KEY", help="Only results of this problem, named as --json prints it.")
@click.option("--all", "is_all", is_flag=True, help="Everything.")
@json_option
def forget_command(kernel: str | None, device: str | None, problem: str | None, is_all: bool, as_json: bool) -> None:
    """Delete results: those that the options choose, or --all."""
    if is_all == any(choice is not None for choice in (kernel, device, problem)):
        raise click.UsageError("expected --all, or at least one of --kernel, --device, --problem")
    store = _open(to_write=True)
    if device is None:
        count = store.forget(kernel=kernel, problem=problem)
    else:
        devices = _chosen_devices(store, device)
        count = sum(store.forget(kernel=kernel, device=key, problem=problem) for key in devices)
    if as_json:
        print_json({"forgotten": count})
    else:
        click.echo(f"{count} measurements forgotten")


def _open(*, to_write: bool = False) -> Store:
    from clprune.tiles.store import open_store

    return click.get_current_context().with_resource(open_store(to_write=to_write))


def _chosen_devices(store: Store, text: str | None) -> dict[str, StoredDevice]:
    """The devices with results that `text` names, by key. Raises UsageError when there is none."""
    devices = store.devices()
    if text is None:
        return devices
    found = {key: device for key, device in devices.items() if text.lower() in _words(device).lower()}
    if not found:
        known = "; ".join(_words(device) for device in devices.values()) or "none"
        raise UsageError(f"no results of a device {text!r}; there are results of: {known}")
    return found


def _words(device: StoredDevice) -> str:
    return f"{device.name} ({device.platform_name}, {device.driver_version})"


def _summaries(store: Store, devices: Mapping[str, StoredDevice], kernel: str | None) -> Iterator[dict[str, Any]]:
    """One entry per key, device after device: counts, times, origin."""
    empty = {"tried": 0, "valid": 0, "best_ms": None, "default_ms": None, "origin": None}
    for device in devices:
        counts: Iterator[tuple[Key, dict[str, Any]]] = (
            (key, {"tried": tried, "valid": valid}) for key, tried, valid in store.counts(device, kernel=kernel)
        )
        times: Iterator[tuple[Key, dict[str, Any]]] = (
            (best.key, {"best_ms": best.time_ms, "default_ms": best.default_time_ms, "origin": best.origin})
            for best in store.winners(device, kernel=kernel)
        )
        in_order = merge(counts, times, key=lambda item: tuple(vars(item[0]).values()))
        for key, facts in groupby(in_order, key=itemgetter(0)):
            yield _names(key, devices) | empty | dict(ChainMap(*(fact for _, fact in facts)))


def _winner(best: Best, devices: Mapping[str, StoredDevice]) -> dict[str, Any]:
    from clprune.tiles.records import parameters_from

    facts = {name: value for name, value in vars(best).items() if name != "key"}
    return _names(best.key, devices) | facts | {"tile": parameters_from(best.tile)}


def _names(key: Key, devices: Mapping[str, StoredDevice]) -> dict[str, Any]:
    """What a key stands for, the device by its names."""
    device = devices[key.device]
    names = {"device": device.name, "platform": device.platform_name, "driver_version": device.driver_version}
    return vars(key) | names


def _print(
    store: Store,
    name: str,
    entries: Iterator[dict[str, Any]],
    columns: Mapping[str, str],
    *,
    limit: int | None,
    as_json: bool,
) -> None:
    """One row per entry; `columns` says which of its facts stands under which head."""
    most = limit if limit is not None else 0 if as_json else _MOST_LINES
    shown = islice(entries, most or None)
    if as_json:
        print_json_list({"database": str(store.path)}, name, shown)
    else:
        rows = [[_cell(fact, entry) for fact in columns.values()] for entry in shown]
        if not rows:
            click.echo(f"no results in {store.path}")
            return
        print_table(list(columns), rows)
    if next(entries, None) is not None:
        say(f"clprune: the first {most}; --limit 0 shows all, --kernel and --device choose")


def _cell(name: str, entry: Mapping[str, Any]) -> str:
    if name == "speed_up":
        time_ms, default_ms = entry["time_ms"], entry["default_time_ms"]
        return f"{default_ms / time_ms:.2f}x" if time_ms and default_ms else "-"
    value = entry[name]
    if value is None:
        return "-"
    if name == "problem":
        return problem_text(value)
    if name == "tile":
        return tile_text(value)
    return f"{value:.4f}" if isinstance(value, float) else str(value)
