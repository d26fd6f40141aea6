"""`[clamp]`: every value moved into low..high."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clprune.darknet.kinds.base import Keys, Layer, OptionError, number


@dataclass(frozen=True, kw_only=True)
class Clamp(Layer):
    """`min(max(x, low), high)` of every value."""

    names = ("clamp",)
    keys = Keys(silent="comment")  # may be in the section and changes nothing
    takes_vector = True  # works on vectors as on images
    carries_channels = True  # channels that go before it go in it, too

    low: float = number(0.0)
    high: float = number(1.0)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise OptionError(f"low={self.low:g} exceeds high={self.high:g}: expected at most that", key="low")

    def lower(self, site: Any) -> None:
        """One step of the kernel beside this file; here is `clprune.plan.draft.Site`."""
        from clprune_example.kernel import CLAMP, ClampOperation

        site.add(CLAMP, ClampOperation(input=site.x, output=site.y, low=self.low, high=self.high))

    def torch_module(self) -> Any:
        """For training, and for retraining after pruning."""
        from torch import nn

        return nn.Hardtanh(self.low, self.high)

    def write_onnx(self, site: Any) -> str:
        """For `clprune export`; here is `clprune.exchange.graph.Site`."""
        graph = site.graph
        return graph.add("Clip", site.x, graph.number(self.low), graph.number(self.high))
