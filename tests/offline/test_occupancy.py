"""Resident work-groups, against values worked out by hand from the published limits and against LLVM's own."""

from __future__ import annotations

import re

import pytest

from clprune.offline import occupancy as limits
from clprune.offline.architectures import ARCHITECTURES, architecture_by_name
from clprune.offline.occupancy import occupancy
from clprune.offline.report import amd_report
from tests.offline.test_report import recorded


@pytest.mark.parametrize(
    ("name", "items", "registers", "local_mem_bytes", "groups", "limit"),
    [
        # 512 registers per scheduler / 64 = 8 warps, 4 schedulers: 32 warps in groups of 4
        ("sm_90", 128, 64, 0, 8, limits.REGISTERS),
        # 40 registers: 12 warps per scheduler, 48 in groups of 8
        ("sm_80", 256, 40, 0, 6, limits.REGISTERS),
        # 33 registers are rounded up to 40
        ("sm_80", 256, 33, 0, 6, limits.REGISTERS),
        ("sm_70", 32, 16, 0, 32, limits.GROUPS),
        # 164 KiB / (48 KiB + 1 KiB reserved) and 96 KiB / 48 KiB
        ("sm_80", 128, 32, 48 * 1024, 3, limits.LOCAL_MEMORY),
        ("sm_70", 128, 32, 48 * 1024, 2, limits.LOCAL_MEMORY),
        # 256 registers / 84 = 3 waves per SIMD, 4 SIMDs; 85 are rounded up to 88: 2 waves
        ("gfx906", 64, 84, 0, 12, limits.REGISTERS),
        ("gfx906", 64, 85, 0, 8, limits.REGISTERS),
        ("gfx906", 64, 24, 0, 40, limits.WARPS),
        ("gfx906", 128, 24, 0, 16, limits.GROUPS),
        # 73 are rounded up to 80: 1024 / 80 = 12 waves, 2 SIMDs, groups of 4 waves of 32
        ("gfx1030", 128, 73, 0, 6, limits.REGISTERS),
        ("gfx1100", 128, 96, 0, 8, limits.WARPS),
        ("gfx90a", 256, 100, 16 * 1024, 4, limits.REGISTERS),
        ("gfx90a", 256, 64, 20 * 1024, 3, limits.LOCAL_MEMORY),
    ],
)
def test_resident_groups(
    *, name: str, items: int, registers: int, local_mem_bytes: int, groups: int, limit: str
) -> None:
    architecture = architecture_by_name(name)
    found = occupancy(architecture, work_group_size=items, registers=registers, local_mem_bytes=local_mem_bytes)
    assert (found.groups, found.limit) == (groups, limit)
    warps = groups * -(-items // architecture.warp_size)
    assert (found.warps, found.share) == (warps, warps / architecture.warps_per_unit)


def test_scalar_registers_limit_waves_on_gcn_only() -> None:
    # 800 / 102 = 7 waves of at most 10
    found = occupancy(
        architecture_by_name("gfx906"), work_group_size=64, registers=24, scalar_registers=102, local_mem_bytes=0
    )
    assert (found.groups, found.limit) == (28, limits.SCALAR_REGISTERS)
    found = occupancy(
        architecture_by_name("gfx1030"), work_group_size=64, registers=24, scalar_registers=102, local_mem_bytes=0
    )
    assert found.share == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_too_much_local_memory_fits_nowhere(architecture: object) -> None:
    found = occupancy(architecture, work_group_size=64, registers=32, local_mem_bytes=65 * 1024)  # type: ignore[arg-type]
    assert (found.groups, found.share, found.limit) == (0, 0, limits.LOCAL_MEMORY)


@pytest.mark.parametrize("name", ["scratch.gfx906", "dot.gfx90a", "spill.gfx1030"])
def test_agrees_with_llvm(name: str) -> None:
    """LLVM prints waves per SIMD as registers allow; version 15 does not know that gfx1100 has 1536 of them."""
    assembly = recorded(f"{name}.s")
    report = amd_report(assembly=assembly)
    architecture = architecture_by_name(name.split(".")[1])
    found = occupancy(
        architecture,
        work_group_size=architecture.warp_size,
        registers=report.registers,
        scalar_registers=report.scalar_registers,
        local_mem_bytes=0,
    )
    waves = re.search(r"^; Occupancy: (\d+)", assembly, re.MULTILINE)
    assert waves is not None
    assert found.warps / architecture.schedulers == int(waves[1])
