"""The rules of choosing a device, on imaginary machines."""

from __future__ import annotations

import pytest

from clprune.errors import NoDeviceError
from clprune.selection import select_device
from tests.imaginary import imaginary_platform

CPU = {"type": "cpu", "name": "Example CPU"}
PIP_CPU = {"type": "cpu", "name": "Pip CPU", "origin": "pip"}
GPU = {"type": "gpu", "name": "Example RTX 3080"}
RENDERER = {"type": "cpu", "name": "llvmpipe (LLVM)"}
ACCELERATOR = {"type": "accelerator", "name": "Example FPGA"}

MACHINE = [
    imaginary_platform(0, "Clover", problem="no devices"),
    imaginary_platform(1, "rusticl", RENDERER),
    imaginary_platform(2, "Vendor FPGA", ACCELERATOR),
    imaginary_platform(3, "Vendor OpenCL", PIP_CPU),
    imaginary_platform(4, "Portable", CPU),
    imaginary_platform(5, "Vendor CUDA", GPU, {"type": "gpu", "name": "Example RTX 3080 Ti"}),
]


def choose(selection: str | None = None, /, **environment: str) -> str:
    return select_device(MACHINE, selection=selection, environment=environment).name


def test_gpu_before_pip_cpu_before_system_cpu_before_the_rest() -> None:
    machine = list(MACHINE)
    order = []
    for gone in (5, 3, 4, 2, 1):
        order.append(select_device(machine, selection=None, environment={}).name)
        machine = [platform for platform in machine if platform.index != gone]
    assert order == ["Example RTX 3080", "Pip CPU", "Example CPU", "Example FPGA", "llvmpipe (LLVM)"]


def test_flag_before_clprune_device_before_pyopencl_ctx() -> None:
    both = {"CLPRUNE_DEVICE": "portable", "PYOPENCL_CTX": "rusticl"}
    assert choose("5:1", **both) == "Example RTX 3080 Ti"
    assert choose(None, **both) == "Example CPU"
    assert choose(None, PYOPENCL_CTX="rusticl") == "llvmpipe (LLVM)"
    assert choose("  ", CLPRUNE_DEVICE="") == "Example RTX 3080"


@pytest.mark.parametrize(
    ("selection", "name"),
    [
        ("4", "Example CPU"),
        ("5", "Example RTX 3080"),
        ("5:1", "Example RTX 3080 Ti"),
        ("cuda", "Example RTX 3080"),
        ("CUDA:ti", "Example RTX 3080 Ti"),
        ("cuda:example rtx 3080", "Example RTX 3080"),
        (" portable : 0 ", "Example CPU"),
        ("llvmpipe", "llvmpipe (LLVM)"),
        ("3080 ti", "Example RTX 3080 Ti"),
        ("example rtx 3080", "Example RTX 3080"),
        ("cpu", "Pip CPU"),
        ("gpu", "Example RTX 3080"),
    ],
)
def test_selection(selection: str, name: str) -> None:
    assert choose(selection) == name


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        ("vendor", "3 platforms fit"),
        ("9", "no platform has that index"),
        ("nothing", "no platform or device fits"),
        ("rtx", "2 devices fit"),
        ("cuda:rtx", "2 devices fit"),
        ("cuda:7", "no device fits"),
        ("absent:0", "no platform fits"),
        ("clover", "platform 'Clover' has no device"),
    ],
)
def test_mismatch_lists_what_there_is(selection: str, found: str) -> None:
    with pytest.raises(NoDeviceError) as caught:
        choose(selection)
    text = str(caught.value)
    assert found in text
    assert repr(selection) in text
    assert "5:1 = Vendor CUDA / Example RTX 3080 Ti" in text
    assert "\n" not in text


def test_mismatch_names_the_variable() -> None:
    with pytest.raises(NoDeviceError, match="CLPRUNE_DEVICE is 'nothing'"):
        choose(None, CLPRUNE_DEVICE="nothing")


def test_no_driver_says_what_to_install() -> None:
    with pytest.raises(NoDeviceError, match=r"no OpenCL driver was found\. Install .*pip install 'clprune\[cpu\]'"):
        select_device([], selection=None, environment={})
    with pytest.raises(NoDeviceError, match="OCL_ICD_VENDORS is '/empty'"):
        select_device([], selection="0", environment={"OCL_ICD_VENDORS": "/empty"})


def test_platforms_without_devices_are_named() -> None:
    with pytest.raises(NoDeviceError, match=r"platforms without one: Clover \(no devices\)"):
        select_device(MACHINE[:1], selection=None, environment={})
