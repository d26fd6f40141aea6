"""Options that choose a model, its data and what is removed from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.methods import make_options, take_given
from clprune.cli.shared.numbers import FINITE, WholeRange
from clprune.cli.shared.options import NamesOption, dialect_option, together
from clprune.errors import WeightsError

if TYPE_CHECKING:
    from clprune.container.model import Model
    from clprune.darknet.network import Network
    from clprune.device import DeviceInfo
    from clprune.opencl import Session
    from clprune.workflow.units import Pruning

#: Values of a layer that take seconds to compute, and a quarter of a GiB.
_MANY_VALUES = 1 << 26

#: The command receives the path as `model`, and as `dialect` what it passes on where the cfg is read.
model_argument = together(click.argument("model", metavar="MODEL.cfg"), dialect_option)

#: The command receives the text or None as `weights`.
weights_argument = click.argument("weights", metavar="[WEIGHTS]", required=False)

batch_option = click.option(
    "--batch", type=WholeRange(min=1), metavar="N", default=1, show_default=True,
    help="Images that run at once; tiles are tuned for one batch size.",
)  # fmt: skip

seed_option = click.option(
    "--seed", type=WholeRange(min=0), metavar="N", default=0, show_default=True, help="Seed of everything random."
)


def _data_names() -> Iterable[str]:
    from clprune.data import list_data

    return list_data()


#: The command receives the text and passes it on to the workflow, or to `clprune.data.load_data`.
data_option = click.option("--data", metavar="DATA", required=True, cls=NamesOption, names=_data_names, help="One of ")


def _parse_unit(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    from clprune.unit import Unit

    return None if value is None else Unit.parse(value)


#: The command receives a `clprune.unit.Unit` or None.
unit_option = click.option(
    "--unit", callback=_parse_unit, metavar="RxC",
    help="Rows x columns of the weight matrix that go together. Default: the rows of the device's tile x 1.",
)  # fmt: skip

_SHARE = "share of units to remove, at least 0 and less than 1"

#: None where not given; what methods add themselves is in `MethodCommand`.
sparsity_options = together(
    click.option("--sparsity", type=FINITE, metavar="S", help=f"Convolutions: {_SHARE}."),
    click.option("--fc-sparsity", type=FINITE, metavar="F", help=f"Connected layers: {_SHARE}. Default: none."),
)

#: `--random-weights` and what says how they are pruned, for a `MethodCommand`.
random_weights_options = together(
    click.option(
        "--random-weights", is_flag=True, help="Seeded random weights instead of a file, pruned as the options say."
    ),
    sparsity_options,
    unit_option,
    seed_option,
)


def take_pruning(options: dict[str, Any]) -> Pruning:
    """Take what is to be removed out of `options`. Raises UsageError, also for options that the method has not."""
    from clprune.pruning.settings import PruneSettings
    from clprune.workflow.units import Pruning

    given, method, sparsity = take_given(options), options.pop("method"), options.pop("sparsity") or 0.0
    fc_sparsity, own = options.pop("fc_sparsity"), make_options(method, given)
    settings = PruneSettings(method=method, options=own, sparsity=sparsity, fc_sparsity=fc_sparsity)
    return Pruning(settings=settings, unit=options.pop("unit"))


def take_random_weights(options: dict[str, Any], *, weights: str | None) -> Pruning | None:
    """Take the options of `random_weights_options` but the seed; None means that a file is to be read.

    Raises click.UsageError for options that contradict each other.
    """
    is_random = options.pop("random_weights")
    if is_random and weights is not None:
        raise click.UsageError(f"both {weights} and --random-weights: expected one of them")
    if is_random:
        return take_pruning(options)
    given = {name: options.pop(name) for name in ("sparsity", "fc_sparsity", "unit")} | take_given(options)
    del options["method"]
    for name, value in given.items():
        if value is not None:
            flag = name.replace("_", "-")
            raise click.UsageError(f"--{flag} without --random-weights: weights of a file are run as they are")
    return None


def tell_size(network: Network) -> None:
    """Say on stderr how much a large batch is, before it takes minutes."""
    values = network.batch * max(layer.input.elements + layer.output.elements for layer in network.layers)
    if network.batch > 1 and values >= _MANY_VALUES:
        click.echo(
            f"clprune: {network.batch} images at once: up to {4 * values / 2**30:.1f} GiB in one layer", err=True
        )


def chosen_model(
    cfg: str,
    weights: str | None,
    random: Pruning | None,
    *,
    batch: int = 1,
    seed: int,
    device: DeviceInfo,
    dialect: str | None = None,
) -> Model:
    """The model of the files, or one with random weights. Raises what reading and pruning raise."""
    from clprune.container.load import default_weights
    from clprune.container.model import load_model
    from clprune.darknet.network import load_network
    from clprune.plan.capacity import check_network
    from clprune.workflow.units import random_model

    network, path = load_network(cfg, batch=batch, dialect=dialect), default_weights(cfg)
    check_network(network, device)
    tell_size(network)
    if random is not None:
        return random_model(network, random, seed=seed, device=device)
    if weights is None and not path.exists():
        raise WeightsError(
            f"no such file: expected the weights beside {network.path.name}, WEIGHTS, or --random-weights", path=path
        )
    return load_model(cfg, weights, batch=batch, dialect=dialect)


@contextmanager
def model_on_device(model: str, options: dict[str, Any]) -> Iterator[tuple[Session, Model]]:
    """Take weights, `random_weights_options` but the seed, batch, dialect and device out of `options`: the device, open
    within the block, and the model for it. Raises what `chosen_model` raises, and NoDeviceError.
    """
    from clprune.opencl import open_device

    weights, batch = options.pop("weights"), options.pop("batch")
    random, dialect = take_random_weights(options, weights=weights), options.pop("dialect")
    with open_device(options.pop("device")) as session:
        settings = {"batch": batch, "seed": options["seed"], "device": session.info, "dialect": dialect}
        yield session, chosen_model(model, weights, random, **settings)
