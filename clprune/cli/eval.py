"""`clprune eval`: measure accuracy on a data set."""

from __future__ import annotations

from typing import Any

import click

from clprune.cli.shared.model import batch_option, data_option, model_argument, weights_argument
from clprune.cli.shared.options import data_image_options, device_option, json_option, take_image_options
from clprune.cli.shared.progress import show_progress
from clprune.cli.shared.text import print_json


@click.command("eval")
@model_argument
@weights_argument
@data_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Images to draw. Default: all held out.")
@data_image_options
@batch_option
@device_option
@json_option
def command(
    model: str,
    weights: str | None,
    data: str,
    count: int | None,
    batch: int,
    device: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print the share of DATA's held-out images that MODEL.cfg classifies right (top-1 and top-5)."""
    from clprune.container.model import load_model
    from clprune.workflow.evaluate import evaluate

    with show_progress() as progress:
        result = evaluate(
            load_model(model, weights, batch=batch), data=data, count=count, device=device,
            image_options=take_image_options(options), progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(
        f"{100 * result.accuracy:.2f} % right, {100 * result.top5_accuracy:.2f} % among the five likeliest, "
        f"of {result.images} images of {result.data}"
    )
    rate = result.images / result.seconds
    click.echo(f"{rate:.0f} images/s on {result.device.name}, preparing them included", err=True)
