"""One kernel launch of a plan: what is to be computed, and what was chosen to compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.pools import MaxPool
from clprune.kernels.base import Kernel, Workload
from clprune.kernels.choice import Choice, Offer


@dataclass(frozen=True, kw_only=True)
class Step:
    """One launch before a kernel is chosen: `offers` are the ways in which it can be computed, the first one untuned.

    `inputs` and `output` name tensors of the plan; `layer` is None for copies of the plan's own. `constants`:
    per-channel (scale, shift) that the step needs beside its layer's weights. `fused` is the pooling layer that the
    step computes as well. `image` is the image of the batch that the step is for, None where it is for all.
    """

    layer: Layer | None
    label: str
    offers: tuple[Offer, ...]
    inputs: tuple[int, ...]
    output: int
    constants: tuple[float, float] | None = None
    fused: MaxPool | None = None
    image: int | None = None


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A choice that a step could have: where its tile came from, and the milliseconds measured with it on this device
    (None where nobody has).
    """

    choice: Choice
    tile_origin: str
    time_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Chosen(Step):
    """A step with one of its offers and a tile chosen for a device; `reason` and `alternatives` say why, and between
    what.
    """

    choice: Choice
    tile_origin: str
    reason: str
    alternatives: tuple[Alternative, ...]

    @property
    def kernel(self) -> Kernel[Any, Any]:
        return self.choice.kernel

    @property
    def operation(self) -> Any:
        return self.choice.operation

    @property
    def workload(self) -> Workload:
        return self.choice.offer.workload

    @property
    def tile(self) -> Any:
        return self.choice.tile

    @property
    def algorithm(self) -> str:
        """The label of the offer that was chosen."""
        return self.choice.offer.label
