"""Make models/vgg16-digits: train it, prune three quarters of it, retrain, and write weights, samples and a log.

python -m tools.make_models            half an hour on one free core; a killed run goes on where it was
python -m tools.make_models --quick    a minute, for a look at the way; writes nothing into models/ by default
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

import clprune
from clprune.darknet.network import Network, load_network
from clprune.darknet.rewrite import annotate_cfg
from clprune.darknet.values import Weights
from clprune.darknet.weights import write_weights
from clprune.data import DataSet, load_data
from clprune.files import write_atomically
from clprune.progress import ProgressLines
from clprune.pruning import PruneSettings
from clprune.training import (
    ModuleEvaluation,
    PruneReport,
    Recipe,
    evaluate,
    load_module,
    prune_and_retrain,
    train,
)
from clprune.unit import Unit
from tools.terminal import say

MODELS = Path(__file__).resolve().parent.parent / "models"
DATA = "digits-on-photos"
STEM = "vgg16-digits"
SAMPLE_DIGITS = range(8)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results [default: models/].")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/models"), show_default=True,
              help="Folder of the checkpoints.")  # fmt: skip
@click.option("--unit", default="8x1", show_default=True, help="Rows x columns that are removed together.")
@click.option("--sparsity", default=0.75, show_default=True, help="Share of the convolutions' units that goes.")
@click.option("--fc-sparsity", default=0.75, show_default=True, help="Share of the connected layers' units that goes.")
@click.option("--epochs", default=25, show_default=True, help="Epochs of the dense training.")
@click.option("--retrain-epochs", default=15, show_default=True, help="Epochs after pruning.")
@click.option("--images", default=40_000, show_default=True, help="Fresh images of an epoch.")
@click.option("--seed", default=0, show_default=True)
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True,
              help="bfloat16 is faster where the processor has it.")  # fmt: skip
@click.option("--threads", default=0, help="Threads that torch uses [default: one per core].")
@click.option("--quick", is_flag=True, help="Two short epochs of each, into --work.")
def main(**options: Any) -> None:
    """Train, prune, retrain; no choice is made on the held-out images: the last epoch counts."""
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    if options["quick"]:
        options.update(epochs=2, retrain_epochs=2, images=6_400)
    work: Path = options["work"]
    out: Path = options["out"] or (work if options["quick"] else MODELS)
    for folder in (work, out / "samples"):
        folder.mkdir(parents=True, exist_ok=True)
    if out != MODELS:
        write_atomically(out / f"{STEM}.cfg", (MODELS / f"{STEM}.cfg").read_text())
    network = load_network(out / f"{STEM}.cfg")
    sides = {"height": network.input.height, "width": network.input.width}
    data = load_data(DATA, split="train", seed=options["seed"], count=options["images"], **sides)
    held_out = load_data(DATA, split="test", **sides)
    dense_recipe = Recipe(
        epochs=options["epochs"],
        learning_rate=0.04,
        dropout_ramp=0.2,
        precision=options["precision"],
        seed=options["seed"],
    )
    retrain_recipe = Recipe(
        epochs=options["retrain_epochs"],
        learning_rate=0.02,
        dropout_ramp=0.0,
        precision=options["precision"],
        seed=options["seed"] + 1000,
    )
    dense = train(network, data, dense_recipe, checkpoint=work / "dense.checkpoint", report=ProgressLines(say)).weights
    unit = Unit.parse(options["unit"])
    settings = PruneSettings(
        method="workgroup",
        sparsity=options["sparsity"],
        fc_sparsity=options["fc_sparsity"],
        unit_for_layer=lambda layer: unit,
    )
    report = prune_and_retrain(
        network,
        dense,
        settings,
        data=data,
        recipe=retrain_recipe,
        checkpoint=work / "pruned.checkpoint",
        report=ProgressLines(say),
    )
    results = {
        "dense": evaluate(load_module(network, dense), held_out),
        "pruned": evaluate(load_module(network, report.weights), held_out),
    }
    write_models(out, network, dense=dense, report=report, sparsity=options["sparsity"])
    write_samples(out / "samples", held_out)
    recipes = {"dense": dense_recipe, "pruned": retrain_recipe}
    log = make_log(options, recipes=recipes, results=results, report=report, data=data)
    write_atomically(out / f"{STEM}.json", json.dumps(log, indent=2) + "\n")
    for name, result in results.items():
        click.echo(f"{name}: {100 * result.accuracy:.2f} % of {result.images} held-out images")


def write_models(out: Path, network: Network, *, dense: Weights, report: PruneReport, sparsity: float) -> None:
    """Both weights files, the pruned one's cfg with unit and sparsity of each layer, and the names."""
    stem = f"{STEM}-pruned{round(100 * sparsity)}"
    write_weights(out / f"{STEM}.weights", network, dense)
    write_weights(out / f"{stem}.weights", network, report.weights)
    write_atomically(out / f"{stem}.cfg", annotate_cfg(network.path, report.plan))
    write_atomically(out / f"{STEM}.names", "".join(f"{digit}\n" for digit in range(10)))


def write_samples(folder: Path, held_out: DataSet) -> None:
    """The first held-out image of each of eight classes, whatever the network makes of it."""
    for digit in SAMPLE_DIGITS:
        first = int(np.flatnonzero(held_out.labels == digit)[0])
        pixels = held_out.images[first : first + 1][0].transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"digit-{digit}.png")


def make_log(
    options: dict[str, Any],
    *,
    recipes: dict[str, Recipe],
    results: dict[str, ModuleEvaluation],
    report: PruneReport,
    data: DataSet,
) -> dict[str, Any]:
    """What was done, with what, and how well it came out."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "data": DATA,
        "images_per_epoch": len(data),
        "held_out_images": results["dense"].images,
        "dense": {"accuracy": results["dense"].accuracy, "recipe": asdict(recipes["dense"])},
        "pruned": {
            "accuracy": results["pruned"].accuracy,
            "method": "workgroup",
            "unit": options["unit"],
            "sparsity": options["sparsity"],
            "fc_sparsity": options["fc_sparsity"],
            "removed_by_layer": {str(layer.index): round(layer.removed_share, 6) for layer in report.layers},
            "recipe": asdict(recipes["pruned"]),
        },
        "versions": {
            "python": platform.python_version(),
            "clprune": clprune.__version__,
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
    }


if __name__ == "__main__":
    main()
