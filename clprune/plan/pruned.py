"""Where pruning meets the device: the unit of a layer is cut from the tile that runs it."""

from __future__ import annotations

from typing import Any

from clprune.algorithms import Algorithms
from clprune.darknet.kinds.base import MatrixLayer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.network import Network
from clprune.device import DeviceInfo
from clprune.geometry import round_up
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.matrix import MatrixKernel
from clprune.kernels.workload import WeightForm, Workload
from clprune.plan.chooser import TileLookup
from clprune.plan.forms import rounded_share
from clprune.plan.plan import make_plan
from clprune.pruning.method import TileRows
from clprune.pruning.winograd import output_tile
from clprune.unit import Unit

#: Rows of tall units, and how many of them one below the other a layer must have at least.
TALL_UNIT_ROWS = max((getattr(kernel, "fewest_unit_rows", 1) for kernel in built_in_kernels()), default=1)
FEWEST_BLOCKS = 2


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
    Where a kernel that wants tall units is the choice for such, and the layer has several of them, they are as tall.
    Tiles are looked up for what the layer will be once `sparsity` (convolutions) or `fc_sparsity` (connected layers)
    of its units is gone; without a tuned one the kernel's default counts. `winograd`: layers that have a Winograd
    domain are pruned there, for F(m x m, 3 x 3) with this m.
    """
    layers = network.matrix_layers
    shares = {layer.index: 1 - (fc_sparsity or 0.0 if isinstance(layer, Connected) else sparsity) for layer in layers}

    def forms(unit_rows: int) -> dict[int, WeightForm]:
        return {
            layer.index: WeightForm(
                workload=Workload(kept_share=rounded_share(shares[layer.index]), unit_rows=unit_rows),
                winograd=None if winograd is None else output_tile(layer, winograd=winograd),
            )
            for layer in layers
        }

    def units(unit_rows: int, *, only_tall: bool) -> dict[int, Unit]:
        """With the tiles that are chosen for units of so many rows; of kernels that want tall units only those that a
        layer has several of, one below the other, and nothing of others.
        """
        plan = make_plan(
            network, device, forms=forms(unit_rows), lookup=lookup, algorithms=Algorithms(names=("direct",))
        )
        found = {}
        for step in plan.steps:
            if isinstance(step.layer, MatrixLayer) and isinstance(step.kernel, MatrixKernel):
                rows, is_tall = _rows(step.kernel, step.tile, tile_rows), step.kernel.fewest_unit_rows > 1
                if not only_tall or (is_tall and FEWEST_BLOCKS * rows <= step.layer.group_rows):
                    found[step.layer.index] = Unit(rows=rows)
        return {index: unit for index, unit in found.items() if index in shares}

    # kernels that want tall units are many times faster at small images
    tall = units(TALL_UNIT_ROWS, only_tall=True)
    return units(Workload().unit_rows, only_tall=False) | tall


def _rows(kernel: MatrixKernel[Any, Any], tile: Any, tile_rows: TileRows) -> int:
    rows = kernel.workgroup_rows(tile) if tile_rows == "workgroup" else kernel.wavefront_rows(tile)
    return round_up(kernel.fewest_unit_rows, rows)
