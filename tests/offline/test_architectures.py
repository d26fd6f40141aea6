"""The table of architectures, and imaginary devices made of it."""

from __future__ import annotations

import pytest

from clprune.architecture import Architecture
from clprune.device import device_key
from clprune.errors import UsageError
from clprune.kernels.catalogue import built_in_kernels
from clprune.offline.architectures import ARCHITECTURES, architecture_by_name, imaginary_device

each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)


def test_the_seven_that_are_supported() -> None:
    names = ("sm_70", "sm_80", "sm_90", "gfx906", "gfx90a", "gfx1030", "gfx1100")
    assert tuple(architecture.name for architecture in ARCHITECTURES) == names


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [("sm_70", 15.7), ("sm_80", 19.5), ("sm_90", 66.9), ("gfx906", 13.3), ("gfx90a", 22.6), ("gfx1030", 23.0)],
)
def test_peaks_are_the_data_sheets(name: str, teraflops: float) -> None:
    found = architecture_by_name(name)
    peak = 2.0 * found.fma_lanes * found.compute_units * found.clock_hz  # a multiply-add counts as two
    assert peak / 1e12 == pytest.approx(teraflops, rel=0.01)


@each_architecture
def test_guesses_are_fields(architecture: Architecture) -> None:
    assert architecture.guessed <= set(Architecture.__dataclass_fields__)


def test_unknown_architecture_lists_the_known() -> None:
    with pytest.raises(UsageError, match="'sm_75': expected one of sm_70, sm_80"):
        architecture_by_name("sm_75")


@each_architecture
def test_imaginary_device_takes_default_gpu_tiles(architecture: Architecture) -> None:
    device = imaginary_device(architecture)
    assert (device.type, device.architecture, device.simd_width) == ("gpu", architecture.name, architecture.warp_size)
    assert not device.is_software
    for kernel in (kernel for kernel in built_in_kernels() if kernel.gpu_tiles):
        fitting = [
            kernel.default_tile(operation, device) in kernel.gpu_tiles for operation in kernel.sample_operations()
        ]
        assert any(fitting) == bool(kernel.own_tiles(device)), kernel.name


def test_every_architecture_is_a_device_of_its_own() -> None:
    assert len({device_key(imaginary_device(architecture)) for architecture in ARCHITECTURES}) == len(ARCHITECTURES)
