"""Masks of a whole network: which layers are pruned, how much each, and the weights that remain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from clprune.darknet.kinds.base import MatrixLayer, PruneOptions
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights, unit_matrix
from clprune.errors import UsageError
from clprune.pruning.allocation import allocate
from clprune.pruning.channels import channel_groups
from clprune.pruning.criterion import Matrix
from clprune.pruning.method import MaskRequest, UnitRequest, cleared
from clprune.pruning.options import NO_OPTIONS, Options
from clprune.pruning.registry import get_method, list_methods
from clprune.pruning.settings import PruneSettings, asked_output_tile
from clprune.pruning.shrink import clear_channels
from clprune.pruning.unit import Mask, UnitGrid
from clprune.pruning.winograd import comparable_magnitudes, to_winograd_domain, transformed
from clprune.unit import Unit

Masks = Mapping[int, Mask]


@dataclass(frozen=True, kw_only=True, eq=False)
class PrunedLayer:
    """One layer that is pruned: its `values` before that, in the domain where it is done, and how it is done.

    `mask` bool is True where a weight stays: `[out_channels, K]`, in the Winograd domain `[alpha^2 * out, in]`.
    """

    layer: MatrixLayer
    values: LayerWeights
    options: PruneOptions
    mask: Mask

    @property
    def index(self) -> int:
        """The layer's place in the network."""
        return self.layer.index

    @property
    def removed_share(self) -> float:
        """The share of weights that the mask removes, 0 to 1."""
        return 1.0 - float(np.count_nonzero(self.mask)) / self.mask.size


def masks_of(layers: Iterable[PrunedLayer]) -> dict[int, Mask]:
    """Layer index -> mask, as training holds them."""
    return {pruned.index: pruned.mask for pruned in layers}


def plan_of(layers: Iterable[PrunedLayer]) -> dict[int, PruneOptions]:
    """Layer index -> how it was pruned, as `annotate_cfg` writes it."""
    return {pruned.index: pruned.options for pruned in layers}


def prunable_layers(
    network: Network, *, first_dense: bool = True
) -> tuple[tuple[MatrixLayer, ...], tuple[MatrixLayer, ...]]:
    """The convolutions (all but the first, unless `first_dense` is False) and connected layers that may be pruned.

    Convolutions with one weight per output channel, such as a normalization of the input, scale channels: none of them.
    """
    layers = [layer for layer in network.layers if isinstance(layer, MatrixLayer)]
    convolutions = tuple(layer for layer in layers if not isinstance(layer, Connected) and layer.columns > 1)
    return convolutions[1 if first_dense else 0 :], tuple(layer for layer in layers if isinstance(layer, Connected))


def plan_pruning(network: Network, weights: Weights, settings: PruneSettings) -> dict[int, PruneOptions]:
    """Method, unit and sparsity of every layer that is pruned, by layer index; what `annotate_cfg` writes.

    `weights` may be in the spatial or in the Winograd domain. A method that removes channels leaves the layers alone
    whose channels must stay (`layers_left_whole`). Raises UsageError when the settings leave nothing to prune.
    """
    convolutions, connected = _layers_to_prune(network, settings)
    units = {layer.index: _unit_of(layer, settings) for layer in (*convolutions, *connected)}
    allocated = _allocated(convolutions, weights, settings, units)
    shares = {layer.index: share for layer, share in zip(convolutions, allocated, strict=True)}
    if settings.removes_channels:
        groups = channel_groups(network)
        # tied channels go together, so that their layers lose one share
        shares = {index: fmean(shares[producer] for producer in groups[index].producers) for index in shares}
    if settings.fc_sparsity is not None:
        shares.update({layer.index: settings.fc_sparsity for layer in connected})
    if not shares:
        expected = "expected two convolutions, or connected layers and a share for them"
        raise UsageError(f"{network.path} has no layer to prune: {expected}")
    return {
        index: PruneOptions(
            method=settings.method_of(network.layers[index]).name,
            unit=units[index],
            sparsity=share,
            winograd=settings.output_tile(network.layers[index]),
        )
        for index, share in sorted(shares.items())
        if share > 0
    }


