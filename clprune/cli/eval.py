"""`clprune eval`: accuracy of a model on a data set, computed on a device."""

from __future__ import annotations

import time

import click

from clprune.cli.common import device_option, json_option, print_json, progress_bar
from clprune.cli.model import (
    batch_option,
    data_option,
    device_facts,
    load_weights,
    model_argument,
    weights_argument,
)


@click.command("eval", short_help="Measure accuracy on a data set.")
@model_argument
@weights_argument
@data_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Images to draw. Default: all held out.")
@batch_option
@device_option
@json_option
def command(
    model: str, weights: str | None, data: str, count: int | None, batch: int, device: str | None, as_json: bool
) -> None:
    """Print the share of DATA's held-out images that MODEL.cfg classifies right (top-1 and top-5)."""
    from clprune.darknet.network import load_network
    from clprune.data import load_data
    from clprune.runner import Runner
    from clprune.runner.evaluate import check_data, evaluate

    network = load_network(model, batch=batch)
    loaded = load_weights(network, weights)
    images = load_data(data, split="test", height=network.input.height, width=network.input.width, count=count)
    check_data(network, images)
    with Runner(network, loaded, device=device) as runner, progress_bar() as progress:
        shown = progress.add_task("images", total=len(images))
        start = time.perf_counter()
        result = evaluate(runner, network, images, progress=lambda done: progress.update(shown, completed=done))
        seconds = time.perf_counter() - start
        facts = device_facts(runner.session.info)
    if as_json:
        figures = {"images": result.images, "accuracy": result.accuracy, "top5_accuracy": result.top5_accuracy}
        print_json({"model": model, "data": data, **figures, "seconds": seconds, **facts})
    else:
        click.echo(
            f"{100 * result.accuracy:.2f} % right, {100 * result.top5_accuracy:.2f} % among the five likeliest, "
            f"of {result.images} images of {images.name}"
        )
        click.echo(f"{result.images / seconds:.0f} images/s on {facts['device']}, preparing them included", err=True)
