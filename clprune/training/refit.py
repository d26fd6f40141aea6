"""What stays of pruned layers fitted to what they put out before, on images without labels.

Layers are gone through in order. Each is fitted, by least squares (`clprune.pruning.least_squares`), so that from the
inputs that the pruned network gives it it puts out what the dense one does from its own: what earlier layers lost is
made up for as well, and where a layer's channels are gone it is the next ones that are fitted. A constant is fitted
too, into the biases or the means of batch normalization. Winograd layers are fitted in their domain: there the inputs
of an output place (i, j) of a tile are A^T_ij,xi (B^T d B)_xi,c.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clprune.darknet.kinds.base import Layer, MatrixLayer, WeightedLayer
from clprune.darknet.network import Network, check_data
from clprune.darknet.values import LayerWeights, Weights
from clprune.dataset import DataSet
from clprune.pruning.channels import by_input
from clprune.pruning.least_squares import FEW_STEPS, STEPS, solve_rows
from clprune.pruning.network import Masks, layer_values
from clprune.pruning.unit import Mask
from clprune.pruning.winograd import transformed
from clprune.training.distillation import distillation_loss, heads_loss
from clprune.training.module import load_layer, load_module
from clprune.training.refit_sums import Batches, Sums, sums_of
from clprune.winograd.transforms import transform_matrices

#: Layers with more columns (VGG16's first connected layer) stay as they are: their Gram matrix would fill the memory.
MOST_COLUMNS = 4608

#: Images that layers are fitted on: these, and more where running them is little work, since a layer of few positions
#: that is fitted to few images is good for these alone; and the values of all their layers that are held at most.
CALIBRATION_IMAGES, MOST_CALIBRATION_IMAGES, CALIBRATION_WORK, MOST_VALUES = 256, 1024, 5e10, 1 << 29

#: How many times as many images as judge a change there must be for it not to be fitted to these, too.
MANY_MORE = 3

#: Multiplications for the images by which one change is judged, at most, but for the fewest images; and the most.
JUDGED_WORK, FEWEST_JUDGED, MOST_JUDGED = 2e11, 8, 256

#: Bytes of fitted layers that are held, since a search asks for the same ones again.
HELD_BYTES = 1 << 29

#: How far answers are at most from those of the dense network.
MOST_DIVERGENCE = 1e30

#: Of some channels, whether they are: `[C]`.
Channels = NDArray[np.bool_]

#: Values of a layer's columns that are held at once.
CHUNK_VALUES = 1 << 25


@dataclass(frozen=True, kw_only=True, eq=False)
class Refitted:
    """The fitted `weights`, and how far the answers of the images are from the dense network's.

    `divergence`: of classifiers the mean Kullback-Leibler divergence in nats, of detectors that of `heads_loss`
    (`clprune.training.distillation`). `answers` float64 `[N, outputs]` are what was compared, before heads or softmax.
    """

    weights: Weights
    answers: NDArray[np.float64]
    divergence: float


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How far a fit goes: to layers `only`, by which images, and how well.

    None: to the layers of the masks and all whose inputs they change. `is_judged`: no better than ranking needs, and by
    other images than those that judge a change, where there are many more; else by all of them. `is_alone`: each layer
    as if it alone were pruned, but for channels that are gone.
    """

    only: Collection[int] | None = None
    is_judged: bool = False
    is_alone: bool = False

    @property
    def steps(self) -> int:
        """Of `solve_rows`."""
        return FEW_STEPS if self.is_judged else STEPS


