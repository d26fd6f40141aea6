"""What a compiler says about a kernel: registers, local memory, spills, scratch, and the mix of its inner loop.

Texts read here: NVIDIA's PTX with what `ptxas -v` prints and `nvdisasm`, and LLVM's AMDGPU assembly with its metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clprune.errors import BuildError
from clprune.offline.loops import AMD, PTX, SASS, InnerLoop, hot_lines, hot_loop


@dataclass(frozen=True, kw_only=True)
class Report:
    """One kernel compiled for one architecture.

    `registers` are vector registers per work-item, `scalar_registers` those shared by a warp (0 on NVIDIA, which does
    not say). `spill_bytes`: stored and loaded per work-item because registers ran out. `scratch_bytes`: private memory
    per work-item, spills included. `hot_lines`: the assembly of `loop`, for tools that take LLVM's.
    """

    registers: int
    scalar_registers: int
    local_mem_bytes: int
    spill_bytes: int
    scratch_bytes: int
    loop: InnerLoop
    hot_lines: tuple[str, ...] = ()

    @property
    def uses_private_memory(self) -> bool:
        """Spills or scratch: on a GPU both are global memory."""
        return self.spill_bytes > 0 or self.scratch_bytes > 0


def nvidia_report(*, ptx: str, ptxas_log: str, sass: str = "") -> Report:
    """Read PTX, the log of `ptxas -v` for it and the machine code, if that was disassembled.

    Of several kernels the most counts. Raises BuildError when the log is of none.
    """

    def most(pattern: str) -> int | None:
        return max((sum(map(int, match.groups())) for match in re.finditer(pattern, ptxas_log)), default=None)

    registers = most(r"Used (\d+) registers")
    scratch = most(r"(\d+) bytes stack frame")
    if registers is None or scratch is None:
        raise BuildError("ptxas: no register count in its log, expected that of a kernel", log=ptxas_log, source=ptx)
    return Report(
        registers=registers,
        scalar_registers=0,
        local_mem_bytes=most(r"(\d+) bytes smem") or 0,
        spill_bytes=most(r"(\d+) bytes spill stores, (\d+) bytes spill loads") or 0,
        scratch_bytes=scratch,
        loop=hot_loop(sass, SASS) if sass else hot_loop(ptx, PTX),
    )


def amd_report(*, assembly: str) -> Report:
    """Read LLVM's AMDGPU assembly, of several kernels the most. Raises BuildError when its metadata is missing."""

    def fact(name: str) -> int:
        found = re.findall(rf"^\s*\.{name}:\s+(\d+)", assembly, re.MULTILINE)
        if not found:
            raise BuildError(f"clang: no {name} in the assembly, expected that of a kernel", log="", source=assembly)
        return max(map(int, found))

    # Without scratch, spilled registers lie in other registers: scalar ones in lanes of vector registers.
    registers, scratch = fact("vgpr_count"), fact("private_segment_fixed_size")
    return Report(
        registers=registers,
        scalar_registers=fact("sgpr_count"),
        local_mem_bytes=fact("group_segment_fixed_size"),
        spill_bytes=4 * (fact("vgpr_spill_count") + fact("sgpr_spill_count")) if scratch else 0,
        scratch_bytes=scratch,
        loop=hot_loop(assembly, AMD),
        hot_lines=hot_lines(assembly, AMD),
    )
