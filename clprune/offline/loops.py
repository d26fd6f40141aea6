"""The hot loop of a compiled kernel: the instructions of one turn of the innermost loop with the most multiply-adds.

Texts read here: NVIDIA's machine code as `nvdisasm -c` prints it, PTX, and LLVM's AMDGPU assembly. A loop is what lies
between a label and a branch back to it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

MULTIPLY_ADD, MATRIX, GLOBAL_LOAD, LOCAL_LOAD, LOCAL_STORE, SCALAR_LOAD, BARRIER, SCALAR, OTHER = (
    "multiply-add", "matrix", "global load", "local load", "local store", "scalar load", "barrier", "scalar", "other",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class InnerLoop:
    """Instructions of one turn of the inner loop, per warp. `fmas` counts multiply-adds: packed ones hold two, matrix
    instructions each lane's part of theirs.

    `local_bytes` are loaded per work-item and turn from local memory. Scalar loads, and the other `scalars`, serve the
    whole warp (AMD). `matrix_instructions` are those of matrix units.
    """

    fmas: int = 0
    fma_instructions: int = 0
    matrix_instructions: int = 0
    global_loads: int = 0
    local_loads: int = 0
    local_bytes: int = 0
    local_stores: int = 0
    scalar_loads: int = 0
    barriers: int = 0
    scalars: int = 0
    other: int = 0

    @property
    def instructions(self) -> int:
        loads = self.global_loads + self.local_loads + self.local_stores + self.scalar_loads
        return self.fma_instructions + self.matrix_instructions + loads + self.barriers + self.scalars + self.other

    @property
    def share(self) -> float:
        """Multiply-adds, or instructions of matrix units, among the instructions that vectors take part in, 0 without
        any. A packed multiply-add counts as one, as it takes one place: the share is one of the device's peak, which
        counts packed ones. Local and global loads count, though AMD's may be issued beside vector arithmetic; scalar
        instructions, which always are, do not.
        """
        of_vectors = self.vector_instructions
        return (self.fma_instructions + self.matrix_instructions) / of_vectors if of_vectors else 0.0

    @property
    def vector_instructions(self) -> int:
        """All but the scalar ones."""
        return self.instructions - self.scalars - self.scalar_loads


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """Its kind; multiply-adds in it, and bytes per work-item that it loads from local memory."""

    kind: str
    fmas: int = 0
    local_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Language:
    """How a text shows labels, instructions (name and operands) and the targets of branches; what an instruction is.

    `classify` gives None for what is no work, such as waiting, which is counted elsewhere.
    """

    label: re.Pattern[str]
    instruction: re.Pattern[str]
    target: re.Pattern[str]
    classify: Callable[[str, str], Instruction | None]


def hot_loop(text: str, language: Language) -> InnerLoop:
    """The loop with the most multiply-adds (or matrix instructions) among those that hold no other loop with any; of a
    text without such a loop, the whole of it.
    """
    return _mix(_hot_program(text, language))


def hot_lines(text: str, language: Language) -> tuple[str, ...]:
    """The same loop as it stands in the text: its instructions, waiting included."""
    return tuple(line for line, _ in _hot_program(text, language))


#: Lines with what they do, None for no work.
Program = list[tuple[str, Instruction | None]]


def _hot_program(text: str, language: Language) -> Program:
    labels: dict[str, int] = {}
    program: Program = []
    ends: dict[int, int] = {}
    for line in text.splitlines():
        if match := language.label.match(line):
            labels[match[1]] = len(program)
        elif match := language.instruction.match(line):
            name, operands = match.groups()
            program.append((line, language.classify(name, operands)))
            branch = language.target.search(f"{name} {operands}")
            if branch is not None and branch[1] in labels:
                ends[labels[branch[1]]] = len(program)
    start, end = max(_innermost(program, ends), key=lambda part: _fmas(program, part), default=(0, len(program)))
    return program[start:end]


def _fmas(program: Program, part: tuple[int, int]) -> int:
    return sum(found.fmas for _, found in program[part[0] : part[1]] if found is not None)


def _innermost(program: Program, ends: dict[int, int]) -> list[tuple[int, int]]:
    """Beginning and end of each loop (start -> end) with products that holds no other with any."""
    loops = [part for part in ends.items() if _fmas(program, part)]

    def holds_another(part: tuple[int, int]) -> bool:
        return any(part[0] <= other[0] and other[1] <= part[1] and other[0] != part[0] for other in loops)

    return [part for part in loops if not holds_another(part)]


def _mix(program: Program) -> InnerLoop:
    instructions = [found for _, found in program if found is not None]
    counts = Counter(instruction.kind for instruction in instructions)
    return InnerLoop(
        fmas=sum(instruction.fmas for instruction in instructions),
        fma_instructions=counts[MULTIPLY_ADD],
        matrix_instructions=counts[MATRIX],
        global_loads=counts[GLOBAL_LOAD],
        local_loads=counts[LOCAL_LOAD],
        local_bytes=sum(instruction.local_bytes for instruction in instructions),
        local_stores=counts[LOCAL_STORE],
        scalar_loads=counts[SCALAR_LOAD],
        barriers=counts[BARRIER],
        scalars=counts[SCALAR],
        other=counts[OTHER],
    )


# --- the three languages ---

_WIDTHS = {"v2": 8, "v4": 16, "64": 8, "128": 16}


def _first(name: str, kinds: tuple[tuple[tuple[str, ...], str], ...]) -> str:
    return next((kind for beginnings, kind in kinds if name.startswith(beginnings)), OTHER)


_SASS_KINDS = (
    (("FFMA",), MULTIPLY_ADD), (("HMMA", "IMMA", "DMMA", "QMMA", "HGMMA"), MATRIX), (("LDG",), GLOBAL_LOAD),
    (("LDS",), LOCAL_LOAD), (("STS",), LOCAL_STORE), (("BAR",), BARRIER),
)  # fmt: skip
_PTX_KINDS = (
    (("fma.rn.f32", "mad.f32"), MULTIPLY_ADD), (("mma.", "wmma.mma", "wgmma.mma"), MATRIX),
    (("ld.global",), GLOBAL_LOAD), (("ld.shared",), LOCAL_LOAD), (("st.shared",), LOCAL_STORE),
    (("bar.", "barrier."), BARRIER),
)  # fmt: skip
_AMD_KINDS = (
    (("v_fma_f32", "v_fmac_f32", "v_mac_f32", "v_mad_f32", "v_pk_fma_f32", "v_pk_fmac_f32"), MULTIPLY_ADD),
    (("v_mfma", "v_smfmac", "v_wmma", "v_swmmac"), MATRIX), (("ds_read", "ds_load"), LOCAL_LOAD),
    (("ds_write", "ds_store"), LOCAL_STORE), (("global_load", "flat_load", "buffer_load"), GLOBAL_LOAD),
    (("s_load", "s_buffer_load"), SCALAR_LOAD), (("s_barrier",), BARRIER), (("s_",), SCALAR),
)  # fmt: skip
#: Rows, positions and columns of a matrix instruction: HMMA.16816.F32, mma.sync.aligned.m16n8k8..., and
#: v_mfma_f32_16x16x4f32, v_wmma_f32_16x16x16_f16.
_MATRIX_SHAPES = re.compile(r"[A-Z]MMA\.(16)(8)(\d+)|mma\..*\.m(\d+)n(\d+)k(\d+)|v_(?:mfma|wmma)\w*?_(\d+)x(\d+)x(\d+)")
_AMD_WAITS = ("s_waitcnt", "s_clause", "s_delay_alu", "s_nop")


def _nvidia(kinds: tuple[tuple[tuple[str, ...], str], ...]) -> Callable[[str, str], Instruction | None]:
    def classify(name: str, operands: str) -> Instruction:
        kind = _first(name, kinds)
        words = name.split(".")
        size = next((_WIDTHS[word] for word in words if word in _WIDTHS), 4)
        fmas = {MULTIPLY_ADD: 2 if words[0] == "FFMA2" else 1, MATRIX: _of_lane(name, lanes=32)}.get(kind, 0)
        return Instruction(kind=kind, fmas=fmas, local_bytes=size * (kind == LOCAL_LOAD))

    return classify


def _amd_instruction(name: str, operands: str) -> Instruction | None:
    if name.startswith(_AMD_WAITS):
        return None
    if name.startswith("v_dual_"):
        fmas = f"{name} {operands}".count("fmac_f32")
        return Instruction(kind=MULTIPLY_ADD if fmas else OTHER, fmas=fmas)
    kind = _first(name, _AMD_KINDS)
    if kind == LOCAL_LOAD:
        return Instruction(kind=kind, local_bytes=_ds_bytes(name))
    if kind == MATRIX:
        return Instruction(kind=kind, fmas=_of_lane(name, lanes=64 if name.startswith("v_mfma") else 32))
    return Instruction(kind=kind, fmas=(2 if name.startswith("v_pk") else 1) * (kind == MULTIPLY_ADD))


def _of_lane(name: str, *, lanes: int) -> int:
    """Multiply-adds of a matrix instruction for each lane; 1 for one that does not say its shape."""
    match = _MATRIX_SHAPES.search(name)
    return math.prod(int(number) for number in match.groups() if number) // lanes if match else 1


def _ds_bytes(name: str) -> int:
    """Bytes per lane of a local load: `ds_read2_b32` and `ds_load_2addr_b32` load two values of 32 bits."""
    match = re.search(r"(2|_2addr)?(?:_?(?:st|stride)64)?_[bu](\d+)", name)
    return int(match[2]) // 8 * (2 if match[1] else 1) if match else 4


SASS = Language(
    label=re.compile(r"^(\.L\w+):"),
    instruction=re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][\w.]*)(.*)"),
    target=re.compile(r"^BRA.*`\((\.L\w+)\)"),
    classify=_nvidia(_SASS_KINDS),
)
PTX = Language(
    label=re.compile(r"^(\$L\w+):"),
    instruction=re.compile(r"^\t(?:@!?%\w+ )?\s*([a-z][\w.]*)(.*)"),
    target=re.compile(r"^bra\S*\s+(\$L\w+)"),
    classify=_nvidia(_PTX_KINDS),
)
AMD = Language(
    label=re.compile(r"^(\.L\w+):"),
    instruction=re.compile(r"^\t([a-z]\w*)(.*)"),
    target=re.compile(r"^s_c?branch\w*\s+(\.L\w+)"),
    classify=_amd_instruction,
)
