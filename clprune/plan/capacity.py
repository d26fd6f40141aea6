"""Whether a device has the memory that a plan needs: asked before anything is allocated, or even planned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from clprune.darknet.network import Network
from clprune.device import DeviceInfo
from clprune.errors import LaunchError
from clprune.layout import Layout, contiguous_layout

#: Kernels index tensors with 32 bits.
MOST_ELEMENTS = 2**31 - 1


def check_network(network: Network, device: DeviceInfo) -> None:
    """Raise LaunchError where no plan can fit: asked before weights or images are drawn.

    That is where the input of the batch, one image of a layer's output, or a layer's weights have too many values, or
    where the device has no memory for the input and the dense weights.
    """
    shapes = [(1, layer.output) for layer in network.layers]
    check_tensors(network, [contiguous_layout(batch=n, shape=x) for n, x in [(network.batch, network.input), *shapes]])
    values = {layer: sum(math.prod(shape) for shape in layer.arrays.values()) for layer in network.layers}
    largest = max(values, key=lambda layer: values[layer])
    if values[largest] > MOST_ELEMENTS:
        found = f"{largest} (line {largest.line}) has {values[largest]} weights"
        raise LaunchError(f"{network.path}: {found}, at most {MOST_ELEMENTS} can be addressed; use a smaller network")
    check_memory(network, device, [4 * n for n in (network.batch * network.input.elements, *values.values())])


def check_tensors(network: Network, tensors: Iterable[Layout]) -> None:
    """Raise LaunchError where a tensor has more values than kernels can address."""
    largest = max(tensors, key=lambda layout: layout.elements)
    if largest.elements > MOST_ELEMENTS:
        found = f"a tensor of {largest.elements} values ({largest.shape}, batch {largest.batch})"
        raise LaunchError(f"{network.path}: {found}, at most {MOST_ELEMENTS} can be addressed; {_advice(network)}")


def check_memory(network: Network, device: DeviceInfo, buffers_bytes: Sequence[int], *, others_bytes: int = 0) -> None:
    """Raise LaunchError where the largest of the buffers, or all with others besides, are too large for `device`."""
    largest, total = max(buffers_bytes, default=0), sum(buffers_bytes) + others_bytes
    for needed, where, allowed in (
        (largest, "in one buffer", device.max_alloc_bytes),
        (total, "of device memory", device.global_mem_bytes),
    ):
        if needed > allowed:
            found = f"batch {network.batch} needs {needed} bytes {where}"
            raise LaunchError(f"{network.path}: {found}, {device.name} has {allowed}; {_advice(network)}")


def _advice(network: Network) -> str:
    return "use a smaller --batch" if network.batch > 1 else "expected a smaller network, or another --device"
