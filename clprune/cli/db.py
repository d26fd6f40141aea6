"""`clprune db`: look into the tuning database, exchange its results, forget them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clprune.cli.shared.options import json_option
from clprune.cli.shared.text import print_json, print_table, tile_text
from clprune.errors import UsageError
from clprune.geometry import problem_text

if TYPE_CHECKING:
    from clprune.tiles.records import Best, StoredDevice
    from clprune.tiles.store import Store

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group("db")
def command() -> None:
    """Look into the tuning database, exchange its results, forget them."""


def _filter_options(function: _Command) -> _Command:
    """Add `--kernel` and `--device`, which narrow down what a command works on."""
    function = click.option("--kernel", metavar="NAME", help="Only results of this kernel.")(function)
    return click.option(
        "--device", metavar="TEXT", help="Only results of devices whose name, platform or driver contains TEXT."
    )(function)


@command.command("list")
@_filter_options
@json_option
def list_command(kernel: str | None, device: str | None, as_json: bool) -> None:
    """One line per device, kernel and problem: how much was tried, and the best time."""
    store = _open()
    rows = _summaries(store, _chosen_devices(store, device), kernel)
    if as_json:
        print_json({"database": str(store.path), "problems": rows})
        return
    if not rows:
        click.echo(f"no results in {store.path}")
        return
    columns = ["device", "driver", "kernel", "problem", "weights", "tried", "valid", "best ms", "default ms", "from"]
    print_table(columns, [_list_row(row) for row in rows])


@command.command("best")
@_filter_options
@json_option
def best_command(kernel: str | None, device: str | None, as_json: bool) -> None:
    """The fastest tile of every problem."""
    from clprune.tiles.records import parameters_from

    store = _open()
    devices = _chosen_devices(store, device)
    winners = [best for best in store.all_best(kernel=kernel) if best.key.device in devices]
    if as_json:
        print_json({"database": str(store.path), "best": [_best_facts(best, devices) for best in winners]})
        return
    if not winners:
        click.echo(f"no results in {store.path}")
        return
    rows = [
        (
            devices[best.key.device].name,
            best.key.kernel,
            problem_text(best.key.problem),
            best.key.workload,
            _number(best.time_ms),
            _speed_up(best.time_ms, best.default_time_ms),
            best.origin,
            tile_text(parameters_from(best.tile)),
        )
        for best in winners
    ]
    print_table(["device", "kernel", "problem", "weights", "ms", "speed-up", "from", "tile"], rows)


@command.command("export")
@click.argument("file", metavar="FILE")
@_filter_options
@json_option
def export_command(file: str, kernel: str | None, device: str | None, as_json: bool) -> None:
    """Write results to FILE as T4 JSON; compressed where the name ends in .gz."""
    from clprune.tiles.t4 import Results, from_store, write_t4

    store = _open()
    devices = _chosen_devices(store, device)
    parts = [from_store(store, kernel=kernel, device=key) for key in devices]
    results = Results(
        devices={key: stored for part in parts for key, stored in part.devices.items()},
        measurements=tuple(measurement for part in parts for measurement in part.measurements),
        best=tuple(best for part in parts for best in part.best),
    )
    write_t4(file, results)
    counts = {"measurements": len(results.measurements), "problems": len(results.best)}
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


def _summaries(store: Store, devices: Iterable[str], kernel: str | None) -> list[dict[str, Any]]:
    """One entry per key: counts, times, origin."""
    known = store.devices()
    entries: dict[Any, dict[str, Any]] = {}

    def entry(key: Any) -> dict[str, Any]:
        device = known[key.device]
        facts = {"device": device.name, "driver_version": device.driver_version, "kernel": key.kernel}
        start = {"problem": key.problem, "workload": key.workload, "source_hash": key.source_hash}
        empty = {"tried": 0, "valid": 0, "best_ms": None, "default_ms": None, "origin": None}
        return entries.setdefault(key, {**facts, **start, **empty})

    for device in devices:
        for measurement in store.all_measurements(kernel=kernel, device=device):
            counts = entry(measurement.key)
            counts["tried"] += 1
            counts["valid"] += measurement.time_ms is not None
        for best in store.all_best(kernel=kernel, device=device):
            entry(best.key).update(best_ms=best.time_ms, default_ms=best.default_time_ms, origin=best.origin)
    return list(entries.values())


def _list_row(entry: dict[str, Any]) -> tuple[object, ...]:
    return (
        entry["device"],
        entry["driver_version"],
        entry["kernel"],
        problem_text(entry["problem"]),
        entry["workload"],
        entry["tried"],
        entry["valid"],
        _number(entry["best_ms"]),
        _number(entry["default_ms"]),
        entry["origin"] or "-",
    )


def _best_facts(best: Best, devices: dict[str, StoredDevice]) -> dict[str, Any]:
    from clprune.tiles.records import parameters_from

    device = devices[best.key.device]
    return {
        "device": device.name,
        "platform": device.platform_name,
        "driver_version": device.driver_version,
        "kernel": best.key.kernel,
        "source_hash": best.key.source_hash,
        "problem": best.key.problem,
        "workload": best.key.workload,
        "tile": parameters_from(best.tile),
        "time_ms": best.time_ms,
        "default_time_ms": best.default_time_ms,
        "measured_problem": best.measured_problem,
        "origin": best.origin,
        "timestamp": best.timestamp,
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _speed_up(time_ms: float | None, default_ms: float | None) -> str:
    return f"{default_ms / time_ms:.2f}x" if time_ms and default_ms else "-"
