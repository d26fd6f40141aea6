"""`clprune prune`: prune a trained model for a device's tiles and retrain it with PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.methods import MethodCommand, take_method_options
from clprune.cli.shared.model import (
    data_option,
    model_argument,
    seed_option,
    sparsity_options,
    unit_option,
    weights_argument,
)
from clprune.cli.shared.numbers import FiniteRange, WholeRange
from clprune.cli.shared.options import data_image_options, device_option, json_option, take_image_options
from clprune.cli.shared.progress import show_progress
from clprune.cli.shared.text import print_json, print_table
from clprune.cli.shared.training import (
    distillation_options,
    recipe_for,
    recipe_options,
    take_distillation,
    take_path,
    take_recipe,
)

if TYPE_CHECKING:
    from clprune.pruning.report import LayerReport, PruningReport
    from clprune.workflow.prune import PruneResult

#: A speed-up below this is not worth the name.
SLOWEST_GAIN = 1.05


@click.command("prune", cls=MethodCommand)
@model_argument
@weights_argument
@sparsity_options
@unit_option
@click.option(
    "--for", "devices", metavar="DEVICE[,DEVICE...]",
    help="Units that the tiles of all these devices skip; a device as in --device, or a GPU architecture such as "
    "sm_90 (see `clprune tune --offline`).",
)  # fmt: skip
@click.option("--criterion", metavar="l1|l2", help="Importance of a unit: its norm. Default: l1, for block l2.")
@click.option(
    "--allocation",
    metavar="uniform|global|erdos-renyi",
    default="uniform",
    show_default=True,
    help="The same share of every convolution, the least important units of all, or less of small layers.",
)
@click.option(
    "--steps", type=WholeRange(min=1), metavar="N", default=1, show_default=True,
    help="Reach the sparsity in N steps, with --epochs after each.",
)  # fmt: skip
@click.option(
    "--refit/--no-refit", default=None,
    help="Fit what stays, by least squares, to what each layer put out before, on training images without their "
    "labels: the default where they have none. In the Winograd domain a fit without images is the default.",
)  # fmt: skip
@click.option("--permute", is_flag=True, help="Reorder output channels first, so that rows with like patterns meet.")
@click.option(
    "--winograd-learning-rate", type=FiniteRange(min=0, min_open=True), metavar="F", default=1.0,
    show_default=True, help="What multiplies --learning-rate for weights in the Winograd domain.",
)  # fmt: skip
@click.option("--report", metavar="FILE.html", help="Write a page with plots there.")
@data_option
@data_image_options
@recipe_options(learning_rate=0.02)
@distillation_options
@seed_option
@device_option
@click.option("--out", metavar="PREFIX", required=True, help="Write PREFIX.cfg and the weights beside it.")
@click.option(
    "--format", "file_format", type=click.Choice(["darknet", "packed"]), default="darknet", show_default=True,
    help="PREFIX.weights, which darknet reads, or the smaller PREFIX.safetensors; in the Winograd domain always that.",
)  # fmt: skip
@json_option
def command(model: str, weights: str | None, seed: int, devices: str | None, as_json: bool, **options: Any) -> None:
    """Prune a trained model and retrain it with PyTorch.

    What is removed goes in units of the tuned tile of --device, so that its kernels skip it: run `clprune tune` first.
    The first convolution stays dense. The result is a cfg with the unit and share of each layer (keys that darknet
    ignores) and weights with zeros, which darknet runs too; after filter pruning, a smaller cfg and its weights. Ends
    with times and accuracy before and after. Several processes retrain together: torchrun --nproc-per-node N -m clprune
    prune ... (the first one has the device, writes the files and reports).
    """
    from clprune.container.model import load_model
    from clprune.files import write_atomically
    from clprune.pruning.registry import method_options
    from clprune.workflow.prune import prune
    from clprune.workflow.report_page import report_page

    recipe = take_distillation(options, take_recipe(options, seed=seed))
    recipe = replace(recipe, winograd_learning_rate=options.pop("winograd_learning_rate"))
    if options["sparsity"] is None:
        raise click.UsageError("Missing option '--sparsity'.")
    names = [] if devices is None else [name.strip() for name in devices.split(",") if name.strip()]
    if devices is not None and options["unit"] is not None:
        raise click.UsageError("both --unit and --for: expected one of them")
    if devices is not None and not names:
        raise click.UsageError(f"--for {devices!r} names no device")
    refit = options["refit"]
    if refit is not None and options["method"] not in method_options()["refit"][1]:
        options["refit"] = None  # what the methods of the Winograd domain call so is their own, without images
    own, checkpoint, page = take_method_options(options), take_path(options, "checkpoint"), take_path(options, "report")
    given = load_model(model, weights, dialect=options.pop("dialect"))
    with show_progress() as progress:
        result = prune(
            given, recipe=recipe_for(given.network, recipe), options=own, devices=names, refit=refit,
            checkpoint=checkpoint, image_options=take_image_options(options), progress=progress, **options,
        )  # fmt: skip
    if result.report is None:
        return
    if page is not None:
        write_atomically(page, report_page(result.report))
    if as_json:
        print_json(result.to_dict())
    else:
        _print_text(result)


def _print_text(result: PruneResult) -> None:
    """Tables of layers and of both models on stdout; notes and warnings on stderr."""
    summary, before, after = result.report, result.before, result.after
    assert summary is not None and before is not None and after is not None and result.written is not None
    cfg, weights = result.written
    rows = [
        (
            layer.layer,
            layer.kind,
            layer.unit,
            f"{100 * layer.kept_share:.0f}%",
            f"{100 * layer.norm_error:.0f}%",
            _imbalance(layer),
            f"{before.layer_ms[layer.layer]:.4f}",
            f"{after.layer_ms[layer.layer]:.4f}",
            f"{before.layer_ms[layer.layer] / after.layer_ms[layer.layer]:.2f}x",
        )
        for layer in summary.layers
    ]
    for index, reason in summary.left.items():
        click.echo(f"clprune: note: the channels of layer {index} stay as they are: {reason}", err=True)
    print_table(["layer", "kind", "unit", "kept", "norm gone", "imbalance", "ms before", "after", "speed-up"], rows)
    click.echo()
    if summary.choices:
        _print_choices(summary)
    whole = [
        (
            name,
            f"{100 * model.accuracy:.2f}%",
            f"{100 * model.weights_kept:.1f}%",
            f"{model.best_ms:.3f}",
            f"{model.median_ms:.3f}",
            f"{model.largest_error:.1e}",
        )
        for name, model in (("before", before), ("after", after))
    ]
    if summary.accuracy_masked is not None:
        whole.insert(1, ("masked, before retraining", f"{100 * summary.accuracy_masked:.2f}%", "", "", "", ""))
    print_table(["model", "accuracy", "weights kept", "best ms", "median ms", "largest error"], whole)
    click.echo(
        f"on {len(result.held_out)} held-out images of {result.held_out.name}; times of one image on {summary.device}"
    )
    speed_up = before.best_ms / after.best_ms
    if speed_up < SLOWEST_GAIN:
        click.echo(
            f"clprune: warning: removing {100 * (1 - after.weights_kept):.0f} % of the weights gained no time on "
            f"this device ({speed_up:.2f}x); try `clprune tune {cfg}`",
            err=True,
        )
    slow = [str(layer.layer) for layer in summary.layers if layer.gained_nothing]
    if slow:
        click.echo(f"clprune: warning: operations fell but time did not in layers {', '.join(slow)}", err=True)
    click.echo(f"written: {cfg}, {weights}")


def _print_choices(summary: PruningReport) -> None:
    """What was chosen for each layer, and why."""
    rows = [
        (
            choice.layer,
            choice.variant,
            *(f"{cost.time_ms:.4f}" for cost in choice.costs.values()),
            *(f"{cost.loss:.4f}" for cost in choice.costs.values()),
            choice.reason,
        )
        for choice in summary.choices
    ]
    costs = [f"{variant} {unit}" for unit in ("ms", "loss") for variant in summary.choices[0].costs]
    print_table(["layer", "variant", *costs, "because"], rows)
    click.echo()


def _imbalance(layer: LayerReport) -> str:
    """The fullest row block over the mean; also before the method balanced them, and of U that of its matrices."""
    if layer.matrix_imbalance is not None:
        return f"{layer.imbalance:.2f}, matrices {layer.matrix_imbalance:.2f}"
    if layer.imbalance_before is None:
        return f"{layer.imbalance:.2f}"
    return f"{layer.imbalance_before:.2f} to {layer.imbalance:.2f}"
