"""`clprune devices`: list every OpenCL platform and device, and mark the one that would be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clprune.cli.shared.options import device_option, json_option
from clprune.cli.shared.text import matrix_unit_text, print_json, stdout_console
from clprune.errors import NoDeviceError

if TYPE_CHECKING:
    from rich.console import Console

    from clprune.device import DeviceInfo, PlatformInfo


@click.command("devices")
@device_option
@json_option
@click.pass_context
def command(ctx: click.Context, device: str | None, as_json: bool) -> None:
    """List every OpenCL platform and device, and mark the one that would be chosen."""
    from clprune.opencl import choose, discover_platforms

    platforms = discover_platforms()
    chosen: DeviceInfo | None = None
    failure: NoDeviceError | None = None
    try:
        chosen = choose(device)
    except NoDeviceError as error:
        failure = error
    if as_json:
        selector = chosen.selector if chosen else None
        print_json({"chosen": selector, "platforms": [platform.to_dict() for platform in platforms]})
    else:
        _print_text(platforms, chosen)
    if failure is not None:
        raise failure


def _print_text(platforms: list[PlatformInfo], chosen: DeviceInfo | None) -> None:
    console = stdout_console()
    for platform in platforms:
        console.print(f"platform {platform.index}: {platform.name} ({platform.vendor}, {platform.version})")
        if platform.problem:
            console.print(f"    {platform.problem}{_advice(platform)}")
        for device in platform.devices:
            _print_device(console, device, is_chosen=device == chosen)
    if any(device.guessed for platform in platforms for device in platform.devices):
        console.print("~ marks a guess: the driver does not report it")


def _print_device(console: Console, device: DeviceInfo, *, is_chosen: bool) -> None:
    from rich.padding import Padding
    from rich.table import Table

    mark = "*" if is_chosen else " "
    note = "  <- chosen" if is_chosen else ""
    console.print(f"  {mark} {device.selector}  {device.name}{note}")
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(device):
        facts.add_row(name, value)
    console.print(Padding(facts, (0, 0, 0, 9), expand=False))


def _facts(device: DeviceInfo) -> list[tuple[str, str]]:
    def value(field: str, unit: str = "") -> str:
        guess = "~" if field in device.guessed else ""
        return f"{guess}{getattr(device, field)}{unit}"

    origin = ", installed by pip" if device.origin == "pip" else ""
    software = ", software on the host CPU" if device.is_software else ""
    local_kind = "dedicated" if device.local_mem_is_dedicated else "part of global memory"
    items = " x ".join(str(size) for size in device.max_work_item_sizes)
    clock = value("clock_mhz", " MHz") if device.clock_mhz else "not reported"
    return [
        ("type", f"{value('type')}, {value('architecture')}{software}"),
        ("vendor", value("vendor")),
        ("driver", value("driver_version") + origin),
        ("version", f"{value('version')}, {value('opencl_c_version')}"),
        ("compute units", value("compute_units")),
        ("clock", clock),
        ("work-group", f"at most {value('max_work_group_size')} work-items, {items} by dimension"),
        ("local memory", f"{_memory(device.local_mem_bytes)}, {local_kind}"),
        ("global memory", f"{_memory(device.global_mem_bytes)}, buffers up to {_memory(device.max_alloc_bytes)}"),
        ("caches", ", ".join(map(_memory, device.cache_bytes)) or "not reported"),
        ("SIMD width", value("simd_width", " float32 lanes")),
        (
            "vector width",
            f"native float{value('native_vector_width_float')}, preferred float{value('preferred_vector_width_float')}",
        ),
        ("matrix unit", matrix_unit_text(device.matrix_unit)),
        ("fp16, fp64", f"{_yes(device.fp16)}, {_yes(device.fp64)}"),
    ]


def _advice(platform: PlatformInfo) -> str:
    from clprune.quirks import platform_advice

    advice = platform_advice(platform)
    return f" ({advice})" if advice else ""


def _memory(nbytes: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if nbytes >= size:
            return f"{nbytes / size:.4g} {unit}"
    return f"{nbytes / 2**10:.4g} KiB"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