def in_pruning_domain(network: Network, weights: Weights, settings: PruneSettings) -> Weights:
    """The weights in the domain where the settings prune them; where they are there already, nothing changes.

    Raises UsageError for weights in the Winograd domain that a method of the spatial domain is asked for.
    """
    convolutions, _ = _layers_to_prune(network, settings)
    tiles = {layer.index: settings.output_tile(layer) for layer in convolutions}
    for index, tile in tiles.items():
        found = layer_values(weights, index).winograd
        if tile is None and found is not None:
            there = ", ".join(name for name in list_methods() if asked_output_tile(name) is not None)
            raise UsageError(
                f"layer {index} holds weights of F({found}x{found}, 3x3), which {settings.method} cannot prune: "
                f"expected weights in the spatial domain, or a method of the Winograd domain ({there})"
            )
    chosen = {index: tile for index, tile in tiles.items() if tile is not None} if settings.sparsity > 0 else {}
    return to_winograd_domain(network, weights, chosen)


def layers_left_whole(network: Network, settings: PruneSettings) -> dict[int, str]:
    """Layers that the settings mean and the method must not touch, by index, with the reason.

    That is so for a method that removes channels where something else depends on a layer's channels.
    """
    if not settings.removes_channels:
        return {}
    convolutions, connected = prunable_layers(network, first_dense=settings.first_dense)
    groups, reasons = channel_groups(network), dict[int, str]()
    for layers in (convolutions, connected if settings.fc_sparsity is not None else ()):
        meant = {layer.index for layer in layers}
        for index in meant:
            stays = [producer for producer in groups[index].producers if producer not in meant]
            reason = groups[index].obstacle or (f"they are tied to those of layer {stays[0]}" if stays else None)
            if reason is not None:
                reasons[index] = reason
    return reasons


def mask_request(
    layer: MatrixLayer, chosen: PruneOptions, *, criterion: str | None = None, options: Options
) -> MaskRequest:
    """What the mask of a layer is asked for, by its method's own criterion unless there is one, and its own options."""
    method = get_method(chosen.method)
    return MaskRequest(
        unit=chosen.unit,
        sparsity=chosen.sparsity,
        criterion=criterion or method.criterion,
        group_rows=layer.group_rows,
        winograd=chosen.winograd,
        options=method.own_options(options),
    )


def prune_layers(
    network: Network,
    weights: Weights,
    plan: Mapping[int, PruneOptions],
    *,
    criterion: str | None = None,
    options: Options = NO_OPTIONS,
) -> tuple[PrunedLayer, ...]:
    """Each layer of `plan` with its mask, by rising index; a layer in the Winograd domain must be there already.

    Without a `criterion` each layer's method has its own; `options` count where they are those of the method.
    Raises UsageError.
    """
    pruned = []
    groups = channel_groups(network) if any(get_method(one.method).removes_channels for one in plan.values()) else {}
    for index, chosen in sorted(plan.items()):
        layer, method = network.layers[index], get_method(chosen.method)
        assert isinstance(layer, MatrixLayer)
        values = layer_values(weights, index)
        if values.winograd != chosen.winograd:
            raise UsageError(
                f"layer {index} holds weights with winograd={values.winograd}, its plan says {chosen.winograd}: "
                "expected weights in the plan's domain (in_pruning_domain)"
            )
        request = mask_request(layer, chosen, criterion=criterion, options=options)
        matrix = unit_matrix(values)
        if method.removes_channels and len(groups[index].producers) > 1:
            # what goes together is judged together: one row of all that makes a channel
            tied = np.hstack([unit_matrix(layer_values(weights, producer)) for producer in groups[index].producers])
            mask = np.broadcast_to(method.mask(tied, request).any(axis=1, keepdims=True), matrix.shape).copy()
        else:
            mask = method.mask(matrix, request)
        pruned.append(PrunedLayer(layer=layer, values=values, options=chosen, mask=mask))
    return tuple(pruned)


