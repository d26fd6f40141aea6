"""`clprune train`: make the dense model."""

from __future__ import annotations

from typing import Any

import click

from clprune.cli.common import json_option, print_json
from clprune.cli.model import data_option, model_argument, seed_option
from clprune.cli.training import (
    load_splits,
    output_path,
    recipe_options,
    take_checkpoint,
    take_recipe,
    training_progress,
)


@click.command("train", short_help="Train a model with PyTorch.")
@model_argument
@data_option
@recipe_options(learning_rate=0.05)
@seed_option
@click.option("--out", metavar="PREFIX", required=True, help="Write PREFIX.weights.")
@json_option
def command(model: str, data: str, seed: int, out: str, as_json: bool, **options: Any) -> None:
    """Train MODEL.cfg on DATA with PyTorch, from random weights, and write darknet's weights file.

    Ends with the accuracy on the held-out images, which decide nothing. Several processes, on one machine or more:
    torchrun --nproc-per-node N -m clprune train ... (a batch is shared among them, the first one writes the files).
    """
    from clprune.darknet.network import load_network
    from clprune.darknet.weights import write_weights
    from clprune.training import evaluate, join_ranks, load_module, train

    with join_ranks() as ranks:
        recipe = take_recipe(options, seed=seed)
        network = load_network(model)
        target = output_path(out, ".weights")
        checkpoint = take_checkpoint(options)
        images, held_out = load_splits(data, network, seed=seed, count=options["count"])
        with training_progress(is_shown=ranks.is_first) as report:
            result = train(network, images, recipe, checkpoint=checkpoint, report=report)
    if not ranks.is_first:
        return
    write_weights(target, network, result.weights)
    evaluation = evaluate(load_module(network, result.weights), held_out)
    if as_json:
        print_json(
            {
                "model": model,
                "weights": str(target),
                "data": data,
                "epochs": recipe.epochs,
                "losses": list(result.losses),
                "held_out_images": evaluation.images,
                "accuracy": evaluation.accuracy,
            }
        )
        return
    click.echo(f"{100 * evaluation.accuracy:.2f} % of {evaluation.images} held-out images of {held_out.name} right")
    click.echo(f"weights: {target}")
