"""One kernel launch of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.pools import MaxPool
from clprune.kernels.base import Kernel, Workload
from clprune.runner.offers import Offer


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A way to compute a step: by which kernel, with which tile, and the milliseconds measured with it on this device
    (None where nobody has).
    """

    label: str
    kernel: str
    tile: Any
    tile_origin: str
    time_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One kernel launch. `inputs` and `output` name tensors of the plan; `layer` is None for copies of the plan's own.

    `constants`: per-channel (scale, shift) that the step needs beside its layer's weights. `fused` is the pooling layer
    that the step computes as well. `image` is the image of the batch that the step is for, None where it is for all.
    `offers` are the ways in which it can be computed; `algorithm`, `reason` and `alternatives` say which was chosen for
    a device, why, and between what.
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
    image: int | None = None
    offers: tuple[Offer, ...] = ()
    algorithm: str = ""
    reason: str = ""
    alternatives: tuple[Alternative, ...] = ()
