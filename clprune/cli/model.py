"""What commands on a model share: files and options under one name each, and how they become network and weights."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clprune.algorithms import ALGORITHMS, DEFAULT_MAX_ERROR, Algorithms
from clprune.errors import WeightsError

if TYPE_CHECKING:
    from clprune.darknet.network import Network
    from clprune.darknet.values import Weights
    from clprune.device import DeviceInfo
    from clprune.opencl import Session

METHODS_HELP = (
    "Pruning method: balanced, bcbp, block, filter, mixed, nm, unstructured, wavefront or workgroup; in the Winograd "
    "domain wsp, bwsp or abwsp. filter makes the network smaller."
)

WEIGHTS_SUFFIXES = (".weights", ".backup", ".safetensors")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def model_argument(function: _Command) -> _Command:
    """Add `MODEL.cfg`; the command receives the text as `model`."""
    return click.argument("model", metavar="MODEL.cfg")(function)


def weights_argument(function: _Command) -> _Command:
    """Add the optional `[WEIGHTS]`; the command receives the text or None as `weights`."""
    return click.argument("weights", metavar="[WEIGHTS]", required=False)(function)


def algorithm_options(function: _Command) -> _Command:
    """Add `--algorithms` and `--max-error`; the command passes its options to `take_algorithms`."""
    for option in (
        click.option(
            "--max-error",
            type=click.FloatRange(min=0, min_open=True),
            metavar="E",
            default=DEFAULT_MAX_ERROR,
            show_default=True,
            help="Largest relative error of a layer with which an algorithm may replace the direct one.",
        ),
        click.option(
            "--algorithms",
            metavar="LIST",
            default=",".join(ALGORITHMS),
            show_default=True,
            help="What each convolution's algorithm is chosen from, by measured time.",
        ),
    ):
        function = option(function)
    return function


def take_algorithms(options: dict[str, Any]) -> Algorithms:
    """Take the options of `algorithm_options` out of `options`. Raises UsageError for an unknown name."""
    names = tuple(name.strip() for name in options.pop("algorithms").split(",") if name.strip())
    return Algorithms(names=names, max_error=options.pop("max_error"))


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
    """Add `--method`, `--sparsity`, `--fc-sparsity` and `--winograd`; None where not given, but for the method."""
    share = "share of units to remove, at least 0 and less than 1"
    for option in (
        click.option("--winograd", type=int, metavar="M",
                     help="wsp, bwsp, abwsp: prune in the domain of F(MxM, 3x3), M being 2 or 4. Default: 2."),
        click.option("--fc-sparsity", type=float, metavar="F", help=f"Connected layers: {share}. Default: none."),
        click.option("--sparsity", type=float, metavar="S", help=f"Convolutions: {share}."),
        click.option("--method", metavar="M", default="workgroup", show_default=True, help=METHODS_HELP),
    ):  # fmt: skip
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


@dataclass(frozen=True, kw_only=True)
class RandomWeights:
    """What `--random-weights` and its options ask for; `sparsity` and `fc_sparsity` are None where not given."""

    method: str
    sparsity: float | None
    fc_sparsity: float | None
    unit: Any
    seed: int
    winograd: int | None = None


def take_random_weights(options: dict[str, Any], *, weights: str | None) -> RandomWeights | None:
    """Take the options of `random_weights_options` out of `options`; None means that a file is to be read.

    Raises click.UsageError for options that contradict each other.
    """
    is_random = options.pop("random_weights")
    request = RandomWeights(
        **{name: options.pop(name) for name in ("method", "sparsity", "fc_sparsity", "unit", "seed", "winograd")}
    )
    if is_random and weights is not None:
        raise click.UsageError(f"both {weights} and --random-weights: expected one of them")
    if is_random:
        return request
    given = {
        "--sparsity": request.sparsity,
        "--fc-sparsity": request.fc_sparsity,
        "--unit": request.unit,
        "--winograd": request.winograd,
    }
    stray = [name for name, value in given.items() if value is not None]
    if stray:
        raise click.UsageError(f"{stray[0]} without --random-weights: weights of a file are run as they are")
    return None


def load_weights(network: Network, weights: str | None, *, hint: str = "") -> Weights:
    """Read the file, or the one of the same stem beside the cfg. Raises WeightsError; `hint` says what else helps."""
    from clprune.container import default_weights
    from clprune.container import load_weights as load

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

    if random is None:
        return network, load_weights(network, weights, hint=", or --random-weights")
    dense = random_weights(network, seed=random.seed)
    if not random.sparsity and not random.fc_sparsity:
        _check_request(random)
        return network, dense
    return _prune_random(session.info, network, dense, random)


def _check_request(random: RandomWeights) -> None:
    """Refuse what would have been refused with something to prune."""
    from clprune.pruning import check_sparsity, get_method

    get_method(random.method)
    asked_output_tile(random.method, random.winograd)
    for share in (random.sparsity, random.fc_sparsity):
        check_sparsity(share or 0.0)


def _prune_random(
    device: DeviceInfo, network: Network, dense: Weights, random: RandomWeights
) -> tuple[Network, Weights]:
    from clprune.plan.pruned import with_prune_options
    from clprune.pruning.network import prune_random

    _check_request(random)
    sparsity = random.sparsity or 0.0
    unit_of = unit_for_layer(
        device,
        network,
        method=random.method,
        unit=random.unit,
        sparsity=sparsity,
        fc_sparsity=random.fc_sparsity,
        winograd=random.winograd,
    )
    weights, options = prune_random(
        network,
        dense,
        method=random.method,
        sparsity=sparsity,
        fc_sparsity=random.fc_sparsity,
        unit_for_layer=unit_of,
        winograd=random.winograd,
    )
    return with_prune_options(network, options), weights


def unit_for_layer(
    device: DeviceInfo,
    network: Network,
    *,
    method: str,
    unit: Any,
    sparsity: float,
    fc_sparsity: float | None,
    winograd: int | None = None,
) -> Callable[[Any], Any]:
    """A function from a layer to the unit that is removed from it: `unit`, else that of the tile on `device`.

    Which rows of the tile count is the method's business, and whether it is a tile of Winograd convolution: then of
    F(m x m, 3 x 3) with `winograd` as m, or the default. Raises UsageError for an unknown method.
    """
    from clprune.plan.pruned import tile_units
    from clprune.pruning import get_method
    from clprune.tuning.store import open_store

    if unit is not None:
        return lambda layer: unit
    lookup = open_store().lookup_for(device)
    units = tile_units(
        network,
        device,
        lookup=lookup,
        sparsity=sparsity,
        fc_sparsity=fc_sparsity,
        tile_rows=get_method(method).tile_rows,
        winograd=asked_output_tile(method, winograd),
    )
    return lambda layer: units[layer.index]


def asked_output_tile(method: str, winograd: int | None) -> int | None:
    """The output tile m that `--method` prunes for: `winograd` or the default; None in the spatial domain.

    Raises UsageError for a tile that is not offered, and for one that the method has no use for.
    """
    from clprune.errors import UsageError
    from clprune.pruning import get_method
    from clprune.pruning.winograd import DEFAULT_OUTPUT_TILE, check_output_tile

    if get_method(method).in_winograd_domain:
        check_output_tile(DEFAULT_OUTPUT_TILE if winograd is None else winograd)
        return DEFAULT_OUTPUT_TILE if winograd is None else winograd
    if winograd is not None:
        raise UsageError(f"--winograd {winograd} with --method {method}: expected wsp, bwsp or abwsp")
    return None


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


def device_facts(device: DeviceInfo) -> dict[str, str]:
    """What a JSON result says about where it was computed."""
    return {
        "device": device.name,
        "platform": device.platform_name,
        "driver_version": device.driver_version,
        "device_selector": device.selector,
    }
