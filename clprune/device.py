"""What is known of an OpenCL device: value objects with units in their names. No OpenCL calls here.

`clprune.opencl` reads the raw facts from the driver; `DeviceInfo` keeps them, says which of them are guesses, and
`device_key()` is the one function that makes the text under which tuning results are stored and found.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Renderers and simulators that compute on the host CPU whatever type they report.
_SOFTWARE_MARKS = ("llvmpipe", "softpipe", "swrast", "oclgrind")

#: Instruction sets that Intel's CPU runtime may be told to compile for in place of the processor's own, by the variable
#: `TARGET_VARIABLE`, and their float32 lanes.
TARGET_VARIABLE = "CL_CONFIG_CPU_TARGET_ARCH"
TARGET_LANES = {"corei7": 4, "corei7-avx": 8, "core-avx2": 8, "skx": 16}

#: Matrix units by the instructions that they have: NVIDIA's mma of compute capability 8.0 and later, AMD's MFMA (CDNA)
#: and WMMA (RDNA 3), Intel's XMX with sub-groups of 16 or of 8.
MMA, MFMA, WMMA, XMX16, XMX8 = "mma", "mfma", "wmma", "xmx16", "xmx8"
MATRIX_UNITS = (MMA, MFMA, WMMA, XMX16, XMX8)

_MFMA_ARCHITECTURES = ("gfx908", "gfx90a", "gfx940", "gfx941", "gfx942", "gfx950")


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """Facts about one device of one platform.

    `platform_index` counts all platforms that the loader shows, `device_index` the devices of that platform: together
    they address the device in this process and are not part of its identity (see `device_key`).
    `type` is "gpu", "cpu" or "accelerator"; `origin` is "pip" for the CPU driver installed with the `cpu` extra.
    `simd_width` counts float32 lanes that run in step (warp, wavefront, sub-group, vector register).
    `keeps_subnormals`: the driver promises that float32 values below the smallest normal one survive.
    `cache_bytes`: sizes of the data caches, the nearest to the arithmetic first; empty where nobody says.
    `clock_mhz` is 0 where the driver does not say. `guessed` names the fields that the driver does not report.
    """

    platform_index: int
    device_index: int
    platform_name: str
    platform_vendor: str
    platform_version: str
    name: str
    vendor: str
    version: str
    driver_version: str
    opencl_c_version: str
    type: str
    origin: str = "system"
    architecture: str
    compute_units: int
    max_work_group_size: int
    max_work_item_sizes: tuple[int, ...]
    local_mem_bytes: int
    local_mem_is_dedicated: bool
    global_mem_bytes: int
    max_alloc_bytes: int
    simd_width: int
    native_vector_width_float: int
    preferred_vector_width_float: int
    fp16: bool
    fp64: bool
    extensions: tuple[str, ...]
    mem_base_align_bytes: int
    clock_mhz: int
    keeps_subnormals: bool = True
    cache_bytes: tuple[int, ...] = ()
    guessed: frozenset[str] = frozenset()

    @property
    def selector(self) -> str:
        """Text that selects exactly this device: `platform:device`."""
        return f"{self.platform_index}:{self.device_index}"

    @property
    def matrix_unit(self) -> str:
        """Which of MATRIX_UNITS kernels may use on the device; empty where there is none that is known."""
        if match := re.fullmatch(r"sm_(\d+)", self.architecture):
            return MMA if int(match[1]) >= 80 else ""
        if self.architecture in _MFMA_ARCHITECTURES:
            return MFMA
        if re.fullmatch(r"gfx11[0-9a-f]{2}", self.architecture):
            return WMMA
        if "cl_intel_subgroup_matrix_multiply_accumulate" not in self.extensions:
            return ""
        return XMX16 if "cl_intel_subgroup_matrix_multiply_accumulate_tf32" in self.extensions else XMX8

    @property
    def is_software(self) -> bool:
        """True for renderers and simulators that stand in for a GPU on the host CPU."""
        return is_software(platform_name=self.platform_name, device_name=self.name)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON can hold them, with `matrix_unit`, `selector` and `key`."""
        facts = dataclasses.asdict(self)
        facts["guessed"] = sorted(self.guessed)
        facts["matrix_unit"] = self.matrix_unit
        facts["selector"] = self.selector
        facts["key"] = device_key(self)
        return facts

    @property
    def facts(self) -> dict[str, str]:
        """What a result says about where it was computed."""
        return {
            "device": self.name,
            "platform": self.platform_name,
            "driver_version": self.driver_version,
            "device_selector": self.selector,
        }


@dataclass(frozen=True, kw_only=True)
class PlatformInfo:
    """One OpenCL platform and its devices; `problem` says why there are none, else it is empty."""

    index: int
    name: str
    vendor: str
    version: str
    devices: tuple[DeviceInfo, ...] = ()
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON can hold them."""
        return {
            "index": self.index,
            "name": self.name,
            "vendor": self.vendor,
            "version": self.version,
            "problem": self.problem,
            "devices": [device.to_dict() for device in self.devices],
        }


def device_key(device: DeviceInfo) -> str:
    """Return the identity under which anything measured on `device` is kept.

    The same facts as pyopencl's binary cache uses: platform vendor, name, version; device vendor, name, version,
    driver version. A driver update therefore gives a new key. Two equal cards in one machine share it.
    """
    identity = (
        device.platform_vendor,
        device.platform_name,
        device.platform_version,
        device.vendor,
        device.name,
        device.version,
        device.driver_version,
    )
    return "\n".join(identity)


def is_software(*, platform_name: str, device_name: str) -> bool:
    """Return True when the names are those of a software renderer or simulator."""
    text = f"{platform_name} {device_name}".lower()
    return any(mark in text for mark in _SOFTWARE_MARKS)


def guess_simd_width(*, type: str, vendor: str, native_vector_width_float: int) -> int:
    """Guess the float32 lanes that run in step on a device whose driver does not say.

    Warps are 32 wide on every NVIDIA card, wavefronts 64 or 32 on AMD's (64 is the safe multiple), sub-groups mostly
    16 on Intel's; a CPU's lanes are its native vector.
    """
    if type == "cpu":
        return native_vector_width_float if native_vector_width_float > 1 else 8
    vendor = vendor.lower()
    if "nvidia" in vendor:
        return 32
    if "amd" in vendor or "advanced micro devices" in vendor:
        return 64
    if "intel" in vendor:
        return 16
    return 32


def architecture_of(*, type: str, vendor: str, name: str, simd_width: int, compute_capability: str | None) -> str:
    """Return short text for devices that run the same kernels alike, to fall back on where nothing exact was tuned.

    `compute_capability` is NVIDIA's, such as "9.0". AMD's device names begin with the architecture ("gfx90a:...").
    """
    if compute_capability is not None:
        return "sm_" + compute_capability.replace(".", "")
    if match := re.match(r"gfx[0-9a-f]+", name):
        return match[0]
    if type == "cpu":
        return f"cpu-float{simd_width}"
    words = vendor.lower().split()
    maker = re.sub(r"[^a-z].*", "", words[0]) if words else ""
    return f"{maker or 'unknown'}-{type}"


def compiled_for(*, platform_name: str, environment: Mapping[str, str]) -> str:
    """The instruction set that the user lets Intel's CPU runtime compile for, or empty: the processor's own."""
    target = environment.get(TARGET_VARIABLE, "") if platform_name == "Intel(R) OpenCL" else ""
    return target if target in TARGET_LANES else ""
