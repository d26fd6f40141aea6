"""clprune beside PyTorch with cuDNN on a GPU; writes docs/results/gpu.md and .json.

    python -m tools.bench.gpu [--device D] [--tune SECONDS] [--batch N]... [--dry-run]

VGG16-224 in batches of 1 and 32, from an array in host memory to an array in host memory. PyTorch runs the dense
network in float32, with TF32 off and on, in both memory formats, with cuDNN's own search for algorithms. Where a part
is missing, such as the GPU's OpenCL driver, the results say so. --dry-run goes through all of it on the CPU with a
small model and writes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from clprune.container.model import load_model
from clprune.kernels.matrix_unit import best_precision
from clprune.opencl import choose, devices, open_device
from clprune.precision import TF32 as TF32_PRECISION
from tools import RESULTS
from tools.bench.agreement import FLOAT16_TOLERANCE, TOLERANCE
from tools.bench.contest import Contestant, Row, hold_contest
from tools.bench.figures import Figure
from tools.bench.layers import TimedModel, share_of_peak, time_layers
from tools.bench.machine import usable_cpus
from tools.bench.peers.contestants import DENSE, HALF, PRUNED, TF32_VARIANTS, VARIANTS, own_contestants, peer_row
from tools.bench.peers.gpu_plan import GpuPlan, ask_torch, plan_gpu
from tools.bench.peers.section import section_of
from tools.bench.prepare import PREPARATION, Entry, Preparation, Prepared, prepare
from tools.bench.report import show, write_section
from tools.bench.units import Variant
from tools.bench.workers import Turn
from tools.terminal import COUNT, options, run_command, say

BATCHES = (1, 32)
DRY_RUN_MODEL, DRY_RUN_BATCHES, DRY_RUN_ROUNDS = "vgg16-digits", (1, 3), 2

FP32, TF32 = "PyTorch, TF32 off", "PyTorch, TF32 on"
MEMORY_FORMATS = ("contiguous", "channels_last")

#: Times that the pruned network is to be as fast as cuDNN's float32, and dense convolutions' percent of the peak.
SPEED_UP_GOAL, PEAK_GOAL = 2.5, 70

#: The same of both in TF32: 1 / 0.6.
TF32_SPEED_UP_GOAL = 1.67

HEADING = """
# clprune beside PyTorch with cuDNN on GPUs

