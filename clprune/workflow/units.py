"""The unit that goes together in each layer: that of the tile which runs it, on one device or on several."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from clprune.container.model import Model
from clprune.darknet.kinds.base import MatrixLayer
from clprune.darknet.network import Network
from clprune.darknet.random_weights import random_weights
from clprune.device import DeviceInfo
from clprune.offline.architectures import ARCHITECTURES, imaginary_device
from clprune.opencl import choose
from clprune.plan.capacity import check_network
from clprune.plan.pruned import tile_units
from clprune.pruning.common_unit import common_unit
from clprune.pruning.network import prune_random, with_prune_options
from clprune.pruning.registry import get_method
from clprune.pruning.settings import PruneSettings
from clprune.tiles.lookup import Lookup
from clprune.tiles.store import open_store_for_lookups
from clprune.unit import Unit


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What is removed as `settings` say: units of the device's tiles, or `unit` everywhere."""

    settings: PruneSettings
    unit: Unit | None = None

    def on(self, device: DeviceInfo, network: Network) -> PruneSettings:
        """The settings with the unit of each layer of `network` on `device`."""
        return self.settings.in_units(layer_units(network, self.settings, [device], unit=self.unit))


def random_model(network: Network, pruning: Pruning, *, seed: int, device: DeviceInfo) -> Model:
    """`network` with seeded random weights, pruned for `device`, its prune options set.

    Raises UsageError, and LaunchError where the device has no memory for them.
    """
    check_network(network, device)
    dense = random_weights(network, seed=seed)
    if not pruning.settings.sparsity and not pruning.settings.fc_sparsity:
        return Model(network=network, weights=dense)
    weights, plan = prune_random(network, dense, pruning.on(device, network))
    return Model(network=with_prune_options(network, plan), weights=weights)


def layer_units(
    network: Network, settings: PruneSettings, devices: Sequence[DeviceInfo], *, unit: Unit | None = None
) -> dict[int, Unit]:
    """Layer index -> what is removed together in each layer: `unit`, else what the tiles of all `devices` skip.

    Tiles are those of the tuning database. Which rows of a tile count is the method's business, and whether it is a
    tile of Winograd convolution. Warns where no unit of reasonable size fits all tiles.
    """
    if unit is not None:
        return {layer.index: unit for layer in network.layers if isinstance(layer, MatrixLayer)}
    with open_store_for_lookups() as store:
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
