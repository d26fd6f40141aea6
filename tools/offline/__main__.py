"""Compile every kernel's GPU configurations for GPUs that are not there; write docs/results/offline-gpu.md and .csv.

Installs clang and its libraries with apt-get where it may (root, Debian or Ubuntu). Fails when a default GPU
configuration spills registers or uses private memory.
"""

from __future__ import annotations

import csv
import io
import os
import platform
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

import clprune
from clprune.files import write_atomically
from clprune.kernels.matrix_unit import FRAGMENTS
from clprune.kernels.workload import Workload
from clprune.offline.architectures import ARCHITECTURES, imaginary_device
from clprune.offline.compilers import Toolchain, clocks_of_one_warp, find_toolchain
from clprune.offline.ranking import Compiler, Estimate, estimate
from tools import RESULTS
from tools.bench.machine import today
from tools.bench.report import markdown_table
from tools.offline.matrix import ARCHITECTURES as MATRIX_ARCHITECTURES
from tools.offline.matrix import MOST_OTHERS, PRUNED, MatrixLoop, defaults, matrix_loops
from tools.offline.prediction import (
    BATCH,
    KEPT_SHARE,
    Prediction,
    conflict_clocks,
    main_limit,
    network_share,
    predictions,
)
from tools.offline.survey import Row, lane_distance, survey
from tools.terminal import COUNT, options, run_command

PACKAGES = ("clang-15", "llvm-15", "libclc-15", "rocm-device-libs")
#: What a row of details has of a build's report.
REPORTED = ("registers", "scalar_registers", "local_mem_bytes", "spill_bytes", "scratch_bytes")
#: Of the hot loop: share of multiply-adds, how many one turn has, loads per multiply-add, barriers of a turn.
LOOP_COLUMNS = ("loop_multiply_add_share", "loop_multiply_adds", "loop_loads_per_multiply_add", "loop_barriers")
#: `operations` is the first of those that share a source.
DETAILS = (
    *("architecture", "kernel", "tile", "is_default", "operations", *REPORTED, "occupancy", "limit", *LOOP_COLUMNS),
    "lanes_apart",
)

POOR_OCCUPANCY = 0.25
POOR_LANE_DISTANCE = 2
POOR_SHARE = 0.25  # of multiply-adds: kernels that hardly multiply are left out of the table of hot loops


@click.command()
@options(
    out={"default": RESULTS / "offline-gpu.md", "help": "File to write."},
    workers={"type": COUNT, "help": "Compilers at a time [default: one per core]."},
    only_predictions={"is_flag": True, "help": "Write only the predicted shares of peak, in a minute or two."},
)
def main(out: Path, workers: int | None, *, only_predictions: bool) -> None:
    """Write the table of registers, local memory, spills, scratch and occupancy, and a page of predictions."""
    toolchain = _toolchain()
    prediction_page = out.with_name(f"{out.stem}-prediction.md")
    write_atomically(prediction_page, _prediction_document(toolchain))
    if only_predictions:
        print(f"written to {prediction_page}")
        return
    rows = _progress(survey(toolchain, ARCHITECTURES, workers=workers))
    write_atomically(out, _document(toolchain, rows))
    write_atomically(out.with_suffix(".csv"), _details(rows))
    failures = [row for row in rows if row.fails]
    print(f"{len(rows)} builds for {len(ARCHITECTURES)} architectures, written to {out}")
    for row in failures:
        print(f"FAILED: {_name(row)} on {row.architecture.name}: {_private_text(row)}")
    sys.exit(1 if failures else 0)


