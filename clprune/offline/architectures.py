"""GPU architectures with the limits that decide occupancy and a representative card's speed. No compiler here.

Limits of NVIDIA's are from "CUDA C++ Programming Guide", technical specifications per compute capability, and from the
tuning guides of Volta, Ampere and Hopper (shared memory per multiprocessor, 1 KiB of it reserved per block since
8.0). Limits of AMD's are from the instruction set manuals of Vega 20, CDNA 2, RDNA 2 and RDNA 3 and from LLVM's
`AMDGPUBaseInfo.cpp` (register granules, waves per SIMD), which the drivers' own compiler shares.
Speeds are the data sheets' of the card named in `card`.
"""

from __future__ import annotations

from typing import Any

from clprune.architecture import Architecture
from clprune.device import DeviceInfo
from clprune.errors import UsageError

_KIB, _MIB, _GIB = 2**10, 2**20, 2**30

_NVIDIA: dict[str, Any] = {
    "vendor": "NVIDIA Corporation",
    "warp_size": 32,
    "schedulers": 4,
    "warps_per_scheduler": 16,
    "groups_per_unit": 32,
    "has_group_limit_for_warps": True,
    "registers_per_scheduler": 512,
    "registers_per_item": 255,
    "register_granule": 8,
    "local_mem_per_group_bytes": 48 * _KIB,
    "max_work_group_size": 1024,
    "issue_per_clock": 4.0,
    "cache_bytes_per_clock": 128,
    "local_bytes_per_clock": 128,
    "has_one_load_path": True,
    "merges_local_loads": True,
    "has_vector_loads": False,
    "has_scalar_loads": False,
    "cache_latency_clocks": 80,
    "memory_latency_clocks": 500,
}
_AMD: dict[str, Any] = {
    "vendor": "Advanced Micro Devices, Inc.",
    "groups_per_unit": 16,
    "has_group_limit_for_warps": False,
    "registers_per_item": 256,
    "local_mem_per_unit_bytes": 64 * _KIB,
    "local_mem_per_group_bytes": 64 * _KIB,
    "local_mem_granule_bytes": 512,
    "local_mem_reserved_bytes": 0,
    "max_work_group_size": 256,
    "fma_lanes": 64,
    "local_bytes_per_clock": 128,
    "has_one_load_path": False,
    "merges_local_loads": False,
    "has_vector_loads": True,
    "has_scalar_loads": True,
    "cache_latency_clocks": 200,
    "memory_latency_clocks": 800,
}
_GCN: dict[str, Any] = _AMD | {
    "warp_size": 64,
    "schedulers": 4,
    "issue_per_clock": 1.0,
    "cache_bytes_per_clock": 64,
    "scalar_registers_per_scheduler": 800,
}
_RDNA: dict[str, Any] = _AMD | {
    "warp_size": 32,
    "schedulers": 2,
    "warps_per_scheduler": 16,
    "issue_per_clock": 2.0,
    "cache_bytes_per_clock": 128,
}

