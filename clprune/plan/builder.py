"""Layer by layer from a network to launches: operations with the layouts of their tensors, buffers, cleared padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clprune.algorithms import Algorithms
from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Activation, Softmax
from clprune.darknet.kinds.joins import Route, Shortcut
from clprune.darknet.kinds.normalization import BatchNorm
from clprune.darknet.kinds.planes import Crop, Upsample
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from clprune.darknet.network import Network
from clprune.errors import UnsupportedLayerError
from clprune.geometry import PoolProblem
from clprune.kernels.base import Kernel, Operation, Workload
from clprune.kernels.choice import Offer
from clprune.kernels.clear_padding import CLEAR_PADDING, ClearOperation
from clprune.kernels.connected import ConnectedOperation
from clprune.kernels.conv_operation import ConvOperation
from clprune.kernels.pointwise import POINTWISE, PointwiseOperation
from clprune.kernels.pool import AVERAGE_POOL, MAX_POOL, PoolOperation
from clprune.kernels.softmax import SOFTMAX, SoftmaxOperation
from clprune.kernels.storage import FLOAT32, STORAGE_BITS
from clprune.layout import Layout, contiguous_layout
from clprune.plan.batching import ImageView, Part, image_part_end
from clprune.plan.forms import WeightForm
from clprune.plan.layouts import NETWORK_INPUT, assign_layouts, tensor_aliases
from clprune.plan.memory import MemoryPlan, Use, separate_buffers, share_buffers
from clprune.plan.offers import connected_offers, convolution_offers
from clprune.plan.steps import Chosen, Step

#: Device memory that a plan may spend beyond need to save launches, relative to that of weights and activations.
SPARE_SHARE = 0.095


@dataclass(kw_only=True)
class PlanBuilder:
    """Collects steps while walking over the layers. Tensors of the plan are numbered freely; see Plan."""

    network: Network
    fused: Mapping[int, int]
    forms: Mapping[int, WeightForm]
    algorithms: Algorithms
    connected_storage: str
    by_image: bool
    is_cpu: bool
    steps: list[Step] = field(default_factory=list)
    layouts: dict[int, Layout] = field(default_factory=dict)
    views: dict[int, ImageView] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.aliases = tensor_aliases(self.network, self.fused)
        self.host_input = NETWORK_INPUT
        self.host_output = self.aliases[self.network.output_layer.index]

    def add_all(self) -> None:
        """Plan every layer: the convolutional part image by image where `by_image`, the rest for the whole batch."""
        layers, batch = self.network.layers, self.network.batch
        whole = assign_layouts(self.network, self.fused, batch=batch)
        end = image_part_end(self.network, self.fused) if self.by_image and batch > 1 else 0
        if end:
            boundary = self.aliases[end - 1]
            self.layouts |= {tensor: whole[tensor] for tensor in (NETWORK_INPUT, boundary)}
            for image in range(batch):
                self._add_image(image, layers[:end], boundary)
        names = {tensor: tensor for tensor in whole if end == 0 or tensor >= self.aliases[end - 1]}
        self.layouts |= {tensor: whole[tensor] for tensor in names}
        self._add_layers(layers[end:], Part(batch=batch, image=None, layouts=whole, names=names))

    def _add_image(self, image: int, layers: Sequence[Layer], boundary: int) -> None:
        layouts = assign_layouts(self.network, self.fused, batch=1)
        names: dict[int, int] = {}
        for tensor in sorted({self.aliases[layer.index] for layer in layers if layer.index in self.aliases}):
            if tensor != boundary:
                names[tensor] = self._new_tensor(layouts[tensor])
        for tensor in {NETWORK_INPUT, boundary}:
            view = self.layouts[tensor].of_image(image)
            names[tensor] = self._new_tensor(view)
            self.views[names[tensor]] = ImageView(tensor=tensor, image=image)
            layouts[tensor] = view
        self._add_layers(layers, Part(batch=1, image=image, layouts=layouts, names=names))

    def _add_layers(self, layers: Sequence[Layer], part: Part) -> None:
        done = set(self.fused.values())
        for layer in layers:
            if self.aliases.get(layer.index, layer.index) == layer.index and layer.index not in done:
                self._add_layer(layer, part)

    def memory(self, *, keep_tensors: bool) -> MemoryPlan:
        """Which tensors share a buffer; a view lives in its tensor's."""
        layouts = {tensor: layout for tensor, layout in self.layouts.items() if tensor not in self.views}
        if keep_tensors:
            plan = separate_buffers(layouts)
        else:
            uses = [
                Use(inputs=tuple(self._whole(tensor) for tensor in step.inputs), output=self._whole(step.output))
                for step in self.steps
            ]
            plan = share_buffers(
                uses,
                layouts,
                host_input=self.host_input,
                host_output=self.host_output,
                most_bytes=self._most_bytes(uses, layouts),
            )
        return plan.with_views({tensor: view.tensor for tensor, view in self.views.items()})

    def _most_bytes(self, uses: Sequence[Use], layouts: Mapping[int, Layout]) -> int:
        """Memory for activations beyond which no launch is saved: what two neighbours need and a share of all."""
        needed = max(sum(layouts[tensor].size_bytes for tensor in {*use.inputs, use.output}) for use in uses)
        return round(needed + SPARE_SHARE * (needed + self._parameter_bytes()))

    def _parameter_bytes(self) -> int:
        """About what packed weights will take."""
        layers = {step.layer for step in self.steps if isinstance(step.layer, Convolutional | Connected)}
        return round(sum(self._weight_bytes(layer) for layer in layers))

    def _weight_bytes(self, layer: Convolutional | Connected) -> float:
        kept = math.prod(layer.weights_shape) * self._form(layer).workload.kept_share
        return kept * STORAGE_BITS[self._storage(layer)] / 8

    def _storage(self, layer: Convolutional | Connected) -> str:
        """The weights' own; where they have none, that wanted for connected layers, or float32."""
        wanted = self.connected_storage if isinstance(layer, Connected) else FLOAT32
        return self._form(layer).storage or wanted

    def _whole(self, tensor: int) -> int:
        return self.views[tensor].tensor if tensor in self.views else tensor

    def chosen(self, memory: MemoryPlan, choose: Callable[[Step], Chosen]) -> list[Chosen]:
        """The steps as `choose` makes them, with the padding of a tensor in a shared buffer cleared before its first
        use; gaps between rows are left to those that write them anyway.
        """
        chosen = [choose(step) for step in self.steps]
        steps: list[Chosen] = []
        pending = set(memory.to_clear)
        for step in chosen:
            tensor = self._whole(step.output)
            if tensor in pending:
                pending.discard(tensor)
                operation = ClearOperation(output=self.layouts[tensor], gaps=not self._writes_gaps(chosen, tensor))
                offer = Offer(label=CLEAR_PADDING.name, kernel=CLEAR_PADDING, operation=operation, workload=Workload())
                steps.append(choose(Step(layer=None, label="clear padding", offers=(offer,), inputs=(), output=tensor)))
            steps.append(step)
        return steps

    def _writes_gaps(self, chosen: Sequence[Chosen], tensor: int) -> bool:
        """Whether all that write `tensor` also write the gaps between its rows."""
        writers = [step for step in chosen if self._whole(step.output) == tensor]
        return all(step.kernel.writes_gaps(step.tile) for step in writers)

    def _new_tensor(self, layout: Layout) -> int:
        tensor = max(len(self.network.layers), *(number + 1 for number in self.layouts))
        self.layouts[tensor] = layout
        return tensor

    def _contiguous(self, tensor: int, label: str, part: Part) -> int:
        """`tensor`, or a contiguous copy of it (batches of convolution results are not NCHW)."""
        layout = self.layouts[tensor]
        plain = contiguous_layout(batch=layout.batch, shape=layout.shape)
        if layout == plain:
            return tensor
        copy = self._new_tensor(plain)
        self._copy(tensor, copy, label=label, part=part)
        return copy

    def _copy(self, source: int, target: int, *, label: str, part: Part) -> None:
        operation = PointwiseOperation(input=self.layouts[source], output=self.layouts[target])
        self._add(None, POINTWISE, operation, part=part, inputs=(source,), output=target, label=label)

    def _add(
        self,
        layer: Layer | None,
        kernel: Kernel[Any, Any],
        operation: Operation,
        *,
        part: Part,
        inputs: tuple[int, ...],
        output: int,
        label: str | None = None,
        constants: tuple[float, float] | None = None,
    ) -> None:
        """A step that only one kernel computes."""
        form = self._form(layer)
        offer = Offer(label=kernel.name, kernel=kernel, operation=operation, workload=form.workload)
        step = Step(
            layer=layer,
            label=label or (layer.kind if layer is not None else kernel.name),
            offers=(offer,),
            inputs=inputs,
            output=output,
            constants=constants,
            image=part.image,
        )
        self.steps.append(step)

    def _form(self, layer: Layer | None) -> WeightForm:
        return WeightForm() if layer is None else self.forms.get(layer.index, WeightForm())

    def _add_layer(self, layer: Layer, part: Part) -> None:
        inputs = tuple(part.names[self.aliases[source]] for source in layer.sources)
        if isinstance(layer, Convolutional):
            self._add_convolution(layer, inputs, part)
            return
        output = part.names[layer.index]
        x, y, batch = self.layouts[inputs[0]], self.layouts[output], part.batch
        if isinstance(layer, Softmax):
            self._add_softmax(layer, inputs[0], output, part)
        elif isinstance(layer, Route):
            self._add_route(layer, inputs, output, part)
        elif isinstance(layer, Connected):
            connected = ConnectedOperation(
                problem=layer.problem(batch),
                input=x,
                output=y,
                activation=layer.activation,
                storage=self._storage(layer),
            )
            offers = tuple(connected_offers(connected, self._form(layer), self.algorithms))
            step = Step(layer=layer, label=layer.kind, offers=offers, inputs=inputs, output=output, image=part.image)
            self.steps.append(step)
        elif isinstance(layer, MaxPool):
            pool = PoolOperation(problem=_pool_problem(layer, batch), input=x, output=y)
            self._add(layer, MAX_POOL, pool, part=part, inputs=inputs, output=output)
        elif isinstance(layer, AvgPool):
            average = PoolOperation(problem=PoolProblem.average(batch=batch, shape=layer.input), input=x, output=y)
            self._add(layer, AVERAGE_POOL, average, part=part, inputs=inputs, output=output)
        else:
            self._add_pointwise(layer, inputs, output, part)

    def _add_convolution(self, layer: Convolutional, inputs: tuple[int, ...], part: Part) -> None:
        pool = self.network.layers[self.fused[layer.index]] if layer.index in self.fused else None
        output = part.names[layer.index if pool is None else pool.index]
        operation = ConvOperation(
            problem=layer.problem(part.batch),
            input=self.layouts[inputs[0]],
            output=self.layouts[output],
            activation=layer.activation,
            pooled=pool is not None,
            storage=self._storage(layer),
        )
        fused = pool if isinstance(pool, MaxPool) else None
        label = layer.kind if fused is None else f"{layer.kind} + {fused.kind}"
        offers = convolution_offers(operation, self._form(layer), self.algorithms, is_cpu=self.is_cpu)
        step = Step(
            layer=layer,
            label=label,
            offers=tuple(offers),
            inputs=inputs,
            output=output,
            fused=fused,
            image=part.image,
        )
        self.steps.append(step)

    def _add_softmax(self, layer: Softmax, source: int, output: int, part: Part) -> None:
        length = layer.input.elements // layer.groups
        operation = SoftmaxOperation(count=part.batch * layer.groups, length=length, temperature=layer.temperature)
        plain = contiguous_layout(batch=part.batch, shape=layer.output)
        source = self._contiguous(source, "softmax input", part)
        if self.layouts[output] == plain:
            self._add(layer, SOFTMAX, operation, part=part, inputs=(source,), output=output)
            return
        result = self._new_tensor(plain)
        self._add(layer, SOFTMAX, operation, part=part, inputs=(source,), output=result)
        self._copy(result, output, label="softmax output", part=part)

    def _add_route(self, layer: Route, inputs: tuple[int, ...], output: int, part: Part) -> None:
        first = 0
        for source in inputs:
            layout = self.layouts[source]
            operation = PointwiseOperation(input=layout, output=self.layouts[output], channel_offset=first)
            self._add(layer, POINTWISE, operation, part=part, inputs=(source,), output=output)
            first += layout.shape.channels

    def _add_pointwise(self, layer: Layer, inputs: tuple[int, ...], output: int, part: Part) -> None:
        x, y = self.layouts[inputs[0]], self.layouts[output]
        constants = None
        if isinstance(layer, Activation):
            operation = PointwiseOperation(input=x, output=y, activation=layer.activation)
        elif isinstance(layer, BatchNorm):
            operation = PointwiseOperation(input=x, output=y, is_scaled=True)
        elif isinstance(layer, Shortcut):
            other = self.layouts[inputs[1]]
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
        self._add(layer, POINTWISE, operation, part=part, inputs=inputs, output=output, constants=constants)


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
