"""`clprune info`: print versions, device and database for a bug report, or what a model holds."""

from __future__ import annotations

import math
import platform
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.network_table import print_network
from clprune.cli.shared.options import device_option, dialect_option, json_option
from clprune.cli.shared.text import matrix_unit_text, print_json, print_table, stdout_console
from clprune.errors import NoDeviceError, WeightsError

if TYPE_CHECKING:
    from clprune.container.read import StoredLayer
    from clprune.device import DeviceInfo

#: What answers depend on beside the driver.
PACKAGES = ("numpy", "pyopencl", "mako", "intel-opencl-rt", "torch")


@click.command("info")
@click.argument("file", metavar="[MODEL.cfg|FILE.safetensors]", required=False)
@dialect_option
@device_option
@json_option
def command(file: str | None, dialect: str | None, device: str | None, as_json: bool) -> None:
    """Print versions, the device with its driver and quirks, and the state of the tuning database.

    This is what a bug report should hold. It works without any device, too. With a cfg, print instead its layers and
    which fork of darknet it is meant for; with a packed model, how each of its layers is stored.
    """
    from clprune.opencl import choose

    if file is not None and Path(file).suffix == ".cfg":
        print_network(file, dialect, as_json=as_json)
        return
    if file is not None:
        _print_container(file, as_json=as_json)
        return

    chosen: DeviceInfo | None = None
    problem = ""
    try:
        chosen = choose(device)
    except NoDeviceError as error:
        if device is not None:
            raise
        problem = str(error)
    facts = collect(chosen, problem=problem)
    if as_json:
        print_json(facts)
    else:
        _print_text(facts)


def collect(device: DeviceInfo | None, *, problem: str) -> dict[str, Any]:
    """All facts as JSON can hold them; `problem` says why there is no device."""
    from clprune.folders import cache_folder
    from clprune.opencl import discover_platforms
    from clprune.quirks import platform_advice, quirks_of
    from clprune.tiles.state import store_state
    from clprune.version import __version__

    platforms = discover_platforms() if device is not None or not problem.startswith("the OpenCL loader") else []
    return {
        "clprune": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "executable": sys.executable,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "cache_folder": str(cache_folder()),
        "platforms": [
            {
                "name": found.name,
                "version": found.version,
                "devices": [item.name for item in found.devices],
                "problem": found.problem,
                "advice": platform_advice(found),
            }
            for found in platforms
        ],
        "device": device.to_dict() if device else None,
        "device_problem": problem,
        "quirks": [quirk.to_dict() for quirk in quirks_of(device)] if device else [],
        "database": asdict(store_state(device)),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _print_text(facts: dict[str, Any]) -> None:
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    lines = [
        ("clprune", facts["clprune"]),
        ("python", f"{facts['python']} ({facts['executable']})"),
        ("system", facts["system"]),
        ("packages", packages),
        *(("platform", _platform_text(found)) for found in facts["platforms"]),
        *_device_lines(facts),
        *(("quirk", f"{quirk['name']}: {quirk['effect']}") for quirk in facts["quirks"]),
        ("database", _database_text(facts["database"])),
        ("kernels", f"kept in {facts['cache_folder']}"),
    ]
    console = stdout_console()
    for name, text in lines:
        console.print(f"{name:10}{text}", soft_wrap=True)


def _platform_text(found: dict[str, Any]) -> str:
    advice = f" ({found['advice']})" if found["advice"] else ""
    devices = ", ".join(found["devices"]) or f"{found['problem']}{advice}"
    return f"{found['name']}, {found['version']}: {devices}"


def _device_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    device = facts["device"]
    if device is None:
        return [("device", f"none: {facts['device_problem']}")]
    limits = (
        f"work-groups up to {device['max_work_group_size']}, {device['local_mem_bytes']} bytes of local memory, "
        f"{device['compute_units']} compute units, matrix unit: {matrix_unit_text(device['matrix_unit'])}"
    )
    return [
        ("device", f"{device['selector']} {device['name']} ({device['type']}, {device['architecture']})"),
        ("driver", f"{device['platform_name']}, {device['version']}, driver {device['driver_version']}"),
        ("limits", limits),
    ]


def _database_text(state: dict[str, Any]) -> str:
    if state["problem"]:
        return f"{state['path']} cannot be used: {state['problem']}"
    if not state["exists"]:
        return f"{state['path']} does not exist yet: nothing was tuned"
    return (
        f"{state['path']}: {state['measurements']} measurements, {state['winners']} tuned problems on "
        f"{state['devices']} devices, {state['winners_here']} of them here"
    )


def _print_container(file: str, *, as_json: bool) -> None:
    """Print each layer's domain, unit, share of weights that are left, coding and bytes, and the file's size.

    Raises WeightsError where `file` is no container.
    """
    from clprune.container.load import is_packed
    from clprune.container.read import describe_packed

    path = Path(file)
    if not is_packed(path):
        raise WeightsError(
            "expected a packed model, PREFIX.safetensors: other files do not say what they hold", path=path
        )
    layers = describe_packed(path)
    size_bytes = path.stat().st_size
    if as_json:
        print_json({"file": str(path), "size_bytes": size_bytes, "layers": [_to_dict(layer) for layer in layers]})
        return
    columns = ["layer", "kind", "weights", "domain", "method", "unit", "kept", "coding", "bits", "stored", "kB"]
    print_table(columns, [_row(layer) for layer in layers])
    whole_bytes = 4 * sum(math.prod(layer.shape) for layer in layers)
    click.echo(
        f"{path}: {size_bytes / 1e6:.2f} MB, {whole_bytes / size_bytes:.1f} times smaller than "
        f"{whole_bytes / 1e6:.2f} MB of float32"
    )


def _to_dict(layer: StoredLayer) -> dict[str, Any]:
    facts = {"layer": layer.layer, "kind": layer.kind, "shape": list(layer.shape), "size_bytes": layer.size_bytes}
    if layer.record is None:
        return facts
    return facts | {"kept_share": layer.kept_share} | asdict(layer.record)


def _row(layer: StoredLayer) -> tuple[object, ...]:
    shape = "x".join(map(str, layer.shape))
    size = f"{layer.size_bytes / 1e3:.1f}"
    record = layer.record
    if record is None:
        return (layer.layer, layer.kind, shape, *["-"] * 7, size)
    tile = record.output_tile
    return (
        layer.layer,
        layer.kind,
        shape,
        record.domain if tile is None else f"winograd F({tile}x{tile},3x3)",
        record.method or "-",
        record.unit or "-",
        f"{100 * layer.kept_share:.1f}%",
        record.coding,
        record.bits,
        "whole" if record.is_dense else f"units of {record.unit_rows}x1",
        size,
    )
