"""What `make demo` shows: tune for this machine, run the pruned model on real images, compare it with the dense one.

python -m tools.demo [--budget SECONDS] [--device D] [--models FOLDER] [--update README.md]
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

import clprune
from clprune.container.model import Model, load_model
from clprune.data import DataSet
from clprune.device import DeviceInfo
from clprune.errors import DataError
from clprune.files import write_atomically
from clprune.image import ImageOptions
from clprune.opencl import Session, open_device
from clprune.plan.forms import weights_forms
from clprune.plan.plan import make_plan
from clprune.resources import models_folder
from clprune.runner import Runner
from clprune.runner.inference import infer_images, top_k
from clprune.tiles.store import open_store
from clprune.tuning.tune import offers_to_tune, places_of
from clprune.workflow.inputs import as_data
from clprune.workflow.measured import measure_models
from clprune.workflow.tune import tune_offers, without_tuned
from tools.bench.machine import today
from tools.bench.report import markdown_table
from tools.terminal import SECONDS, options, print_table, run_command

DATA = "digits-on-photos"
STEMS = {"dense": "vgg16-digits", "pruned": "vgg16-digits-pruned75"}
LOG = "vgg16-digits.json"
BEGIN, END = "<!-- demo: begin -->", "<!-- demo: end -->"
TOP = 5


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
    both = [load_model(folder / f"{stem}.cfg") for stem in STEMS.values()]
    logged = [logged_accuracy(folder / LOG, name) for name in STEMS]
    held_out = as_data(DATA, both[0].network, split="test")
    with open_device(device) as session:
        click.echo(f"device: {session.info.name} ({session.info.platform_name}, {session.info.driver_version})")
        tune(session, both, budget_s=budget)
        print_samples(session, both[1], sorted((folder / "samples").glob("*.png")))
        table = compare(session, both, logged, held_out=held_out)
        if update is not None:
            write_table(update, table, session.info)


def logged_accuracy(path: Path, name: str) -> float:
    """What the training of the model `name`, "dense" or "pruned", reached in PyTorch."""
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))[name]["accuracy"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"expected the log that tools/make_models.py writes ({error})", path=path) from error


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
        steps = [step for plan in plans for step in plan.steps]
        problems, interrupted = tune_offers(
            session, store, missing, effort="quick", budget_s=budget_s, leaves_none=False, places=places_of(steps)
        )
    if interrupted:
        raise click.Abort
    tried = sum(problem.evaluations for problem in problems)
    left = len(missing) - len(problems)
    others = f"; {left} keep the tiles that they have" if left else ""
    counts = f"{tried} tiles timed and verified{others}"
    click.echo(f"tuned {len(problems)} problems in {time.monotonic() - start:.0f} s: {counts}")


def print_samples(session: Session, model: Model, samples: Sequence[Path]) -> None:
    """The five likeliest classes of each sample image."""
    click.echo(f"\npruned model on held-out images, the {TOP} likeliest classes")
    rows = []
    with Runner(model, session=session) as runner:
        for answer in infer_images(runner, model.network, map(str, samples), options=ImageOptions()):
            if answer.values is None:
                raise answer.error or DataError("no answer", path=answer.path)
            best = top_k(answer.values, count=TOP)
            rows.append((Path(answer.path).stem, *(f"{index}: {100 * answer.values[index]:.1f}%" for index in best)))
    print_table(["image", "1st", "2nd", "3rd", "4th", "5th"], rows)


def compare(
    session: Session, models: Sequence[Model], logged: Sequence[float], *, held_out: DataSet
) -> list[tuple[str, ...]]:
    """Accuracy on all held-out images, weights kept, and times measured now, in turns."""
    measured = measure_models(session, models, held_out=held_out)
    columns = [
        [
            f"{100 * one.accuracy:.2f}%",
            f"{100 * accuracy:.2f}%",
            f"{100 * one.weights_kept:.1f}%",
            f"{one.best_ms:.3f}",
            f"{one.median_ms:.3f}",
            f"{measured[0].best_ms / one.best_ms:.2f}x",
            f"{one.largest_error:.1e}",
        ]
        for one, accuracy in zip(measured, logged, strict=True)
    ]
    click.echo(f"\ndense against pruned on all {len(held_out)} held-out images, one at a time")
    names = ["accuracy", "accuracy in training", "weights kept", "best ms", "median ms", "speed-up", "largest error"]
    header = ("", *STEMS)
    rows = list(zip(names, *columns, strict=True))
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
    where = f"{device.name}, {device.platform_name} {device.driver_version}"
    caption = f"Measured on {where}, clprune {clprune.__version__}, {today()}."
    write_atomically(path, f"{before}{BEGIN}\n{markdown_table(table[0], table[1:])}\n\n{caption}\n{END}{after}")


if __name__ == "__main__":
    run_command(demo)
