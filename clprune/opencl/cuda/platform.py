"""NVIDIA's GPUs as the CUDA driver tells of them, in the words of OpenCL."""

from __future__ import annotations

from typing import Any

from clprune.clang import find_clang, find_libclc
from clprune.device import DeviceInfo, PlatformInfo, architecture_of
from clprune.opencl.cuda import driver
from clprune.opencl.cuda.driver import CudaError, ask

PLATFORM_NAME, _VENDOR = "CUDA driver", "NVIDIA Corporation"
_WITHOUT = "NVIDIA's driver is here without OpenCL; to reach its GPUs through CUDA:"


def find_platform(index: int) -> PlatformInfo | None:
    """The platform that has number `index` then, `problem` saying what it lacks; None without a CUDA driver."""
    if not driver.is_there():
        return None
    version, problem = "", _lacking()
    devices: tuple[DeviceInfo, ...] = ()
    try:
        if not problem:
            version = _version(driver.bindings())
            devices = _devices(driver.bindings(), index)
            problem = "" if devices else "no devices"
    except ImportError:
        problem = f"{_WITHOUT} pip install cuda-bindings"
    except CudaError as error:
        problem = f"unusable: {error}"
    return PlatformInfo(
        index=index, name=PLATFORM_NAME, vendor=_VENDOR, version=version, devices=devices, problem=problem
    )


def _lacking() -> str:
    """What compiles kernels, and is not there."""
    if find_clang() and find_libclc():
        return ""
    return f"{_WITHOUT} install clang-15 and libclc-15 (Debian, Ubuntu), and pip install cuda-bindings"


def _version(cuda: Any) -> str:
    number = ask(cuda.cuDriverGetVersion)
    return f"CUDA {number // 1000}.{number % 1000 // 10}"


def _devices(cuda: Any, platform_index: int) -> tuple[DeviceInfo, ...]:
    count = ask(cuda.cuDeviceGetCount)
    return tuple(_device_info(cuda, platform_index=platform_index, device_index=number) for number in range(count))


def _device_info(cuda: Any, *, platform_index: int, device_index: int) -> DeviceInfo:
    handle = ask(cuda.cuDeviceGet, device_index)

    def fact(name: str) -> int:
        return int(
            ask(cuda.cuDeviceGetAttribute, getattr(cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}"), handle)
        )

    name = ask(cuda.cuDeviceGetName, 256, handle).split(b"\0")[0].decode(errors="replace").strip()
    version, warp = _version(cuda), fact("WARP_SIZE")
    capability = f"{fact('COMPUTE_CAPABILITY_MAJOR')}.{fact('COMPUTE_CAPABILITY_MINOR')}"
    memory_bytes = int(ask(cuda.cuDeviceTotalMem, handle))
    return DeviceInfo(
        platform_index=platform_index,
        device_index=device_index,
        platform_name=PLATFORM_NAME,
        platform_vendor=_VENDOR,
        platform_version=version,
        name=name,
        vendor=_VENDOR,
        version=f"{version}, compute capability {capability}",
        driver_version=version,
        opencl_c_version="OpenCL C 1.2 by clang",
        type="gpu",
        architecture=architecture_of(
            type="gpu", vendor=_VENDOR, name=name, simd_width=warp, compute_capability=capability
        ),
        compute_units=fact("MULTIPROCESSOR_COUNT"),
        max_work_group_size=fact("MAX_THREADS_PER_BLOCK"),
        max_work_item_sizes=tuple(fact(f"MAX_BLOCK_DIM_{axis}") for axis in "XYZ"),
        local_mem_bytes=fact("MAX_SHARED_MEMORY_PER_BLOCK"),
        local_mem_is_dedicated=True,
        global_mem_bytes=memory_bytes,
        max_alloc_bytes=memory_bytes,
        simd_width=warp,
        native_vector_width_float=1,
        preferred_vector_width_float=1,
        fp16=False,  # clang's OpenCL C for these cards computes in float32 and float64
        fp64=True,
        extensions=("cl_khr_fp64", "cl_nv_compiler_options"),  # of these options the one for registers
        mem_base_align_bytes=256,
        clock_mhz=fact("CLOCK_RATE") // 1000,
        cache_bytes=(fact("L2_CACHE_SIZE"),),
    )
