"""One of several methods in each layer, chosen by what it costs there: what such a method declares and what it says.

Nothing here knows a device or PyTorch: times and losses are values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class VariantCost:
    """What one variant of one layer costs: `time_ms` of the layer on a device; `loss` (nats) and `accuracy` (share) of
    the network on calibration images with this layer alone pruned. Loss is finer than accuracy and decides.
    """

    time_ms: float
    loss: float
    accuracy: float


#: Layer index -> variant -> what it costs.
Costs = Mapping[int, Mapping[str, VariantCost]]


@dataclass(frozen=True, kw_only=True)
class VariantChoice:
    """The variant of one layer, why, and what each would cost."""

    layer: int
    variant: str
    reason: str
    costs: Mapping[str, VariantCost]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it, each variant's costs under its name."""
        costs = {variant: asdict(cost) for variant, cost in self.costs.items()}
        return {"layer": self.layer, "variant": self.variant, "reason": self.reason, **costs}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The names of the `variants` among which `choose` picks by layer; `initial` holds where nothing was chosen.

    The method's options are those of its variants as well.
    """

    variants: tuple[str, ...]
    initial: str
    choose: Callable[[Costs], tuple[VariantChoice, ...]]
