"""`clprune prune`: prune a trained model for a device's tiles and retrain it with PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from clprune.cli.method_options import MethodCommand, take_method_options
from clprune.cli.model import data_option, model_argument, seed_option, sparsity_options, unit_option
from clprune.cli.prune_text import print_text
from clprune.cli.shared.options import device_option, json_option
from clprune.cli.shared.progress import show_progress
from clprune.cli.shared.text import print_json
from clprune.cli.training import (
    distillation_options,
    recipe_options,
    report_path,
    take_checkpoint,
    take_distillation,
    take_recipe,
)


@click.command("prune", cls=MethodCommand)
@model_argument
@click.argument("weights", metavar="WEIGHTS")
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
    "--steps", type=click.IntRange(min=1), metavar="N", default=1, show_default=True,
    help="Reach the sparsity in N steps, with --epochs after each.",
)  # fmt: skip
@click.option("--permute", is_flag=True, help="Reorder output channels first, so that rows with like patterns meet.")
@click.option(
    "--winograd-learning-rate", type=click.FloatRange(min=0, min_open=True), metavar="F", default=1.0,
    show_default=True, help="What multiplies --learning-rate for weights in the Winograd domain.",
)  # fmt: skip
@click.option("--report", metavar="FILE.html", help="Write a page with plots there.")
@data_option
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
def command(
    model: str, weights: str, seed: int, devices: str | None, report: str | None, as_json: bool, **options: Any
) -> None:
    """Prune a trained model and retrain it with PyTorch.

    What is removed goes in units of the tuned tile of --device, so that its kernels skip it: run `clprune tune` first.
    The first convolution stays dense. The result is a cfg with the unit and share of each layer (keys that darknet
    ignores) and weights with zeros, which darknet runs too; after filter pruning, a smaller cfg and its weights. Ends
    with times and accuracy before and after. Several processes retrain together: torchrun --nproc-per-node N -m clprune
    prune ... (the first one has the device, writes the files and reports).
    """
    from clprune.files import write_atomically
    from clprune.pruning.report_page import report_page
    from clprune.workflow.prune import prune

    recipe = take_distillation(options, take_recipe(options, seed=seed))
    recipe = replace(recipe, winograd_learning_rate=options.pop("winograd_learning_rate"))
    if options["sparsity"] is None:
        raise click.UsageError("Missing option '--sparsity'.")
    names = [] if devices is None else [name.strip() for name in devices.split(",") if name.strip()]
    if devices is not None and options["unit"] is not None:
        raise click.UsageError("both --unit and --for: expected one of them")
    if devices is not None and not names:
        raise click.UsageError(f"--for {devices!r} names no device")
    own, checkpoint, page = take_method_options(options), take_checkpoint(options), report_path(report)
    with show_progress() as progress:
        result = prune(
            model, weights=weights, recipe=recipe, options=own, devices=names, checkpoint=checkpoint, progress=progress,
            **options,
        )  # fmt: skip
    if result.report is None:
        return
    if page is not None:
        write_atomically(page, report_page(result.report))
    if as_json:
        print_json(result.to_dict())
    else:
        print_text(result)
