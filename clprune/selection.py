"""Which device to run on: the rules of `--device`, `CLPRUNE_DEVICE` and `PYOPENCL_CTX`. No OpenCL calls here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from clprune.device import DeviceInfo, PlatformInfo
from clprune.errors import NoDeviceError

VARIABLES = ("CLPRUNE_DEVICE", "PYOPENCL_CTX")
_NO_DRIVER = (
    "Install your GPU vendor's OpenCL driver, or a driver for the CPU: "
    "pip install 'clprune[cpu]' (x86-64 Linux and Windows), or your system's PoCL package (pocl-opencl-icd)"
)
_Item = TypeVar("_Item")


def select_device(
    platforms: Sequence[PlatformInfo], *, selection: str | None, environment: Mapping[str, str]
) -> DeviceInfo:
    """Return the device that `selection`, else the environment, else the preference order names.

    A selection is `platform[:device]`, each part an index or a case-insensitive part of the name. A single part that
    fits no platform may name a device, or be "gpu", "cpu" or "accelerator". A platform alone means its best device.
    Raises NoDeviceError, listing what there is, when nothing or more than one thing fits.
    """
    devices = [device for platform in platforms for device in platform.devices]
    if not devices:
        raise NoDeviceError(_no_device_text(platforms, environment))
    text, source = _requested(selection, environment)
    if not text:
        return min(devices, key=preference)
    platform_part, colon, device_part = (part.strip() for part in text.partition(":"))
    inside = [platform for platform in platforms if _fits(platform_part, platform.name, platform.index)]
    inside = _exact_first(inside, platform_part, lambda platform: platform.name)
    if not inside and not colon:
        return _by_device_name(devices, platform_part, source)
    if len(inside) != 1:
        found = "no platform fits" if not inside else f"{len(inside)} platforms fit"
        raise NoDeviceError(_mismatch(text, source, found, devices))
    candidates = list(inside[0].devices)
    if not candidates:
        raise NoDeviceError(_mismatch(text, source, f"platform {inside[0].name!r} has no device", devices))
    if not device_part:
        return min(candidates, key=preference)
    fitting = [device for device in candidates if _fits(device_part, device.name, device.device_index)]
    fitting = _exact_first(fitting, device_part, lambda device: device.name)
    if len(fitting) != 1:
        found = "no device fits" if not fitting else f"{len(fitting)} devices fit"
        raise NoDeviceError(_mismatch(text, source, found, devices))
    return fitting[0]


def preference(device: DeviceInfo) -> tuple[int, int, int]:
    """Sort key, best first: GPU, pip's CPU driver, the system's CPU driver, accelerators, software renderers.

    Who has installed a driver by pip wants it used: it starts and runs faster than PoCL (docs/results/start.md).
    """
    if device.is_software:
        rank = 4
    elif device.type == "gpu":
        rank = 0
    elif device.type == "cpu":
        rank = 1 if device.origin == "pip" else 2
    else:
        rank = 3
    return rank, device.platform_index, device.device_index


def _requested(selection: str | None, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return (text, where it came from); the text is empty when nothing was asked for."""
    if selection and selection.strip():
        return selection.strip(), "the device selection"
    for variable in VARIABLES:
        if text := environment.get(variable, "").strip():
            return text, variable
    return "", ""


def _fits(part: str, name: str, index: int) -> bool:
    """True when `part` is the index or a piece of the name. A number is an index: "0" must not find "RTX 3080"."""
    if part.isdecimal() and len(part) <= 2:
        return int(part) == index
    return part.lower() in name.lower()


def _exact_first(items: list[_Item], part: str, name_of: Callable[[_Item], str]) -> list[_Item]:
    """Keep the items whose whole name is `part` where there are any: "Intel" beside "Intel FPGA" is no riddle."""
    exact = [item for item in items if name_of(item).lower() == part.lower()]
    return exact or items


def _by_device_name(devices: list[DeviceInfo], part: str, source: str) -> DeviceInfo:
    """Find a device by a piece of its name, or the best device of a type."""
    of_type = [device for device in devices if device.type == part.lower()]
    if of_type:
        return min(of_type, key=preference)
    if part.isdecimal() and len(part) <= 2:
        raise NoDeviceError(_mismatch(part, source, "no platform has that index", devices))
    named = _exact_first([device for device in devices if part.lower() in device.name.lower()], part, lambda d: d.name)
    if len(named) != 1:
        found = "no platform or device fits" if not named else f"{len(named)} devices fit"
        raise NoDeviceError(_mismatch(part, source, found, devices))
    return named[0]


def _mismatch(text: str, source: str, found: str, devices: list[DeviceInfo]) -> str:
    listing = "; ".join(f"{device.selector} = {device.platform_name} / {device.name}" for device in devices)
    return f"{source} is {text!r}: {found}. Choose PLATFORM[:DEVICE] by index or part of a name from: {listing}"


def _no_device_text(platforms: Sequence[PlatformInfo], environment: Mapping[str, str]) -> str:
    vendors = environment.get("OCL_ICD_VENDORS", "")
    place = f" (OCL_ICD_VENDORS is {vendors!r}: only the drivers named there were looked at)" if vendors else ""
    if not platforms:
        return f"no OpenCL driver was found{place}. {_NO_DRIVER}"
    empty = "; ".join(f"{platform.name} ({platform.problem or 'no devices'})" for platform in platforms)
    return f"no OpenCL device was found{place}; platforms without one: {empty}. {_NO_DRIVER}"
