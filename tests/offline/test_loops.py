"""Hot loops in recorded machine code (nvdisasm 13.5, clang 15.0.6), and in short texts made by hand."""

from __future__ import annotations

import pytest

from clprune.offline.loops import AMD, PTX, SASS, InnerLoop, hot_lines, hot_loop
from tests.offline.test_report import recorded

# A loop over chunks that holds a loop with the products; the outer one also fills local memory.
NESTED = """
.L_x_1:
        /*0010*/                   LDG.E R1, desc[UR4][R2.64] ;
        /*0020*/                   STS [R3], R1 ;
        /*0030*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
.L_x_2:
        /*0040*/                   LDS.128 R4, [R3] ;
        /*0050*/                   FFMA R8, R4, R5, R8 ;
        /*0060*/               @P0 FFMA R9, R6, R7, R9 ;
        /*0070*/              @!P0 BRA `(.L_x_2) ;
        /*0080*/                   FFMA R8, R8, R8, R8 ;
        /*0090*/              @!P1 BRA `(.L_x_1) ;
.L_x_3:
        /*00a0*/                   BRA `(.L_x_3);
"""


def test_machine_code_of_nvidia() -> None:
    """ptxas has unrolled the inner loop of the recorded PTX, so that the outer one is what is left."""
    loop = hot_loop(recorded("dot.sm_90.sass"), SASS)
    assert (loop.fmas, loop.fma_instructions, loop.local_loads, loop.local_bytes) == (64, 64, 16, 256)
    assert (loop.global_loads, loop.local_stores, loop.barriers, loop.matrix_instructions) == (65, 1, 2, 0)
    assert loop.share == 64 / loop.instructions
    assert hot_loop(recorded("dot.ptx"), PTX).fmas == 4


def test_the_lines_of_the_loop() -> None:
    lines = [line.split("*/")[1].strip() for line in hot_lines(NESTED, SASS)]
    assert [line.split()[0] for line in lines] == ["LDS.128", "FFMA", "@P0", "@!P0"]


def test_innermost_loop_with_products() -> None:
    assert hot_loop(NESTED, SASS) == InnerLoop(fmas=2, fma_instructions=2, local_loads=1, local_bytes=16, other=1)


def test_loop_around_loops_without_products() -> None:
    """What only fills local memory is no reason to look past the loop around it."""
    without = NESTED.replace("FFMA R8, R4, R5, R8", "MOV R8, R4").replace("@P0 FFMA R9, R6, R7, R9", "@P0 MOV R9, R6")
    loop = hot_loop(without, SASS)
    assert (loop.fmas, loop.local_stores, loop.barriers, loop.instructions) == (1, 1, 1, 9)


def test_text_without_loops_is_one_turn() -> None:
    text = "\tv_fma_f32 v0, v1, v2, v0\n\ts_waitcnt lgkmcnt(0)\n\ts_add_i32 s0, s0, 4\n\ts_endpgm\n"
    assert hot_loop(text, AMD) == InnerLoop(fmas=1, fma_instructions=1, scalars=2)
    assert hot_loop("", AMD) == InnerLoop()
    assert hot_loop("", AMD).share == 0.0


@pytest.mark.parametrize(
    ("line", "language", "fmas"),
    [
        ("        /*0400*/                   HMMA.1688.F32.TF32 R4, R8, R6, R4 ;", SASS, 32),
        ("        /*0400*/                   HMMA.16816.F32 R4, R8, R6, R4 ;", SASS, 64),
        ("\tmma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1}, {%r1}, {%r2}, {%f1};", PTX, 32),
        ("\tv_mfma_f32_32x32x8f16 v[0:15], v[16:17], v[18:19], v[0:15]", AMD, 128),
        ("\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]", AMD, 128),
    ],
)
def test_matrix_instructions(line: str, language: object, fmas: int) -> None:
    """Each lane's part of their multiply-adds."""
    loop = hot_loop(line, language)  # type: ignore[arg-type]
    assert (loop.matrix_instructions, loop.fmas, loop.share) == (1, fmas, 1.0)


@pytest.mark.parametrize(
    ("name", "size"),
    [("ds_read_b128", 16), ("ds_read2_b32", 8), ("ds_read2st64_b64", 16), ("ds_load_2addr_b32", 8), ("ds_load_u8", 1)],
)
def test_bytes_of_local_loads(name: str, size: int) -> None:
    assert hot_loop(f"\t{name} v0, v1", AMD).local_bytes == size


def test_scalar_instructions_take_no_vectors_place() -> None:
    text = (
        "\ts_load_dwordx8 s[0:7], s[8:9], 0x0\n\ts_add_u32 s8, s8, 32\n\tv_pk_fma_f32 v[0:1], v[2:3], v[4:5], v[0:1]\n"
    )
    loop = hot_loop(text, AMD)
    assert (loop.fmas, loop.instructions, loop.share) == (2, 3, 1.0)
