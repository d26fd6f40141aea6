"""What removing single weights and storing fewer bits gain on a device; writes docs/results/quantized_speed.md.

    python -m tools.bench.quantized [--device D] [--part P] [--tune SECONDS] [--rounds N]

Three parts: `sparse`, VGG16's convolutions with single weights removed at several ratios, and from which ratio on that
is faster than the dense layer; `connected`, its fully connected layers, pruned and in int8, beside PyTorch's dense
ones; `activations`, dense VGG16 with weights and activations in int8. Random weights; models and right answers are kept
in --work, so that a run that only measures is short.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clprune.algorithms import Algorithms
from clprune.container.model import load_model
from clprune.darknet.network import Network, load_network
from clprune.darknet.quantize import QuantizeSettings
from clprune.darknet.random_weights import random_images
from clprune.device import DeviceInfo
from clprune.kernels.base import Offer
from clprune.opencl import Session, open_device
from clprune.plan.plan import make_plan
from clprune.resources import models_folder
from clprune.tiles.store import open_store
from clprune.tuning.tune import offers_to_tune
from clprune.turns import Series
from tools import RESULTS
from tools.bench.agreement import TOLERANCE
from tools.bench.contest import Outcome, contest_table, hold_contest
from tools.bench.figures import Figure, time_ratio
from tools.bench.layers import ModelTimes, TimedModel, time_layers
from tools.bench.machine import device_text, usable_cpus
from tools.bench.models import ends_in_softmax
from tools.bench.peers.contestants import clprune_row, peer_row
from tools.bench.prepare import take_tuning
from tools.bench.quantized.forms import Form, keep_forms, write_part
from tools.bench.report import Part, figure_table, make_section, show, table_of, write_section
from tools.bench.serve import FloatArray
from tools.bench.units import tune_missing
from tools.bench.workers import Turn
from tools.terminal import options, run_command, say

SEED = 0
INT8 = QuantizeSettings(scheme="linear", bits=8)
CODEBOOK4 = QuantizeSettings(scheme="codebook", bits=4)
DENSE = Form(name="dense", algorithms=("direct", "winograd"))
DIRECT = Form(name="dense, direct", algorithms=("direct",))
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
SPARSE_GOALS = {0.9: 0.45, 0.95: 0.25}
#: The others take the nearest tiles.
TUNED_SPARSITIES = tuple(SPARSE_GOALS)
CONNECTED_GOAL, ACTIVATIONS_GOAL = 0.08, 0.6
#: Of logits where activations are rounded to 8 bits: the reference does not round them.
ROUNDED_TOLERANCE = 0.1

HEADING = """
# Single weights and fewer bits: speed

