"""Discovery survives platforms that have nothing, or fail."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyopencl as cl
import pytest

from clprune.opencl import devices, discover_platforms, platforms
from clprune.opencl.host_caches import host_cache_bytes
from clprune.opencl.session import Session


class ImaginaryHandle:
    """Answers like a pyopencl device; a fact that is an exception is raised."""

    def __init__(self, **facts: Any) -> None:
        self._facts: dict[str, Any] = {
            "extensions": "cl_khr_fp64 cl_khr_icd ",
            "name": "  Example\0 ",
            "vendor": "NVIDIA Corporation",
            "type": cl.device_type.GPU,
            "native_vector_width_float": 1,
            "version": "OpenCL 3.0",
            "driver_version": "1",
            "opencl_c_version": "OpenCL C 1.2 ",
            "max_compute_units": 4,
            "max_work_group_size": 256,
            "max_work_item_sizes": [256, 256, 64],
            "local_mem_size": 32768,
            "local_mem_type": cl.device_local_mem_type.LOCAL,
            "global_mem_size": 2**30,
            "max_mem_alloc_size": 2**28,
            "preferred_vector_width_float": 1,
            "mem_base_addr_align": 1024,
            "max_clock_frequency": 1000,
            "global_mem_cache_size": 1 << 20,
            "single_fp_config": cl.device_fp_config.DENORM | cl.device_fp_config.FMA,
            **facts,
        }

    def __getattr__(self, name: str) -> Any:
        value = self._facts[name]
        if isinstance(value, Exception):
            raise value
        return value


def platform_of(*handles: ImaginaryHandle, failure: Exception | None = None) -> Any:
    def get_devices() -> list[ImaginaryHandle]:
        if failure is not None:
            raise failure
        return list(handles)

    return SimpleNamespace(name="Example", vendor="Example", version="OpenCL 3.0", get_devices=get_devices)


def driver_error(code: int) -> cl.RuntimeError:
    return cl.RuntimeError(cl._cl._ErrorRecord(msg="imaginary", code=code, routine="imaginary"))


def test_platform_without_devices() -> None:
    for platform in (platform_of(), platform_of(failure=driver_error(-1))):
        info = platforms._platform_info(0, platform)
        assert info.devices == ()
        assert info.problem == "no devices"


def test_platform_that_raises() -> None:
    info = platforms._platform_info(2, platform_of(failure=driver_error(-6)))
    assert info.devices == ()
    assert info.problem.startswith("unusable:")


def test_one_device_that_raises_leaves_the_others() -> None:
    broken = ImaginaryHandle(local_mem_size=driver_error(-5))
    info = platforms._platform_info(0, platform_of(broken, ImaginaryHandle()))
    assert [device.selector for device in info.devices] == ["0:1"]
    assert "device 0 is unusable" in info.problem


def test_facts_of_a_device() -> None:
    info = platforms._platform_info(0, platform_of(ImaginaryHandle())).devices[0]
    assert info.name == "Example"
    assert info.opencl_c_version == "OpenCL C 1.2"
    assert info.mem_base_align_bytes == 128
    assert (info.fp16, info.fp64) == (False, True)
    assert (info.simd_width, info.guessed) == (32, frozenset({"simd_width"}))


def test_vendor_extensions_replace_guesses() -> None:
    handle = ImaginaryHandle(
        extensions="cl_nv_device_attribute_query",
        warp_size_nv=32,
        compute_capability_major_nv=9,
        compute_capability_minor_nv=0,
    )
    info = platforms._platform_info(0, platform_of(handle)).devices[0]
    assert (info.simd_width, info.guessed, info.architecture) == (32, frozenset(), "sm_90")
    wide = ImaginaryHandle(extensions="cl_amd_device_attribute_query", wavefront_width_amd=64, name="gfx1030")
    info = platforms._platform_info(0, platform_of(wide)).devices[0]
    assert (info.simd_width, info.guessed, info.architecture) == (64, frozenset(), "gfx1030")


def test_extension_announced_but_not_answered() -> None:
    handle = ImaginaryHandle(
        extensions="cl_nv_device_attribute_query",
        warp_size_nv=driver_error(-30),
        compute_capability_major_nv=driver_error(-30),
    )
    info = platforms._platform_info(0, platform_of(handle)).devices[0]
    assert (info.simd_width, info.guessed, info.architecture) == (32, frozenset({"simd_width"}), "nvidia-gpu")


@pytest.mark.parametrize(
    ("platform", "target", "name", "lanes"),
    [
        ("Intel(R) OpenCL", "core-avx2", "Example (core-avx2)", 8),
        ("Intel(R) OpenCL", "skx", "Example (skx)", 16),
        ("Intel(R) OpenCL", "", "Example", 16),
        ("Intel(R) OpenCL", "of-tomorrow", "Example", 16),
        ("Another", "core-avx2", "Example", 16),
    ],
)
def test_instruction_set_that_the_user_chose(
    platform: str, target: str, name: str, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver goes on to report the processor's own: another device, in name and lanes, for whatever is kept."""
    monkeypatch.setenv("CL_CONFIG_CPU_TARGET_ARCH", target)
    handle = platform_of(ImaginaryHandle(type=cl.device_type.CPU, vendor="Intel", native_vector_width_float=16))
    handle.name = platform
    info = platforms._platform_info(0, handle).devices[0]
    assert (info.name, info.simd_width, info.native_vector_width_float) == (name, lanes, lanes)
    assert info.architecture == f"cpu-float{lanes}"


