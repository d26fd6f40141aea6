"""Which steps compute a layer: one function for each kind, found by the layer's class.

A kind that one kernel computes in one step needs none: the kernel says so (`Kernel.layer_kind`). Kinds of other
packages have a method `lower`.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Activation, Implicit, L2Norm, Softmax
from clprune.darknet.kinds.heads import runs_of
from clprune.darknet.kinds.joins import Product, Route, Shortcut
from clprune.darknet.kinds.normalization import BatchNorm
from clprune.darknet.kinds.planes import Crop, Pad, Reorg, Upsample
from clprune.darknet.kinds.pools import MaxPool, WindowPool
from clprune.darknet.kinds.windowed import WindowedLayer
from clprune.darknet.values import LayerWeights
from clprune.geometry import ConvProblem, Shape, Window
from clprune.kernels.connected import ConnectedOperation
from clprune.kernels.conv_operation import ConvOperation
from clprune.kernels.head import HeadOperation
from clprune.kernels.pointwise import PointwiseOperation
from clprune.kernels.pool import MaxPoolOperation, WindowAverageOperation
from clprune.kernels.softmax import SoftmaxOperation
from clprune.kernels.workload import WeightForm
from clprune.layout import contiguous_layout, padded_layout
from clprune.plan.draft import Site

#: The largest power of ten that float32 holds.
SIGN_SCALE = 1e38


@functools.singledispatch
def lower(layer: Layer, site: Site) -> None:
    """Add the steps that compute `layer` to the draft of `site`. Raises UnsupportedLayerError where nothing does."""
    kernel = next((kernel for kernel in site.draft.kernels if isinstance(layer, kernel.layer_kind or ())), None)
    if kernel is None:
        layer.lower(site)
    else:
        site.compute(kernel.operation_of(layer, batch=site.batch, input=site.x, output=site.y))


@lower.register
def _(layer: Convolutional, site: Site) -> None:
    fused = site.network.layers[site.draft.fused[layer.index]] if layer.index in site.draft.fused else None
    own = target = _own_output(layer, site)
    x = _signs(layer, site) if layer.xnor else site.inputs[0]
    layouts = site.draft.layouts
    inputs: tuple[int, ...] = (x,)
    shift = 0
    if isinstance(fused, Shortcut):
        inputs = (x, site.tensor(fused.sources[1]))
        other = layouts[inputs[1]]
        if not other.lies_like(layouts[own]):  # own is one image of a batch, which lies otherwise
            target = site.draft.new_tensor(other)
        shift = other.origin - layouts[target].origin
    operation = ConvOperation(
        problem=layer.problem(site.batch),
        input=layouts[x],
        output=layouts[target],
        activation=layer.activation,
        pooled=isinstance(fused, MaxPool),
        added=fused.activation if isinstance(fused, Shortcut) else "",
        other_shift=shift,
        storage=site.draft.storage(layer),
    )
    label = layer.kind if fused is None else f"{layer.kind} + {fused.kind}"
    site.compute(operation, fused=fused, label=label, inputs=inputs, output=target)
    if target != own:
        site.copy(target, own, label="shortcut output")
    _blur(layer, site, own)


@lower.register
def _(layer: WindowPool, site: Site) -> None:
    own = _own_output(layer, site)
    kind = WindowAverageOperation if layer.problem(1).is_average else MaxPoolOperation
    site.compute(kind(problem=layer.problem(site.batch), input=site.x, output=site.draft.layouts[own]), output=own)
    _blur(layer, site, own)


def _signs(layer: Convolutional, site: Site) -> int:
    """A tensor with the signs of the input, that of 0 negative; where the border is to be -1, 0 stands for that in all
    of it (`clprune.darknet.fold.for_bits`).
    """
    signs = _new_tensor(site, layer.input, layer.own_window)
    # whatever is multiplied by so much exceeds what is cut off, and 0 becomes the least
    activation, shift = ("hard_sigmoid", -4.0) if layer.has_bit_border else ("hardtan", -1.0)
    layout = site.draft.layouts[signs]
    operation = PointwiseOperation(input=site.x, output=layout, activation=activation, is_scaled=True)
    site.compute(operation, form=WeightForm(), output=signs, label="signs", constants=(SIGN_SCALE, shift))
    return signs


def _own_output(layer: WindowedLayer, site: Site) -> int:
    """The tensor that the layer itself writes: its output or, where a blur follows, one of the plan's own."""
    return site.output if layer.blur is None else _new_tensor(site, layer.inner, layer.blur)


def _new_tensor(site: Site, shape: Shape, window: Window) -> int:
    """A tensor of the plan's own that a convolution of these windows reads."""
    padding = max(window.padding)
    pitch = shape.width + padding
    return site.draft.new_tensor(padded_layout(batch=site.batch, shape=shape, pitch=pitch, padding=padding))


def _blur(layer: WindowedLayer, site: Site, own: int) -> None:
    """Add the step that blurs the layer's own output, where there is one."""
    if layer.blur is None:
        return
    channels = layer.output.channels
    problem = ConvProblem.of(layer.inner, batch=site.batch, out_channels=channels, window=layer.blur, groups=channels)
    filters = np.tile(np.array(layer.blur_weights, np.float32), (channels, 1))
    constants = LayerWeights(weights=filters, biases=np.zeros(channels, np.float32))
    site.compute(
        ConvOperation(problem=problem, input=site.draft.layouts[own], output=site.y),
        form=WeightForm(),
        inputs=(own,),
        label=f"{layer.kind} blur",
        constants=constants,
    )


