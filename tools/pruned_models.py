"""Converted models pruned and retrained, and how fast they are; writes docs/results/pruned_models.md and .json.

    python -m tools.pruned_models [--names resnet18,mobilenet_v2] [--only prepare|report|time] [--device D]

`prepare` converts torchvision's architecture with random weights for images of 32x32, trains it on digits-on-photos,
tunes it and prunes it in every way; what is there in the folder `--work` is not made again. `time` measures what was
made, dense and pruned in turns: with the dense network tuned, and once the pruned ones are, too. It wants a machine
with nothing else to do. `report` writes the page of what the runs reported alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import clprune
from clprune.container.model import load_model
from clprune.device import DeviceInfo
from clprune.opencl import Session, open_device
from clprune.progress import ProgressLines
from clprune.runner import Runner
from clprune.runner.compare import time_in_turns
from clprune.training import Recipe
from clprune.turns import Series
from clprune.unit import Unit
from tools import RESULTS
from tools.bench.machine import device_text
from tools.bench.report import Part, make_section, show, table_of, write_section
from tools.terminal import SECONDS, options, run_command, say

HEADING = """
# Converted models, pruned

Written by `python -m tools.pruned_models`. Architectures of torchvision for images of 32x32 and ten classes, trained
from random weights on `digits-on-photos`, converted, pruned and retrained by `clprune prune`. `filter` removes channels
through residual additions and depthwise convolutions. A unit of `tile` is as tall as the device's tiles (32 rows where
images are 8x8 or less). Times are whole inferences of one image, best of many, of dense and pruned in turns. First
what each `clprune prune` reported, with tiles that were tuned for the dense network alone, and how many layers took a
tenth longer than dense, or more; other work may have been on the machine, so that times of a row say something of each
other alone. Then, if there, all networks in turns on a machine without other work, also with the pruned ones tuned.
"""

NAMES = ("resnet18", "mobilenet_v2")
DATA, SIDE, CLASSES = "digits-on-photos", 32, 10
LONGER = 1.1  # times as long as its dense form a layer may take without being called slower
PACKAGES = ("clprune", "numpy", "pyopencl", "torch", "torchvision", "onnx")
COLUMNS = (
    "way", "unit", "removed", "weights kept", "accuracy", "before retraining", "ms dense", "ms pruned", "times faster",
    "slower layers",
)  # fmt: skip
TIME_COLUMNS = ("way", "unit", "ms", "times faster", "ms, all tuned", "times faster, all tuned")


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to prune: `unit` None is the device's."""

    method: str
    sparsity: float
    unit: Unit | None = None

    @property
    def stem(self) -> str:
        """What its files are called."""
        return self.method if self.unit is None else f"{self.method}-{self.unit}"

    @property
    def unit_text(self) -> str:
        """What goes together."""
        return "channel" if self.method == "filter" else str(self.unit or "tile")


WAYS = (
    Way(method="workgroup", sparsity=0.8),
    Way(method="bcbp", sparsity=0.8),
    Way(method="filter", sparsity=0.5),
    Way(method="workgroup", sparsity=0.8, unit=Unit(rows=8)),
    Way(method="bcbp", sparsity=0.8, unit=Unit(rows=8)),
)


@click.command()
@options(
    names={"default": ",".join(NAMES), "help": "Which models."},
    only={"type": click.Choice(["prepare", "report", "time"]), "default": None, "help": "Do no more than that."},
    device=None,
    epochs=3,
    dense_epochs={"default": 10, "help": "Epochs of training the dense network."},
    dense_images={"default": 4000, "help": "Images of each of them."},
    images=2000,
    precision="bfloat16",
    tune={"default": 60.0, "help": "Seconds of tuning the dense network."},
    tune_pruned={"type": SECONDS, "default": 20.0, "help": "Seconds of tuning each pruned network."},
    rounds=200,
    seed=0,
    work=Path("build/pruned_models"),
    out=RESULTS / "pruned_models.json",
)
def main(names: str, only: str | None, device: str | None, work: Path, out: Path, **told: Any) -> None:
    """Prune converted models, and time them."""
    with open_device(device) as session:
        for name in names.split(","):
            folder = work / name
            if only in (None, "prepare"):
                prepare(name, folder, session, told)
            if only != "prepare":
                section = make_page(folder, None if only == "report" else session, told, device=session.info)
                title = f"{name}, {session.info.platform_name}"
                show(title, section["parts"])
                write_section(out, title, section, heading=HEADING)