Written by `tools/bench/quantized`. Random weights. Ratios are of times measured in turns within one run. "dense" is
float32 by the fastest way that tuning measured, direct or Winograd convolution; "dense, direct" by direct convolution
alone, which does as many products as the integer kernel and as sparse convolution without zeros. Winograd convolution
does a quarter of them. What integer products cost on this driver is in [int8.md](int8.md). Sparse convolution loads a
vector of inputs for every vector of products, where dense convolutions use each one several times: loads, not products,
bound it, and on CPUs the sums of all output channels, which pass through the first cache for every few input channels.
"""


#: Convolutions, dense and with single weights removed, by sparse convolution alone.
SPARSE_FORMS = (
    DENSE,
    DIRECT,
    *(Form(name=f"{100 * share:g} % removed", sparsity=share, algorithms=("sparse",)) for share in SPARSITIES),
)
CONNECTED_FORMS = (
    Form(name="clprune, dense"),
    Form(name="clprune, dense int8", settings=INT8),
    Form(name="clprune, 90 % removed", sparsity=0.9),
    Form(name="clprune, 90 % removed, int8", sparsity=0.9, settings=INT8),
    Form(name="clprune, 90 % removed, 4-bit codebook", sparsity=0.9, settings=CODEBOOK4),
    Form(name="clprune, 90 % removed in columns of 32, int8", sparsity=0.9, unit_rows=32, settings=INT8),
    Form(name="clprune, 90 % removed in columns of 32, 4-bit codebook", sparsity=0.9, unit_rows=32, settings=CODEBOOK4),
)
ACTIVATION_FORMS = (
    Form(name="clprune, dense, direct", algorithms=("direct",)),
    Form(name="clprune, dense", algorithms=("direct", "winograd")),
    Form(name="clprune, dense int8", settings=INT8),
    Form(name="clprune, dense int8, int8 activations", settings=INT8, activations=True),
)
PARTS: Mapping[str, tuple[str, tuple[Form, ...]]] = {
    "sparse": ("convolutions", SPARSE_FORMS),
    "connected": ("connected", CONNECTED_FORMS),
    "activations": ("whole", ACTIVATION_FORMS),
}


@click.command()
@options(
    parts={"flag": "--part", "multiple": True, "type": click.Choice(list(PARTS)), "help": "Default: all."},
    device=None,
    rounds=10,
    tune=None,
    effort="quick",
    prepare_only={"default": False, "help": "Make the models, tune, and measure nothing."},
    work=Path("build/quantized_speed"),
    out=RESULTS / "quantized_speed.json",
)
def bench_quantized(parts: Sequence[str], device: str | None, work: Path, out: Path, **options: Any) -> None:
    """Measure the parts and compare them with the goals."""
    tuning, rounds = take_tuning(options), options["rounds"]
    work.mkdir(parents=True, exist_ok=True)
    for part in parts or PARTS:
        name, forms = PARTS[part]
        cfg = write_part(models_folder() / "vgg16.cfg", name, work)
        with open_device(device) as session, open_store(to_write=True) as store:
            kept = keep_forms(session, cfg, forms, seed=SEED, with_answers=part != "sparse")
            wanted = [form for form in forms if not form.sparsity or form.sparsity in TUNED_SPARSITIES]
            tune_missing(session, store, tasks(session.info, load_network(cfg), wanted), tuning, say=say)
            if options["prepare_only"]:
                continue
            info = session.info
            found: Measured | None = measure_sparse(session, forms, kept, rounds=rounds) if part == "sparse" else None
        found = found or measure_contest(part, info, forms, kept, cfg=cfg, rounds=rounds)
        section = make_section(
            ["clprune", "numpy", "pyopencl", "torch"],
            text=f"OpenCL device: {device_text(info)}. {rounds} rounds.",
            parts=[figure_table(found.figures), *found.parts],
            figures=found.figures,
            device=device_text(info),
            rounds=rounds,
            **found.facts,
        )
        show(part, section["parts"][:1])
        write_section(out, f"{part}, {info.platform_name}", section, heading=HEADING)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came of a part: its figures, what its page shows beside them, and the rest as JSON can hold it."""

    figures: Sequence[Figure]
    parts: Sequence[Part]
    facts: Mapping[str, Any]


def tasks(device: DeviceInfo, network: Network, forms: Sequence[Form]) -> list[Offer]:
    """Everything worth tuning for these forms, each problem once; no weights are looked at."""
    steps: list[Any] = []
    for form in forms:
        plan = make_plan(
            network, device, forms=form.weight_forms(network), algorithms=Algorithms(names=form.algorithms)
        )
        steps += plan.steps
    return offers_to_tune(steps, likely_only=True)


def measure_sparse(
    session: Session, forms: Sequence[Form], kept: Mapping[str, tuple[Path, FloatArray]], *, rounds: int
) -> Measured:
    """Times of each layer in each form, and the ratio from which on removing weights is faster."""
    with contextlib.ExitStack() as stack:
        models = []
        for form in forms:
            model, algorithms = load_model(kept[form.weights_name][0]), Algorithms(names=form.algorithms)
            timed = TimedModel.of(form.name, model, session=session, algorithms=algorithms)
            models.append(stack.enter_context(timed))
        say("timing")
        _, times = time_layers(session, models, rounds=rounds)
    by_name = {item.name: item for item in times}
    note = (
        "Times of single layers over the dense layer's, best runs. Below the break-even ratio the planner stays dense."
    )
    layers = {
        item.name: [
            {"problem": layer.problem, "tile_origin": layer.tile_origin, **layer.series.to_dict()}
            for layer in item.layers
        ]
        for item in times
    }
    parts = [note, table_of(*break_even_table(by_name))]
    return Measured(figures=sparse_figures(by_name), parts=parts, facts={"layers": layers})


def sparse_figures(times: Mapping[str, ModelTimes]) -> list[Figure]:
    """Whole convolutions but the first, each ratio over dense."""
    figures = []
    for share in SPARSITIES:
        series = whole(times[f"{100 * share:g} % removed"])
        for dense in (DENSE, DIRECT):
            name = f"{100 * share:g} % of single weights removed / {dense.name}"
            figures.append(time_ratio(name, series, [whole(times[dense.name])], goal=SPARSE_GOALS.get(share)))
    return figures


def whole(times: ModelTimes) -> Series:
    """All convolutions but the first, which stays dense, round by round."""
    samples = zip(*(layer.series.samples_ms for layer in times.layers[1:]), strict=True)
    return Series(samples_ms=tuple(sum(one) for one in samples))