Written by `tools/bench/gpu.py`: from an array in host memory to an array in host memory. PyTorch runs the dense network
in float32, with TF32 off and on. Of clprune's rows, "75 % + 90 %" has 75 % of the weights of the convolutions (but the
first) and 90 % of those of the fully connected layers removed, in units of the tuned tile's rows x 1 column. Answers
were compared with a float64 reference first; the error is the largest of the logits', relative to the largest logit.
"""


@click.command()
@options(
    model={"help": "Default: vgg16."},
    batches={"flag": "--batch", "multiple": True, "type": COUNT, "help": "Default: 1 and 32."},
    device=None,
    rounds=20,
    **PREPARATION,
    out=RESULTS / "gpu.json",
    dry_run={"default": False, "help": "On the CPU with a small model; writes nothing."},
)
def bench_gpu(batches: Sequence[int], out: Path, dry_run: bool, **options: Any) -> None:
    """Time clprune and PyTorch for each batch size."""
    preparation = Preparation.take(options)
    chosen = choose(options["device"]) if options["device"] is not None else None
    plan = plan_gpu(devices(), ask_torch(), chosen=chosen, is_dry_run=dry_run)
    for note in plan.notes:
        say(note)
    model = options["model"] or (DRY_RUN_MODEL if dry_run else "vgg16")
    rounds = DRY_RUN_ROUNDS if dry_run else options["rounds"]
    cpus = usable_cpus()
    for batch in batches or (DRY_RUN_BATCHES if dry_run else BATCHES):
        with tempfile.TemporaryDirectory(prefix="clprune-bench-") as folder:
            entry = Entry(model=model, batch=batch, variants=(*VARIANTS, *tf32_variants(plan)))
            prepared = prepare(entry, preparation, device=plan.device, folder=Path(folder), say=say)
            rows = torch_rows(plan, prepared.files[DENSE.weights_name], batch=batch, threads=len(cpus))
            outcome = hold_contest(
                [*own_contestants(prepared), *rows],
                x=prepared.x,
                expected=prepared.expected,
                is_softmax=prepared.is_softmax,
                cpus=cpus,
                rounds=rounds,
                turn=Turn(warmup=3, runs=5),
                say=say,
            )
            figures = [*peak_figures(prepared, rounds=rounds), *speed_up_figures(outcome.rows)]
            facts = {"threads": len(cpus), "rounds": rounds, "seed": preparation.seed, "notes": plan.notes}
            section = section_of(prepared, outcome, figures, **facts)
        title = f"{prepared.network.path.stem}, {prepared.network.input}, batch {batch}, {plan.title}"
        show(title, section["parts"])
        if not dry_run:
            write_section(out, title, section, heading=HEADING)


def tf32_variants(plan: GpuPlan) -> tuple[Variant, ...]:
    """clprune's rows in TF32, where the device's matrix unit has it."""
    has_unit = plan.device is not None and best_precision(plan.device, TF32_PRECISION) == TF32_PRECISION
    return TF32_VARIANTS if has_unit else ()


def torch_rows(plan: GpuPlan, cfg: Path, *, batch: int, threads: int) -> list[Contestant]:
    """PyTorch's rows on the plan's device, none where it has none."""
    return [
        peer_row(
            f"{label}, {memory_format}",
            "pytorch",
            cfg,
            threads=threads,
            options={"memory_format": memory_format, "device": plan.torch_device, "tf32": label == TF32},
            batch=batch,
            tolerance=FLOAT16_TOLERANCE if label == TF32 else TOLERANCE,
        )
        for label in (FP32, TF32)
        for memory_format in MEMORY_FORMATS
        if plan.torch_device
    ]


def peak_figures(prepared: Prepared, *, rounds: int) -> list[Figure]:
    """The dense convolutions' share of the fp32 peak; none without a device."""
    if prepared.device is None:
        return []
    say("timing the dense convolutions")
    model = load_model(prepared.files[DENSE.weights_name], batch=prepared.entry.batch)
    with open_device(prepared.device.selector) as session, TimedModel.of("dense", model, session=session) as timed:
        limits, times = time_layers(session, [timed], rounds=rounds)
    layers = times[0].of_kind(is_convolution=True)
    return [share_of_peak("dense convolutions, of the measured fp32 peak", layers, limits, goal=PEAK_GOAL)]


def speed_up_figures(rows: Sequence[Row]) -> list[Figure]:
    """How many times faster than the best of PyTorch's rows clprune's are."""
    by_label = {row.label: row.series for row in rows}
    figures = []
    tf32_goals = {TF32_VARIANTS[-1].name: TF32_SPEED_UP_GOAL}
    for kind, goals in ((FP32, {PRUNED.name: SPEED_UP_GOAL, HALF.name: SPEED_UP_GOAL}), (TF32, tf32_goals)):
        rivals = [series for label, series in by_label.items() if label.startswith(kind)]
        for variant in (*VARIANTS, *TF32_VARIANTS):
            if rivals and variant.name in by_label:
                own = by_label[variant.name]
                figure = Figure(
                    name=f"{variant.name.removeprefix('clprune, ')}, times as fast as {kind}",
                    best=min(series.best_ms for series in rivals) / own.best_ms,
                    median=min(series.median_ms for series in rivals) / own.median_ms,
                    goal=goals.get(variant.name),
                    is_at_most=False,
                    unit="x",
                )
                figures.append(figure)
    return figures


if __name__ == "__main__":
    run_command(bench_gpu)
