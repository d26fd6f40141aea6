"""`clprune bench`: measure milliseconds and GFLOP/s of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.methods import MethodCommand
from clprune.cli.shared.model import (
    batch_option,
    model_argument,
    model_on_device,
    random_weights_options,
    weights_argument,
)
from clprune.cli.shared.numbers import WholeRange
from clprune.cli.shared.options import algorithm_options, device_option, json_option, take_algorithms
from clprune.cli.shared.text import print_json, print_table, stdout_console

if TYPE_CHECKING:
    from clprune.runner.bench import BenchResult, StepTimes

WITH_WEIGHTS = ("convolutional", "connected")
FULL_TABLE_WIDTH = 120
WIDE_COLUMNS = ("median ms", "of peak", "imbalance")


@click.command("bench", cls=MethodCommand)
@model_argument
@weights_argument
@random_weights_options
@algorithm_options
@batch_option
@device_option
@click.option("--layers", is_flag=True, help="Also the time of each layer.")
@click.option(
    "--rounds", type=WholeRange(min=1), metavar="N", default=20, show_default=True, help="Inferences that count."
)
@json_option
def command(model: str, layers: bool, rounds: int, as_json: bool, **options: Any) -> None:
    """Measure a model: milliseconds, GFLOP/s, and their share of the peak measured in the same run.

    GFLOP/s count the operations that remain after pruning. Times are from host memory to host memory, tuned tiles are
    used where `clprune tune` has found some.
    """
    from clprune.workflow.bench import bench

    algorithms = take_algorithms(options)
    with model_on_device(model, options) as (session, loaded):
        result = bench(loaded, rounds=rounds, device=session, algorithms=algorithms)
    if as_json:
        print_json(result.to_dict())
        return
    if layers:
        print_layers(result)
        click.echo()
    _print_summary(result)


def print_layers(result: BenchResult) -> None:
    """One line per launch; fewer columns, and tiles' origins in few words, on a narrow terminal."""
    is_wide = stdout_console().width >= FULL_TABLE_WIDTH
    columns = ["layer", "kind", "algorithm", "best ms", "median ms", "GFLOP/s", "of peak", "kept", "imbalance", "tile"]
    rows = [
        (
            "-" if step.layer is None else step.layer,
            step.label,
            step.algorithm if _has_weights(step) else "-",
            f"{step.best_ms:.4f}",
            f"{step.median_ms:.4f}",
            f"{step.gflops:.1f}" if step.flops else "-",
            f"{100 * step.gflops / result.peak_gflops:.0f}%" if step.flops else "-",
            f"{100 * step.kept_share:.0f}%" if _has_weights(step) else "-",
            f"{step.imbalance:.2f}" if _has_weights(step) else "-",
            step.tile_origin if is_wide else _short_origin(step.tile_origin),
        )
        for step in result.layers
    ]
    shown = [index for index, name in enumerate(columns) if is_wide or name not in WIDE_COLUMNS]
    print_table([columns[index] for index in shown], [[row[index] for index in shown] for row in rows])
    choices = [step for step in result.layers if len(step.alternatives) > 1]
    if choices:
        click.echo()
        print_table(["layer", "algorithm", "why", "milliseconds when tuned"], [_choice_row(step) for step in choices])


def _has_weights(step: StepTimes) -> bool:
    """Whether a step's layer has weights; pooling that is fused is named behind a plus."""
    return step.label.partition(" + ")[0] in WITH_WEIGHTS


def _choice_row(step: StepTimes) -> tuple[Any, ...]:
    """What a layer's algorithm was chosen from."""
    times = [f"{label} {time_ms:.3f}" for label, time_ms in step.alternatives if time_ms is not None]
    return ("-" if step.layer is None else step.layer, step.algorithm, step.reason, ", ".join(times))


def _short_origin(origin: str) -> str:
    """Where a tile came from in few words: "tuned" is for exactly this, "tuned, near" for something like it."""
    first, _, rest = origin.replace(",", " ,").partition(" ")
    return f"{first}, near" if rest else first


def _print_summary(result: BenchResult) -> None:
    console, device = stdout_console(), result.device
    origins = [step.tile_origin for step in result.layers if _has_weights(step)]
    tuned, default = origins.count("tuned"), sum(origin in ("default", "safe") for origin in origins)
    lines = {
        "device": f"{device.name} ({device.platform_name}, driver {device.driver_version})",
        "best": f"{result.best_ms:.3f} ms for {result.batch} image{'s' if result.batch > 1 else ''}",
        "median": f"{result.median_ms:.3f} ms of {result.rounds}",
        "rate": f"{result.gflops:.1f} GFLOP/s, {100 * result.share_of_peak:.0f} % of the {result.peak_gflops:.0f} "
        "measured",
        "memory": f"{result.parameter_bytes / 2**20:.1f} MiB weights, {result.tensor_bytes / 2**20:.1f} MiB "
        f"activations, read at up to {result.bandwidth_gbytes_per_s:.0f} GB/s",
        "launches": f"{result.launches} for {len(result.layers)} steps"
        + (f"; not joined: {result.joining_refused}" if result.joining_refused else ""),
        "tiles": f"{tuned} tuned for their layer, {len(origins) - tuned - default} for another one, {default} default",
    }
    for name, text in lines.items():
        console.print(f"{name:9}{text}", soft_wrap=True)