def break_even_table(times: Mapping[str, ModelTimes]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(columns, rows): each layer's time over dense at each ratio, and where that is 1."""
    columns = ("layer", "dense ms", *(f"{100 * share:g} % removed" for share in SPARSITIES), "break-even")
    rows = []
    for number, dense in enumerate(times[DENSE.name].layers):
        if number == 0:
            continue
        ratios = [
            times[f"{100 * share:g} % removed"].layers[number].series.best_ms / dense.series.best_ms
            for share in SPARSITIES
        ]
        rows.append(
            (
                f"{dense.index} {dense.problem}",
                f"{dense.series.best_ms:.3f}",
                *(f"{ratio:.2f}" for ratio in ratios),
                break_even(SPARSITIES, ratios),
            )
        )
    return columns, rows


def break_even(shares: Sequence[float], ratios: Sequence[float]) -> str:
    """The share removed at which the ratio is 1, between measured shares by a straight line; `shares` rise."""
    if ratios[0] <= 1:
        return f"below {100 * shares[0]:g} %"
    for number in range(1, len(shares)):
        if ratios[number] <= 1:
            left, right = ratios[number - 1], ratios[number]
            part = (left - 1) / (left - right)
            return f"{100 * (shares[number - 1] + part * (shares[number] - shares[number - 1])):.0f} %"
    return f"above {100 * shares[-1]:g} %"


def measure_contest(
    part: str,
    device: DeviceInfo,
    forms: Sequence[Form],
    kept: Mapping[str, tuple[Path, FloatArray]],
    *,
    cfg: Path,
    rounds: int,
) -> Measured:
    """Each form in a process of its own, in turns, beside PyTorch where that is the yardstick."""
    network = load_network(cfg)
    cpus = usable_cpus()
    contestants = [
        clprune_row(
            form.name,
            form.weights_name,
            kept[form.weights_name][0],
            device=device.selector,
            algorithms=form.algorithms,
            tolerance=ROUNDED_TOLERANCE if form.activations else TOLERANCE,
        )
        for form in forms
    ]
    if part == "connected":
        further = {"memory_format": "contiguous", "device": "cpu", "tf32": False}
        dense = kept[forms[0].weights_name][0]
        contestants.append(peer_row("PyTorch, dense", "pytorch", dense, threads=len(cpus), options=further))
    outcome = hold_contest(
        contestants,
        x=random_images(network, seed=SEED),
        expected={name: answer for name, (_, answer) in kept.items()},
        is_softmax=ends_in_softmax(network),
        cpus=cpus,
        rounds=rounds,
        turn=Turn(),
        say=say,
    )
    note = (
        "Whole inferences of one image, from host memory to host memory; errors are against the float64 reference of "
        "the same, decoded weights, whose activations are not rounded."
    )
    failures = [f"{label}: not timed, {reason}." for label, reason in outcome.failures.items()]
    return Measured(
        figures=FIGURES[part](outcome),
        parts=[note, contest_table(outcome.rows, batch=1), *failures],
        facts={"rows": [row.to_dict() for row in outcome.rows], "failures": outcome.failures},
    )


def connected_figures(outcome: Outcome) -> list[Figure]:
    """Every form over PyTorch's dense layers."""
    series = {row.label: row.series for row in outcome.rows}
    if "PyTorch, dense" not in series:
        return []
    return [
        time_ratio(
            f"{form.name} / PyTorch, dense",
            series[form.name],
            [series["PyTorch, dense"]],
            goal=CONNECTED_GOAL if form.sparsity and form.settings == INT8 else None,
        )
        for form in CONNECTED_FORMS
        if form.name in series
    ]


def activation_figures(outcome: Outcome) -> list[Figure]:
    """int8 forms over dense float32, fastest and direct."""
    series = {row.label: row.series for row in outcome.rows}
    figures = []
    for form in ACTIVATION_FORMS[2:]:
        goal = ACTIVATIONS_GOAL if form.activations else None
        for dense in (ACTIVATION_FORMS[1], ACTIVATION_FORMS[0]):
            if form.name in series and dense.name in series:
                name = f"{form.name} / {dense.name}"
                figures.append(time_ratio(name, series[form.name], [series[dense.name]], goal=goal))
    return figures


FIGURES: Mapping[str, Callable[[Outcome], list[Figure]]] = {
    "connected": connected_figures,
    "activations": activation_figures,
}


if __name__ == "__main__":
    run_command(bench_quantized)
