"""The unit that goes together in each layer: that of the tile which runs it, on one device or on several."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from clprune.darknet.kinds.base import MatrixLayer
from clprune.darknet.network import Network
from clprune.device import DeviceInfo
from clprune.offline.architectures import ARCHITECTURES, imaginary_device
from clprune.opencl import choose
from clprune.plan.pruned import tile_units
from clprune.pruning import PruneSettings, get_method
from clprune.pruning.common_unit import common_unit
from clprune.tiles.lookup import Lookup
from clprune.tiles.store import open_store
from clprune.unit import Unit


def layer_units(
    network: Network, settings: PruneSettings, devices: Sequence[DeviceInfo], *, unit: Unit | None = None
) -> dict[int, Unit]:
    """Layer index -> what is removed together in each layer: `unit`, else what the tiles of all `devices` skip.

    Tiles are those of the tuning database. Which rows of a tile count is the method's business, and whether it is a
    tile of Winograd convolution. Warns where no unit of reasonable size fits all tiles.
    """
    if unit is not None:
        return {layer.index: unit for layer in network.layers if isinstance(layer, MatrixLayer)}
    with open_store() as store:
        units_of = [
            tile_units(
                network,
                device,
                lookup=Lookup(store, device),
                sparsity=settings.sparsity,
                fc_sparsity=settings.fc_sparsity,
                tile_rows=get_method(settings.method).tile_rows,
                winograd=settings.winograd,
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
    return common


def device_named(name: str) -> DeviceInfo:
    """A GPU architecture by its exact name, else a device that is there. Raises NoDeviceError for neither."""
    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return imaginary_device(architecture)
    return choose(name)
