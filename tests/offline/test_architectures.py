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
    # a multiply-add counts as two; a data sheet's vector figure of CDNA 2 is without packed ones
    peak = 2.0 * found.multiply_adds_per_s / found.fmas_per_lane
    assert peak / 1e12 == pytest.approx(teraflops, rel=0.01)


def test_banks_of_local_memory() -> None:
    """32 banks of one word; NVIDIA's serve a whole warp together, AMD's as many lanes as 128 bytes are for."""
    nvidia, amd = architecture_by_name("sm_90"), architecture_by_name("gfx90a")
    neighbours, everyone, columns = list(range(0, 128, 4)), [0] * 32, list(range(0, 32 * 32, 32))
    for architecture, warp_clocks in ((nvidia, (4, 1)), (amd, (4, 4))):
        assert architecture.local_clocks(neighbours, width=4) == warp_clocks[0]
        assert architecture.local_clocks(everyone, width=4) == warp_clocks[1]
        assert architecture.bank_conflicts(neighbours, width=4) == architecture.bank_conflicts(everyone, width=4) == 0
        # one bank for all 32 lanes: a clock each
        assert architecture.local_clocks(columns, width=1) == 32
        assert architecture.bank_conflicts(columns, width=1) == 31


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
