"""Devices that exist only in tests: rules about devices are tested on them, whatever the machine has."""

from __future__ import annotations

from typing import Any

from clprune.device import DeviceInfo, PlatformInfo


def imaginary_device(**facts: Any) -> DeviceInfo:
    """Return a plain GPU with `facts` replaced."""
    plain: dict[str, Any] = {
        "platform_index": 0,
        "device_index": 0,
        "platform_name": "Example Platform",
        "platform_vendor": "Example Corporation",
        "platform_version": "OpenCL 3.0",
        "name": "Example GPU",
        "vendor": "Example Corporation",
        "version": "OpenCL 3.0",
        "driver_version": "1.2.3",
        "opencl_c_version": "OpenCL C 1.2",
        "type": "gpu",
        "architecture": "example-gpu",
        "compute_units": 20,
        "max_work_group_size": 256,
        "max_work_item_sizes": (256, 256, 64),
        "local_mem_bytes": 32768,
        "local_mem_is_dedicated": True,
        "global_mem_bytes": 4 * 2**30,
        "max_alloc_bytes": 2**30,
        "simd_width": 32,
        "native_vector_width_float": 1,
        "preferred_vector_width_float": 1,
        "fp16": False,
        "fp64": True,
        "extensions": ("cl_khr_fp64",),
        "mem_base_align_bytes": 128,
        "clock_mhz": 1500,
        "guessed": frozenset({"simd_width"}),
    }
    return DeviceInfo(**{**plain, **facts})


def imaginary_platform(index: int, name: str, *devices: dict[str, Any], problem: str = "") -> PlatformInfo:
    """Return a platform holding one imaginary device for each dict of facts."""
    return PlatformInfo(
        index=index,
        name=name,
        vendor="Example Corporation",
        version="OpenCL 3.0",
        devices=tuple(
            imaginary_device(platform_index=index, platform_name=name, device_index=device_index, **facts)
            for device_index, facts in enumerate(devices)
        ),
        problem=problem,
    )
