"""One way for one layer, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from clprune.darknet.kinds.base import PruneOptions
from clprune.fitting.stored import FLOAT_BITS


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One way for one layer: `options` (None: dense), the `bits` of its weights, its part of an inference in
    milliseconds, and what the network's answer loses by it.

    What was not measured is interpolated; the loss of pruning and storing is the sum of both.
    """

    options: PruneOptions | None
    time_ms: float
    loss: float = 0.0
    bits: int = FLOAT_BITS
    is_time_measured: bool = True
    is_loss_measured: bool = True

    def __str__(self) -> str:
        stored = "" if self.bits == FLOAT_BITS else f" {self.bits} bits"
        if self.options is None:
            return f"dense{stored}"
        domain = "" if self.options.winograd is None else f" F({self.options.winograd})"
        return f"{self.options.method} {self.options.unit}{domain} {100 * self.options.sparsity:g}%{stored}"

    @property
    def way(self) -> object:
        """How it is pruned but for the share, the same for all entries of one curve; None where it is dense."""
        return None if self.options is None else replace(self.options, sparsity=0.0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        sources = {True: "measured", False: "interpolated"}
        return {
            "choice": str(self), "ms": self.time_ms, "ms_from": sources[self.is_time_measured], "loss": self.loss,
            "loss_from": sources[self.is_loss_measured],
        }  # fmt: skip