def _toolchain() -> Toolchain:
    """The compilers, installed first where something is missing and this user may install it."""

    def missing() -> list[str]:
        return [text for architecture in ARCHITECTURES if (text := find_toolchain().missing(architecture))]

    if missing() and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {' '.join(PACKAGES)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", "--quiet=2", *command], check=True, env=environment, stdin=subprocess.DEVNULL)
    if still := missing():
        sys.exit("offline-gpu: cannot compile without\n  " + "\n  ".join(dict.fromkeys(still)))
    return find_toolchain()


def _progress(rows: Iterable[Row]) -> list[Row]:
    done = []
    for row in rows:
        done.append(row)
        if sys.stderr.isatty():
            text = f"\r{len(done)} builds, {row.architecture.name} {row.subject.kernel.name}    "
            print(text, end="", file=sys.stderr)
    return done


def _prediction_document(toolchain: Toolchain) -> str:
    parts = ["# Predicted share of peak on GPUs that are not there", _origin(toolchain), PREDICTIONS]
    loops = [list(matrix_loops(toolchain, architecture)) for architecture in MATRIX_ARCHITECTURES]
    units = ["## Matrix units", MATRIX_UNITS, _matrix_defaults(loops), MATRIX_TILES, _matrix_tiles(loops)]
    return "\n\n".join((*parts, _predictions(toolchain), *units)) + "\n"


def _origin(toolchain: Toolchain) -> str:
    """Who wrote a page, when, and by which tools."""
    versions = {**toolchain.versions(), **_package_versions()}
    tools = "; ".join(f"{name}: {text}" for name, text in versions.items())
    origin = f"{today()}, clprune {clprune.__version__}, Python {platform.python_version()}; {tools}."
    return f"Written by `make offline-gpu`; do not edit.\n\n{origin}"


def _document(toolchain: Toolchain, rows: Sequence[Row]) -> str:
    parts = [
        "# Kernels on GPUs that are not there",
        _origin(toolchain),
        EXPLANATION,
        *("## Worst default configuration of each kernel", SUMMARY, _summary(rows)),
        *("## Default configurations that are poor somewhere", _poor(rows)),
        *("## Hot loops of the default tiles", HOT_LOOPS, _hot_loops(rows)),
        *("## Estimated times", ESTIMATES, _estimates(rows)),
    ]
    return "\n\n".join(parts) + "\n"


EXPLANATION = (
    "Each kernel of the catalogue is rendered for layers of VGG16 at each of its GPU configurations (and some more "
    "tiles, to compare with), compiled, and its registers, local memory (bytes per work-group), spills "
    "and scratch (bytes per work-item) are read from the compiler's report. Occupancy is the share of the most "
    "warps that a compute unit can hold, computed from the architecture's published limits "
    "(`clprune/offline/architectures.py`). *Lanes apart*: float32 values between what neighbouring work-items of "
    "dimension 0 read; 1 is coalesced. A spill or scratch use in a default configuration fails the command. Every "
    "build has a row in `offline-gpu.csv`."
)
SUMMARY = "Most registers per work-item / least occupancy / most bytes of spills and scratch."
HOT_LOOPS = (
    "Of the innermost loop with the most multiply-adds, in machine code where that can be disassembled (nvdisasm no "
    "longer knows sm_70, whose PTX is read): the share of multiply-adds among the instructions that vectors take part "
    "in, then registers and occupancy. Packed multiply-adds (gfx90a) and pairs of them (gfx1100) count as one "
    "instruction; scalar instructions, which AMD's issue beside vector ones, and waiting do not count."
)
PREDICTIONS = (
    f"Predicted, not measured: VGG16-224, batch {BATCH}, {1 - KEPT_SHARE:.0%} of the weights removed in units of the "
    "tile's rows, float32, each layer by the default tile of `conv_tiled`. A layer's share of the card's float32 peak "
    "(packed and paired multiply-adds included) is what its slowest resource alone would leave of it: multiply-adds, "
    "issue, local memory, first-level cache, shared cache, memory or the latency of a warp's turn "
    "(`clprune/offline/ranking.py`); the counts of work-groups include that the last round of a card is not full. "
    "*splits*: work-groups that share the columns of a list. The layers' times added up give the last lines, and the "
    "same for dense weights. Bank conflicts are counted from the addresses of a warp's lanes "
    "(`Architecture.bank_conflicts`). llvm-mca's clocks are those of one warp that is alone on its scheduler, with "
    "nothing to hide what it waits for."
)
MATRIX_UNITS = (
    "`conv_matrix` for a layer of 256 channels at 56x56, batch 8: its hot loop in machine code (LLVM's assembly for "
    f"AMD), at most {MOST_OTHERS:g} other instructions per matrix instruction wanted. *Others* take part in vectors; "
    "*scalar* instructions, which AMD's issue beside them, do not. *Index loads* are those of lists. The default "
    f"tiles, for dense weights and for {PRUNED.kept_share:.0%} kept in units of 16 rows:"
)
MATRIX_TILES = (
    "All own tiles, rows x positions of a warp: others per matrix instruction (loads of fragments among them, which "
    "depend on the rows and the bundle alone). *Bundle*: channels that lie side by side in the rounded copy of the "
    "input and come with one load; *-*: inputs are loaded and rounded one by one. A bundle is skipped where all of its "
    "columns were removed, so large ones are for dense weights. What keeps tiles above the goal: a lane loads its "
    "inputs bundle by bundle, each for as many instructions as the tile has units of 16 rows, and adds up an "
    "address for each where positions lie in *rows*. With 16 rows and bundles of a word these are four for NVIDIA's "
    "mma and AMD's MFMA; a lane of WMMA holds all 16 columns: eight loads of bundles of two. Inputs that are "
    "rounded when loaded come one by one. Such tiles are for few output channels, few positions, or few columns "
    "that are left: there the others do more."
)
ESTIMATES = (
    "Milliseconds by the model of `clprune/offline/ranking.py`, for dense weights: the default tile (what bounds "
    "it), and the best of the tiles in this document. An estimate orders tiles; it is no measurement."
)


def _summary(rows: Sequence[Row]) -> str:
    """Per kernel and architecture the worst default configuration."""
    names = [architecture.name for architecture in ARCHITECTURES]
    found: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.subject.is_default:
            found[row.subject.kernel.name][row.architecture.name].append(row)
    return _table(
        ["kernel", *names], [[kernel, *(_worst(by_name[name]) for name in names)] for kernel, by_name in found.items()]
    )


def _worst(rows: Sequence[Row]) -> str:
    if not rows:
        return "-"  # a kernel that has no tiles there
    registers = max(row.report.registers for row in rows)
    share = min(row.occupancy.share for row in rows)
    private = max(row.report.spill_bytes + row.report.scratch_bytes for row in rows)
    return f"{registers} / {share:.0%} / {private}"


def _poor(rows: Sequence[Row]) -> str:
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.subject.is_default and (reason := _poor_reason(row)):
            found[f"{_name(row)}: {reason}"].append(row.architecture.name)
    lines = [f"- {name} ({', '.join(names)})" for name, names in found.items()]
    return "\n".join(lines) or "None: no spill, no scratch, at least a quarter of the warps, coalesced loads."


def _poor_reason(row: Row) -> str | None:
    if row.report.uses_private_memory:
        return _private_text(row)
    if row.occupancy.share < POOR_OCCUPANCY:
        return f"occupancy {row.occupancy.share:.0%}, limited by {row.occupancy.limit}"
    for operation in row.subject.operations:
        distance = lane_distance(row.subject.kernel, row.subject.tile, operation)
        stride = getattr(getattr(operation, "problem", None), "stride", 1)
        if distance is not None and distance > POOR_LANE_DISTANCE * stride and not row.architecture.has_vector_loads:
            return f"lanes {distance} values apart"
    return None


def _private_text(row: Row) -> str:
    return f"{row.report.spill_bytes} bytes of spills, {row.report.scratch_bytes} bytes of scratch"


def _hot_loops(rows: Sequence[Row]) -> str:
    """What the default tile of each operation that multiplies spends its time with."""
    names = [architecture.name for architecture in ARCHITECTURES]
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in rows:
        device = imaginary_device(row.architecture)
        for operation in row.subject.operations:
            is_default = row.subject.tile == row.subject.kernel.default_tile(operation, device)
            if is_default and row.report.loop.share >= POOR_SHARE:
                place = (row.subject.kernel.name, operation.key)
                found[place][row.architecture.name] = _loop_text(row)
    lines = [
        [kernel, _brief(key), *(by_name.get(name, "-") for name in names)] for (kernel, key), by_name in found.items()
    ]
    return _table(["kernel", "operation", *names], lines)


def _loop_text(row: Row) -> str:
    return f"{row.report.loop.share:.0%} / {row.report.registers} / {row.occupancy.share:.0%}"


def _predictions(toolchain: Toolchain) -> str:
    """Per layer and architecture the share and its limit, then the network's, then facts of the first tile's loop."""
    names = [architecture.name for architecture in ARCHITECTURES]
    compilers = [Compiler(toolchain, architecture) for architecture in ARCHITECTURES]
    pruned = [list(predictions(compiler)) for compiler in compilers]
    dense = [list(predictions(compiler, kept_share=1.0)) for compiler in compilers]
    lines = [
        [_brief(layer[0].operation.key), *(_prediction_text(prediction) for prediction in layer)]
        for layer in zip(*pruned, strict=True)
    ]
    lines += [
        [name, *(f"{network_share(found):.0%} ({main_limit(found)})" for found in by_architecture)]
        for name, by_architecture in (("all layers", pruned), ("all layers, dense", dense))
    ]
    facts = [_loop_facts(toolchain, found[1]) for found in pruned]
    loop = [[name, *(each[name] for each in facts)] for name in facts[0]]
    return "\n\n".join((_table(["layer", *names], lines), _table(["of the second layer", *names], loop)))


def _prediction_text(prediction: Prediction) -> str:
    splits = f", {prediction.tile.splits} splits" if prediction.tile.splits > 1 else ""
    return f"{prediction.share:.0%} ({prediction.estimate.limit}{splits})"


def _loop_facts(toolchain: Toolchain, prediction: Prediction) -> dict[str, str]:
    report, architecture = prediction.report, prediction.architecture
    clocks = clocks_of_one_warp(toolchain, architecture, report)
    turn = f"{clocks:.0f} for {report.loop.fma_instructions}" if clocks else "-"
    return {
        "multiply-adds among instructions": f"{report.loop.share:.1%}",
        "registers": str(report.registers),
        "spills, scratch": f"{report.spill_bytes}, {report.scratch_bytes}",
        "occupancy": f"{prediction.estimate.occupancy.share:.0%}",
        "bank conflicts, clocks per column": f"{conflict_clocks(prediction.tile, architecture):g}",
        "llvm-mca, clocks a turn for its multiply-adds": turn,
    }


def _matrix_defaults(loops: Sequence[Sequence[MatrixLoop]]) -> str:
    """Facts of the default tiles, dense and pruned."""
    lines = []
    for of_card in loops:
        for name, workload in (("dense", Workload()), ("pruned", PRUNED)):
            for loop in defaults(of_card, workload):
                private = loop.report.spill_bytes + loop.report.scratch_bytes
                lines.append(
                    [
                        loop.architecture.name,
                        loop.precision,
                        f"{name}, {'pooled' if loop.is_pooled else loop.tile.mapping}",
                        f"{loop.tile.tile_m}x{_positions(loop)}, bundle {_bundle(loop)}",
                        str(loop.report.loop.matrix_instructions),
                        f"{loop.others:.2f}",
                        f"{loop.scalars:.2f}",
                        f"{loop.index_loads:.2f}",
                        f"{loop.report.registers} / {loop.occupancy:.0%} / {private}",
                    ]
                )
    columns = ["", "factors", "weights, positions", "tile", "matrix instructions", "others", "scalar", "index loads"]
    return _table([*columns, "registers / occupancy / spills and scratch"], lines)


def _matrix_tiles(loops: Sequence[Sequence[MatrixLoop]]) -> str:
    """What each tile's loop has beside matrix instructions, on each card."""
    found: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for loop in (loop for of_card in loops for loop in of_card):
        mapping = "pooled" if loop.is_pooled else loop.tile.mapping
        place = (loop.precision, f"{loop.tile.tile_m}x{_positions(loop)}", mapping, _bundle(loop))
        text = f"{loop.others:.2f} ({loop.fragment_loads:.2f})"
        found[place][loop.architecture.name] = text if loop.others <= MOST_OTHERS else f"**{text}**"
    names = [architecture.name for architecture in MATRIX_ARCHITECTURES]
    lines = [[*place, *(by_name.get(name, "-") for name in names)] for place, by_name in sorted(found.items())]
    return _table(["factors", "tile", "positions", "bundle", *names], lines)


def _positions(loop: MatrixLoop) -> int:
    return loop.tile.tiles_n * FRAGMENTS[loop.tile.unit, loop.precision].positions


def _bundle(loop: MatrixLoop) -> str:
    return "-" if loop.tile.rounding == "loaded" else str(loop.tile.bundle)


def _estimates(rows: Sequence[Row]) -> str:
    """Estimated milliseconds of the default and of the best tile among those compiled."""
    names = [architecture.name for architecture in ARCHITECTURES]
    found: dict[tuple[str, str], dict[str, list[tuple[Any, Estimate]]]] = defaultdict(lambda: defaultdict(list))
    order: dict[str, list[Any]] = {}
    for row in rows:
        kernel = row.subject.kernel
        order[kernel.name] = list(kernel.gpu_tiles)
        for operation in row.subject.operations:
            demand = kernel.demand(row.subject.tile, operation, Workload(), row.architecture)
            if demand is None:
                continue
            result = estimate(row.architecture, demand, row.report)
            found[kernel.name, operation.key][row.architecture.name].append((row.subject.tile, result))
    lines = [
        [kernel_name, _brief(key), *(_estimate_text(order[kernel_name], by_name[name]) for name in names)]
        for (kernel_name, key), by_name in found.items()
    ]
    return _table(["kernel", "operation", *names], lines)


def _estimate_text(tiles: Sequence[Any], results: Sequence[tuple[Any, Estimate]]) -> str:
    best = min(result.time_ms for _, result in results)
    default = next((result for tile in tiles for found, result in results if found == tile), None)
    first = "-" if default is None else f"{default.time_ms:.3g} ({default.bound})"
    return f"{first}, {best:.3g}"


def _details(rows: Sequence[Row]) -> str:
    """A line of comma-separated values for every build."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(DETAILS)
    for row in rows:
        subject, report = row.subject, row.report
        distances = {lane_distance(subject.kernel, subject.tile, operation) for operation in subject.operations}
        writer.writerow(
            [
                row.architecture.name,
                subject.kernel.name,
                _tile_text(subject.tile),
                "yes" if subject.is_default else "no",
                _operations_text(subject.operations),
                *(getattr(report, name) for name in REPORTED),
                f"{row.occupancy.share:.2f}",
                row.occupancy.limit,
                *_loop_columns(row),
                " ".join("-" if distance is None else str(distance) for distance in distances),
            ]
        )
    return text.getvalue()


def _loop_columns(row: Row) -> list[str]:
    """As LOOP_COLUMNS say; empty where nothing is multiplied."""
    loop = row.report.loop
    products = loop.fmas + loop.matrix_instructions
    if not products:
        return [""] * len(LOOP_COLUMNS)
    loads = loop.global_loads + loop.local_loads + loop.scalar_loads
    return [f"{loop.share:.3f}", str(products), f"{loads / products:.2f}", str(loop.barriers)]


def _name(row: Row) -> str:
    return f"{row.subject.kernel.name} {_tile_text(row.subject.tile)} for {_brief(row.subject.operations[0].key)}"


def _tile_text(tile: Any) -> str:
    """A tile's parameters, those that are 1, 0 or plain left out."""
    facts = {name: getattr(tile, name) for name in tile.__dataclass_fields__}
    return " ".join(f"{name}={value}" for name, value in facts.items() if value not in (0, 1, "flat")) or "plain"


def _operations_text(operations: Sequence[Any]) -> str:
    """The first of the operations that share a source, and how many more there are."""
    activation = getattr(operations[0], "activation", "linear")
    name = _brief(operations[0].key) + (f" {activation}" if activation not in ("linear", "relu") else "")
    return name + (f" and {len(operations) - 1} more" if len(operations) > 1 else "")


def _package_versions() -> dict[str, str]:
    """Versions of the distribution's packages, where dpkg knows them."""
    if shutil.which("dpkg-query") is None:
        return {}
    found = {}
    for package in PACKAGES:
        command = ["dpkg-query", "--show", "--showformat=${Version}", package]
        version = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if version:
            found[package] = version
    return found


def _brief(key: str) -> str:
    return " ".join(word for word in key.split() if word not in ("stride1", "groups1", "padding1", "size3"))


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return markdown_table(columns, lines, left=len(columns))


if __name__ == "__main__":
    run_command(main)
