"""From a network to a list of kernel launches, without any OpenCL: what runs on which tensor with which tile.

A plan is made from a network, a device's facts, what was removed from each layer, and a look-up of tuned tiles. It
can be made for imaginary devices; `clprune.runner.binding` turns it into buffers and bound kernels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clprune.darknet.layers import (
    Activation,
    AvgPool,
    BatchNorm,
    Connected,
    Convolutional,
    Crop,
    Layer,
    MaxPool,
    Route,
    Shortcut,
    Softmax,
    Upsample,
)
from clprune.darknet.network import Network
from clprune.device import DeviceInfo
from clprune.errors import UnsupportedLayerError
from clprune.geometry import PoolProblem
from clprune.kernels.base import Kernel, Operation, Workload
from clprune.kernels.clear_padding import CLEAR_PADDING, ClearOperation
from clprune.kernels.connected import CONNECTED, ConnectedOperation
from clprune.kernels.conv import CONV, ConvOperation
from clprune.kernels.pointwise import POINTWISE, PointwiseOperation
from clprune.kernels.pool import AVERAGE_POOL, MAX_POOL, PoolOperation
from clprune.kernels.softmax import SOFTMAX, SoftmaxOperation
from clprune.layout import Layout, contiguous_layout
from clprune.runner.fusion import fused_pools
from clprune.runner.layouts import NETWORK_INPUT, assign_layouts, tensor_aliases, tensor_shapes
from clprune.runner.memory import MemoryPlan, Use, separate_buffers, share_buffers

#: Where a tile came from when no look-up found one.
DEFAULT_ORIGIN, SAFE_ORIGIN = "default", "safe"

#: (kernel, operation, workload) -> (tile, where it came from), or None.
TileLookup = Callable[[Kernel[Any, Any], Operation, Workload], "tuple[Any, str] | None"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One kernel launch. `inputs` and `output` name tensors of the plan; `layer` is None for copies of the plan's own.

    `constants`: per-channel (scale, shift) that the step needs beside its layer's weights. `fused` is the pooling layer
    that the step computes as well.
    """

    layer: Layer | None
    label: str
    kernel: Kernel[Any, Any]
    operation: Any
    workload: Workload
    inputs: tuple[int, ...]
    output: int
    tile: Any = None
    tile_origin: str = ""
    constants: tuple[float, float] | None = None
    fused: MaxPool | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps in order, the layout of every tensor, and the buffer in which it lives.

    The host writes the tensor `host_input`, padding included, and reads `host_output`. `tensors` tells for every
    layer's output (and -1, the input) which tensor holds its values.
    """

    network: Network
    steps: tuple[Step, ...]
    layouts: Mapping[int, Layout]
    tensors: Mapping[int, int]
    memory: MemoryPlan
    host_input: int
    host_output: int

    @property
    def largest_neighbours_bytes(self) -> int:
        """Bytes of the largest pair of activations that one step reads and writes: what no sharing can go below."""
        sizes = {tensor: layout.size_bytes for tensor, layout in self.layouts.items()}
        return max((sum(sizes[t] for t in {*step.inputs, step.output}) for step in self.steps), default=0)


def make_plan(
    network: Network,
    device: DeviceInfo,
    *,
    workloads: Mapping[int, Workload] | None = None,
    lookup: TileLookup | None = None,
    keep_tensors: bool = False,
    connected_storage: str = "float32",
) -> Plan:
    """Plan `network` for `device`.

    `workloads` maps layer index -> what was removed (dense where absent); `lookup` finds tuned tiles. A tile that does
    not fit the layer's layouts or the device is not used: the device type's default is, or the kernel's safe one.
    `keep_tensors` gives every tensor a buffer of its own, so that all can be read after a run. `connected_storage` is
    how weights of fully connected layers lie in device memory ("float32", "float16").
    Raises UnsupportedLayerError for a layer that no kernel runs.
    """
    builder = _Builder(
        network=network,
        fused=fused_pools(network, device),
        workloads=workloads or {},
        connected_storage=connected_storage,
    )
    builder.add_all()
    memory = builder.memory(keep_tensors=keep_tensors)
    steps = tuple(_with_tile(step, device, lookup) for step in builder.with_clearing(memory))
    return Plan(
        network=network,
        steps=steps,
        layouts=builder.layouts,
        tensors=builder.aliases,
        memory=memory,
        host_input=builder.host_input,
        host_output=builder.host_output,
    )


def _with_tile(step: Step, device: DeviceInfo, lookup: TileLookup | None) -> Step:
    found = lookup(step.kernel, step.operation, step.workload) if lookup else None
    if found is not None and step.kernel.rejection(found[0], step.operation, device) is None:
        return dataclasses.replace(step, tile=found[0], tile_origin=found[1])
    tile = step.kernel.default_tile(step.operation, device)
    is_safe = tile == step.kernel.safe_tile(step.operation)
    return dataclasses.replace(step, tile=tile, tile_origin=SAFE_ORIGIN if is_safe else DEFAULT_ORIGIN)


@dataclass(kw_only=True)
class _Builder:
    """Collects steps while walking over the layers."""

    network: Network
    fused: Mapping[int, int]
    workloads: Mapping[int, Workload]
    connected_storage: str
    steps: list[Step] = field(default_factory=list)
    layouts: dict[int, Layout] = field(default_factory=dict)
    aliases: dict[int, int] = field(default_factory=dict)
    host_input: int = NETWORK_INPUT
    host_output: int = NETWORK_INPUT

    def add_all(self) -> None:
        self.aliases = tensor_aliases(self.network, self.fused)
        self.layouts = assign_layouts(self.network, self.fused)
        done = set(self.fused.values())
        for layer in self.network.layers:
            if self.aliases.get(layer.index, layer.index) == layer.index and layer.index not in done:
                self._add_layer(layer)
        self.host_output = self.aliases[self.network.output_layer.index]

    def memory(self, *, keep_tensors: bool) -> MemoryPlan:
        if keep_tensors:
            return separate_buffers(self.layouts)
        uses = [Use(inputs=step.inputs, output=step.output) for step in self.steps]
        return share_buffers(uses, self.layouts, host_input=self.host_input, host_output=self.host_output)

    def with_clearing(self, memory: MemoryPlan) -> list[Step]:
        """The steps, with the padding of a tensor in a shared buffer cleared before its first use."""
        steps: list[Step] = []
        pending = set(memory.to_clear)
        for step in self.steps:
            if step.output in pending:
                pending.discard(step.output)
                operation = ClearOperation(output=self.layouts[step.output])
                clear = Step(
                    layer=None,
                    label="clear padding",
                    kernel=CLEAR_PADDING,
                    operation=operation,
                    workload=Workload(),
                    inputs=(),
                    output=step.output,
                )
                steps.append(clear)
            steps.append(step)
        return steps

    def _new_tensor(self, layout: Layout) -> int:
        tensor = max(len(self.network.layers), *(number + 1 for number in self.layouts))
        self.layouts[tensor] = layout
        return tensor

    def _contiguous(self, tensor: int, label: str) -> int:
        """`tensor`, or a contiguous copy of it (batches of convolution results are not NCHW)."""
        layout = self.layouts[tensor]
        plain = contiguous_layout(batch=layout.batch, shape=layout.shape)
        if layout == plain:
            return tensor
        copy = self._new_tensor(plain)
        self._copy(tensor, copy, label=label)
        return copy

    def _copy(self, source: int, target: int, *, label: str) -> None:
        operation = PointwiseOperation(input=self.layouts[source], output=self.layouts[target])
        self._add(None, POINTWISE, operation, inputs=(source,), output=target, label=label)

    def _add(
        self,
        layer: Layer | None,
        kernel: Kernel[Any, Any],
        operation: Operation,
        *,
        inputs: tuple[int, ...],
        output: int | None = None,
        label: str | None = None,
        constants: tuple[float, float] | None = None,
        fused: MaxPool | None = None,
    ) -> None:
        index = layer.index if layer is not None else -1
        self.steps.append(
            Step(
                layer=layer,
                label=label or (layer.kind if layer is not None else kernel.name),
                kernel=kernel,
                operation=operation,
                workload=self.workloads.get(index, Workload()),
                inputs=inputs,
                output=index if output is None else output,
                constants=constants,
                fused=fused,
            )
        )

    def _add_layer(self, layer: Layer) -> None:
        batch = self.network.batch
        sources = tuple(self.aliases[source] for source in layer.sources)
        if isinstance(layer, Convolutional):
            self._add_convolution(layer, sources[0])
            return
        x, y = self.layouts[sources[0]], self.layouts[layer.index]
        if isinstance(layer, Connected):
            connected = ConnectedOperation(
                problem=layer.problem(batch),
                input=x,
                output=y,
                activation=layer.activation,
                storage=self.connected_storage,
            )
            self._add(layer, CONNECTED, connected, inputs=sources)
        elif isinstance(layer, MaxPool):
            pool = PoolOperation(problem=_pool_problem(layer, batch), input=x, output=y)
            self._add(layer, MAX_POOL, pool, inputs=sources)
        elif isinstance(layer, AvgPool):
            problem = PoolProblem.average(batch=batch, shape=layer.input)
            self._add(layer, AVERAGE_POOL, PoolOperation(problem=problem, input=x, output=y), inputs=sources)
        elif isinstance(layer, Softmax):
            self._add_softmax(layer, sources[0])
        elif isinstance(layer, Route):
            self._add_route(layer, sources)
        else:
            self._add_pointwise(layer, sources)

    def _add_convolution(self, layer: Convolutional, source: int) -> None:
        pool = self.network.layers[self.fused[layer.index]] if layer.index in self.fused else None
        output = layer.index if pool is None else pool.index
        operation = ConvOperation(
            problem=layer.problem(self.network.batch),
            input=self.layouts[source],
            output=self.layouts[output],
            activation=layer.activation,
            pooled=pool is not None,
        )
        fused = pool if isinstance(pool, MaxPool) else None
        label = layer.kind if fused is None else f"{layer.kind} + {fused.kind}"
        self._add(layer, CONV, operation, inputs=(source,), output=output, label=label, fused=fused)

    def _add_softmax(self, layer: Softmax, source: int) -> None:
        length = layer.input.elements // layer.groups
        operation = SoftmaxOperation(
            count=self.network.batch * layer.groups, length=length, temperature=layer.temperature
        )
        plain = contiguous_layout(batch=self.network.batch, shape=layer.output)
        source = self._contiguous(source, "softmax input")
        if self.layouts[layer.index] == plain:
            self._add(layer, SOFTMAX, operation, inputs=(source,))
            return
        result = self._new_tensor(plain)
        self._add(layer, SOFTMAX, operation, inputs=(source,), output=result)
        self._copy(result, layer.index, label="softmax output")

    def _add_route(self, layer: Route, sources: tuple[int, ...]) -> None:
        first, y = 0, self.layouts[layer.index]
        shapes = tensor_shapes(self.network)
        for source in sources:
            operation = PointwiseOperation(input=self.layouts[source], output=y, channel_offset=first)
            self._add(layer, POINTWISE, operation, inputs=(source,))
            first += shapes[source].channels

    def _add_pointwise(self, layer: Layer, sources: tuple[int, ...]) -> None:
        x, y = self.layouts[sources[0]], self.layouts[layer.index]
        constants = None
        if isinstance(layer, Activation):
            operation = PointwiseOperation(input=x, output=y, activation=layer.activation)
        elif isinstance(layer, BatchNorm):
            operation = PointwiseOperation(input=x, output=y, is_scaled=True)
        elif isinstance(layer, Shortcut):
            other = self.layouts[sources[1]]
            operation = PointwiseOperation(
                input=x, output=y, other=other, alpha=layer.alpha, beta=layer.beta, activation=layer.activation
            )
        elif isinstance(layer, Upsample):
            constants = (layer.scale, 0.0) if layer.scale != 1 else None
            operation = PointwiseOperation(input=x, output=y, up=layer.stride, is_scaled=constants is not None)
        elif isinstance(layer, Crop):
            constants = None if layer.noadjust else (2.0, -1.0)
            operation = PointwiseOperation(
                input=x,
                output=y,
                row_offset=(layer.input.height - layer.crop_height) // 2,
                column_offset=(layer.input.width - layer.crop_width) // 2,
                is_scaled=constants is not None,
            )
        else:
            raise UnsupportedLayerError(
                f"{self.network.path}:{layer.line}: {layer} has no kernel yet; "
                "expected a network without it (see the README's list of layers)"
            )
        self._add(layer, POINTWISE, operation, inputs=sources, constants=constants)


def _pool_problem(layer: MaxPool, batch: int) -> PoolProblem:
    return PoolProblem(
        batch=batch,
        channels=layer.input.channels,
        in_height=layer.input.height,
        in_width=layer.input.width,
        size=layer.size,
        stride=layer.stride,
        padding=layer.padding,
    )
