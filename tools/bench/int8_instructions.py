"""What a CPU driver's compiler makes of integer dot products, and how fast each form is; writes docs/results/int8.md.

    python -m tools.bench.int8_instructions [--device D]

Every form is a small kernel: a register tile of sums over data in the first cache, so that multiplying is all that
counts. The driver's binary is taken apart by `objdump` (Debian: binutils).
"""

from __future__ import annotations

import collections
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from clprune.errors import BuildError, UsageError
from clprune.opencl import BoundKernel, Session, binary_cache, open_device
from clprune.quirks import has_integer_dot_product
from tools import RESULTS
from tools.bench.machine import this_machine
from tools.bench.report import markdown_table
from tools.terminal import options, run_command

LANES, ROWS, VECTORS, WORDS, GROUPS = 16, 8, 3, 64, 512
ROUNDS = 30
_MULTIPLY = re.compile(r"\b(vpdp\w+|vpmadd\w+|vpmull\w+|v?fmadd\w+|vfnmadd\w+|imul)\b.*?(%[xyz]mm|$)")
_WIDTHS = {"%xmm": 128, "%ymm": 256, "%zmm": 512}


@dataclass(frozen=True, kw_only=True)
class Form:
    """`source` of a kernel f(x, w, y); `products`: multiply-accumulates of one launch over all GROUPS work-groups."""

    name: str
    source: str
    products: int
    options: tuple[str, ...] = ()
    items: int = 1
    needs_dot_product: bool = False


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a form became: multiply instructions by name and width, and how many products per second."""

    form: Form
    instructions: tuple[tuple[str, int], ...]
    gmacs: float
    problem: str = ""


def _vector_form(*, base: str, dot_add: str) -> str:
    """A tile of ROWS x VECTORS vectors of sums: values of a row are broadcast, positions lie side by side."""
    tile = [(row, vector) for row in range(ROWS) for vector in range(VECTORS)]
    vector_type = f"{base}{LANES}"
    lines = [
        dot_add,
        "__kernel __attribute__((reqd_work_group_size(1, 1, 1)))",
        f"void f(__global const {base} *restrict x, __global const {base} *restrict w, __global {base} *restrict y)",
        "{",
        *(f"{vector_type} c{row}_{vector} = 0;" for row, vector in tile),
        f"for (int k = 0; k < {WORDS}; k++) {{",
        *(f"const {vector_type} b{v} = vload{LANES}(0, x + (k * {VECTORS} + {v}) * {LANES});" for v in range(VECTORS)),
        *(
            f"c{row}_{vector} = dot_add(({vector_type})(w[k * {ROWS} + {row}]), b{vector}, c{row}_{vector});"
            for row, vector in tile
        ),
        "}",
        f"__global {base} *out = y + get_group_id(0) * {ROWS * VECTORS * LANES};",
        *(f"vstore{LANES}(c{row}_{vector}, {row * VECTORS + vector}, out);" for row, vector in tile),
        "}",
    ]
    return "\n".join(lines)


def _item_form(call: str) -> str:
    """One position to a work-item, as a GPU has it; the driver may run several of them as one vector."""
    lines = [
        f"__kernel __attribute__((reqd_work_group_size({LANES * VECTORS}, 1, 1)))",
        "void f(__global const uint *restrict x, __global const uint *restrict w, __global int *restrict y)",
        "{",
        *(f"int c{row} = 0;" for row in range(ROWS)),
        f"for (int k = 0; k < {WORDS}; k++) {{",
        f"const uint b = x[k * {LANES * VECTORS} + get_local_id(0)];",
        *(f"c{row} = {call.format(a=f'w[k * {ROWS} + {row}]', b='b', c=f'c{row}')};" for row in range(ROWS)),
        "}",
        *(f"y[get_global_id(0) * {ROWS} + {row}] = c{row};" for row in range(ROWS)),
        "}",
    ]
    return "\n".join(lines)


def _loop_form() -> str:
    """Sums over bytes one after another: 4 rows x 6 positions, whose loop the compiler turns into vectors itself."""
    tile = [(row, position) for row in range(4) for position in range(6)]
    length = WORDS * 8
    lines = [
        "__kernel __attribute__((reqd_work_group_size(1, 1, 1)))",
        "void f(__global const uchar *restrict x, __global const char *restrict w, __global int *restrict y)",
        "{",
        *(f"int c{row}_{position} = 0;" for row, position in tile),
        f"for (int k = 0; k < {length}; k++) {{",
        *(
            f"c{row}_{position} += (int)w[{row * length} + k] * (int)x[{position * length} + k];"
            for row, position in tile
        ),
        "}",
        *(
            f"y[get_group_id(0) * {len(tile)} + {number}] = c{row}_{position};"
            for number, (row, position) in enumerate(tile)
        ),
        "}",
    ]
    return "\n".join(lines)


_FOUR_BYTES = """inline int16 dot_add(const int16 a, const int16 b, const int16 c)
{
    return c + (a << 24 >> 24) * (b << 24 >> 24) + (a << 16 >> 24) * (b << 16 >> 24) + (a << 8 >> 24) * (b << 8 >> 24) + (a >> 24) * (b >> 24);
}"""  # noqa: E501
_PAIRS = """typedef short halves __attribute__((ext_vector_type(32)));
typedef int products __attribute__((ext_vector_type(32)));
inline int16 dot_add(const int16 a, const int16 b, const int16 c)
{
    const products p = __builtin_convertvector(__builtin_astype(a, halves), products) * __builtin_convertvector(__builtin_astype(b, halves), products);
    return c + (p.even + p.odd);
}"""  # noqa: E501


def forms() -> list[Form]:
    """float32 to compare with, and every way to say a dot product of integers."""
    sums = GROUPS * ROWS * VECTORS * LANES * WORDS
    newest = ("-cl-std=CL3.0",)
    fma = "inline float16 dot_add(const float16 a, const float16 b, const float16 c) { return fma(a, b, c); }"
    ss = "{c} + dot_4x8packed_ss_int({a}, {b})"
    saturated = "dot_acc_sat_4x8packed_ss_int({a}, {b}, {c})"
    unsigned = "{c} + dot_4x8packed_us_int({b}, {a})"
    calls = [
        Form(name=name, source=_item_form(call), products=4 * sums, options=newest, items=LANES * VECTORS,
             needs_dot_product=True)
        for name, call in (
            ("`dot_4x8packed_ss_int`", ss),
            ("`dot_acc_sat_4x8packed_ss_int`", saturated),
            ("`dot_4x8packed_us_int`", unsigned),
        )
    ]  # fmt: skip
    return [
        Form(name="float32 `fma`", source=_vector_form(base="float", dot_add=fma), products=sums),
        *calls,
        Form(name="four bytes in plain C", source=_vector_form(base="int", dot_add=_FOUR_BYTES), products=4 * sums),
        Form(name="a loop over bytes", source=_loop_form(), products=GROUPS * 4 * 6 * WORDS * 8),
        Form(name="pairs of 16 bits (`conv_int8`)", source=_vector_form(base="int", dot_add=_PAIRS), products=2 * sums),
    ]


def examine(session: Session, form: Form) -> Found:
    """Build and time a form, and count the multiply instructions in its binary."""
    if form.needs_dot_product and not has_integer_dot_product(session.info):
        return Found(form=form, instructions=(), gmacs=0.0, problem="the device does not offer it")
    try:
        program = session.build(form.source, options=form.options)
    except BuildError as error:
        return Found(form=form, instructions=(), gmacs=0.0, problem=str(error).splitlines()[0])
    bound = _bound(session, session.kernel(program, "f"), form)
    seconds = min(bound.timed() for _ in range(ROUNDS))
    binary = binary_cache.load(binary_cache.entry_path(session.info, form.source, form.options))
    counted = count_instructions(disassembled(binary)) if binary else ()
    return Found(form=form, instructions=counted, gmacs=form.products / seconds / 1e9)


def _bound(session: Session, kernel: object, form: Form) -> BoundKernel:
    values = np.random.default_rng(0).integers(0, 2, 2**16).astype(np.int32)
    buffers = [session.buffer_from(values) for _ in range(2)]
    y = session.zeros(4 * GROUPS * ROWS * VECTORS * LANES)
    return session.bind(
        kernel,  # type: ignore[arg-type]
        global_size=(GROUPS * form.items,),
        local_size=(form.items,),
        arguments=(*buffers, y),
    )


def disassembled(binary: bytes) -> str:
    """Assembler text of the last object file within a driver's binary. Raises UsageError without objdump."""
    if shutil.which("objdump") is None:
        raise UsageError("objdump is not installed: install binutils")
    with tempfile.NamedTemporaryFile(suffix=".o") as file:
        file.write(binary[max(binary.rfind(b"\x7fELF"), 0) :])
        file.flush()
        command = ["objdump", "-d", "--no-show-raw-insn", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def count_instructions(assembler: str) -> tuple[tuple[str, int], ...]:
    """Multiply instructions by name and register width, the most frequent first."""
    counts: collections.Counter[str] = collections.Counter()
    for line in assembler.splitlines():
        found = _MULTIPLY.search(line)
        if found:
            widths = [_WIDTHS[register] for register in re.findall(r"%[xyz]mm", line)]
            counts[f"{found[1]} {max(widths)}" if widths else found[1]] += 1
    return tuple(counts.most_common())


def page(session: Session, found: list[Found]) -> str:
    """The results as Markdown."""
    machine = this_machine()
    base = found[0].gmacs
    best = max(found[1:], key=lambda item: item.gmacs)
    rows = [
        (
            item.form.name,
            _instructions(item),
            *((f"{item.gmacs:.1f}", f"{item.gmacs / base:.2f}") if item.gmacs else ("-", "-")),
        )
        for item in found
    ]
    wide = [item for item in found if any(name.startswith("vpdpbusd 512") for name, _ in item.instructions)]
    verdict = (
        f"{wide[0].form.name} becomes `vpdpbusd` of 512 bits."
        if wide
        else "No form becomes `vpdpbusd` of 512 bits, which multiplies four bytes per lane and would be four times as "
        f"fast as float32 at best. The fastest is {best.form.name}, {best.gmacs / base:.2f} times as fast as float32: "
        "so much is the most that an integer convolution can gain over a float32 one that does as many products."
    )
    features = " ".join(machine["features"])
    driver = f"{session.info.platform_name} {session.info.driver_version}"
    parts = [
        "# Integer dot products: what the driver makes of them",
        "Written by `tools/bench/int8_instructions.py`: each form is a register tile of sums over data in the first "
        "cache, built by the driver; multiply instructions are counted in its binary, with the bits of their "
        "registers.",
        f"{driver}; {machine['processor']}, {machine['cpus']} cores: {features}.",
        markdown_table(("form", "multiply instructions", "products, 10^9/s", "over float32"), rows, left=2),
        verdict,
    ]
    return "\n\n".join(parts) + "\n"


def _instructions(item: Found) -> str:
    if item.problem:
        return item.problem
    return ", ".join(f"{count} x `{name}`" for name, count in item.instructions) or "none that is known"


@click.command()
@options(device=None, out=RESULTS / "int8.md")
def main(device: str | None, out: Path) -> None:
    """Build, time and take apart every form of an integer dot product."""
    with open_device(device) as session:
        found = [examine(session, form) for form in forms()]
        out.write_text(page(session, found), encoding="utf-8")
    click.echo(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_command(main)
