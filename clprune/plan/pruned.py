"""Where pruning meets the device: the unit of a layer is cut from the tile that runs it."""

from __future__ import annotations

from typing import Any

from clprune.algorithms import Algorithms
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.network import Network
from clprune.device import DeviceInfo
from clprune.kernels.matrix import MatrixKernel
from clprune.kernels.workload import WeightForm, Workload
from clprune.plan.chooser import TileLookup
from clprune.plan.forms import rounded_share
from clprune.plan.plan import make_plan
from clprune.pruning.method import TileRows
from clprune.pruning.winograd import output_tile
from clprune.unit import Unit


def tile_units(
    network: Network,
    device: DeviceInfo,
    *,
    lookup: TileLookup | None,
    sparsity: float,
    fc_sparsity: float | None = None,
    tile_rows: TileRows = "wavefront",
    winograd: int | None = None,
) -> dict[int, Unit]:
    """Layer index -> rows of the tile that would run the layer on `device` x 1 column.

    `tile_rows` says which rows of the kernel's declaration count: those of one SIMD group or of one work-group.
    Tiles are looked up for what the layer will be once `sparsity` (convolutions) or `fc_sparsity` (connected layers)
    of its units is gone; without a tuned one the kernel's default counts. `winograd`: layers that have a Winograd
    domain are pruned there, for F(m x m, 3 x 3) with this m.
    """
    layers = network.matrix_layers
    shares = {layer.index: 1 - (fc_sparsity or 0.0 if isinstance(layer, Connected) else sparsity) for layer in layers}
    forms = {
        layer.index: WeightForm(
            workload=Workload(kept_share=rounded_share(shares[layer.index])),
            winograd=None if winograd is None else output_tile(layer, winograd=winograd),
        )
        for layer in layers
    }
    plan = make_plan(network, device, forms=forms, lookup=lookup, algorithms=Algorithms(names=("direct",)))
    return {
        step.layer.index: Unit(rows=_rows(step.kernel, step.tile, tile_rows))
        for step in plan.steps
        if step.layer is not None and step.layer.index in forms and isinstance(step.kernel, MatrixKernel)
    }


def _rows(kernel: MatrixKernel[Any, Any], tile: Any, tile_rows: TileRows) -> int:
    return kernel.workgroup_rows(tile) if tile_rows == "workgroup" else kernel.wavefront_rows(tile)