#: Every architecture that kernels are compiled for without a card.
ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        name="sm_70", card="Tesla V100 SXM2", **_NVIDIA,
        local_mem_per_unit_bytes=96 * _KIB, local_mem_granule_bytes=256, local_mem_reserved_bytes=0, fma_lanes=64,
        compute_units=80, clock_mhz=1530, global_mem_bytes=16 * _GIB, global_bytes_per_s=900e9,
        shared_cache_bytes=6 * _MIB, shared_cache_bytes_per_s=2.2e12,
    ),
    Architecture(
        name="sm_80", card="A100 SXM4 40 GB", **_NVIDIA,
        local_mem_per_unit_bytes=164 * _KIB, local_mem_granule_bytes=128, local_mem_reserved_bytes=_KIB, fma_lanes=64,
        compute_units=108, clock_mhz=1410, global_mem_bytes=40 * _GIB, global_bytes_per_s=1555e9,
        shared_cache_bytes=40 * _MIB, shared_cache_bytes_per_s=4.5e12,
    ),
    Architecture(
        name="sm_90", card="H100 SXM5", **_NVIDIA,
        local_mem_per_unit_bytes=228 * _KIB, local_mem_granule_bytes=128, local_mem_reserved_bytes=_KIB, fma_lanes=128,
        compute_units=132, clock_mhz=1980, global_mem_bytes=80 * _GIB, global_bytes_per_s=3350e9,
        shared_cache_bytes=50 * _MIB, shared_cache_bytes_per_s=5.5e12,
    ),
    Architecture(
        name="gfx906", card="Radeon Instinct MI50", **_GCN,
        warps_per_scheduler=10, registers_per_scheduler=256, register_granule=4,
        compute_units=60, clock_mhz=1725, global_mem_bytes=16 * _GIB, global_bytes_per_s=1024e9,
        shared_cache_bytes=4 * _MIB, shared_cache_bytes_per_s=2.0e12,
    ),
    Architecture(
        name="gfx90a", card="Instinct MI210", **_GCN,
        warps_per_scheduler=8, registers_per_scheduler=512, register_granule=8, fmas_per_lane=2,
        compute_units=104, clock_mhz=1700, global_mem_bytes=64 * _GIB, global_bytes_per_s=1638e9,
        shared_cache_bytes=8 * _MIB, shared_cache_bytes_per_s=4.0e12,
    ),
    Architecture(
        name="gfx1030", card="Radeon RX 6900 XT", **_RDNA,
        registers_per_scheduler=1024, register_granule=16,
        compute_units=80, clock_mhz=2250, global_mem_bytes=16 * _GIB, global_bytes_per_s=512e9,
        shared_cache_bytes=128 * _MIB, shared_cache_bytes_per_s=1.7e12,
    ),
    Architecture(
        name="gfx1100", card="Radeon RX 7900 XTX", **_RDNA,
        registers_per_scheduler=1536, register_granule=24, fmas_per_lane=2,
        compute_units=96, clock_mhz=2500, global_mem_bytes=24 * _GIB, global_bytes_per_s=960e9,
        shared_cache_bytes=96 * _MIB, shared_cache_bytes_per_s=3.0e12,
    ),
)  # fmt: skip


def architecture_by_name(name: str) -> Architecture:
    """The architecture called `name`, such as "sm_90". Raises UsageError listing what there is."""
    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return architecture
    known = ", ".join(architecture.name for architecture in ARCHITECTURES)
    raise UsageError(f"architecture {name!r}: expected one of {known}")


def imaginary_device(architecture: Architecture) -> DeviceInfo:
    """A device of `architecture` that no driver offers: its limits are the card's, the rest is marked as guessed."""
    own = ("cl_nv_compiler_options",) if "NVIDIA" in architecture.vendor else ()
    return DeviceInfo(
        platform_index=0,
        device_index=0,
        platform_name="offline",
        platform_vendor="clprune",
        platform_version="",
        name=f"offline {architecture.name} ({architecture.card})",
        vendor=architecture.vendor,
        version="",
        driver_version="",
        opencl_c_version="OpenCL C 1.2",
        type="gpu",
        origin="offline",
        architecture=architecture.name,
        compute_units=architecture.compute_units,
        max_work_group_size=architecture.max_work_group_size,
        max_work_item_sizes=(architecture.max_work_group_size,) * 2 + (64,),
        local_mem_bytes=architecture.local_mem_per_group_bytes,
        local_mem_is_dedicated=True,
        global_mem_bytes=architecture.global_mem_bytes,
        max_alloc_bytes=architecture.global_mem_bytes // 4,
        simd_width=architecture.warp_size,
        native_vector_width_float=1,
        preferred_vector_width_float=1,
        fp16=True,
        fp64=True,
        extensions=("cl_khr_fp64", *own),
        mem_base_align_bytes=256,
        clock_mhz=architecture.clock_mhz,
        guessed=frozenset({"extensions", "fp16", "max_alloc_bytes", "mem_base_align_bytes", "opencl_c_version"}),
    )
