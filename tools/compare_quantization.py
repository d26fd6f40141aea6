"""What fewer bits cost in accuracy: a network pruned weight by weight, retrained, coded, and retrained for its codes.

    python tools/compare_quantization.py            about an hour of one core; a killed run goes on where it was
    python tools/compare_quantization.py --quick    a minute, into --work, for a look at the way

Writes docs/results/quantization.md and .json. All seeds start from the shipped dense network; a seed moves what
retraining draws. Each coding starts from its seed's pruned network; with fewer --pruned-seeds, seeds share one.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch

from clprune.benchmark.machine import package_versions, this_machine, today
from clprune.benchmark.report import Section, machine_text, markdown_table, write_section
from clprune.cli.common import device_option, one_line_errors, print_table
from clprune.comparison.journal import Row, append_row, check_experiment, read_rows
from clprune.container import read_packed, write_packed
from clprune.darknet.folded import fold_network
from clprune.darknet.layers import PruneOptions
from clprune.darknet.network import Network, load_network
from clprune.darknet.values import Weights
from clprune.darknet.weights import read_weights
from clprune.data import DataSet, load_data
from clprune.opencl import open_device
from clprune.pruning.allocation import erdos_renyi
from clprune.pruning.network import apply_masks, make_masks
from clprune.pruning.schedule import sparsity_steps
from clprune.quantization.network import QuantizeSettings, quantizable_layers, quantize_network, zero_masks
from clprune.resources import models_folder
from clprune.runner import Runner
from clprune.runner.calibration import activation_scales
from clprune.tile import Unit
from clprune.training import Recipe, Teacher, evaluate, load_module, train
from clprune.training.quantize import HeldCodes, Quantization

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "quantization.json"
STEM = "vgg16-digits"
DATA = "digits-on-photos"
CALIBRATION_IMAGES = 128
OTHER_SEED = 78
"""Of the held-out images that are no other comparison's; the originals are the same."""
FIRST_SEED = 2000
"""Seeds of retraining count from here, so that none is the dense training's."""
QUICK = {
    "images": 1_280,
    "held_out": 1_000,
    "epochs": 1,
    "steps": 2,
    "step_epochs": 1,
    "distilled_epochs": 1,
    "seeds": 1,
}

HEADING = """
# Accuracy in fewer bits

Written by `tools/compare_quantization.py`. Points are percentage points below the dense network, which all runs start
from; "as coded" is before retraining for the codes. Best and worst are of the seeds. Sizes are those of the packed
container, all layers; float32 is 4 bytes for each weight of the dense network. Goals are about the held-out images that
all comparisons share; "on others" are the points below dense on more images, composed anew from the same held-out
originals: on few images, half a point is not far from the standard error of an accuracy.
"""


@dataclass(frozen=True, kw_only=True)
class Coded:
    """One way to code the pruned network, how many `epochs` of retraining it gets, and how many points below the dense
    one it may end.
    """

    name: str
    settings: QuantizeSettings
    epochs: int = 1
    activations: bool = False
    goal_points: float | None = None


