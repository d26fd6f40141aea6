"""`clprune info`: what a bug report needs; with a packed model, what that holds."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.common import device_option, json_option, print_json, stdout_console
from clprune.errors import NoDeviceError

if TYPE_CHECKING:
    from clprune.device import DeviceInfo

#: What answers depend on beside the driver.
PACKAGES = ("numpy", "pyopencl", "mako", "intel-opencl-rt", "torch")


@click.command("info")
@click.argument("file", metavar="[FILE.safetensors]", required=False)
@device_option
@json_option
def command(file: str | None, device: str | None, as_json: bool) -> None:
    """Print versions, the device with its driver and quirks, and the state of the tuning database.

    This is what a bug report should hold. It works without any device, too. With a packed model, print instead how
    each of its layers is stored.
    """
    from clprune.cli.container import print_container
    from clprune.opencl import choose

    if file is not None:
        print_container(file, as_json=as_json)
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
    from dataclasses import asdict

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
        f"{device['compute_units']} compute units"
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
