"""`clprune train`: train a model with PyTorch."""

from __future__ import annotations

from typing import Any

import click

from clprune.cli.shared.model import data_option, model_argument, seed_option
from clprune.cli.shared.options import data_image_options, json_option, take_image_options
from clprune.cli.shared.progress import show_progress
from clprune.cli.shared.text import print_json
from clprune.cli.shared.training import recipe_options, take_path, take_recipe


@click.command("train")
@model_argument
@data_option
@data_image_options
@recipe_options(learning_rate=0.05)
@seed_option
@click.option(
    "--weights", metavar="FILE",
    help="Start from these; a file of the first layers (darknet's .conv.N) does, the others are random. Default: all.",
)  # fmt: skip
@click.option("--out", metavar="PREFIX", required=True, help="Write PREFIX.weights, and the classes as PREFIX.names.")
@json_option
def command(model: str, data: str, seed: int, weights: str | None, out: str, as_json: bool, **options: Any) -> None:
    """Train MODEL.cfg on DATA with PyTorch, and write darknet's weights file.

    Ends with the accuracy on the held-out images, which decide nothing. Several processes, on one machine or more:
    torchrun --nproc-per-node N -m clprune train ... (a batch is shared among them, the first one writes the files).
    """
    from clprune.workflow.train import train

    recipe, checkpoint = take_recipe(options, seed=seed), take_path(options, "checkpoint")
    with show_progress() as progress:
        result = train(
            model, weights=weights, dialect=options["dialect"], data=data, recipe=recipe, count=options["count"],
            out=out, checkpoint=checkpoint, image_options=take_image_options(options), progress=progress,
        )  # fmt: skip
    if not result.is_first:
        return
    if as_json:
        print_json(result.to_dict())
    else:
        assert result.accuracy is not None
        click.echo(f"{100 * result.accuracy:.2f} % of {result.held_out_images} held-out images of {result.data} right")
        click.echo(f"weights: {result.written}")
