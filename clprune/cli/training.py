"""What `clprune train` and `clprune prune` share: options of a run, checks before it, and its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from clprune.files import check_writable

_Command = TypeVar("_Command", bound=Callable[..., Any])


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
    return check_writable(Path(text))


def report_path(text: str | None) -> Path | None:
    """Where a report goes, None for none. Raises FileError when it could not be written."""
    return None if text is None else check_writable(Path(text))
