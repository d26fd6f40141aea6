"""What a pruning run did, as values: per layer what stayed, what that cost, and what it brought on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights, unit_matrix
from clprune.pruning.channels import select_channels
from clprune.pruning.criterion import Matrix
from clprune.pruning.imbalance import kept_columns, matrix_imbalance
from clprune.pruning.network import PrunedLayer, layer_values, mask_request, masks_of
from clprune.pruning.registry import get_method
from clprune.pruning.settings import PruneSettings
from clprune.pruning.shrink import channels_left
from clprune.pruning.unit import Mask
from clprune.pruning.variants import VariantChoice

#: A layer that keeps no more than this share of its weights is expected to take less time.
FEWER_OPERATIONS = 0.8

#: A layer that takes more than this share of its former time has gained nothing.
SAME_TIME = 0.95


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One pruned layer.

    `sparsity` is the share of units that was asked for, `kept_share` the weights that stayed (where channels are
    removed also without the inputs that went with the layers before). `norm_error` is what went, as the
    Frobenius norm of the removed weights over that of all, before retraining. `columns_fewest`, `columns_mean` and
    `columns_most` count the columns that a row block of the unit's rows keeps; `imbalance` is how many times longer
    the layer takes than if they were spread evenly (see `clprune.pruning.imbalance`), `imbalance_before` the same
    before the method balanced them (None where it does not). A layer pruned in the Winograd domain has its output tile
    m (`winograd`) and the `matrix_imbalance`: the kept columns of the fullest matrix U_xi over the mean of all.
    `multiplied_share` is what a device's kernels still multiply,
    more than `kept_share` where their tiles are taller than the unit; `ms_before` and `ms_after` are the layer's
    milliseconds on it, dense and pruned (None: not measured).
    """

    layer: int
    kind: str
    method: str
    unit: str
    sparsity: float
    kept_share: float
    norm_error: float
    columns: int
    columns_fewest: int
    columns_mean: float
    columns_most: int
    imbalance: float
    imbalance_before: float | None = None
    multiplied_share: float | None = None
    winograd: int | None = None
    matrix_imbalance: float | None = None
    ms_before: float | None = None
    ms_after: float | None = None

    @property
    def gained_nothing(self) -> bool:
        """Operations fell but time did not."""
        if self.ms_before is None or self.ms_after is None:
            return False
        return self.kept_share <= FEWER_OPERATIONS and self.ms_after > SAME_TIME * self.ms_before


@dataclass(frozen=True, kw_only=True)
class PruningReport:
    """A whole run. Accuracies are shares of held-out images: of the dense network, with the last masks before
    retraining, and after it; times are milliseconds of one inference on `device`. None: not measured.

    `left` maps layers that could not be pruned or reordered to the reason; `permuted` maps reordered ones to the
    shares of the norm that pruning retains (before, after). `choices` are those of a method that is chosen by
    layer.
    """

    model: str
    method: str
    criterion: str
    allocation: str
    layers: tuple[LayerReport, ...]
    left: Mapping[int, str] = field(default_factory=dict)
    permuted: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    data: str | None = None
    device: str | None = None
    accuracy_dense: float | None = None
    accuracy_masked: float | None = None
    accuracy_retrained: float | None = None
    ms_before: float | None = None
    ms_after: float | None = None
    choices: tuple[VariantChoice, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each layer, and for the network, that lost operations and gained no time."""
        lines = [
            f"layer {layer.layer} keeps {100 * layer.kept_share:.0f} % of its weights but takes "
            f"{layer.ms_after:.4g} ms instead of {layer.ms_before:.4g} ms"
            for layer in self.layers
            if layer.gained_nothing
        ]
        if self.ms_before and self.ms_after and self.ms_after > SAME_TIME * self.ms_before:
            lines.append(f"the network takes {self.ms_after:.4g} ms instead of {self.ms_before:.4g} ms")
        return tuple(lines)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it, with `warnings`."""
        return {
            **asdict(self),
            "layers": [asdict(layer) for layer in self.layers],
            "choices": [choice.to_dict() for choice in self.choices],
            "left": {str(layer): reason for layer, reason in self.left.items()},
            "permuted": {str(layer): list(shares) for layer, shares in self.permuted.items()},
            "warnings": list(self.warnings),
        }


def describe_layers(
    network: Network, weights: Weights, layers: Sequence[PrunedLayer], settings: PruneSettings
) -> tuple[LayerReport, ...]:
    """A report for each layer that was pruned; `weights` are those before the masks took anything away."""
    left = _weights_left(network, weights, layers, settings)
    return tuple(
        _describe(pruned, layer_values(weights, pruned.index), left[pruned.index], settings) for pruned in layers
    )


def _describe(pruned: PrunedLayer, values: LayerWeights, left: int, settings: PruneSettings) -> LayerReport:
    chosen, mask, matrix = pruned.options, pruned.mask, unit_matrix(values)
    method = get_method(chosen.method)
    counts = kept_columns(mask, unit_rows=chosen.unit.rows, group_rows=pruned.layer.group_rows)
    if method.removes_channels:
        counts = counts[counts > 0]  # a channel that went is no row block that waits
    request = mask_request(pruned.layer, chosen, criterion=settings.criterion, options=settings.options)
    imbalance, imbalance_before = method.imbalance(matrix, counts, request)
    return LayerReport(
        layer=pruned.index,
        kind=pruned.layer.kind,
        method=chosen.method,
        unit=str(chosen.unit),
        sparsity=chosen.sparsity,
        kept_share=left / mask.size,
        norm_error=norm_error(matrix, mask),
        columns=matrix.shape[1],
        columns_fewest=int(counts.min()),
        columns_mean=float(counts.mean()),
        columns_most=int(counts.max()),
        imbalance=imbalance,
        imbalance_before=imbalance_before,
        winograd=chosen.winograd,
        matrix_imbalance=matrix_imbalance(counts, winograd=chosen.winograd),
    )


def _weights_left(
    network: Network, weights: Weights, layers: Sequence[PrunedLayer], settings: PruneSettings
) -> dict[int, int]:
    """How many weights each layer keeps, by layer index."""
    if not settings.removes_channels:
        return {pruned.index: int(np.count_nonzero(pruned.mask)) for pruned in layers}
    smaller = select_channels(network, weights, channels_left(masks_of(layers)))
    return {pruned.index: layer_values(smaller, pruned.index).weights.size for pruned in layers}


def norm_error(weights: Matrix, mask: Mask) -> float:
    """Frobenius norm of the removed weights over that of all: 0 where nothing went, 1 where all did."""
    total = removed = 0.0
    for row, kept in zip(weights, mask, strict=True):
        squares = row.astype(np.float64) ** 2
        total += float(squares.sum())
        removed += float(squares[~kept].sum())
    return float(np.sqrt(removed / total)) if total > 0 else 0.0