def prepare(name: str, folder: Path, session: Session, told: Mapping[str, Any]) -> None:
    """Make the dense network and all pruned ones that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, dense = ProgressLines(say), folder / "dense.cfg"
    if not (folder / "dense.json").exists():
        _convert(name, folder / "dense", session, seed=told["seed"])
        recipe = Recipe(epochs=told["dense_epochs"], seed=told["seed"], precision=told["precision"])
        trained = clprune.train(
            dense, data=DATA, recipe=recipe, count=told["dense_images"], out=folder / "dense", progress=lines
        )
        _write(folder / "dense.json", trained.to_dict())
    clprune.tune(dense, budget_s=told["tune"], missing=True, device=session, progress=lines)
    for way in WAYS:
        if (folder / f"{way.stem}.json").exists():
            continue
        recipe = Recipe(epochs=told["epochs"], learning_rate=0.02, seed=told["seed"], precision=told["precision"])
        result = clprune.prune(
            dense, data=DATA, sparsity=way.sparsity, method=way.method, unit=way.unit, recipe=recipe,
            count=told["images"], out=folder / way.stem, device=session, progress=lines,
        )  # fmt: skip
        _write(folder / f"{way.stem}.json", result.to_dict())


def _convert(name: str, out: Path, session: Session, *, seed: int) -> None:
    import torch

    from clprune.training.vision import import_torchvision

    torch.manual_seed(seed)
    module = import_torchvision().models.get_model(name, weights=None, num_classes=CLASSES)
    example = torch.rand(1, 3, SIDE, SIDE)
    clprune.from_torch(module, example, device=session).save(out)


def make_page(folder: Path, session: Session | None, told: Mapping[str, Any], *, device: DeviceInfo) -> dict[str, Any]:
    """The section of a model: what was reported and, on `session`, every network that was made in turns."""
    ways = [way for way in WAYS if (folder / f"{way.stem}.json").exists()]
    facts = [json.loads((folder / f"{way.stem}.json").read_text(encoding="utf-8")) for way in ways]
    text = (
        f"OpenCL: {device_text(device)}. Dense: {told['dense_epochs']} epochs of {told['dense_images']} images; "
        f"each retraining: {told['epochs']} of {told['images']}; seed {told['seed']}. "
        f"Accuracy of the dense network: {facts[0]['before']['accuracy']:.1%}."
    )
    if facts[0]["before"]["accuracy"] < 2 / CLASSES:
        text += " So few images taught it nothing: accuracies are those of guesses. Times do not mind."
    parts: list[Part] = [table_of(COLUMNS, map(_row, ways, facts))]
    if session is None:
        return make_section(PACKAGES, text=text, parts=parts)
    models = [load_model(folder / f"{stem}.cfg") for stem in ("dense", *(way.stem for way in ways))]
    clprune.tune(models[0], budget_s=told["tune"], missing=True, device=session)
    before = _times(models, session, rounds=told["rounds"])
    for model in models[1:]:
        clprune.tune(model, budget_s=told["tune_pruned"], missing=True, device=session)
    after = _times(models, session, rounds=told["rounds"])
    rows = [
        [*name, *(cell for all_of in (before, after) for cell in _compared(all_of[0], all_of[number]))]
        for number, name in enumerate([("dense", ""), *((way.method, way.unit_text) for way in ways)])
    ]
    samples = {"before": [series.to_dict() for series in before], "after": [series.to_dict() for series in after]}
    return make_section(PACKAGES, text=text, parts=[*parts, table_of(TIME_COLUMNS, rows)], times=samples)


def _times(models: Sequence[clprune.Model], session: Session, *, rounds: int) -> list[Series]:
    return time_in_turns([Runner(model, session=session) for model in models], rounds=rounds)


def _compared(dense: Series, own: Series) -> tuple[str, str]:
    return f"{own.best_ms:.3f}", f"{dense.best_ms / own.best_ms:.2f}"


def _row(way: Way, fact: Mapping[str, Any]) -> tuple[str, ...]:
    before, after, masked = fact["before"], fact["after"], fact["accuracy_masked"]
    slower = sum(layer["ms_after"] > LONGER * layer["ms_before"] for layer in fact["layers"])
    return (
        way.method,
        way.unit_text,
        f"{way.sparsity:.0%} of {'channels' if way.method == 'filter' else 'units'}",
        f"{after['weights_kept']:.1%}",
        f"{after['accuracy']:.1%}",
        "" if masked is None else f"{masked:.1%}",
        f"{before['best_ms']:.3f}",
        f"{after['best_ms']:.3f}",
        f"{fact['speed_up']:.2f}",
        f"{slower} of {len(fact['layers'])}",
    )


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
