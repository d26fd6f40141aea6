"""The unit that goes together in each layer: that of the tile which runs it, on one device or on several."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from clprune.darknet.network import Network
from clprune.device import DeviceInfo
from clprune.offline.architectures import ARCHITECTURES, imaginary_device
from clprune.opencl import choose
from clprune.plan.pruned import tile_units
from clprune.pruning import Options, get_method
from clprune.pruning.common_unit import common_unit
from clprune.pruning.options import NO_OPTIONS
from clprune.pruning.settings import UnitForLayer, asked_output_tile
from clprune.tiles.lookup import Lookup
from clprune.tiles.store import open_store
from clprune.unit import Unit


def unit_for_layer(
    devices: Sequence[DeviceInfo],
    network: Network,
    *,
    method: str,
    sparsity: float,
    fc_sparsity: float | None = None,
    options: Options = NO_OPTIONS,
    unit: Unit | None = None,
) -> UnitForLayer:
    """A function from a layer to the unit that is removed from it: `unit`, else what the tiles of all `devices` skip.

    Tiles are those of the tuning database. Which rows of a tile count is the method's business, and whether it is a
    tile of Winograd convolution. Warns where no unit of reasonable size fits all tiles. Raises UsageError for an
    unknown method.
    """
    if unit is not None:
        return lambda layer: unit
    with open_store() as store:
        units_of = [
            tile_units(
                network,
                device,
                lookup=Lookup(store, device),
                sparsity=sparsity,
                fc_sparsity=fc_sparsity,
                tile_rows=get_method(method).tile_rows,
                winograd=asked_output_tile(method, options),
            )
            for device in devices
        ]
    common: dict[int, Unit] = {}
    for layer in units_of[0]:
        found = common_unit([units[layer] for units in units_of])
        common[layer] = found.unit
        names = [device.name for device, is_skipped in zip(devices, found.skipped, strict=True) if not is_skipped]
        if names:
            warnings.warn(
                f"layer {layer}: no unit of reasonable size fits the tiles of all devices; {found.unit} is skipped "
                f"only in part on {', '.join(names)}",
                stacklevel=2,
            )
    return lambda layer: common[layer.index]


def device_named(name: str) -> DeviceInfo:
    """A GPU architecture by its exact name, else a device that is there. Raises NoDeviceError for neither."""
    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return imaginary_device(architecture)
    return choose(name)
