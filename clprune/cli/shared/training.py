"""Options of a training run, and how they become a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clprune.cli.shared.numbers import FINITE, FiniteRange, WholeRange
from clprune.cli.shared.options import Command, together

if TYPE_CHECKING:
    from clprune.darknet.network import Network
    from clprune.training import Recipe


def recipe_options(*, learning_rate: float, epochs_required: bool = True) -> Callable[[Command], Command]:
    """A decorator that adds what `take_recipe` takes, `--checkpoint` and `--count`.

    Where `epochs_required` is False, a command trains only when it is given --epochs.
    """
    return together(
        click.option("--epochs", type=WholeRange(min=1), metavar="N", required=epochs_required,
                     help=f"How often to go through the images.{'' if epochs_required else ' Default: no training.'}"),
        click.option("--count", type=WholeRange(min=1), metavar="N", help="Images of an epoch. Default: all."),
        click.option("--learning-rate", type=FINITE, metavar="R", default=learning_rate, show_default=True,
                     help="Peak of the learning rate."),
        click.option("--batch", type=WholeRange(min=1), metavar="N", default=128, show_default=True,
                     help="Images of one step; 16 of a detector by default."),
        click.option("--shift-pixels", type=WholeRange(min=0), metavar="N", default=0, show_default=True,
                     help="Shift images by up to N pixels."),
        click.option("--flip", is_flag=True, help="Mirror half of the images."),
        click.option("--optimiser", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True),
        click.option("--weight-decay", type=FiniteRange(min=0), metavar="R", default=5e-4, show_default=True,
                     help="Of weights, not of biases and normalization."),
        click.option("--label-smoothing", type=FiniteRange(0, 1, max_open=True), metavar="SHARE", default=0.1,
                     show_default=True, help="Share of the target spread over all classes."),
        click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto",
                     show_default=True, help="auto: bfloat16 where the device multiplies it natively."),
        click.option("--checkpoint", metavar="FILE",
                     help="Keep the state there after each epoch; a run that finds its own goes on from it."),
    )  # fmt: skip


#: What `take_distillation` takes.
distillation_options = together(
    click.option("--distillation", type=FiniteRange(0, 1), metavar="SHARE", default=0.0, show_default=True,
                 help="Share of the loss by which retraining learns the given model's answers."),
    click.option("--temperature", type=FiniteRange(min=0, min_open=True), metavar="T", default=4.0,
                 show_default=True, help="--distillation: what softens those answers."),
)  # fmt: skip


def take_distillation(options: dict[str, Any], recipe: Recipe) -> Recipe:
    """`recipe` with the distillation that `options` ask for, which are taken out of them."""
    return replace(recipe, distillation=options.pop("distillation"), temperature=options.pop("temperature"))


def take_recipe(options: dict[str, Any], *, seed: int) -> Recipe:
    """Take a recipe out of `options`. Raises UsageError; MissingDependencyError without PyTorch."""
    from clprune.training import Recipe, choose_precision

    names = ("epochs", "batch", "learning_rate", "shift_pixels", "flip", "label_smoothing", "weight_decay", "optimiser")
    precision = choose_precision(options.pop("precision"))
    return Recipe(**{name: options.pop(name) for name in names}, precision=precision, seed=seed)


def recipe_for(network: Network, recipe: Recipe) -> Recipe:
    """`recipe` with as many images of a step as are usual for a network, unless --batch says how many."""
    from clprune.training.recipe import usual_batch

    is_said = click.get_current_context().get_parameter_source("batch") is ParameterSource.COMMANDLINE
    return recipe if is_said else replace(recipe, batch=usual_batch(network))


def take_path(options: dict[str, Any], name: str) -> Path | None:
    """Take the file to write that `name` names out of `options`: none of the model's that is read, or made as PREFIX.

    Raises FileError when it could not be written, UsageError for one of those.
    """
    from clprune.container.load import default_weights
    from clprune.container.model import MODEL_SUFFIXES, output_name
    from clprune.files import check_writable

    text = options.pop(name)
    if text is None:
        return None
    given = click.get_current_context().params
    others = [given["model"], given["weights"] or default_weights(given["model"])]
    others += [output_name(given["out"], suffix) for suffix in (*MODEL_SUFFIXES, ".names")]
    return check_writable(Path(text), sources=others)
