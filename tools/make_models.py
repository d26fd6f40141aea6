"""Make models/vgg16-digits: train it, prune three quarters of it, retrain, and write weights, samples and a log.

python -m tools.make_models            half an hour on one free core; a killed run goes on where it was
python -m tools.make_models --quick    a minute, for a look at the way; writes nothing into models/ by default
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from clprune.darknet.network import load_network
from clprune.darknet.weights import write_weights
from clprune.data import DataSet
from clprune.files import write_atomically
from clprune.progress import ProgressLines
from clprune.pruning.settings import PruneSettings
from clprune.training import Recipe, prune_and_retrain, train
from clprune.unit import Unit
from clprune.workflow.inputs import as_data
from tools import ROOT
from tools.bench.machine import package_versions, this_machine, today
from tools.compare.frame import use_threads
from tools.terminal import options, run_command, say

MODELS = ROOT / "models"
DATA = "digits-on-photos"
STEM = "vgg16-digits"
SAMPLE_DIGITS = range(8)


@click.command()
@options(
    out={"help": "Folder of the results [default: models/]."},
    work=Path("build/models"),
    unit={"default": "8x1", "help": "Rows x columns that are removed together."},
    sparsity={"default": 0.75, "help": "Share of the convolutions' units that goes."},
    fc_sparsity={"default": 0.75, "help": "Share of the connected layers' units that goes."},
    epochs={"default": 25, "help": "Epochs of the dense training."},
    retrain_epochs={"default": 15, "help": "Epochs after pruning."},
    images=40_000,
    seed=0,
    precision="float32",
    threads=None,
    quick={"default": False, "help": "Two short epochs of each, into --work."},
)
def main(work: Path, out: Path | None, **options: Any) -> None:
    """Train, prune, retrain; no choice is made on the held-out images: the last epoch counts."""
    use_threads(options["threads"])
    if options["quick"]:
        options.update(epochs=2, retrain_epochs=2, images=6_400)
    out = out or (work if options["quick"] else MODELS)
    for folder in (work, out / "samples"):
        folder.mkdir(parents=True, exist_ok=True)
    if out != MODELS:
        write_atomically(out / f"{STEM}.cfg", (MODELS / f"{STEM}.cfg").read_text())
    network = load_network(out / f"{STEM}.cfg")
    data = as_data(DATA, network, split="train", seed=options["seed"], count=options["images"])
    held_out = as_data(DATA, network, split="test")
    common = {"precision": options["precision"]}
    recipes = {
        "dense": Recipe(epochs=options["epochs"], learning_rate=0.04, dropout_ramp=0.2, seed=options["seed"], **common),
        "pruned": Recipe(
            epochs=options["retrain_epochs"],
            learning_rate=0.02,
            dropout_ramp=0.0,
            seed=options["seed"] + 1000,
            **common,
        ),
    }
    progress = ProgressLines(say)
    dense = train(network, data, recipes["dense"], checkpoint=work / "dense.checkpoint", report=progress).weights
    unit = Unit.parse(options["unit"])
    report = prune_and_retrain(
        network,
        dense,
        PruneSettings(
            method="workgroup",
            sparsity=options["sparsity"],
            fc_sparsity=options["fc_sparsity"],
            unit_for_layer=lambda layer: unit,
        ),
        data=data,
        recipe=recipes["pruned"],
        validation=held_out,
        checkpoint=work / "pruned.checkpoint",
        report=progress,
    )
    write_weights(out / f"{STEM}.weights", network, dense)
    report.model.save(out / f"{STEM}-pruned{round(100 * options['sparsity'])}")
    write_atomically(out / f"{STEM}.names", "".join(f"{digit}\n" for digit in range(10)))
    write_samples(out / "samples", held_out)
    log = {
        "date": today(),
        "data": DATA,
        "images_per_epoch": len(data),
        "held_out_images": len(held_out),
        "dense": {"accuracy": report.accuracy_before, "recipe": asdict(recipes["dense"])},
        "pruned": {
            "accuracy": report.accuracy_after,
            "method": "workgroup",
            **{name: options[name] for name in ("unit", "sparsity", "fc_sparsity")},
            "removed_by_layer": {str(layer.index): round(layer.removed_share, 6) for layer in report.layers},
            "recipe": asdict(recipes["pruned"]),
        },
        "versions": {"python": this_machine()["python"], **package_versions(["clprune", "numpy", "torch"])},
    }
    write_atomically(out / f"{STEM}.json", json.dumps(log, indent=2) + "\n")
    for name, accuracy in (("dense", report.accuracy_before), ("pruned", report.accuracy_after)):
        click.echo(f"{name}: {100 * (accuracy or 0.0):.2f} % of {len(held_out)} held-out images")


def write_samples(folder: Path, held_out: DataSet) -> None:
    """The first held-out image of each of eight classes, whatever the network makes of it."""
    for digit in SAMPLE_DIGITS:
        first = int(np.flatnonzero(held_out.labels == digit)[0])
        pixels = held_out.images[first : first + 1][0].transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"digit-{digit}.png")


if __name__ == "__main__":
    run_command(main)
