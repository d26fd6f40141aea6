"""Which max pooling layers and shortcuts are computed by the convolution before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.joins import Shortcut
from clprune.darknet.kinds.pools import MaxPool
from clprune.darknet.network import Network
from clprune.device import DeviceInfo
from clprune.geometry import Window, round_up
from clprune.kernels.base import Kernel
from clprune.kernels.conv_operation import can_pool
from clprune.kernels.workload import WeightForm
from clprune.plan.layouts import tensor_aliases
from clprune.quirks import vector_width

#: Largest share of lanes that fused pooling may waste at row ends: more costs the convolution what the pooling saves.
LARGEST_WASTE = 0.05


def fused_pools(
    network: Network, device: DeviceInfo, *, forms: Mapping[int, WeightForm], kernels: Sequence[Kernel[Any, Any]]
) -> dict[int, int]:
    """Convolution's index -> index of the pooling layer that it computes as well.

    A fused direct convolution walks row by row, so its vectors end with the row: worth it where a row is a whole number
    of vectors or nearly so, or one of `kernels` covers whole windows in any case. Nobody else may read the
    convolution's own output.
    """
    lanes = max(4, vector_width(device))
    fused = {}
    for layer in network.layers:
        if not isinstance(layer, MaxPool):
            continue
        source = network.layers[layer.sources[0]] if layer.sources[0] >= 0 else None
        if isinstance(source, Convolutional) and _is_fusable(source, layer, network):
            width = source.output.width
            problem, form = source.problem(network.batch), forms.get(source.index, WeightForm())
            is_covered = any(kernel.covers_windows(problem, form, device) for kernel in kernels)
            if is_covered or round_up(width, lanes) - width <= LARGEST_WASTE * width:
                fused[source.index] = layer.index
    return fused


def fused_shortcuts(network: Network, *, forms: Mapping[int, WeightForm], taken: Mapping[int, int]) -> dict[int, int]:
    """Convolution's index -> index of the shortcut that it computes as well; `taken` are those that do other things.

    Nobody else may read the convolution's own output, and the other summand must come before it and have its shape.
    Kernels that multiply integers or single weights do not add.
    """
    aliases = tensor_aliases(network, {})
    readers = Counter(aliases[source] for layer in network.layers if not layer.is_identity for source in layer.sources)
    readers.update(aliases[layer.index] for layer in network.output_layers)
    fused: dict[int, int] = {}
    for layer in network.layers:
        if not isinstance(layer, Shortcut) or not layer.is_plain or (layer.alpha, layer.beta) != (1, 1):
            continue
        own, other = (aliases[source] for source in layer.sources)
        source = network.layers[own] if own >= 0 else None
        if not isinstance(source, Convolutional) or readers[own] > 1 or own in taken or not 0 <= other < own:
            continue
        if network.layers[other].output != layer.output:
            continue
        form = forms.get(own, WeightForm())
        is_added = source.blur is None and not source.xnor and not form.quantizes_input
        if is_added and (form.workload.unit_rows > 1 or form.workload.kept_share == 1):
            fused[own] = layer.index
    return fused


def _is_fusable(source: Convolutional, pool: MaxPool, network: Network) -> bool:
    readers = [layer for layer in network.layers if source.index in layer.sources]
    window = pool.window
    is_plain = replace(window, bottom=0, right=0) == Window.square(2, stride=2) and not pool.depth_channels
    has_blur = source.antialiasing or pool.antialiasing
    return is_plain and not has_blur and can_pool(source.problem(1)) and _is_only(pool, readers)


def _is_only(layer: Layer, readers: list[Layer]) -> bool:
    return [reader.index for reader in readers] == [layer.index]
