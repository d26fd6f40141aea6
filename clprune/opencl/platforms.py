"""Find platforms and devices, and read what the drivers say of them."""

from __future__ import annotations

import os
import threading

import pyopencl as cl

from clprune.device import (
    TARGET_LANES,
    DeviceInfo,
    PlatformInfo,
    architecture_of,
    compiled_for,
    guess_simd_width,
    is_software,
)
from clprune.errors import NoDeviceError
from clprune.opencl import pip_driver
from clprune.opencl.codes import DRIVER_ERRORS, NOTHING_FOUND
from clprune.opencl.cuda import platform as cuda_platform
from clprune.opencl.host_caches import host_cache_bytes
from clprune.selection import select_device


class _Loader:
    """The platforms of this process, asked for once: the loader itself reads its settings only the first time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._platforms: list[cl.Platform] | None = None
        self.shows_pip_driver = False

    def platforms(self) -> list[cl.Platform]:
        with self._lock:
            if self._platforms is None:
                with pip_driver.visible() as self.shows_pip_driver:
                    self._platforms = _ask_loader()
            return self._platforms


_LOADER = _Loader()


def _ask_loader() -> list[cl.Platform]:
    try:
        return list(cl.get_platforms())
    except DRIVER_ERRORS as error:
        if error.code in NOTHING_FOUND:
            return []
        raise NoDeviceError(f"the OpenCL loader failed: {error}") from error


def discover_platforms() -> list[PlatformInfo]:
    """Return every platform with its devices; one that fails or has none keeps the reason in `problem`.

    NVIDIA's GPUs that have no OpenCL driver are on the last one, that of the CUDA driver, where that is there.
    """
    found = [_platform_info(index, platform) for index, platform in enumerate(_LOADER.platforms())]
    if any("nvidia" in platform.vendor.lower() and platform.devices for platform in found):
        return found
    without = cuda_platform.find_platform(len(found))
    return found if without is None else [*found, without]


def devices() -> list[DeviceInfo]:
    """Return every usable device of every platform; its `selector` is what `device=` takes. Raises NoDeviceError.

    >>> [device.type for device in clprune.devices()].count("cpu") > 0
    True
    """
    return [device for platform in discover_platforms() for device in platform.devices]


def choose(selection: str | None = None) -> DeviceInfo:
    """Return the device to use: `selection` > CLPRUNE_DEVICE > PYOPENCL_CTX > GPU > CPU. Raises NoDeviceError."""
    return select_device(discover_platforms(), selection=selection, environment=os.environ)


def find_handle(info: DeviceInfo) -> cl.Device:
    """Return pyopencl's device at the place that `info` names. Raises NoDeviceError, or pyopencl's errors."""
    try:
        return _LOADER.platforms()[info.platform_index].get_devices()[info.device_index]
    except IndexError:
        raise NoDeviceError(
            f"device {info.selector} ({info.name}) is not there any more; see `clprune devices`"
        ) from None


def _platform_info(index: int, platform: cl.Platform) -> PlatformInfo:
    devices: list[DeviceInfo] = []
    problems: list[str] = []
    try:
        name, vendor, version = _text(platform.name), _text(platform.vendor), _text(platform.version)
    except DRIVER_ERRORS as error:
        return PlatformInfo(index=index, name=f"platform {index}", vendor="", version="", problem=f"unusable: {error}")
    try:
        handles = platform.get_devices()
    except DRIVER_ERRORS as error:
        handles = []
        if error.code not in NOTHING_FOUND:
            problems.append(f"unusable: {error}")
    for device_index, handle in enumerate(handles):
        try:
            devices.append(_device_info(platform, handle, platform_index=index, device_index=device_index))
        except DRIVER_ERRORS as error:
            problems.append(f"device {device_index} is unusable: {error}")
    if not devices and not problems:
        problems.append("no devices")
    return PlatformInfo(
        index=index, name=name, vendor=vendor, version=version, devices=tuple(devices), problem="; ".join(problems)
    )


def _device_info(platform: cl.Platform, device: cl.Device, *, platform_index: int, device_index: int) -> DeviceInfo:
    """Read a device's facts; raises pyopencl's errors when the driver refuses a core question."""
    extensions = tuple(sorted(device.extensions.split()))
    name, vendor = _text(device.name), _text(device.vendor)
    type_name = _type_name(device.type, software=is_software(platform_name=platform.name, device_name=name))
    native_width = device.native_vector_width_float
    target = compiled_for(platform_name=_text(platform.name), environment=os.environ) if type_name == "cpu" else ""
    if target:  # the driver goes on to report what the processor has, under the same name
        name, native_width = f"{name} ({target})", min(native_width, TARGET_LANES[target])
    known_width = _known_simd_width(device, extensions)
    simd_width = known_width or guess_simd_width(type=type_name, vendor=vendor, native_vector_width_float=native_width)
    is_pip = _LOADER.shows_pip_driver and _text(platform.name) == pip_driver.PLATFORM_NAME and type_name == "cpu"
    return DeviceInfo(
        platform_index=platform_index,
        device_index=device_index,
        platform_name=_text(platform.name),
        platform_vendor=_text(platform.vendor),
        platform_version=_text(platform.version),
        name=name,
        vendor=vendor,
        version=_text(device.version),
        driver_version=_text(device.driver_version),
        opencl_c_version=_text(device.opencl_c_version),
        type=type_name,
        origin="pip" if is_pip else "system",
        architecture=architecture_of(
            type=type_name,
            vendor=vendor,
            name=name,
            simd_width=simd_width,
            compute_capability=_compute_capability(device, extensions),
        ),
        compute_units=device.max_compute_units,
        max_work_group_size=device.max_work_group_size,
        max_work_item_sizes=tuple(device.max_work_item_sizes),
        local_mem_bytes=device.local_mem_size,
        local_mem_is_dedicated=device.local_mem_type == cl.device_local_mem_type.LOCAL,
        global_mem_bytes=device.global_mem_size,
        max_alloc_bytes=device.max_mem_alloc_size,
        simd_width=simd_width,
        native_vector_width_float=native_width,
        preferred_vector_width_float=device.preferred_vector_width_float,
        fp16="cl_khr_fp16" in extensions,
        fp64="cl_khr_fp64" in extensions,
        extensions=extensions,
        mem_base_align_bytes=device.mem_base_addr_align // 8,
        clock_mhz=device.max_clock_frequency,
        keeps_subnormals=bool(device.single_fp_config & cl.device_fp_config.DENORM),
        cache_bytes=host_cache_bytes() if type_name == "cpu" else _cache_bytes(device),
        guessed=frozenset() if known_width else frozenset({"simd_width"}),
    )


def _type_name(bits: int, *, software: bool) -> str:
    """Name a device's type; a simulator sets every bit and a software renderer may claim to be a GPU."""
    if software:
        return "cpu"
    if bits & cl.device_type.GPU:
        return "gpu"
    return "cpu" if bits & cl.device_type.CPU else "accelerator"


def _known_simd_width(device: cl.Device, extensions: tuple[str, ...]) -> int:
    """Return the width that a vendor's extension reports, or 0."""
    try:
        if "cl_nv_device_attribute_query" in extensions:
            return int(device.warp_size_nv)
        if "cl_amd_device_attribute_query" in extensions:
            return int(device.wavefront_width_amd)
    except DRIVER_ERRORS:
        return 0  # announced but not answered
    return 0


def _cache_bytes(device: cl.Device) -> tuple[int, ...]:
    """The size of the one cache that drivers report."""
    try:
        size = int(device.global_mem_cache_size)
    except DRIVER_ERRORS:
        return ()
    return (size,) if size > 0 else ()


def _compute_capability(device: cl.Device, extensions: tuple[str, ...]) -> str | None:
    """Return NVIDIA's compute capability such as "9.0", or None."""
    if "cl_nv_device_attribute_query" not in extensions:
        return None
    try:
        return f"{device.compute_capability_major_nv}.{device.compute_capability_minor_nv}"
    except DRIVER_ERRORS:
        return None


def _text(value: str) -> str:
    """Drivers pad names with blanks and, some, a NUL."""
    return " ".join(value.replace("\0", " ").split())
