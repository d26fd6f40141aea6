"""A plan while it is made: its steps so far, and the layouts of its tensors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from clprune.algorithms import Algorithms
from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.network import Network
from clprune.device import DeviceInfo
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.pointwise import PointwiseOperation
from clprune.kernels.storage import FLOAT32
from clprune.kernels.tile import Operation
from clprune.kernels.workload import WeightForm
from clprune.layout import Layout, contiguous_layout
from clprune.plan.batching import Part
from clprune.plan.layouts import tensor_aliases
from clprune.plan.offers import offers_for
from clprune.plan.steps import Step


@dataclass(kw_only=True)
class Draft:
    """Steps in order, and the layout of every tensor. Tensors are numbered freely; see Plan.

    `fused` maps convolutions to the pooling layers and shortcuts that they compute as well, `forms` layers to what is
    known of their weights. `kernels` are those to choose from, `constants` the tensors that hold a layer's values,
    `parts` those that are parts of others (`clprune.plan.layouts.parts_of_tensors`).
    """

    network: Network
    fused: Mapping[int, int]
    forms: Mapping[int, WeightForm]
    algorithms: Algorithms
    connected_storage: str
    device: DeviceInfo
    kernels: Sequence[Kernel[Any, Any]]
    steps: list[Step] = field(default_factory=list)
    layouts: dict[int, Layout] = field(default_factory=dict)
    constants: dict[int, Layer] = field(default_factory=dict)
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.aliases = tensor_aliases(self.network, self.fused)
        self._numbers = itertools.count(len(self.network.layers))
        self._offers: dict[tuple[Operation, WeightForm], tuple[Offer, ...]] = {}

    def new_tensor(self, layout: Layout) -> int:
        """A tensor of the plan's own."""
        tensor = next(self._numbers)
        self.layouts[tensor] = layout
        return tensor

    def offers(self, operation: Operation, form: WeightForm) -> tuple[Offer, ...]:
        """The ways to compute `operation`; found once for all images of a batch, whose layers have the same."""
        known = (operation, form)
        if known not in self._offers:
            algorithms, device, kernels = self.algorithms, self.device, self.kernels
            self._offers[known] = offers_for(operation, form, algorithms=algorithms, device=device, kernels=kernels)
        return self._offers[known]

    def form(self, layer: Layer) -> WeightForm:
        """What is known of a layer's weights."""
        return self.forms.get(layer.values_index, WeightForm())

    def storage(self, layer: Layer) -> str:
        """How a layer's weights lie in device memory: as they are; else as wanted for connected layers, or float32."""
        wanted = self.connected_storage if isinstance(layer, Connected) else FLOAT32
        return self.form(layer).storage or wanted


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where one layer is lowered: the draft, the layer, and the part of the plan that it belongs to."""

    draft: Draft
    layer: Layer
    part: Part

    @property
    def network(self) -> Network:
        return self.draft.network

    @property
    def batch(self) -> int:
        """Images that a step computes at once."""
        return self.part.batch

    @property
    def form(self) -> WeightForm:
        """What is known of the layer's weights."""
        return self.draft.form(self.layer)

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """The tensors that the layer's sources deliver."""
        return tuple(self.tensor(source) for source in self.layer.sources)

    def tensor(self, source: int) -> int:
        """The tensor that a layer delivers here."""
        return self.part.names[self.draft.aliases[source]]

    @property
    def output(self) -> int:
        """The tensor of the layer's output, or of what it computes as well."""
        return self.part.names[self.draft.fused.get(self.layer.index, self.layer.index)]

    @property
    def x(self) -> Layout:
        """The layout of the first input."""
        return self.draft.layouts[self.inputs[0]]

    @property
    def y(self) -> Layout:
        """The layout of the output."""
        return self.draft.layouts[self.output]

    def choose(self, offers: Sequence[Offer], **fields: Any) -> None:
        """Add a step that any of `offers` computes; `fields` of `Step` are the layer's own where they are not given."""
        own: dict[str, Any] = {"layer": self.layer, "label": self.layer.kind, "image": self.part.image}
        own |= {"inputs": self.inputs, "output": self.output}
        self.draft.steps.append(Step(offers=tuple(offers), **(own | fields)))

    def compute(self, operation: Operation, *, form: WeightForm | None = None, **fields: Any) -> None:
        """Add a step that any kernel computes which offers itself for `operation`, with weights of the layer's form if
        no other is given; `fields` as in `choose`.
        """
        self.choose(self.draft.offers(operation, self.form if form is None else form), **fields)

    def add(self, kernel: Kernel[Any, Any], operation: Operation, **fields: Any) -> None:
        """Add a step that only one kernel computes; `fields` as in `choose`."""
        offer = Offer(label=kernel.name, kernel=kernel, operation=operation, workload=self.form.workload)
        self.choose((offer,), **fields)

    def copy(self, source: int, target: int, *, label: str) -> None:
        """Add a step that copies a tensor."""
        operation = PointwiseOperation(input=self.draft.layouts[source], output=self.draft.layouts[target])
        self.compute(operation, layer=None, label=label, inputs=(source,), output=target)

    def contiguous(self, tensor: int, *, label: str) -> int:
        """`tensor`, or a contiguous copy of it (batches of convolution results are not NCHW)."""
        layout = self.draft.layouts[tensor]
        plain = contiguous_layout(batch=layout.batch, shape=layout.shape)
        if layout == plain:
            return tensor
        copy = self.draft.new_tensor(plain)
        self.copy(tensor, copy, label=label)
        return copy