#: To the end; by some images, to rank whole choices; the same by little; not at all.
WHOLE, CLOSE, QUICK, AS_IS = Extent(), Extent(is_judged=True), Extent(is_judged=True, is_alone=True), Extent(only=())


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What a layer is given, what the dense network gives it, and which channels are the same for all images."""

    found: Batches
    dense: Batches
    _: KW_ONLY
    constant: Channels

    def columns_gone(self, layer: MatrixLayer, *, is_alone: bool) -> Channels | None:
        """Columns `[K]` that are zero because channels are gone, where there are any and nothing else is another one;
        else None. A channel that is zero for these images alone is another one; `is_alone`: others do not count.
        """
        pairs = [
            (found.flatten(2), other.flatten(2))
            for found, other in zip(self.found, self.dense, strict=True)
            if found.dim() > 2
        ]
        if not pairs:
            return None
        same = torch.stack([(found == other).all(2).all(0) for found, other in pairs]).all(0).numpy()
        zero = torch.stack([(found == 0).all(2).all(0) for found, _ in pairs]).all(0).numpy()
        gone = zero & self.constant & ~same
        if not gone.any() or not (is_alone or (same | gone).all()):
            return None
        return np.repeat(gone, layer.matrix_shape(None)[1] // len(same))


class Reference:
    """A dense network with what its layers put out for some images: what pruned ones are fitted to and compared with.

    A change is judged by the first of them: of `MOST_JUDGED`, fewer where running them takes long, `fewest_judged` at
    least. Raises UsageError where images and network do not fit, and UnsupportedLayerError for layers without a module.
    """

    @torch.no_grad()
    def __init__(
        self, network: Network, weights: Weights, images: DataSet, *, fewest_judged: int = FEWEST_JUDGED
    ) -> None:
        check_data(network, images)
        self.network, self.weights = network, weights
        count = max(1, min(64, CHUNK_VALUES // max(_column_values(layer) for layer in network.layers)))
        starts = range(0, len(images), count)
        batches = [torch.from_numpy(images.batch(slice(start, start + count))) for start in starts]
        self.outputs: dict[int, Batches] = {-1: batches}
        self._module = load_module(network, weights).eval()
        for layer, torch_layer in zip(network.layers, self._module.layers, strict=True):
            self.outputs[layer.index] = _run(torch_layer, [self.outputs[source] for source in layer.sources])
        self.answers = self._answers(self.outputs)
        wanted = max(fewest_judged, min(MOST_JUDGED, int(JUDGED_WORK // max(sum(map(_work, network.layers)), 1))))
        self._judged = min(len(batches), -(-wanted // count))
        self._first_fitted = self._judged if len(batches) >= MANY_MORE * self._judged else 0
        self._sums: dict[tuple[int, int | None], Sums] = {}
        self._fitted: dict[bytes, LayerWeights] = {}

    def work_from(self, index: int) -> int:
        """Multiplications by which a change of layer `index` is judged."""
        return sum(map(_work, self.network.layers[index:])) * self.judged

    def work_to_fit(self, index: int) -> int:
        """Multiplications by which layer `index` is fitted to rank it, at most."""
        layer = self.network.layers[index]
        if not isinstance(layer, MatrixLayer) or not _can_be_fitted(layer, None):
            return 0
        rows, columns = layer.matrix_shape(None)
        return FEW_STEPS * rows * columns**2

    @property
    def judged(self) -> int:
        """How many images judge a change."""
        return sum(map(len, self.outputs[-1][: self._judged]))

    @torch.no_grad()
    def refit(self, pruned: Weights, masks: Masks, extent: Extent = WHOLE) -> Refitted:
        """Fit the layers of `masks`, and those whose inputs they change, as far as `extent` says.

        `pruned` are weights of this network with zeros where `masks` are False. Answers are those of all images, or
        of those alone that judge, which come first.
        """
        values, only = list(pruned.layers), extent.only
        is_of_judges = extent.is_judged and (extent.is_alone or only is not None)  # others need what all images give
        part = slice(self._judged if is_of_judges else None)
        outputs = {index: batches[part] for index, batches in self.outputs.items()}
        found: dict[int, Batches] = {-1: outputs[-1]}
        constant: dict[int, Channels] = {-1: np.zeros(self.network.input.channels, np.bool_)}
        modules = zip(self.network.layers, self._module.layers, self.weights.layers, strict=True)
        for layer, torch_layer, dense in modules:
            inputs, own = [found[source] for source in layer.sources], values[layer.index]
            is_same = all(found[source] is outputs[source] for source in layer.sources)
            is_meant = (layer.index in masks or not is_same) and (only is None or layer.index in only)
            if is_meant and own is not None and isinstance(layer, MatrixLayer) and _can_be_fitted(layer, own.winograd):
                there = _Inputs(inputs[0], outputs[layer.sources[0]], constant=constant[layer.sources[0]])
                own = values[layer.index] = self._fit(layer, own, masks.get(layer.index), there, extent)
            constant[layer.index] = _constant(layer, own, [constant[source] for source in layer.sources])
            if is_same and own is dense:
                found[layer.index] = outputs[layer.index]
            else:
                runs = torch_layer if own is None or own is dense else load_layer(layer, own).eval()
                found[layer.index] = _run(runs, inputs)
        answers = self._answers(found)
        weights = replace(pruned, layers=tuple(values))
        return Refitted(weights=weights, answers=answers, divergence=self.divergence_of(answers))

    def divergence_of(self, answers: NDArray[np.float64]) -> float:
        """How far answers `[N, outputs]` for the first N images are from the dense network's, as `Refitted` has it."""
        given, dense = torch.from_numpy(answers), torch.from_numpy(self.answers[: len(answers)])
        is_head = self.network.output_layers[0].is_head
        loss = heads_loss(self.network, given, dense) if is_head else distillation_loss(given, dense, temperature=1)
        # answers that are not finite are as far as can be
        return min(max(float(loss), 0.0), MOST_DIVERGENCE) if loss.isfinite() else MOST_DIVERGENCE

    @torch.no_grad()
    def layer_error(self, pruned: Weights, mask: NDArray[np.bool_], index: int) -> float:
        """How far what layer `index` puts out is from what it was, once it alone is pruned and fitted: squares,
        relative to its own, on the images that judge one change. `pruned` and its `mask` are as for `refit`.
        """
        layer, values = self.network.layers[index], pruned.layers[index]
        assert isinstance(layer, MatrixLayer) and values is not None
        inputs = [self.outputs[source][: self._judged] for source in layer.sources]
        if _can_be_fitted(layer, values.winograd):
            there = _Inputs(inputs[0], inputs[0], constant=np.zeros(layer.input.channels, np.bool_))
            values = self._fit(layer, values, mask, there, Extent(is_judged=True))
        found, dense = _run(load_layer(layer, values).eval(), inputs), self.outputs[index][: self._judged]
        lost = sum(float((one - other).square().sum()) for one, other in zip(found, dense, strict=True))
        error = lost / max(sum(float(one.square().sum()) for one in dense), 1e-30)
        return min(error, MOST_DIVERGENCE) if math.isfinite(error) else MOST_DIVERGENCE

    def _fit(
        self, layer: MatrixLayer, values: LayerWeights, mask: Mask | None, inputs: _Inputs, extent: Extent
    ) -> LayerWeights:
        if inputs.found is not inputs.dense:
            gone = None if values.winograd is not None else inputs.columns_gone(layer, is_alone=extent.is_alone)
            if gone is not None:
                return self._solved(layer, values, mask, self._dense_sums(layer, None).without(gone), extent)
            if not extent.is_alone:
                is_apart = extent.is_judged and len(inputs.found) > self._judged
                first = self._first_fitted if is_apart else 0
                sums = sums_of(layer, values.winograd, inputs.found[first:], inputs.dense[first:])
                return self._solved(layer, values, mask, sums, extent)
            if mask is None:
                return values
        digest = hashlib.sha256(f"{layer.index} {values.winograd} {extent.steps}".encode())
        for array in (values.weights, np.ones(1) if mask is None else mask):
            digest.update(array.tobytes())
        if digest.digest() not in self._fitted:
            if sum(held.weights.nbytes for held in self._fitted.values()) > HELD_BYTES:
                self._fitted.clear()
            sums = self._dense_sums(layer, values.winograd)
            self._fitted[digest.digest()] = self._solved(layer, values, mask, sums, extent)
        return self._fitted[digest.digest()]

    def _solved(
        self, layer: MatrixLayer, values: LayerWeights, mask: Mask | None, sums: Sums, extent: Extent
    ) -> LayerWeights:
        dense = layer_values(self.weights, layer.index)
        if values.winograd is not None:
            dense = transformed(layer, dense, winograd=values.winograd)
        kept = np.ones(_rows(values, values.weights).shape, np.bool_) if mask is None else _rows(values, mask)
        target, start = (_rows(each, each.weights).astype(np.float64) for each in (dense, values))
        is_dense = sums.cross is sums.gram
        right = (target - start) @ sums.gram if is_dense else target @ sums.cross - start @ sums.gram
        change = solve_rows(sums.gram, right, kept, steps=extent.steps)
        # a row that keeps nothing is a channel that is gone: no constant takes its place
        constant = np.where(kept.any(axis=1), target @ sums.dense_mean - (start + change) @ sums.mean, 0)
        return _with_rows(values, start + change, constant.astype(np.float32))

    def _dense_sums(self, layer: MatrixLayer, winograd: int | None) -> Sums:
        """Of the dense network's inputs, of all images but those that judge, where there are many more: every choice of
        a layer that is pruned alone has the same.
        """
        dense, key = self.outputs[layer.sources[0]][self._first_fitted :], (layer.index, winograd)
        if key not in self._sums:
            self._sums[key] = sums_of(layer, winograd, dense, dense)
        return self._sums[key]

    def _answers(self, outputs: Mapping[int, Batches]) -> NDArray[np.float64]:
        parts = [torch.cat(outputs[layer.index]).flatten(1) for layer in self.network.output_layers]
        answers: NDArray[np.float64] = torch.cat(parts, 1).double().numpy()
        return answers


