"""From a network to a list of kernel launches, without any OpenCL: what runs on which tensor with which tile.

A plan is made from a network, a device's facts, what was removed from each layer, and a look-up of tuned tiles. It
can be made for imaginary devices; `clprune.runner.binding` turns it into buffers and bound kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clprune.algorithms import Algorithms
from clprune.darknet.kinds.base import Layer
from clprune.darknet.network import Network
from clprune.device import DeviceInfo
from clprune.kernels.catalogue import find_kernels
from clprune.kernels.workload import WeightForm
from clprune.layout import Layout
from clprune.plan.batching import TensorView
from clprune.plan.builder import PlanBuilder
from clprune.plan.chooser import Chooser, TileLookup, TimeLookup
from clprune.plan.fusion import fused_pools, fused_shortcuts
from clprune.plan.memory import MemoryPlan
from clprune.plan.steps import Chosen
from clprune.quirks import wants_explicit_vectors


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps in order, the layout of every tensor, and the buffer in which it lives.

    The host writes the tensor `host_input`, padding included, and reads `host_outputs`, one per output layer. `views`
    are tensors that are parts of others: an image of a batch, the channels that a route joins or takes.
    `constants` hold the values of a layer from the start; no step writes them.
    """

    network: Network
    steps: tuple[Chosen, ...]
    layouts: Mapping[int, Layout]
    views: Mapping[int, TensorView]
    memory: MemoryPlan
    host_input: int
    host_outputs: tuple[int, ...]
    constants: Mapping[int, Layer]

    @property
    def scratch_bytes(self) -> int:
        """Device memory that steps need for themselves, one after another."""
        scratch = (step.kernel.scratch(step.tile, step.operation).values() for step in self.steps)
        return max((sum(argument.size_bytes for argument in arguments) for arguments in scratch), default=0)


def make_plan(
    network: Network,
    device: DeviceInfo,
    *,
    forms: Mapping[int, WeightForm] | None = None,
    lookup: TileLookup | None = None,
    times: TimeLookup | None = None,
    estimates: TimeLookup | None = None,
    algorithms: Algorithms | None = None,
    keep_tensors: bool = False,
    connected_storage: str = "float32",
    by_image: bool | None = None,
) -> Plan:
    """Plan `network` for `device`.

    `forms` maps layer index -> what is known of its weights (dense where absent); `lookup` finds tuned tiles, `times`
    what they took, `estimates` what they take on devices like this one. A tile that does not fit the layer's layouts or
    the device is not used: the device type's default is, or the kernel's safe one. Where a layer can be computed by
    several of the `algorithms` (by default all), the fastest that was measured is taken, else the one that is estimated
    to be.
    `keep_tensors` gives every tensor a buffer of its own, so that all can be read after a run. `connected_storage` is
    how weights of fully connected layers lie in device memory ("float32", "float16").
    `by_image`: the layers before the first fully connected one take the images of a batch one after another, so that
    activations stay in cache; by default where the device is a CPU.

    Raises UnsupportedLayerError for a layer that no kernel runs, LaunchError where the device has too little memory.
    """
    forms = forms or {}
    kernels = find_kernels()
    pools = fused_pools(network, device, forms=forms, kernels=kernels)
    builder = PlanBuilder(
        network=network,
        fused={**pools, **fused_shortcuts(network, forms=forms, taken=pools)},
        forms=forms,
        algorithms=algorithms or Algorithms(),
        connected_storage=connected_storage,
        by_image=wants_explicit_vectors(device) if by_image is None else by_image,
        device=device,
        kernels=kernels,
    )
    builder.add_all()
    memory = builder.memory(keep_tensors=keep_tensors)
    chooser = Chooser(device=device, lookup=lookup, times=times, estimates=estimates)
    plan = Plan(
        network=network,
        steps=tuple(builder.chosen(memory, chooser.chosen)),
        layouts=builder.layouts,
        views=builder.views,
        memory=memory,
        host_input=builder.host_input,
        host_outputs=builder.host_outputs,
        constants=builder.constants,
    )
    builder.check_memory(memory, plan.scratch_bytes)
    return plan