def remove(network: Network, weights: Weights, layers: Sequence[PrunedLayer], settings: PruneSettings) -> Weights:
    """`weights` without what the masks remove, as each layer's method does it.

    A method that removes channels clears all that belongs to them; one of the Winograd domain fits what stays to what
    goes, if its options say so.
    """
    values = list(weights.layers)
    for pruned in layers:
        method = get_method(pruned.options.method)
        values[pruned.index] = method.remove(pruned.values, pruned.mask, method.own_options(settings.options))
    removed = replace(weights, layers=tuple(values))
    return clear_channels(network, removed, masks_of(layers)) if settings.removes_channels else removed


def apply_masks(weights: Weights, masks: Masks) -> Weights:
    """The same weights with zeros where a mask says so, as float32; biases and batch normalisation stay.

    Inputs are not changed.
    """
    layers = list(weights.layers)
    for index, mask in masks.items():
        layers[index] = cleared(layer_values(weights, index), mask)
    return replace(weights, layers=tuple(layers))


def prune_random(
    network: Network, weights: Weights, settings: PruneSettings
) -> tuple[Weights, dict[int, PruneOptions]]:
    """Prune weights that nobody will retrain, to measure speed: nothing is fitted to what goes.

    Returns the weights and the options of each pruned layer by index. Raises UsageError.
    """
    plan = plan_pruning(network, weights, settings)
    weights = in_pruning_domain(network, weights, settings)
    return apply_masks(weights, masks_of(prune_layers(network, weights, plan, options=settings.options))), plan


def with_prune_options(network: Network, options: Mapping[int, PruneOptions]) -> Network:
    """The same network with the prune options of the given layers set, as a cfg with those keys would be read."""
    layers = list(network.layers)
    for index, chosen in options.items():
        layer = layers[index]
        assert isinstance(layer, MatrixLayer)
        layers[index] = replace(layer, prune=chosen)
    return replace(network, layers=tuple(layers))


def layer_values(weights: Weights, index: int) -> LayerWeights:
    """The values of a layer that must have some. Raises UsageError where it has none (`dontload`)."""
    values = weights.layers[index]
    if values is None:
        raise UsageError(f"layer {index} has no weights to prune: remove dontload=1 and give a file that holds them")
    return values


def _layers_to_prune(
    network: Network, settings: PruneSettings
) -> tuple[tuple[MatrixLayer, ...], tuple[MatrixLayer, ...]]:
    convolutions, connected = prunable_layers(network, first_dense=settings.first_dense)
    whole = layers_left_whole(network, settings)
    return (
        tuple(layer for layer in convolutions if layer.index not in whole),
        tuple(layer for layer in connected if layer.index not in whole),
    )


def _unit_of(layer: MatrixLayer, settings: PruneSettings) -> Unit:
    method = settings.method_of(layer)
    _, columns = layer.matrix_shape(settings.output_tile(layer))
    request = UnitRequest(
        tile=settings.unit_for_layer(layer),
        rows=layer.group_rows,
        columns=columns,
        sparsity=(settings.fc_sparsity or 0.0) if isinstance(layer, Connected) else settings.sparsity,
        options=method.own_options(settings.options),
    )
    return method.unit_for(request)


def _allocated(
    convolutions: tuple[MatrixLayer, ...], weights: Weights, settings: PruneSettings, units: Mapping[int, Unit]
) -> tuple[float, ...]:
    grids = []
    for layer in convolutions:
        layer_values(weights, layer.index)
        rows, columns = layer.matrix_shape(settings.output_tile(layer))
        unit = settings.method_of(layer).removed_unit(units[layer.index])
        grids.append(UnitGrid.cut(rows=rows, columns=columns, unit=unit, group_rows=layer.group_rows))
    return allocate(
        settings.allocation,
        grids=grids,
        scores=lambda: [
            grid.scores(_matrix_to_compare(layer, weights, settings), criterion=settings.criterion_name)
            for grid, layer in zip(grids, convolutions, strict=True)
        ],
        sparsity=settings.sparsity,
    )


def _matrix_to_compare(layer: MatrixLayer, weights: Weights, settings: PruneSettings) -> Matrix:
    """A layer's matrix in its pruning domain, with units of equal importance alike."""
    winograd = settings.output_tile(layer)
    values = layer_values(weights, layer.index)
    if winograd is not None:
        values = transformed(layer, values, winograd=winograd)
    return comparable_magnitudes(unit_matrix(values), winograd=winograd, group_rows=layer.group_rows)
