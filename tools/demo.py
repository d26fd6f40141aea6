"""What `make demo` shows: tune for this machine, run the pruned model on real images, compare it with the dense one.

python -m tools.demo [--budget SECONDS] [--device D] [--models FOLDER] [--update README.md]
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

import clprune
from clprune.darknet.network import Network, load_network
from clprune.darknet.values import Weights
from clprune.darknet.weights import read_weights
from clprune.data import DataSet, load_data
from clprune.device import DeviceInfo
from clprune.errors import DataError
from clprune.files import write_atomically
from clprune.image import ImageOptions
from clprune.opencl import Session, open_device
from clprune.plan.forms import weights_forms
from clprune.plan.plan import make_plan
from clprune.resources import models_folder
from clprune.runner import Runner
from clprune.runner.compare import largest_error, time_in_turns, weights_kept
from clprune.runner.evaluate import evaluate
from clprune.runner.inference import image_input, infer_images, top_k
from clprune.tiles.store import open_store
from clprune.tuning.tune import offers_to_tune
from clprune.workflow.tune import tune_offers, without_tuned
from tools.terminal import SECONDS, options, print_table, run_command

DATA = "digits-on-photos"
STEMS = {"dense": "vgg16-digits", "pruned": "vgg16-digits-pruned75"}
LOG = "vgg16-digits.json"
BEGIN, END = "<!-- demo: begin -->", "<!-- demo: end -->"
TOP = 5
ROUNDS = 100


@dataclass(frozen=True, kw_only=True)
class Model:
    """One of the two models; `logged_accuracy` is what its training reached, in PyTorch."""

    name: str
    network: Network
    weights: Weights
    logged_accuracy: float


@click.command()
@options(
    budget={"type": SECONDS, "default": 20.0, "help": "Seconds of tuning, for problems that have no tuned tile yet."},
    models={"type": click.Path(path_type=Path), "help": "Folder of the models [default: the shipped ones]."},
    update={
        "type": click.Path(path_type=Path, exists=True, dir_okay=False),
        "help": "Also write the table into this file, between its demo markers.",
    },
    device=None,
)
def demo(budget: float, models: Path | None, update: Path | None, device: str | None) -> None:
    """Tune, run, compare."""
    folder = models_folder() if models is None else models
    both = [load_model(folder, name) for name in STEMS]
    shape = both[0].network.input
    held_out = load_data(DATA, split="test", height=shape.height, width=shape.width)
    with open_device(device) as session:
        click.echo(f"device: {session.info.name} ({session.info.platform_name}, {session.info.driver_version})")
        tune(session, both, budget_s=budget)
        runners = [Runner(model.network, model.weights, session=session) for model in both]
        samples = sorted((folder / "samples").glob("*.png"))
        print_samples(both[1], runners[1], samples)
        table = compare(session, both, runners, samples=samples, held_out=held_out)
        if update is not None:
            write_table(update, table, session.info)


def load_model(folder: Path, name: str) -> Model:
    """Network, weights and logged accuracy of the model `name`, "dense" or "pruned"."""
    network = load_network(folder / f"{STEMS[name]}.cfg")
    weights = read_weights(folder / f"{STEMS[name]}.weights", network)
    try:
        log = json.loads((folder / LOG).read_text(encoding="utf-8"))
        accuracy = float(log[name]["accuracy"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"expected the log that tools/make_models.py writes ({error})", path=folder / LOG) from error
    return Model(name=name, network=network, weights=weights, logged_accuracy=accuracy)


def tune(session: Session, models: Sequence[Model], *, budget_s: float) -> None:
    """Tune what has no tuned tile on this device yet; a second run finds nothing to do."""
    plans = [
        make_plan(model.network, session.info, forms=weights_forms(model.network, model.weights)) for model in models
    ]
    with open_store(to_write=True) as store:
        offers = offers_to_tune([step for plan in plans for step in plan.steps], likely_only=True)
        missing = without_tuned(store, session.info, offers)
        if not missing:
            click.echo("tuned before on this device")
            return
        start = time.monotonic()
        problems, interrupted = tune_offers(session, store, missing, budget_s=budget_s)
    if interrupted:
        raise click.Abort
    tried = sum(problem.evaluations for problem in problems)
    click.echo(f"tuned {len(problems)} problems in {time.monotonic() - start:.0f} s: {tried} tiles timed and verified")


def print_samples(model: Model, runner: Runner, samples: Sequence[Path]) -> None:
    """The five likeliest classes of each sample image."""
    click.echo(f"\n{model.name} model on held-out images, the {TOP} likeliest classes")
    rows = []
    for answer in infer_images(runner, model.network, map(str, samples), options=ImageOptions()):
        if answer.values is None:
            raise answer.error or DataError("no answer", path=answer.path)
        best = top_k(answer.values, count=TOP)
        rows.append((Path(answer.path).stem, *(f"{index}: {100 * answer.values[index]:.1f}%" for index in best)))
    print_table(["image", "1st", "2nd", "3rd", "4th", "5th"], rows)


def compare(
    session: Session,
    models: Sequence[Model],
    runners: Sequence[Runner],
    *,
    samples: Sequence[Path],
    held_out: DataSet,
) -> list[tuple[str, ...]]:
    """Accuracy on all held-out images, weights kept, and times measured now, in turns."""
    times = time_in_turns(runners, rounds=ROUNDS)
    x = np.stack([image_input(models[0].network, sample, options=ImageOptions()) for sample in samples])
    columns: list[list[str]] = []
    for model, runner, measured in zip(models, runners, times, strict=True):
        accuracy = evaluate(runner, model.network, held_out).accuracy
        error = largest_error(session, model.network, model.weights, x)
        columns.append(
            [
                f"{100 * accuracy:.2f}%",
                f"{100 * model.logged_accuracy:.2f}%",
                f"{100 * weights_kept(model.network, model.weights):.1f}%",
                f"{measured.best_ms:.3f}",
                f"{measured.median_ms:.3f}",
                f"{times[0].best_ms / measured.best_ms:.2f}x",
                f"{error:.1e}",
            ]
        )
    click.echo(f"\ndense against pruned on all {len(held_out)} held-out images, one at a time")
    names = ["accuracy", "accuracy in training", "weights kept", f"best ms of {ROUNDS}", "median ms", "speed-up"]
    header = ("", *(model.name for model in models))
    rows = list(zip([*names, "largest error"], *columns, strict=True))
    print_table(list(header), rows)
    click.echo("Milliseconds are measured now, in turns. The error is relative, against the float64 reference.")
    return [header, *rows]


def write_table(path: Path, table: Sequence[tuple[str, ...]], device: DeviceInfo) -> None:
    """Replace what stands between the markers in `path` by the table, with device, driver, versions and date."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"expected the lines {BEGIN} and {END} to write the table between", path=path)
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "|---|" + "---:|" * (len(table[0]) - 1))
    where = f"{device.name}, {device.platform_name} {device.driver_version}"
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    caption = f"Measured on {where}, clprune {clprune.__version__}, {today}."
    write_atomically(path, f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n\n{caption}\n{END}{after}")


if __name__ == "__main__":
    run_command(demo)
