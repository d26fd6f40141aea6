"""`clprune quantize`: store a model's weights in fewer bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clprune.cli.shared.methods import MethodCommand
from clprune.cli.shared.model import (
    chosen_model,
    model_argument,
    random_weights_options,
    take_pruning,
    take_random_weights,
    weights_argument,
)
from clprune.cli.shared.numbers import WHOLE, WholeRange
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
    from clprune.training import Recipe
    from clprune.workflow.quantize import QuantizeResult

#: What says nothing without --epochs.
TRAINING_OPTIONS = (
    "batch", "learning_rate", "shift_pixels", "flip", "optimiser", "weight_decay", "label_smoothing", "precision",
    "checkpoint", "count", "distillation", "temperature",
)  # fmt: skip


@click.command("quantize", cls=MethodCommand)
@model_argument
@weights_argument
@random_weights_options
@click.option("--prune-first", is_flag=True, help="Prune a file's weights first, as --method and --sparsity say.")
@click.option(
    "--scheme", metavar="linear|codebook|half", default="linear", show_default=True,
    help="Steps of one size per output channel, the layer's own table of values, or float16.",
)  # fmt: skip
@click.option(
    "--bits", type=WHOLE, metavar="8|4|16", default=8, show_default=True,
    help="Bits of a weight: linear 8, codebook 4 or 8, half 16.",
)  # fmt: skip
@click.option("--activations", is_flag=True, help="linear: layers' inputs in 8 bits too, by scales from --calibrate.")
@click.option(
    "--calibrate", metavar="DATA", help="Images for the scales of activations, as for --data. Default: that of --data."
)
@click.option(
    "--calibrate-images", type=WholeRange(min=1), metavar="N", default=128, show_default=True,
    help="How many of them are run.",
)  # fmt: skip
@click.option("--data", metavar="DATA", help="Retrain on its images, and report the accuracy; as in `clprune prune`.")
@data_image_options
@recipe_options(learning_rate=0.02, epochs_required=False)
@distillation_options
@device_option
@click.option("--out", metavar="PREFIX", required=True, help="Write PREFIX.cfg and PREFIX.safetensors.")
@json_option
def command(
    model: str, weights: str | None, data: str | None, device: str | None, out: str, as_json: bool, **options: Any
) -> None:
    """Store a model's weights in fewer bits, pruned or not.

    Batch normalization becomes part of the weights. With --epochs the network is retrained with PyTorch: after
    --prune-first as by `clprune prune`, then for its codes, at a quarter of the learning rate. Random weights show size
    and speed. The cfg and the packed weights written are a model like any other.
    """
    import numpy as np

    from clprune.opencl import open_device
    from clprune.workflow.quantize import quantize

    seed, pruning, random = options["seed"], None, None
    if options.pop("prune_first"):
        if options["random_weights"]:
            raise click.UsageError("both --prune-first and --random-weights, which are pruned as they are drawn")
        if options["sparsity"] is None:
            raise click.UsageError("--prune-first without --sparsity")
        del options["random_weights"]
        pruning = take_pruning(options)
    else:
        random = take_random_weights(options, weights=weights)
    recipe, checkpoint = _take_recipe(options, seed=seed), take_path(options, "checkpoint")
    with open_device(device) as session, show_progress() as progress:
        given = chosen_model(model, weights, random, seed=seed, device=session.info, dialect=options["dialect"])
        calibrate: Any = options["calibrate"]
        if random is not None and options["activations"] and calibrate is None and data is None:
            shape = given.network.input
            size = (1, shape.channels, shape.height, shape.width)
            calibrate = np.random.default_rng(seed).random(size, dtype=np.float32)
        result = quantize(
            given, out=out, scheme=options["scheme"], bits=options["bits"], activations=options["activations"],
            calibrate=calibrate, calibrate_images=options["calibrate_images"], data=data, count=options["count"],
            image_options=take_image_options(options), pruning=pruning,
            recipe=None if recipe is None else recipe_for(given.network, recipe), checkpoint=checkpoint, seed=seed,
            device=session, progress=progress,
        )  # fmt: skip
    print_json(result.to_dict()) if as_json else _print_text(result)


def _take_recipe(options: dict[str, Any], *, seed: int) -> Recipe | None:
    """How to retrain, None without --epochs."""
    if options["epochs"] is not None:
        return take_distillation(options, take_recipe(options, seed=seed))
    for name in TRAINING_OPTIONS:
        if click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} without --epochs: nothing is trained")
    return None


def _print_text(found: QuantizeResult) -> None:
    result = found.to_dict()
    rows = [
        (
            layer["layer"],
            layer["kind"],
            layer["weights"],
            layer["bits"],
            f"{100 * layer['kept_share']:.1f}%",
            f"{100 * layer['norm_error']:.2f}%",
            "-" if layer["activation_scale"] is None else f"{layer['activation_scale']:.3g}",
            f"{layer['size_bytes'] / 1e3:.1f}",
        )
        for layer in result["layers"]
    ]
    print_table(["layer", "kind", "weights", "bits", "not zero", "norm error", "input scale", "kB"], rows)
    click.echo()
    if result["left"]:
        layers = ", ".join(map(str, result["left"]))
        click.echo(f"clprune: note: weights in the Winograd domain stay float32 in layers {layers}", err=True)
    size, whole = result["size_bytes"] / 1e6, result["float32_bytes"] / 1e6
    click.echo(f"size: {size:.2f} MB, {whole / size:.1f} times smaller than the {whole:.2f} MB of float32 weights")
    if found.held_out_images:
        before, after = result["accuracy_before"], result["accuracy_after"]
        click.echo(
            f"accuracy: {100 * before:.2f}% before, {100 * after:.2f}% after, on {found.held_out_images} held-out "
            f"images of {found.data} on {found.device.name}"
        )
    click.echo(f"written: {result['cfg']}, {result['weights']}")
