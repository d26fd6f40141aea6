"""Masks of a whole network: which layers are pruned, how much each, and the weights that remain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from clprune.darknet.kinds.base import Layer, PruneOptions
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights, unit_matrix
from clprune.errors import UsageError
from clprune.pruning.allocation import allocate
from clprune.pruning.channels import channel_flow
from clprune.pruning.criterion import Matrix
from clprune.pruning.method import BALANCES, UnitRequest
from clprune.pruning.methods import get_method, mask_for
from clprune.pruning.unit import Mask, UnitGrid, check_sparsity
from clprune.pruning.winograd import (
    DEFAULT_OUTPUT_TILE,
    check_output_tile,
    comparable_magnitudes,
    output_tile,
    to_winograd_domain,
    transformed,
    unit_matrix_shape,
)
from clprune.unit import Unit

UnitForLayer = Callable[[Convolutional | Connected], Unit]
Masks = Mapping[int, Mask]

#: Units in the Winograd domain: a column of one input channel in the rows of a tile, a whole one, a whole row.
WINOGRAD_UNITS = ("tile", "column", "row")

#: How the layers without a Winograd domain are pruned beside those that have one.
SPATIAL_METHOD = "workgroup"


@dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """What to remove from a network.

    `sparsity` is the target of the convolutions, `fc_sparsity` of the connected layers (None: they stay dense), both
    shares of units in [0, 1). `unit_for_layer` gives the tuned tile's unit. `allocation` shares the convolutions'
    target among them. The first convolution stays dense unless `first_dense` is False: it has few weights, and all
    that the network ever sees passes through it. Without a `criterion` the method's own counts.

    `permute` reorders output channels first (`clprune.pruning.permute`). `parallel_tiles` and `vector_kept_share` are
    for `bcbp` and `mixed` (see `MaskOptions`).

    For methods of the Winograd domain: `winograd` is the output tile m of F(m x m, 3 x 3), `winograd_unit` one of
    `WINOGRAD_UNITS`, `winograd_refit` whether what stays is fitted to what goes, `balance` what `bwsp` keeps equal, and
    `variants` what `abwsp` chose for a layer ("wsp" or "bwsp" by layer index; "bwsp" where nothing was chosen).
    """

    method: str
    sparsity: float
    unit_for_layer: UnitForLayer
    fc_sparsity: float | None = None
    criterion: str | None = None
    allocation: str = "uniform"
    first_dense: bool = True
    permute: bool = False
    parallel_tiles: int | None = None
    vector_kept_share: float | None = None
    winograd: int = DEFAULT_OUTPUT_TILE
    winograd_unit: str = "tile"
    winograd_refit: bool = True
    balance: str = "list"
    variants: Mapping[int, str] = field(default_factory=dict)

    @property
    def criterion_name(self) -> str:
        """The criterion that counts."""
        return self.criterion or get_method(self.method).criterion

    def __post_init__(self) -> None:
        get_method(self.method)
        for share in (self.sparsity, self.fc_sparsity or 0.0):
            check_sparsity(share)
        check_output_tile(self.winograd)
        for name, value, known in (
            ("winograd_unit", self.winograd_unit, WINOGRAD_UNITS),
            ("balance", self.balance, BALANCES),
        ):
            if value not in known:
                raise UsageError(f"{name} {value!r}: expected one of {', '.join(known)}")


def group_rows(layer: Convolutional | Connected) -> int:
    """Output channels of one group, or of one U_xi: the rows within which units are cut."""
    return layer.filters // layer.groups if isinstance(layer, Convolutional) else layer.outputs


def prunable_layers(
    network: Network, *, first_dense: bool = True
) -> tuple[tuple[Convolutional, ...], tuple[Connected, ...]]:
    """The convolutions (all but the first, unless `first_dense` is False) and connected layers that may be pruned."""
    convolutions = tuple(layer for layer in network.layers if isinstance(layer, Convolutional))
    connected = tuple(layer for layer in network.layers if isinstance(layer, Connected))
    return convolutions[1 if first_dense else 0 :], connected


def plan_pruning(network: Network, weights: Weights, settings: PruneSettings) -> dict[int, PruneOptions]:
    """Method, unit and sparsity of every layer that is pruned, by layer index; what `annotate_cfg` writes.

    `weights` may be in the spatial or in the Winograd domain. A method that removes channels leaves the layers alone
    whose channels must stay (`layers_left_whole`). Raises UsageError when the settings leave nothing to prune.
    """
    convolutions, connected = _layers_to_prune(network, settings)
    layers: tuple[Convolutional | Connected, ...] = (*convolutions, *connected)
    units = {layer.index: _unit_of(layer, settings) for layer in layers}
    allocated = _allocated(convolutions, weights, settings, units)
    shares = {layer.index: share for layer, share in zip(convolutions, allocated, strict=True)}
    if settings.fc_sparsity is not None:
        shares.update({layer.index: settings.fc_sparsity for layer in connected})
    if not shares:
        expected = "expected two convolutions, or connected layers and a share for them"
        raise UsageError(f"{network.path} has no layer to prune: {expected}")
    return {
        index: PruneOptions(
            method=method_of(network.layers[index], settings),
            unit=units[index],
            sparsity=share,
            winograd=layer_output_tile(network.layers[index], settings),
        )
        for index, share in sorted(shares.items())
        if share > 0
    }


def layer_output_tile(layer: Layer, settings: PruneSettings) -> int | None:
    """The tile m of a layer that the settings prune in the Winograd domain, None for any other."""
    in_winograd_domain = get_method(settings.method).in_winograd_domain
    return output_tile(layer, winograd=settings.winograd) if in_winograd_domain else None


def method_of(layer: Layer, settings: PruneSettings) -> str:
    """The method of one layer: that of the settings, unless it is pruned beside those with a Winograd domain."""
    if not get_method(settings.method).in_winograd_domain:
        return settings.method
    if layer_output_tile(layer, settings) is None:
        return SPATIAL_METHOD
    return settings.variants.get(layer.index, "bwsp") if settings.method == "abwsp" else settings.method


def in_pruning_domain(network: Network, weights: Weights, settings: PruneSettings) -> Weights:
    """The weights in the domain where the settings prune them; where they are there already, nothing changes.

    Raises UsageError for weights in the Winograd domain that a method of the spatial domain is asked for.
    """
    convolutions, _ = _layers_to_prune(network, settings)
    tiles = {layer.index: layer_output_tile(layer, settings) for layer in convolutions}
    for index, tile in tiles.items():
        found = layer_values(weights, index).winograd
        if tile is None and found is not None:
            raise UsageError(
                f"layer {index} holds weights of F({found}x{found}, 3x3), which {settings.method} cannot prune: "
                "expected weights in the spatial domain, or a method of the Winograd domain (wsp, bwsp, abwsp)"
            )
    chosen = {index: tile for index, tile in tiles.items() if tile is not None} if settings.sparsity > 0 else {}
    return to_winograd_domain(network, weights, chosen)


def layers_left_whole(network: Network, settings: PruneSettings) -> dict[int, str]:
    """Layers that the settings mean and the method must not touch, by index, with the reason.

    That is so for a method that removes channels where something else depends on a layer's channels.
    """
    if not get_method(settings.method).removes_channels:
        return {}
    convolutions, connected = prunable_layers(network, first_dense=settings.first_dense)
    layers = (*convolutions, *(connected if settings.fc_sparsity is not None else ()))
    obstacles = {layer.index: channel_flow(network, layer.index).obstacle for layer in layers}
    return {index: reason for index, reason in obstacles.items() if reason is not None}


def make_masks(
    network: Network,
    weights: Weights,
    plan: Mapping[int, PruneOptions],
    *,
    criterion: str | None = None,
    parallel_tiles: int | None = None,
    vector_kept_share: float | None = None,
    balance: str = "list",
) -> dict[int, Mask]:
    """The mask of each layer of `plan`: bool `[out_channels, K]` by layer index, True where a weight stays.

    In the Winograd domain, where `weights` must be already (`in_pruning_domain`), it is `[alpha^2 * out, in]`. Without
    a `criterion` each layer's method has its own; the last three are for `bcbp`, `mixed` and `bwsp`. Raises UsageError.
    """
    masks = {}
    for index, options in plan.items():
        layer = network.layers[index]
        assert isinstance(layer, Convolutional | Connected)
        values = layer_values(weights, index)
        if values.winograd != options.winograd:
            raise UsageError(
                f"layer {index} holds weights with winograd={values.winograd}, its plan says {options.winograd}: "
                "expected weights in the plan's domain (in_pruning_domain)"
            )
        masks[index] = mask_for(
            options.method,
            unit_matrix(values),
            unit=options.unit,
            sparsity=options.sparsity,
            criterion=criterion,
            group_rows=group_rows(layer),
            parallel_tiles=parallel_tiles,
            vector_kept_share=vector_kept_share,
            winograd=options.winograd,
            balance=balance,
        )
    return masks


def masks_of_plan(
    network: Network, weights: Weights, plan: Mapping[int, PruneOptions], settings: PruneSettings
) -> dict[int, Mask]:
    """`make_masks` with the criterion and the parameters of `settings`. Raises UsageError."""
    return make_masks(
        network,
        weights,
        plan,
        criterion=settings.criterion,
        parallel_tiles=settings.parallel_tiles,
        vector_kept_share=settings.vector_kept_share,
        balance=settings.balance,
    )


def apply_masks(weights: Weights, masks: Masks) -> Weights:
    """The same weights with zeros where a mask says so, as float32; biases and batch normalisation stay.

    Inputs are not changed.
    """
    layers = list(weights.layers)
    for index, mask in masks.items():
        values = layer_values(weights, index)
        pruned = unit_matrix(values).copy()
        np.copyto(pruned, np.float32(0), where=~mask)
        layers[index] = replace(values, weights=pruned.reshape(values.weights.shape), coding=None)
    return replace(weights, layers=tuple(layers))


def removed_share(mask: Mask) -> float:
    """The share of weights that a mask removes, 0 to 1."""
    return 1.0 - float(np.count_nonzero(mask)) / mask.size


def prune_random(
    network: Network,
    weights: Weights,
    *,
    method: str,
    sparsity: float,
    unit_for_layer: UnitForLayer,
    fc_sparsity: float | None = None,
    winograd: int | None = None,
) -> tuple[Weights, dict[int, PruneOptions]]:
    """Prune weights that nobody will retrain, to measure speed: the first convolution stays dense, every other one
    loses `sparsity` and every connected layer `fc_sparsity` (None: nothing) of its units. `winograd` is the output tile
    of methods of the Winograd domain (None: the default).

    Returns the weights and the options of each pruned layer by index. Raises UsageError.
    """
    settings = PruneSettings(
        method=method,
        sparsity=sparsity,
        fc_sparsity=fc_sparsity,
        unit_for_layer=unit_for_layer,
        winograd=DEFAULT_OUTPUT_TILE if winograd is None else winograd,
    )
    plan = plan_pruning(network, weights, settings)
    weights = in_pruning_domain(network, weights, settings)
    return apply_masks(weights, make_masks(network, weights, plan)), plan


def layer_values(weights: Weights, index: int) -> LayerWeights:
    """The values of a layer that must have some. Raises UsageError where it has none (`dontload`)."""
    values = weights.layers[index]
    if values is None:
        raise UsageError(f"layer {index} has no weights to prune: remove dontload=1 and give a file that holds them")
    return values


def _layers_to_prune(
    network: Network, settings: PruneSettings
) -> tuple[tuple[Convolutional, ...], tuple[Connected, ...]]:
    convolutions, connected = prunable_layers(network, first_dense=settings.first_dense)
    whole = layers_left_whole(network, settings)
    return (
        tuple(layer for layer in convolutions if layer.index not in whole),
        tuple(layer for layer in connected if layer.index not in whole),
    )


def _unit_of(layer: Convolutional | Connected, settings: PruneSettings) -> Unit:
    share = settings.sparsity if isinstance(layer, Convolutional) else settings.fc_sparsity or 0.0
    winograd = layer_output_tile(layer, settings)
    if winograd is not None and settings.winograd_unit != "tile":
        is_column = settings.winograd_unit == "column"
        return Unit(rows=layer.weights_shape[0]) if is_column else Unit(rows=1, columns=layer.weights_shape[1])
    _, columns = unit_matrix_shape(layer, winograd=winograd)
    request = UnitRequest(tile=settings.unit_for_layer(layer), columns=columns, sparsity=share)
    return get_method(method_of(layer, settings)).unit_for(request)


def _allocated(
    convolutions: tuple[Convolutional, ...], weights: Weights, settings: PruneSettings, units: Mapping[int, Unit]
) -> tuple[float, ...]:
    grids = []
    for layer in convolutions:
        layer_values(weights, layer.index)
        rows, columns = unit_matrix_shape(layer, winograd=layer_output_tile(layer, settings))
        unit = get_method(method_of(layer, settings)).removed_unit(units[layer.index])
        grids.append(UnitGrid.cut(rows=rows, columns=columns, unit=unit, group_rows=group_rows(layer)))
    return allocate(
        settings.allocation,
        grids=grids,
        scores=lambda: [
            grid.scores(_matrix_to_compare(layer, weights, settings), criterion=settings.criterion_name)
            for grid, layer in zip(grids, convolutions, strict=True)
        ],
        sparsity=settings.sparsity,
    )


def _matrix_to_compare(layer: Convolutional, weights: Weights, settings: PruneSettings) -> Matrix:
    """A layer's matrix in its pruning domain, with units of equal importance alike."""
    winograd = layer_output_tile(layer, settings)
    values = layer_values(weights, layer.index)
    if winograd is not None:
        values = transformed(layer, values, winograd=winograd)
    return comparable_magnitudes(unit_matrix(values), winograd=winograd, group_rows=group_rows(layer))
