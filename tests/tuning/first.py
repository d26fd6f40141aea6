"""Spaces of a kernel's first tiles, which are found without a look at all of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from clprune.kernels.base import Kernel
from clprune.tuning.spaces import Spaces


def first_candidates(count: int) -> Callable[[Spaces, Kernel[Any, Any], Any], list[Any]]:
    """What may take the place of `Spaces.candidates`: so many at most."""

    def candidates(spaces: Spaces, kernel: Kernel[Any, Any], operation: Any) -> list[Any]:
        device = spaces._device
        tried = (tile for tile in kernel.space(device) if kernel.is_worth_trying(tile, operation, device))
        return list(islice((tile for tile in tried if not kernel.rejection(tile, operation, device)), count))

    return candidates
