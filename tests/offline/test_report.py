"""Reading what compilers print, on outputs recorded with clang 15.0.6 and ptxas 12.9 (tests/offline/recorded)."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.errors import BuildError
from clprune.offline.loops import InnerLoop
from clprune.offline.report import amd_report, nvidia_report

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def test_nvidia_kernel_with_local_memory() -> None:
    report = nvidia_report(ptx=recorded("dot.ptx"), ptxas_log=recorded("dot.ptxas.log"))
    assert (report.registers, report.local_mem_bytes) == (35, 256)
    assert (report.spill_bytes, report.scratch_bytes, report.uses_private_memory) == (0, 0, False)
    # one ld.shared.v4, four ld.global, four fma, three add, setp and bra
    assert report.loop == InnerLoop(
        fmas=4, fma_instructions=4, global_loads=4, local_loads=1, local_bytes=16, scalar_loads=0, other=5
    )
    assert report.loop.instructions == 14


def test_machine_code_comes_before_ptx() -> None:
    log, sass = recorded("dot.ptxas.log"), recorded("dot.sm_90.sass")
    assert nvidia_report(ptx=recorded("dot.ptx"), ptxas_log=log, sass=sass).loop.fmas == 64


def test_nvidia_stack_frame_is_scratch() -> None:
    report = nvidia_report(ptx=recorded("scratch.ptx"), ptxas_log=recorded("scratch.ptxas.log"))
    assert (report.registers, report.local_mem_bytes) == (24, 0)
    assert (report.spill_bytes, report.scratch_bytes, report.uses_private_memory) == (0, 96, True)


def test_nvidia_spills() -> None:
    report = nvidia_report(ptx=recorded("dot.ptx"), ptxas_log=recorded("spill.ptxas.log"))
    assert (report.registers, report.spill_bytes, report.scratch_bytes) == (32, 200, 72)


def test_amd_kernel_with_packed_multiply_adds() -> None:
    report = amd_report(assembly=recorded("dot.gfx90a.s"))
    assert (report.registers, report.scalar_registers, report.local_mem_bytes) == (10, 26, 256)
    assert not report.uses_private_memory
    assert report.loop == InnerLoop(
        fmas=4, fma_instructions=2, global_loads=0, local_loads=1, local_bytes=16, scalar_loads=1, scalars=6, other=1
    )


def test_amd_kernel_with_dual_multiply_adds() -> None:
    loop = amd_report(assembly=recorded("dot.gfx1100.s")).loop
    assert (loop.fmas, loop.fma_instructions) == (4, 2)
    assert (loop.local_loads, loop.local_bytes, loop.scalar_loads) == (1, 16, 1)


def test_amd_scratch() -> None:
    report = amd_report(assembly=recorded("scratch.gfx906.s"))
    assert (report.spill_bytes, report.scratch_bytes, report.uses_private_memory) == (0, 100, True)


def test_amd_spills() -> None:
    report = amd_report(assembly=recorded("spill.gfx1030.s"))
    assert (report.registers, report.spill_bytes, report.scratch_bytes) == (15, 4 * 146, 284)


def test_amd_registers_spilled_to_registers_are_no_memory() -> None:
    assembly = recorded("spill.gfx1030.s").replace(".private_segment_fixed_size: 284", ".private_segment_fixed_size: 0")
    assert not amd_report(assembly=assembly).uses_private_memory


def test_text_of_something_else_is_an_error() -> None:
    with pytest.raises(BuildError, match="no register count"):
        nvidia_report(ptx="", ptxas_log="ptxas info : 0 bytes gmem")
    with pytest.raises(BuildError, match="vgpr_count"):
        amd_report(assembly="\ts_endpgm\n")
