"""Which steps compute a layer: one function for each kind, found by the layer's class.

A kind that one kernel computes in one step needs none: the kernel says so (`Kernel.layer_kind`). Kinds of other
packages have a method `lower`.
"""

from __future__ import annotations

import functools

from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Activation, Softmax
from clprune.darknet.kinds.heads import runs_of
from clprune.darknet.kinds.joins import Route, Shortcut
from clprune.darknet.kinds.normalization import BatchNorm
from clprune.darknet.kinds.planes import Crop, Upsample
from clprune.kernels.connected import ConnectedOperation
from clprune.kernels.conv_operation import ConvOperation
from clprune.kernels.head import HeadOperation
from clprune.kernels.pointwise import PointwiseOperation
from clprune.kernels.softmax import SoftmaxOperation
from clprune.layout import contiguous_layout
from clprune.plan.draft import Site


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
    pool = site.network.layers[site.draft.fused[layer.index]] if layer.index in site.draft.fused else None
    operation = ConvOperation(
        problem=layer.problem(site.batch),
        input=site.x,
        output=site.y,
        activation=layer.activation,
        pooled=pool is not None,
        storage=site.draft.storage(layer),
    )
    site.compute(operation, fused=pool, label=layer.kind if pool is None else f"{layer.kind} + {pool.kind}")


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
    if layer.tree is not None:
        runs = runs_of([(size, "softmax", 1.0) for size in layer.tree.group_sizes])
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
    first = 0
    for source in site.inputs:
        layout = site.draft.layouts[source]
        operation = PointwiseOperation(input=layout, output=site.y, channel_offset=first)
        site.compute(operation, inputs=(source,))
        first += layout.shape.channels


@lower.register
def _(layer: Activation, site: Site) -> None:
    site.compute(PointwiseOperation(input=site.x, output=site.y, activation=layer.activation))


@lower.register
def _(layer: BatchNorm, site: Site) -> None:
    site.compute(PointwiseOperation(input=site.x, output=site.y, is_scaled=True))


@lower.register
def _(layer: Shortcut, site: Site) -> None:
    operation = PointwiseOperation(
        input=site.x,
        output=site.y,
        other=site.draft.layouts[site.inputs[1]],
        alpha=layer.alpha,
        beta=layer.beta,
        activation=layer.activation,
    )
    site.compute(operation)


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
