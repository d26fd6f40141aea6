"""What commands on a model share: files and options under one name each, and how they become network and weights."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clprune.cli.method_options import make_options, take_given
from clprune.errors import WeightsError

if TYPE_CHECKING:
    from clprune.darknet.network import Network
    from clprune.darknet.values import Weights
    from clprune.device import DeviceInfo
    from clprune.opencl import Session
    from clprune.pruning import Options, PruneSettings

WEIGHTS_SUFFIXES = (".weights", ".backup", ".safetensors")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def model_argument(function: _Command) -> _Command:
    """Add `MODEL.cfg`; the command receives the text as `model`."""
    return click.argument("model", metavar="MODEL.cfg")(function)


def weights_argument(function: _Command) -> _Command:
    """Add the optional `[WEIGHTS]`; the command receives the text or None as `weights`."""
    return click.argument("weights", metavar="[WEIGHTS]", required=False)(function)


def batch_option(function: _Command) -> _Command:
    """Add `--batch`: images that run at once."""
    return click.option(
        "--batch", type=click.IntRange(min=1), metavar="N", default=1, show_default=True,
        help="Images that run at once; tiles are tuned for one batch size.",
    )(function)  # fmt: skip


def seed_option(function: _Command) -> _Command:
    """Add `--seed`."""
    return click.option(
        "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True,
        help="Seed of everything random.",
    )(function)  # fmt: skip


def data_option(function: _Command) -> _Command:
    """Add the mandatory `--data`; the command receives the text and passes it to `clprune.data.load_data`."""
    return click.option(
        "--data", metavar="DATA", required=True,
        help="digits, digits-on-photos, synthetic, cifar10:PATH, cifar100:PATH, imagenet:PATH or folder:PATH.",
    )(function)  # fmt: skip


def unit_option(function: _Command) -> _Command:
    """Add `--unit`; the command receives a `clprune.unit.Unit` or None."""
    return click.option(
        "--unit", callback=_parse_unit, metavar="RxC",
        help="Rows x columns of the weight matrix that go together. Default: the rows of the device's tile x 1.",
    )(function)  # fmt: skip


def sparsity_options(function: _Command) -> _Command:
    """Add `--sparsity` and `--fc-sparsity`, None where not given; what methods add themselves is in `MethodCommand`."""
    share = "share of units to remove, at least 0 and less than 1"
    for option in (
        click.option("--fc-sparsity", type=float, metavar="F", help=f"Connected layers: {share}. Default: none."),
        click.option("--sparsity", type=float, metavar="S", help=f"Convolutions: {share}."),
    ):
        function = option(function)
    return function


def random_weights_options(function: _Command) -> _Command:
    """Add `--random-weights` and what says how they are pruned: what `RandomWeights` holds."""
    flag = click.option(
        "--random-weights", is_flag=True, help="Seeded random weights instead of a file, pruned as the options say."
    )
    for option in (seed_option, unit_option, sparsity_options, flag):
        function = option(function)
    return function


def _parse_unit(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    from clprune.unit import Unit

    return None if value is None else Unit.parse(value)


#: Options of commands that `RandomWeights` has as they are.
RANDOM_WEIGHTS_OPTIONS = ("method", "sparsity", "fc_sparsity", "unit", "seed")


@dataclass(frozen=True, kw_only=True)
class RandomWeights:
    """What `--random-weights` and its options ask for; `sparsity` and `fc_sparsity` are None where not given."""

    method: str
    sparsity: float | None
    fc_sparsity: float | None
    unit: Any
    seed: int
    options: Options


def take_pruning(options: dict[str, Any]) -> RandomWeights:
    """Take what is to be pruned out of `options`. Raises UsageError for options that the method has not."""
    given = take_given(options)
    asked = {name: options.pop(name) for name in RANDOM_WEIGHTS_OPTIONS}
    return RandomWeights(**asked, options=make_options(asked["method"], given))


def take_random_weights(options: dict[str, Any], *, weights: str | None) -> RandomWeights | None:
    """Take the options of `random_weights_options` out of `options`; None means that a file is to be read.

    Raises click.UsageError for options that contradict each other.
    """
    is_random = options.pop("random_weights")
    if is_random and weights is not None:
        raise click.UsageError(f"both {weights} and --random-weights: expected one of them")
    if is_random:
        return take_pruning(options)
    given = take_given(options)
    asked = {name: options.pop(name) for name in RANDOM_WEIGHTS_OPTIONS}
    stray = [name for name in ("sparsity", "fc_sparsity", "unit") if asked[name] is not None] + list(given)
    if stray:
        flag = "--" + stray[0].replace("_", "-")
        raise click.UsageError(f"{flag} without --random-weights: weights of a file are run as they are")
    return None


def load_weights(network: Network, weights: str | None, *, hint: str = "") -> Weights:
    """Read the file, or the one of the same stem beside the cfg. Raises WeightsError; `hint` says what else helps."""
    from clprune.container.load import default_weights
    from clprune.container.load import load_weights as load

    path = default_weights(network.path) if weights is None else Path(weights)
    if weights is None and not path.exists():
        raise WeightsError(
            f"no such file: expected the weights beside {network.path.name}, or WEIGHTS{hint}", path=path
        )
    return load(path, network)


def load_model(
    session: Session, network: Network, *, weights: str | None, random: RandomWeights | None
) -> tuple[Network, Weights]:
    """Network and weights to run on `session`'s device: a file's, or random ones with units removed.

    The returned network carries the prune options of random weights, as a pruned model's cfg does. Raises what
    `load_weights` and `prune_random` raise.
    """
    from clprune.darknet.random_weights import random_weights
    from clprune.pruning import check_sparsity
    from clprune.pruning.network import prune_random, with_prune_options

    if random is None:
        return network, load_weights(network, weights, hint=", or --random-weights")
    dense = random_weights(network, seed=random.seed)
    for share in (random.sparsity, random.fc_sparsity):
        check_sparsity(share or 0.0)
    if not random.sparsity and not random.fc_sparsity:
        return network, dense
    pruned, plan = prune_random(network, dense, prune_settings(session.info, network, random))
    return with_prune_options(network, plan), pruned


def prune_settings(device: DeviceInfo, network: Network, asked: RandomWeights) -> PruneSettings:
    """The settings of what is asked for, in the units of the device's tiles where none is given. Raises UsageError."""
    from clprune.pruning import PruneSettings
    from clprune.workflow.units import layer_units

    sparsity = asked.sparsity or 0.0
    settings = PruneSettings(
        method=asked.method, options=asked.options, sparsity=sparsity, fc_sparsity=asked.fc_sparsity
    )
    return settings.in_units(layer_units(network, settings, [device], unit=asked.unit))


def is_weights_file(path: str) -> bool:
    """True for a weights file by its suffix, else by darknet's header (an image begins with none of its versions)."""
    if Path(path).suffix.lower() in WEIGHTS_SUFFIXES:
        return True
    try:
        with Path(path).open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return len(head) == 12 and struct.unpack("<iii", head)[:2] in {(0, 1), (0, 2)}
