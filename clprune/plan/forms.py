"""What is known of a layer's weights before they are packed: the part of the tuning key that depends on the model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clprune.darknet.kinds.base import MatrixLayer
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights, unit_matrix
from clprune.kernels.storage import storage_of
from clprune.kernels.workload import WeightForm, Workload

#: Units that hold this much more than the weights that are left are no units.
LARGEST_FILL = 1.2

#: Rows by which zeros are counted in layers whose cfg names no unit.
DEFAULT_UNIT_ROWS = 8


def kept_column_share(matrix: npt.NDArray[np.float32], *, unit_rows: int) -> float:
    """Share of (rows of `unit_rows`) x 1 units of `[rows, columns]` that hold any weight."""
    rows, columns = matrix.shape
    kept = 0
    for first in range(0, rows, unit_rows):
        kept += int(np.count_nonzero(np.any(matrix[first : first + unit_rows] != 0, axis=0)))
    return float(kept / (columns * -(-rows // unit_rows)))


def layer_form(layer: MatrixLayer, weights: LayerWeights) -> WeightForm:
    """The form of a layer's weights; a coding does not outlive the folding of batch normalization."""
    is_coded = weights.coding is not None and not layer.batch_normalize
    return WeightForm(
        workload=layer_workload(layer, weights),
        winograd=weights.winograd,
        storage=storage_of(weights.coding) if is_coded else "",
        quantizes_input=is_coded and getattr(weights.coding, "activation_scale", None) is not None,
    )


def layer_workload(layer: MatrixLayer, weights: LayerWeights) -> Workload:
    """Dense, or the kept share in the unit that the cfg names.

    Where it names none: 8 x 1 if whole units are gone, else single weights.
    """
    matrix = unit_matrix(weights)
    kept = np.count_nonzero(matrix) / matrix.size
    if kept > 0.99:
        return Workload()
    unit_rows = layer.prune.unit.rows if layer.prune is not None else DEFAULT_UNIT_ROWS
    share = kept_column_share(matrix, unit_rows=unit_rows)
    if layer.prune is None and share > LARGEST_FILL * kept:
        unit_rows, share = 1, kept
    return Workload(kept_share=rounded_share(share), unit_rows=unit_rows)


def rounded_share(share: float) -> float:
    """Two digits tell tiles apart well enough; of few weights it takes more."""
    return round(share, 2 if share >= 0.1 else 3)


def weights_forms(network: Network, weights: Weights) -> dict[int, WeightForm]:
    """Layer index -> form, for the layers that have a matrix."""
    return {
        layer.index: layer_form(layer, values)
        for layer in network.matrix_layers
        if (values := weights.layers[layer.index]) is not None
    }


def cfg_forms(network: Network) -> dict[int, WeightForm]:
    """The same from the cfg's prune keys alone, for tuning without weights."""
    return {
        layer.index: WeightForm(
            workload=Workload(kept_share=rounded_share(1 - layer.prune.sparsity), unit_rows=layer.prune.unit.rows),
            winograd=layer.prune.winograd,
        )
        for layer in network.matrix_layers
        if layer.prune is not None
    }