def refit_network(network: Network, dense: Weights, pruned: Weights, masks: Masks, data: DataSet) -> Weights:
    """`pruned` with what stays fitted to `dense`, both of `network`, on some images of `data`, without labels.

    Zeros stay where `masks` are False. Layers in groups and those of more than `MOST_COLUMNS` columns are left as they
    are. Raises what `Reference` raises.
    """
    return Reference(network, dense, calibration_images(network, data)).refit(pruned, masks).weights


def calibration_images(network: Network, data: DataSet) -> DataSet:
    """Images drawn from all, fewer where what all layers put out for them would fill the memory."""
    values = sum(layer.output.elements for layer in network.layers)
    light = int(CALIBRATION_WORK // max(sum(map(_work, network.layers)), 1))
    count = max(CALIBRATION_IMAGES, min(MOST_CALIBRATION_IMAGES, light))
    return data.drawn(max(1, min(count, MOST_VALUES // values)))


def _run(module: Any, inputs: list[Batches]) -> Batches:
    # a copy, because activations may be computed in place
    return [module(*(part.clone() for part in parts)) for parts in zip(*inputs, strict=True)]


def _work(layer: Layer) -> int:
    return layer.problem(1).flops // 2 if isinstance(layer, WeightedLayer) else 0


def _column_values(layer: Layer) -> int:
    if not isinstance(layer, MatrixLayer):
        return layer.output.elements
    return layer.matrix_shape(None)[1] * layer.output.height * layer.output.width


def _constant(layer: Layer, values: LayerWeights | None, sources: Sequence[Channels]) -> Channels:
    """Output channels that no image changes: those that no weight leads to, wherever such channels are passed on."""
    found = np.zeros(layer.output.channels, np.bool_)
    if isinstance(layer, MatrixLayer) and values is not None and not layer.is_grouped:
        by_channel = values.weights if values.winograd is not None else by_input(layer, values.weights)
        leads = (by_channel != 0).any(axis=(0, 1) if values.winograd is not None else 2)
        found[:] = ~(leads & ~sources[0]).any(axis=1)
    elif layer.carries_channels and {len(source) for source in sources} == {len(found)}:
        found[:] = np.all(sources, axis=0)
    elif layer.concatenates_channels:
        found[:] = np.concatenate(sources)
    return found


def _can_be_fitted(layer: MatrixLayer, winograd: int | None) -> bool:
    if layer.is_grouped or not layer.has_own_matrix:
        return False
    columns = layer.matrix_shape(None)[1]
    factor = 1 if winograd is None else transform_matrices(winograd).matrices / 9
    return columns * factor <= MOST_COLUMNS


def _rows(values: LayerWeights, array: NDArray[Any]) -> NDArray[Any]:
    """Weights, or their mask, with all that makes an output channel in one row: `[out, K]`."""
    if values.winograd is None:
        return array.reshape(len(values.weights), -1)
    alpha, _, out, channels = values.weights.shape
    by_row: NDArray[Any] = array.reshape(alpha**2, out, channels).transpose(1, 0, 2)
    return by_row.reshape(out, -1)


def _with_rows(values: LayerWeights, rows: NDArray[np.float64], constant: NDArray[np.float32]) -> LayerWeights:
    """The reverse of `_rows`, with `constant` `[out]` added to what the rows give."""
    weights = rows.astype(np.float32)
    if values.winograd is not None:
        alpha, _, out, channels = values.weights.shape
        weights = weights.reshape(out, alpha**2, channels).transpose(1, 0, 2)
    weights = np.ascontiguousarray(weights.reshape(values.weights.shape))
    if values.mean is not None:
        return replace(values, weights=weights, mean=values.mean - constant, coding=None)
    return replace(values, weights=weights, biases=values.biases + constant, coding=None)
