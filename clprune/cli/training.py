"""What `clprune train` and `clprune prune` share: options of a run, checks before it, and its progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clprune.cli.common import stderr_console
from clprune.errors import FileError, UsageError

if TYPE_CHECKING:
    from clprune.darknet.network import Network
    from clprune.dataset import DataSet

_Command = TypeVar("_Command", bound=Callable[..., Any])
_OUTPUT_SUFFIXES = (".weights", ".cfg", ".safetensors")


def recipe_options(*, learning_rate: float, epochs_required: bool = True) -> Callable[[_Command], _Command]:
    """A decorator that adds what `take_recipe` and `take_checkpoint` take, and `--count`.

    Where `epochs_required` is False, a command trains only when it is given --epochs.
    """
    options = (
        click.option("--checkpoint", metavar="FILE",
                     help="Keep the state there after each epoch; a run that finds its own goes on from it."),
        click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto",
                     show_default=True, help="auto: bfloat16 where the device multiplies it natively."),
        click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), metavar="SHARE", default=0.1,
                     show_default=True, help="Share of the target spread over all classes."),
        click.option("--weight-decay", type=click.FloatRange(min=0), metavar="R", default=5e-4, show_default=True,
                     help="Of weights, not of biases and normalization."),
        click.option("--optimiser", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True),
        click.option("--flip", is_flag=True, help="Mirror half of the images."),
        click.option("--shift-pixels", type=click.IntRange(min=0), metavar="N", default=0, show_default=True,
                     help="Shift images by up to N pixels."),
        click.option("--batch", type=click.IntRange(min=1), metavar="N", default=128, show_default=True,
                     help="Images of one step."),
        click.option("--learning-rate", type=float, metavar="R", default=learning_rate, show_default=True,
                     help="Peak of the learning rate."),
        click.option("--count", type=click.IntRange(min=1), metavar="N", help="Images of an epoch. Default: all."),
        click.option("--epochs", type=click.IntRange(min=1), metavar="N", required=epochs_required,
                     help=f"How often to go through the images.{'' if epochs_required else ' Default: no training.'}"),
    )  # fmt: skip

    def decorate(function: _Command) -> _Command:
        for option in options:
            function = option(function)
        return function

    return decorate


def distillation_options(function: _Command) -> _Command:
    """A decorator that adds what `take_distillation` takes."""
    options = (
        click.option("--temperature", type=click.FloatRange(min=0, min_open=True), metavar="T", default=4.0,
                     show_default=True, help="--distillation: what softens those answers."),
        click.option("--distillation", type=click.FloatRange(0, 1), metavar="SHARE", default=0.0, show_default=True,
                     help="Share of the loss by which retraining learns the given model's answers."),
    )  # fmt: skip
    for option in options:
        function = option(function)
    return function


def take_distillation(options: dict[str, Any], recipe: Any) -> Any:
    """`recipe` with the distillation that `options` ask for, which are taken out of them."""
    return replace(recipe, distillation=options.pop("distillation"), temperature=options.pop("temperature"))


def take_recipe(options: dict[str, Any], *, seed: int) -> Any:
    """Take a `clprune.training.Recipe` out of `options`. Raises UsageError; MissingDependencyError without PyTorch."""
    from clprune.training import Recipe, choose_precision

    names = (
        "epochs", "batch", "learning_rate", "shift_pixels", "flip", "label_smoothing", "weight_decay", "optimiser",
    )  # fmt: skip
    precision = choose_precision(options.pop("precision"))
    return Recipe(**{name: options.pop(name) for name in names}, precision=precision, seed=seed)


def take_checkpoint(options: dict[str, Any]) -> Path | None:
    """Take the checkpoint's path out of `options`. Raises FileError when it could not be written there."""
    text = options.pop("checkpoint")
    if text is None:
        return None
    path = Path(text)
    _check_writable(path)
    return path


def load_splits(data: str, network: Network, *, seed: int, count: int | None) -> tuple[DataSet, DataSet]:
    """(training images, held-out images) in the network's size. Raises UsageError when they do not fit it."""
    from clprune.data import load_data
    from clprune.runner.evaluate import check_data

    height, width = network.input.height, network.input.width
    train = load_data(data, split="train", height=height, width=width, seed=seed, count=count)
    held_out = load_data(data, split="test", height=height, width=width)
    check_data(network, train)
    return train, held_out


def output_path(prefix: str, suffix: str) -> Path:
    """PREFIX with `suffix`, whether or not PREFIX came with one. Raises FileError when it could not be written."""
    path = Path(prefix)
    stem = path.with_suffix("") if path.suffix in _OUTPUT_SUFFIXES else path
    target = stem.with_name(stem.name + suffix)
    _check_writable(target)
    return target


def model_targets(prefix: str, suffix: str, *, sources: Sequence[str]) -> tuple[Path, Path]:
    """(cfg, weights with `suffix`) of PREFIX to write, which must not be among the `sources` that are read.

    Raises UsageError for one that is, and for packed weights beside darknet's, which would be loaded in their place;
    FileError when they could not be written.
    """
    targets = output_path(prefix, ".cfg"), output_path(prefix, suffix)
    for target in targets:
        for source in sources:
            if target.exists() and Path(source).exists() and target.samefile(source):
                raise UsageError(f"--out {prefix} would replace {source}, which is read: expected another PREFIX")
    darknet = targets[1].with_suffix(".weights")
    if darknet != targets[1] and darknet.exists():
        raise UsageError(
            f"--out {prefix}: {darknet} would be loaded in place of {targets[1].name}; remove it, or use another PREFIX"
        )
    return targets


def report_path(text: str | None) -> Path | None:
    """Where a report goes, None for none. Raises FileError when it could not be written."""
    if text is None:
        return None
    path = Path(text)
    _check_writable(path)
    return path


def _check_writable(path: Path) -> None:
    """Raise FileError for a file that could not be written: before hours of training, not after."""
    if not path.parent.is_dir():
        raise FileError(f"no such folder: {path.parent}; make it first", path=path)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise FileError("cannot be written", path=path)


@contextmanager
def training_progress(*, rounds: int = 1, is_shown: bool = True) -> Iterator[Any]:
    """A function that takes `clprune.training.Progress`, and shows it on stderr where that is a terminal.

    `rounds` is how many trainings follow each other; of several processes only one has it `is_shown`.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(
        *columns, console=stderr_console(), disable=not (is_shown and sys.stderr.isatty()), transient=True
    ) as bar:
        shown = bar.add_task("epoch 1", total=None, state="")
        finished = 0

        def report(progress: Any) -> None:
            nonlocal finished
            done = (progress.epoch - 1) * progress.steps + progress.step
            total = progress.epochs * progress.steps
            bar.update(
                shown,
                description=f"epoch {progress.epoch}/{progress.epochs}",
                completed=finished + done,
                total=rounds * total,
                state=f"loss {progress.loss:.3f}, {progress.images_per_s:.0f} images/s",
            )
            if done == total:
                finished += total

        yield report
