"""Layer by layer from a network to launches: layouts of tensors, buffers, cleared padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clprune.darknet.kinds.base import Layer, WeightedLayer
from clprune.kernels.base import Offer
from clprune.kernels.clear_padding import CLEAR_PADDING, ClearOperation
from clprune.kernels.conv_operation import ConvOperation
from clprune.kernels.storage import STORAGE_BITS
from clprune.kernels.tile import Operation
from clprune.kernels.workload import Workload
from clprune.layout import Layout
from clprune.plan.batching import Part, TensorView, image_part_end
from clprune.plan.capacity import check_memory, check_tensors
from clprune.plan.draft import Draft, Site
from clprune.plan.layouts import NETWORK_INPUT, assign_layouts, parts_of_tensors, whole_and_channel
from clprune.plan.lowering import lower
from clprune.plan.memory import MemoryPlan, Use, separate_buffers, share_buffers
from clprune.plan.steps import Chosen, Step

#: Device memory that a plan may spend beyond need to save launches, relative to that of weights and activations.
SPARE_SHARE = 0.095


@dataclass(kw_only=True)
class PlanBuilder(Draft):
    """Walks over the layers. `views` are tensors that are parts of others."""

    by_image: bool
    views: dict[int, TensorView] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.host_input = NETWORK_INPUT
        self.host_outputs = tuple(self.aliases[layer.index] for layer in self.network.output_layers)

    def add_all(self) -> None:
        """Plan every layer: the convolutional part image by image where `by_image`, the rest for the whole batch."""
        layers, batch = self.network.layers, self.network.batch
        end = image_part_end(self.network, self.fused) if self.by_image and batch > 1 else 0
        boundary = self.aliases[end - 1]  # the input's where all is for the whole batch
        parts = parts_of_tensors(self.network, self.fused)
        if end:  # an image of a part of a tensor would be a part of a part
            parts = {part: place for part, place in parts.items() if boundary not in (part, place[0])}
        self.parts = {part: place for part, place in parts.items() if max(part, place[0]) >= end}
        whole = assign_layouts(self.network, self.fused, batch=batch, parts=self.parts)
        names = {tensor: tensor for tensor in whole if end == 0 or tensor >= boundary}
        check_tensors(self.network, [whole[tensor] for tensor in {NETWORK_INPUT, *names}])
        if end:
            self.layouts |= {tensor: whole[tensor] for tensor in (NETWORK_INPUT, boundary)}
            check_memory(self.network, self.device, [layout.size_bytes for layout in self.layouts.values()])
            own_parts = {part: place for part, place in parts.items() if part not in self.parts}
            single = assign_layouts(self.network, self.fused, batch=1, parts=own_parts)
            inside = sorted({self.aliases[layer.index] for layer in layers[:end] if layer.index in self.aliases})
            for image in range(batch):
                own = {tensor: self.new_tensor(single[tensor]) for tensor in inside if tensor != boundary}
                self.parts |= {own[part]: (own[tensor], first) for part, (tensor, first) in own_parts.items()}
                views = {tensor: self._view(tensor, image) for tensor in (boundary, NETWORK_INPUT)}
                self._add_layers(layers[:end], Part(batch=1, image=image, names=own | views))
        self.layouts |= {tensor: whole[tensor] for tensor in names}
        for part in self.parts:
            tensor, first = whole_and_channel(part, self.parts)
            self.views[part] = TensorView(tensor=tensor, first_channel=first)
        self._add_layers(layers[end:], Part(batch=batch, image=None, names=names))

    def _view(self, tensor: int, image: int) -> int:
        """One image of `tensor` as a tensor."""
        view = self.new_tensor(self.layouts[tensor].of_image(image))
        self.views[view] = TensorView(tensor=tensor, image=image)
        return view

    def _add_layers(self, layers: Sequence[Layer], part: Part) -> None:
        done = set(self.fused.values())
        for layer in layers:
            if self.aliases.get(layer.index, layer.index) == layer.index and layer.index not in done:
                lower(layer, Site(draft=self, layer=layer, part=part))

    def memory(self, *, keep_tensors: bool) -> MemoryPlan:
        """Which tensors share a buffer; a view lives in its tensor's."""
        layouts = {tensor: layout for tensor, layout in self.layouts.items() if tensor not in self.views}
        if keep_tensors:
            plan = separate_buffers(layouts)
        else:
            uses = [
                Use(
                    inputs=tuple(self._whole(tensor) for tensor in step.inputs),
                    output=self._whole(step.output),
                    reads_padding=_reads_padding(step.offers[0].operation),
                )
                for step in self.steps
            ]
            plan = share_buffers(
                uses,
                layouts,
                host_input=self.host_input,
                host_outputs=self.host_outputs,
                constants=tuple(self.constants),
                most_bytes=self._most_bytes(uses, layouts),
            )
        return plan.with_views({tensor: view.tensor for tensor, view in self.views.items()})

    def _most_bytes(self, uses: Sequence[Use], layouts: Mapping[int, Layout]) -> int:
        """Memory for activations beyond which no launch is saved: what two neighbours need and a share of all."""
        sizes = (sum(layouts[tensor].size_bytes for tensor in {*use.inputs, use.output}) for use in uses)
        needed = max(sizes, default=0)
        return round(needed + SPARE_SHARE * (needed + sum(self._weight_bytes())))

    def check_memory(self, memory: MemoryPlan, scratch_bytes: int) -> None:
        """Raise LaunchError where the device has too little memory for activations, weights and scratch."""
        buffers_bytes = [*memory.sizes_bytes, *self._weight_bytes()]
        check_memory(self.network, self.device, buffers_bytes, others_bytes=scratch_bytes)

    def _weight_bytes(self) -> list[int]:
        """About what the values of packed weights will take, layer by layer."""
        layers = {step.layer for step in self.steps if isinstance(step.layer, WeightedLayer)}
        kept = ((layer, math.prod(layer.weights_shape) * self.form(layer).workload.kept_share) for layer in layers)
        return [round(values * STORAGE_BITS[self.storage(layer)] / 8) for layer, values in kept]

    def _whole(self, tensor: int) -> int:
        return self.views[tensor].tensor if tensor in self.views else tensor

    def chosen(self, memory: MemoryPlan, choose: Callable[[Step], Chosen]) -> list[Chosen]:
        """The steps as `choose` makes them, with the padding of a tensor in a shared buffer cleared before its first
        use; gaps between rows are left to those that write them anyway.
        """
        chosen = [choose(step) for step in self.steps]
        steps: list[Chosen] = []
        pending = set(memory.to_clear)
        leaving_gaps = {self._whole(step.output) for step in chosen if not step.kernel.writes_gaps(step.tile)}
        for step in chosen:
            tensor = self._whole(step.output)
            if tensor in pending:
                pending.discard(tensor)
                operation = ClearOperation(output=self.layouts[tensor], gaps=tensor in leaving_gaps)
                offer = Offer(label=CLEAR_PADDING.name, kernel=CLEAR_PADDING, operation=operation, workload=Workload())
                steps.append(choose(Step(layer=None, label="clear padding", offers=(offer,), inputs=(), output=tensor)))
            steps.append(step)
        return steps


def _reads_padding(operation: Operation) -> bool:
    """Whether results depend on the padding of a tensor that is read: all but convolutions whose windows lie inside."""
    return not isinstance(operation, ConvOperation) or max(operation.problem.window.padding) > 0
