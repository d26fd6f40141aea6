"""What a compiler says about a kernel: registers, local memory, spills, scratch, and the mix of its inner loop.

Texts read here: NVIDIA's PTX with what `ptxas -v` prints, and LLVM's AMDGPU assembly with its metadata. The inner loop
is the basic block with the most multiply-adds, which is where these kernels spend their time.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clprune.errors import BuildError

FMA, MATRIX, GLOBAL_LOAD, LOCAL_LOAD, SCALAR_LOAD, OTHER = (
    "fma",
    "matrix",
    "global load",
    "local load",
    "scalar load",
    "other",
)


@dataclass(frozen=True, kw_only=True)
class InnerLoop:
    """Instructions of one turn of the inner loop, per warp. `fmas` counts multiply-adds: packed ones hold two, matrix
    instructions each lane's part of theirs.

    `local_bytes` are loaded per work-item and turn from local memory. Scalar loads serve the whole warp (AMD).
    """

    fmas: int = 0
    fma_instructions: int = 0
    matrix_instructions: int = 0
    global_loads: int = 0
    local_loads: int = 0
    local_bytes: int = 0
    scalar_loads: int = 0
    other: int = 0

    @property
    def instructions(self) -> int:
        arithmetic = self.fma_instructions + self.matrix_instructions
        return arithmetic + self.global_loads + self.local_loads + self.scalar_loads + self.other


@dataclass(frozen=True, kw_only=True)
class Report:
    """One kernel compiled for one architecture.

    `registers` are vector registers per work-item, `scalar_registers` those shared by a warp (0 on NVIDIA, which does
    not say). `spill_bytes`: stored and loaded per work-item because registers ran out. `scratch_bytes`: private memory
    per work-item, spills included.
    """

    registers: int
    scalar_registers: int
    local_mem_bytes: int
    spill_bytes: int
    scratch_bytes: int
    loop: InnerLoop

    @property
    def uses_private_memory(self) -> bool:
        """Spills or scratch: on a GPU both are global memory."""
        return self.spill_bytes > 0 or self.scratch_bytes > 0


def nvidia_report(*, ptx: str, ptxas_log: str) -> Report:
    """Read PTX and the log of `ptxas -v` for it, of several kernels the most. Raises BuildError when it is of none."""

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
        loop=_inner_loop(_blocks(ptx), classify=_ptx_class),
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
        loop=_inner_loop(_blocks(assembly), classify=_amd_class),
    )


_LABEL = re.compile(r"^[.$]?L[\w$]*:|^; %bb")
_BRANCH = re.compile(r"^\t(?:@!?%\w+ )?\s*(?:bra\b|s_c?branch)")
_PTX_STATEMENT = re.compile(r"^\t(?:@!?%\w+ )?\s*([a-z][\w.]*)")
_AMD_STATEMENT = re.compile(r"^\t([a-z]\w*)")
_PTX_WIDTHS = {"v2": 2, "v4": 4}

#: Rows, positions and columns of a matrix instruction: mma.sync.aligned.m16n8k8..., v_mfma_f32_16x16x4f32.
_PTX_MATRIX = re.compile(r"mma[.].*[.]m(\d+)n(\d+)k(\d+)")
_AMD_MATRIX = re.compile(r"v_(?:mfma|wmma)_f32_(\d+)x(\d+)x(\d+)")


def _blocks(text: str) -> Iterator[list[str]]:
    """Basic blocks: they begin at a label and end with a branch, in both languages."""
    block: list[str] = []
    for line in text.splitlines():
        if _LABEL.match(line):
            yield block
            block = []
        else:
            block.append(line)
            if _BRANCH.match(line):
                yield block
                block = []
    yield block


#: (class, multiply-adds, bytes per work-item) of an instruction.
_Class = tuple[str, int, int]


def _ptx_class(line: str) -> _Class | None:
    match = _PTX_STATEMENT.match(line)
    if match is None:
        return None
    name = match[1]
    words = name.split(".")
    size = 4 * next((_PTX_WIDTHS[word] for word in words if word in _PTX_WIDTHS), 1)
    if name.startswith(("fma.rn.f32", "mad.f32")):
        return FMA, 1, 0
    if shape := _PTX_MATRIX.match(name):
        return MATRIX, math.prod(map(int, shape.groups())) // 32, 0
    if name.startswith("ld.shared"):
        return LOCAL_LOAD, 0, size
    if name.startswith("ld.global"):
        return GLOBAL_LOAD, 0, size
    return OTHER, 0, 0


def _amd_class(line: str) -> _Class | None:
    match = _AMD_STATEMENT.match(line)
    if match is None:
        return None
    name = match[1]
    if name in ("s_waitcnt", "s_clause", "s_delay_alu", "s_nop"):
        return None  # no work: what they wait for is counted elsewhere
    if name.startswith("v_dual_"):
        fmas = line.count("fmac_f32")
        return (FMA, fmas, 0) if fmas else (OTHER, 0, 0)
    if name.startswith(("v_pk_fma_f32", "v_pk_fmac_f32")):
        return FMA, 2, 0
    if name.startswith(("v_fma_f32", "v_fmac_f32", "v_mac_f32", "v_mad_f32")):
        return FMA, 1, 0
    if shape := _AMD_MATRIX.match(name):
        return MATRIX, math.prod(map(int, shape.groups())) // (64 if name.startswith("v_mfma") else 32), 0
    if name.startswith(("ds_read", "ds_load")):
        return LOCAL_LOAD, 0, _ds_bytes(name)
    if name.startswith(("global_load", "flat_load", "buffer_load")):
        return GLOBAL_LOAD, 0, 4
    if name.startswith(("s_load", "s_buffer_load")):
        return SCALAR_LOAD, 0, 0
    return OTHER, 0, 0


def _ds_bytes(name: str) -> int:
    """Bytes per lane of a local load: `ds_read2_b32` loads two values of 32 bits."""
    match = re.search(r"(2)?(?:st64)?_[bu](\d+)", name)
    if match is None:
        return 4
    return int(match[2]) // 8 * (2 if match[1] else 1)


def _inner_loop(blocks: Iterator[list[str]], *, classify: Callable[[str], _Class | None]) -> InnerLoop:
    return max((_mix(block, classify) for block in blocks), key=lambda mix: mix.fmas, default=InnerLoop())


def _mix(block: list[str], classify: Callable[[str], _Class | None]) -> InnerLoop:
    counts: Counter[str] = Counter()
    fmas = local_bytes = 0
    for line in block:
        found = classify(line)
        if found is None:
            continue
        kind, line_fmas, line_bytes = found
        counts[kind] += 1
        fmas += line_fmas
        local_bytes += line_bytes if kind == LOCAL_LOAD else 0
    return InnerLoop(
        fmas=fmas,
        fma_instructions=counts[FMA],
        matrix_instructions=counts[MATRIX],
        global_loads=counts[GLOBAL_LOAD],
        local_loads=counts[LOCAL_LOAD],
        local_bytes=local_bytes,
        scalar_loads=counts[SCALAR_LOAD],
        other=counts[OTHER],
    )
