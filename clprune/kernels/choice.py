"""By which kernel a layer can be computed, and with which tile: the values that everybody compares.

Tuning, its database, packed weights and plans all speak of the same thing. Equality is its identity here: two choices
are equal where the same kernel computes the same operation on the same workload with the same tile.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from clprune.kernels.base import Kernel, Offer


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An offer with the tile that it is computed with."""

    offer: Offer
    tile: Any

    @property
    def kernel(self) -> Kernel[Any, Any]:
        return self.offer.kernel

    @property
    def operation(self) -> Any:
        return self.offer.operation

    @property
    def at_origin(self) -> Choice:
        """The same wherever its tensors begin: equal for all images of a batch, which share packed weights."""
        layouts = {name: getattr(self.operation, name) for name in ("input", "output")}
        moved = {name: dataclasses.replace(layout, origin=0) for name, layout in layouts.items()}
        operation = dataclasses.replace(self.operation, **moved)
        return dataclasses.replace(self, offer=dataclasses.replace(self.offer, operation=operation))
