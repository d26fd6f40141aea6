"""`--for`: one unit that the tiles of several devices can skip."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clprune.darknet.network import Network
    from clprune.device import DeviceInfo
    from clprune.unit import Unit

_Command = TypeVar("_Command", bound=Callable[..., Any])


def for_option(function: _Command) -> _Command:
    """Add `--for`; the command receives the text or None as `for_devices`."""
    return click.option(
        "--for", "for_devices", metavar="DEVICE[,DEVICE...]",
        help="Units that the tiles of all these devices skip; a device as in --device, or a GPU architecture such as "
        "sm_90 (see `clprune tune --offline`).",
    )(function)  # fmt: skip


def unit_for_devices(
    text: str, network: Network, *, method: str, sparsity: float, fc_sparsity: float | None, winograd: int | None = None
) -> Callable[[Any], Any]:
    """A function from a layer to the unit that all devices named in `text` skip; warns where there is none.

    Raises NoDeviceError for a name that fits no device and no architecture.
    """
    from clprune.cli.model import asked_output_tile
    from clprune.plan.pruned import tile_units
    from clprune.pruning import get_method
    from clprune.pruning.common_unit import common_unit
    from clprune.tuning.store import open_store

    store = open_store()
    devices = [_device(name.strip()) for name in text.split(",") if name.strip()]
    units_of = [
        tile_units(
            network,
            device,
            lookup=store.lookup_for(device),
            sparsity=sparsity,
            fc_sparsity=fc_sparsity,
            tile_rows=get_method(method).tile_rows,
            winograd=asked_output_tile(method, winograd),
        )
        for device in devices
    ]
    common: dict[int, Unit] = {}
    for layer in units_of[0] if units_of else ():
        found = common_unit([units[layer] for units in units_of])
        common[layer] = found.unit
        _warn_of_tall_tiles(layer, found.unit, dict(zip([d.name for d in devices], found.skipped, strict=True)))
    if not common:
        raise click.UsageError(f"--for {text!r} names no device")
    return lambda layer: common[layer.index]


def _device(name: str) -> DeviceInfo:
    """A GPU architecture by its exact name, else a device that is there."""
    from clprune.offline.architectures import ARCHITECTURES, imaginary_device
    from clprune.opencl import choose

    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return imaginary_device(architecture)
    return choose(name)


def _warn_of_tall_tiles(layer: int, unit: Unit, skipped: Mapping[str, bool]) -> None:
    names = [name for name, is_skipped in skipped.items() if not is_skipped]
    if names:
        warnings.warn(
            f"layer {layer}: no unit of reasonable size fits the tiles of all devices; {unit} is skipped only in part "
            f"on {', '.join(names)}",
            stacklevel=2,
        )