DENSE = "dense"
PRUNED = "float32"
OTHERS = "others.jsonl"
"""In the folder of work: accuracy on other held-out images."""
CODINGS = (
    Coded(name="int8", settings=QuantizeSettings(scheme="linear", bits=8), epochs=3, goal_points=0.5),
    Coded(name="4-bit codebook", settings=QuantizeSettings(scheme="codebook", bits=4), epochs=3, goal_points=1.0),
    Coded(name="int8, int8 activations", settings=QuantizeSettings(scheme="linear", bits=8), activations=True),
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all runs share."""

    options: Mapping[str, Any]
    key: str
    network: Network
    dense: Weights
    held_out: DataSet

    @property
    def work(self) -> Path:
        return Path(self.options["work"])

    def images(self, seed: int) -> DataSet:
        """Training images, composed afresh for each seed and epoch."""
        shape = self.network.input
        count = self.options["images"]
        return load_data(DATA, split="train", height=shape.height, width=shape.width, seed=seed, count=count)

    @property
    def distilled(self) -> dict[str, float]:
        """Of the recipes that learn from the dense network."""
        names = {"distillation": "distillation", "temperature": "temperature", "dropout_strength": "distilled_dropout"}
        return {name: self.options[option] for name, option in names.items()}

    @property
    def teacher(self) -> Teacher:
        return Teacher(network=self.network, weights=self.dense)

    def recipe(self, seed: int, *, epochs: int, learning_rate: float, is_distilled: bool = False) -> Recipe:
        return Recipe(
            epochs=epochs,
            learning_rate=learning_rate,
            **self.distilled if is_distilled and self.options["distillation"] else {},
            batch=self.options["batch"],
            precision=self.options["precision"],
            dropout_ramp=0.0,
            seed=FIRST_SEED + seed,
        )

    def accuracy(self, network: Network, weights: Weights) -> float:
        return evaluate(load_module(network, weights), self.held_out).accuracy


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/quantization"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file to write [default: in docs/results].")
@click.option("--sparsity", type=float, default=0.9, show_default=True, help="Share of all prunable layers' weights.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--pruned-seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Prune and retrain so many networks [default: one for each seed].",
)
@click.option("--images", type=click.IntRange(min=64), default=15_000, show_default=True, help="Images of an epoch.")
@click.option("--held-out", type=click.IntRange(min=1), help="Images that are evaluated [default: all].")
@click.option(
    "--other-held-out",
    type=click.IntRange(min=1),
    default=12_000,
    show_default=True,
    help="Images that are evaluated beside them, composed anew from the same originals.",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), default=40, show_default=True, help="After the last step of pruning."
)
@click.option("--steps", type=click.IntRange(min=1), default=3, show_default=True, help="Of pruning.")
@click.option(
    "--step-epochs", type=click.IntRange(min=1), default=4, show_default=True, help="After each but the last."
)
@click.option("--learning-rate", default=0.03, show_default=True, help="Peak after pruning.")
@click.option(
    "--distilled-epochs",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="After those, learning from the dense network's answers.",
)
@click.option("--distilled-rate", default=0.01, show_default=True, help="Peak of these.")
@click.option(
    "--distillation",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the loss that comes from those answers, there and in retraining for codes.",
)
@click.option("--temperature", default=2.0, show_default=True, help="That softens them.")
@click.option(
    "--distilled-dropout",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="What multiplies dropout there: about the square root of the kept share.",
)
@click.option("--coded-rate", default=0.005, show_default=True, help="Peak of retraining for codes.")
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="bfloat16", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--report-only", is_flag=True, help="Train nothing: the tables of what is there.")
@click.option("--quick", is_flag=True, help="Few images and one seed; results into --work.")
@device_option
def compare_quantization(out: Path | None, device: str | None, **options: Any) -> None:
    """Prune, retrain, code, retrain, report."""
    is_training = not options.pop("report_only")
    if options.pop("quick"):
        options.update(QUICK)
        out = out or options["work"] / "quantization.json"
    pruned_seeds = options.pop("pruned_seeds") or options["seeds"]
    torch.set_num_threads(options["threads"])
    setting = prepare(options)
    journal = setting.work / "runs.jsonl"
    check_experiment(read_rows(journal), key=setting.key, path=journal)
    wanted = [(seed, seed, PRUNED) for seed in range(pruned_seeds)]
    for codings in (CODINGS[:2], CODINGS[2:]):  # those with goals first: a run that is stopped early has these
        wanted += [(seed, seed % pruned_seeds, coded.name) for seed in range(options["seeds"]) for coded in codings]
    for seed, pruned_seed, name in wanted:
        row = find_row(read_rows(journal), seed=seed, pruned_seed=pruned_seed, name=name)
        if row is None and is_training:
            started = time.monotonic()
            row = run(setting, name, seed=seed, pruned_seed=pruned_seed, device=device)
            facts = {"experiment": setting.key, "seed": seed, "pruned_seed": pruned_seed, "name": name}
            append_row(journal, facts | {"train_s": round(time.monotonic() - started, 1)} | row)
            say(f"seed {seed}, {name}: {100 * row['accuracy']:.2f} %")
    if is_training:
        measure_others(setting, read_rows(journal))
    rows = with_others(setting, read_rows(journal))
    found = [find_row(rows, seed=seed, pruned_seed=pruned_seed, name=name) for seed, pruned_seed, name in wanted]
    section = make_section(setting, [row for row in found if row is not None])
    write_section(out or RESULTS, f"{STEM}, {DATA}", section, heading=HEADING, render=render_section)
    print_table(section["columns"], section["table"])


def find_row(rows: Sequence[Row], *, seed: int, pruned_seed: int, name: str) -> Row | None:
    """The row of a piece of work that is done, else None."""
    sought = (seed, pruned_seed, name)
    return next((row for row in rows if (row["seed"], row["pruned_seed"], row["name"]) == sought), None)


def prepare(options: dict[str, Any]) -> Setting:
    """Read the dense network and the held-out images."""
    network = load_network(models_folder() / f"{STEM}.cfg")
    shape = network.input
    held_out = load_data(DATA, split="test", height=shape.height, width=shape.width, count=options["held_out"])
    path = network.path.with_suffix(".weights")
    decisive = {name: value for name, value in options.items() if name not in ("work", "seeds", "threads")}
    digest = hashlib.sha256(path.read_bytes() + repr((sorted(decisive.items()), CODINGS)).encode())
    options["work"].mkdir(parents=True, exist_ok=True)
    return Setting(
        options=options,
        key=digest.hexdigest()[:16],
        network=network,
        dense=read_weights(path, network),
        held_out=held_out,
    )


def run(setting: Setting, name: str, *, seed: int, pruned_seed: int, device: str | None) -> dict[str, Any]:
    """One row: the pruned network of a seed, or one of its codings."""
    if name == PRUNED:
        return prune(setting, seed=seed)
    coded = next(coded for coded in CODINGS if coded.name == name)
    return code(setting, coded, seed=seed, pruned_seed=pruned_seed, device=device)


def plan(setting: Setting, *, sparsity: float) -> dict[int, PruneOptions]:
    """What is removed of each layer but the first: `sparsity` of all their weights together, shares by Erdos-Renyi."""
    layers = quantizable_layers(setting.network)[1:]
    shapes = [(layer.weights_shape[0], math.prod(layer.weights_shape[1:])) for layer in layers]
    return {
        layer.index: PruneOptions(method="unstructured", unit=Unit(rows=1), sparsity=share)
        for layer, share in zip(layers, erdos_renyi(shapes, sparsity=sparsity), strict=True)
        if share > 0
    }


def prune(setting: Setting, *, seed: int) -> dict[str, Any]:
    """Prune the dense network in steps, retrain it after each, at last by distillation; keep it folded."""
    options = setting.options
    weights, images = setting.dense, setting.images(seed)
    shares = sparsity_steps(options["sparsity"], steps=options["steps"])
    for number, sparsity in enumerate(shares):
        is_last = number == len(shares) - 1
        masks = make_masks(setting.network, weights, plan(setting, sparsity=sparsity))
        weights = train(
            setting.network,
            images,
            setting.recipe(
                seed + 100 * number,
                epochs=options["epochs" if is_last else "step_epochs"],
                learning_rate=options["learning_rate"],
            ),
            weights=apply_masks(weights, masks),
            masks=masks,
            checkpoint=setting.work / f"pruned-{seed}-{number}.checkpoint",
        ).weights
    by_labels = setting.accuracy(setting.network, weights)
    if options["distilled_epochs"]:
        weights = train(
            setting.network,
            images,
            setting.recipe(
                seed + 100 * len(shares),
                epochs=options["distilled_epochs"],
                learning_rate=options["distilled_rate"],
                is_distilled=True,
            ),
            weights=weights,
            masks=masks,
            teacher=setting.teacher,
            checkpoint=setting.work / f"pruned-{seed}-distilled.checkpoint",
        ).weights
    folded, values = fold_network(setting.network, weights)
    path = setting.work / file_name(PRUNED, seed)
    write_packed(path, folded, values)
    return {
        "accuracy": setting.accuracy(folded, values),
        "accuracy_by_labels": by_labels,
        "dense_accuracy": setting.accuracy(setting.network, setting.dense),
        "kept_share": kept_share(values),
        "size_bytes": path.stat().st_size,
        "float32_bytes": 4 * sum(layer.weights.size for layer in setting.dense.layers if layer is not None),
        "held_out": len(setting.held_out),
    }


def code(setting: Setting, coded: Coded, *, seed: int, pruned_seed: int, device: str | None) -> dict[str, Any]:
    """Code a pruned network and retrain it for its codes."""
    options = setting.options
    network, _ = fold_network(setting.network, setting.dense)
    weights = read_packed(setting.work / f"pruned-{pruned_seed}.safetensors", network)
    images = setting.images(seed)
    scales = calibrate(network, weights, images, device=device) if coded.activations else None
    result = train(
        network,
        images,
        setting.recipe(seed, epochs=coded.epochs, learning_rate=options["coded_rate"], is_distilled=True),
        weights=weights,
        masks=zero_masks(network, weights),
        quantization=Quantization(settings=coded.settings, activation_scales=scales),
        teacher=setting.teacher,
    )
    path = setting.work / file_name(coded.name, seed)
    write_packed(path, network, result.weights)
    row: dict[str, Any] = {"size_bytes": path.stat().st_size, "kept_share": kept_share(result.weights)}
    row["accuracy"] = coded_accuracy(setting, network, result.weights, coded.settings, scales)
    if seed == pruned_seed:  # the same for every seed
        untrained = quantize_network(network, weights, coded.settings, activation_scales=scales)
        row["accuracy_as_coded"] = coded_accuracy(setting, network, untrained, coded.settings, scales)
    return row


def coded_accuracy(
    setting: Setting,
    network: Network,
    weights: Weights,
    settings: QuantizeSettings,
    scales: Mapping[int, float] | None,
) -> float:
    """Accuracy of coded weights; with `scales` layers' inputs are rounded to their codes as well."""
    module = load_module(network, weights)
    if scales is not None:
        HeldCodes(module, Quantization(settings=settings, activation_scales=scales))
    return evaluate(module, setting.held_out).accuracy


def measure_others(setting: Setting, rows: Sequence[Row]) -> None:
    """Accuracy of the dense network and of each row's on other held-out images, kept in a file of their own."""
    path = setting.work / OTHERS
    done = {(row["seed"], row["name"]) for row in read_rows(path)}
    shape = setting.network.input
    count = setting.options["other_held_out"]
    others = load_data(DATA, split="test", height=shape.height, width=shape.width, seed=OTHER_SEED, count=count)
    folded, _ = fold_network(setting.network, setting.dense)
    coded = {coding.name for coding in CODINGS if not coding.activations}
    wanted = [(row["seed"], row["name"]) for row in rows if row["name"] in coded | {PRUNED}]
    for seed, name in [(0, DENSE), *wanted]:
        if (seed, name) in done:
            continue
        network, weights = setting.network, setting.dense
        if name != DENSE:
            network, weights = folded, read_packed(setting.work / file_name(name, seed), folded)
        accuracy = evaluate(load_module(network, weights), others).accuracy
        append_row(path, {"seed": seed, "name": name, "accuracy": accuracy, "images": len(others)})


def with_others(setting: Setting, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows with what `measure_others` found: their accuracy and the dense network's."""
    found = {(row["seed"], row["name"]): row for row in read_rows(setting.work / OTHERS)}
    dense = found.get((0, DENSE))
    joined = []
    for row in rows:
        other = found.get((row["seed"], row["name"]))
        facts = {}
        if dense is not None and other is not None:
            facts = {
                "other_accuracy": other["accuracy"],
                "other_dense_accuracy": dense["accuracy"],
                "other_images": other["images"],
            }
        joined.append({**row, **facts})
    return joined


def file_name(name: str, seed: int) -> str:
    """Where a row's network is kept."""
    return f"{'pruned' if name == PRUNED else name.replace(', ', '-').replace(' ', '-')}-{seed}.safetensors"


def calibrate(network: Network, weights: Weights, images: DataSet, *, device: str | None) -> dict[int, float]:
    """Scales of layers' inputs from the first training images, computed on a device."""
    with (
        open_device(device) as session,
        Runner(network, weights, session=session, keep_tensors=True) as runner,
    ):
        return activation_scales(runner, [images.batch(slice(0, CALIBRATION_IMAGES))])


def kept_share(weights: Weights) -> float:
    """Share of all layers' weights that are not zero."""
    arrays = [layer.weights for layer in weights.layers if layer is not None]
    return sum(int((array != 0).sum()) for array in arrays) / sum(array.size for array in arrays)


COLUMNS = (
    "weights",
    "seeds",
    "epochs",
    "as coded",
    "retrained",
    "worst",
    "best",
    "points below dense",
    "on others",
    "goal",
    "met",
    "kept",
    "kB",
)


def make_section(setting: Setting, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that was measured, and the table of it."""
    options = {name: value for name, value in setting.options.items() if name not in ("work", "device")}
    return {
        "date": today(),
        "machine": asdict(this_machine()),
        "versions": package_versions(["clprune", "numpy", "torch"]),
        "options": options,
        "rows": list(rows),
        "columns": COLUMNS,
        "table": table(rows),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row of text for the dense network and for each form, over its seeds."""
    pruned = [row for row in rows if row["name"] == PRUNED]
    dense = statistics.fmean(row["dense_accuracy"] for row in pruned)
    size = statistics.fmean(row["float32_bytes"] for row in pruned)
    cells = [
        ("dense float32", "-", "-", "-", percent(dense), "-", "-", "-", "-", "-", "-", "100.0 %", f"{size / 1e3:.0f}")
    ]
    forms: dict[str, Coded | None] = {PRUNED: None, **{coded.name: coded for coded in CODINGS}}
    for name, form in forms.items():
        goal = None if form is None else form.goal_points
        of_name = [row for row in rows if row["name"] == name]
        if not of_name:
            continue
        accuracies = [row["accuracy"] for row in of_name]
        points = 100 * (dense - statistics.fmean(accuracies))
        cells.append(
            (
                f"pruned, {name}",
                str(len(of_name)),
                "-" if form is None else str(form.epochs),
                mean_of(of_name, "accuracy_as_coded", percent) if name != PRUNED else "-",
                percent(statistics.fmean(accuracies)),
                percent(min(accuracies)),
                percent(max(accuracies)),
                f"{points:.2f}",
                points_on_others(of_name),
                "-" if goal is None else f"<= {goal:g}",
                "-" if goal is None else "yes" if points <= goal else "no",
                mean_of(of_name, "kept_share", percent),
                mean_of(of_name, "size_bytes", lambda size: f"{size / 1e3:.0f}"),
            )
        )
    return cells


def mean_of(rows: Sequence[Mapping[str, Any]], name: str, show: Callable[[float], str]) -> str:
    """The mean of those rows that have it."""
    return show(statistics.fmean(row[name] for row in rows if name in row))


def points_on_others(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean points below dense on other images."""
    points = [100 * (row["other_dense_accuracy"] - row["other_accuracy"]) for row in rows if "other_accuracy" in row]
    return f"{statistics.fmean(points):.2f}" if points else "-"


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def render_section(section: Section) -> str:
    """A section as Markdown."""
    options, rows = section["options"], section["rows"]
    seeds, networks = (len({row[name] for row in rows}) for name in ("seed", "pruned_seed"))
    networks = f"{networks} networks" if networks > 1 else "One network"
    held_out = next(row["held_out"] for row in rows if "held_out" in row)
    return "\n\n".join(
        [
            f"{machine_text(section)} {100 * options['sparsity']:g} % of the weights of all layers but the first "
            f"removed one by one, shares of layers by Erdos-Renyi. {networks} pruned and retrained, then {seeds} seeds "
            f"of retraining for the codes. {options['steps']} steps of pruning, {options['step_epochs']} epochs after "
            f"each and {options['epochs']} after the last, of {options['images']} images"
            f"{distillation_text(section)}; epochs for each coding are in the table; {held_out} held-out images"
            f"{others_text(section)}.",
            markdown_table(section["columns"], section["table"]),
        ]
    )


def others_text(section: Section) -> str:
    """How much is behind the two columns of points."""
    row = next((row for row in section["rows"] if "other_accuracy" in row and "held_out" in row), None)
    if row is None:
        return ""
    errors = [
        100 * math.sqrt(share * (1 - share) / count)
        for share, count in (
            (row["dense_accuracy"], row["held_out"]),
            (row["other_dense_accuracy"], row["other_images"]),
        )
    ]
    return (
        f" (standard error of the dense network's accuracy {errors[0]:.2f} points), {row['other_images']} others "
        f"(dense {percent(row['other_dense_accuracy'])}, standard error {errors[1]:.2f} points)"
    )


def distillation_text(section: Section) -> str:
    """How much was learned from the dense network's answers."""
    options = section["options"]
    share, epochs = options["distillation"], options["distilled_epochs"]
    if not share:
        return " by their labels"
    before = [row["accuracy_by_labels"] for row in section["rows"] if "accuracy_by_labels" in row]
    return (
        f" by their labels (accuracy then {percent(statistics.fmean(before))}); {epochs} more, and all epochs for "
        f"codes, with {100 * share:g} % of the loss from the dense network's answers (temperature "
        f"{options['temperature']:g}) and dropout times {options['distilled_dropout']:g}"
    )


def say(text: str) -> None:
    """Progress on stderr."""
    click.echo(text, err=True)


if __name__ == "__main__":
    with one_line_errors():
        compare_quantization(standalone_mode=False)