@lower.register
def _(layer: Connected, site: Site) -> None:
    operation = ConnectedOperation(
        problem=layer.problem(site.batch),
        input=site.x,
        output=site.y,
        activation=layer.activation,
        storage=site.draft.storage(layer),
    )
    site.compute(operation)


@lower.register
def _(layer: Softmax, site: Site) -> None:
    if layer.tree is not None or layer.spatial:
        sizes = [layer.input.channels] if layer.tree is None else layer.tree.group_sizes
        runs = runs_of([(size, "softmax", 1.0) for size in sizes])
        site.compute(HeadOperation(input=site.x, output=site.y, runs=runs, temperature=layer.temperature))
        return
    count, length = site.batch * layer.groups, layer.input.elements // layer.groups
    operation = SoftmaxOperation(count=count, length=length, temperature=layer.temperature)
    plain = contiguous_layout(batch=site.batch, shape=layer.output)
    inputs = (site.contiguous(site.inputs[0], label="softmax input"),)
    if site.y == plain:
        site.compute(operation, inputs=inputs)
        return
    result = site.draft.new_tensor(plain)
    site.compute(operation, inputs=inputs, output=result)
    site.copy(result, site.output, label="softmax output")


@lower.register
def _(layer: Route, site: Site) -> None:
    parts, first = site.draft.parts, 0
    if layer.groups > 1 and site.output in parts and parts[site.output][0] in site.inputs:
        return  # it is a part of its source
    for source in site.inputs:
        layout = site.draft.layouts[source]
        count = layout.shape.channels // layer.groups
        operation = PointwiseOperation(
            input=layout,
            output=site.y,
            channel_offset=first,
            from_channel=layer.group_id * count,
            channel_count=count if layer.groups > 1 else None,
        )
        if parts.get(source) != (site.output, first):
            site.compute(operation, inputs=(source,))
        first += count


@lower.register
def _(layer: Activation, site: Site) -> None:
    site.compute(PointwiseOperation(input=site.x, output=site.y, activation=layer.activation))


@lower.register
def _(layer: BatchNorm, site: Site) -> None:
    site.compute(PointwiseOperation(input=site.x, output=site.y, is_scaled=True))


@lower.register
def _(layer: Shortcut, site: Site) -> None:
    draft = site.draft
    summands = (
        [_scaled_summand(layer, site, index) for index in range(len(site.inputs))] if layer.arrays else site.inputs
    )
    total, *others = summands
    for number, other in enumerate(others, 1):
        is_last = number == len(others)
        output = site.output if is_last else draft.new_tensor(site.y)
        operation = PointwiseOperation(
            input=draft.layouts[total],
            output=site.y,
            other=draft.layouts[other],
            alpha=layer.alpha,
            beta=layer.beta,
            activation=layer.activation if is_last else "linear",
        )
        site.compute(operation, inputs=(total, other), output=output)
        total = output


def _scaled_summand(layer: Shortcut, site: Site, index: int) -> int:
    """A tensor with a summand of a weighted shortcut, times its weights."""
    source = site.draft.layouts[site.inputs[index]]
    channels = min(source.shape.channels, layer.output.channels)
    layout = contiguous_layout(batch=source.batch, shape=dataclasses.replace(source.shape, channels=channels))
    tensor = site.draft.new_tensor(layout)
    operation = PointwiseOperation(input=source, output=layout, is_scaled=True)
    site.compute(operation, inputs=(site.inputs[index],), output=tensor, label="weights of a shortcut", summand=index)
    return tensor


@lower.register
def _(layer: Product, site: Site) -> None:
    factor, other = site.inputs
    layouts = site.draft.layouts
    operation = PointwiseOperation(
        input=layouts[other], output=site.y, other=layouts[factor], is_product=True, activation=layer.activation
    )
    site.compute(operation, inputs=(other, factor))


@lower.register(Pad)
@lower.register(Reorg)
def _(layer: Pad | Reorg, site: Site) -> None:
    site.compute(PointwiseOperation(input=site.x, output=site.y, order=layer.order))


@lower.register
def _(layer: L2Norm, site: Site) -> None:
    runs = runs_of([(layer.input.channels, "l2norm", 1.0)])
    site.compute(HeadOperation(input=site.x, output=site.y, runs=runs))


@lower.register
def _(layer: Implicit, site: Site) -> None:
    site.draft.constants[site.output] = layer


@lower.register
def _(layer: Upsample, site: Site) -> None:
    constants = (layer.scale, 0.0) if layer.scale != 1 else None
    operation = PointwiseOperation(input=site.x, output=site.y, up=layer.stride, is_scaled=constants is not None)
    site.compute(operation, constants=constants)


@lower.register
def _(layer: Crop, site: Site) -> None:
    constants = None if layer.noadjust else (2.0, -1.0)
    operation = PointwiseOperation(
        input=site.x,
        output=site.y,
        row_offset=(layer.input.height - layer.crop_height) // 2,
        column_offset=(layer.input.width - layer.crop_width) // 2,
        is_scaled=constants is not None,
    )
    site.compute(operation, constants=constants)