def test_caches_of_the_host(tmp_path: Path) -> None:
    facts = (("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K"), ("3", "Unified", "32768K"))
    for number, texts in enumerate((*facts, ("2", "Unified", "nonsense"), ("5", "Data", "1K"))):
        index = tmp_path / f"index{number}"
        index.mkdir()
        for name, text in zip(("level", "type", "size"), texts, strict=True):
            (index / name).write_text(text + "\n")
    (tmp_path / "index9").mkdir()
    assert host_cache_bytes(tmp_path) == (48 << 10, 1 << 20, 32 << 20)
    assert host_cache_bytes(tmp_path / "index9") == ()


def test_the_one_cache_that_drivers_report() -> None:
    for size, expected in ((1 << 20, (1 << 20,)), (0, ()), (driver_error(-30), ())):
        info = platforms._platform_info(0, platform_of(ImaginaryHandle(global_mem_cache_size=size))).devices[0]
        assert info.cache_bytes == expected


def test_types() -> None:
    gpu_and_more = cl.device_type.GPU | cl.device_type.CPU | cl.device_type.ACCELERATOR
    assert platforms._type_name(gpu_and_more, software=True) == "cpu"
    assert platforms._type_name(cl.device_type.GPU | cl.device_type.DEFAULT, software=False) == "gpu"
    assert platforms._type_name(cl.device_type.CPU, software=False) == "cpu"
    assert platforms._type_name(cl.device_type.ACCELERATOR, software=False) == "accelerator"


def test_loader_is_asked_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [driver_error(-6), [platform_of()]]

    def ask() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(cl, "get_platforms", ask)
    loader = platforms._Loader()
    with pytest.raises(platforms.NoDeviceError, match="the OpenCL loader failed"):
        loader.platforms()
    assert len(loader.platforms()) == 1


def test_no_platform_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> Any:
        raise driver_error(-1001)

    monkeypatch.setattr(cl, "get_platforms", ask)
    assert platforms._Loader().platforms() == []


def test_this_machine(device_context: Session) -> None:
    assert device_context.info in devices()
    for platform in discover_platforms():
        assert bool(platform.devices) or bool(platform.problem)
        for device in platform.devices:
            assert device.compute_units >= 1
            assert device.simd_width >= 1
            assert device.local_mem_bytes >= 1024
