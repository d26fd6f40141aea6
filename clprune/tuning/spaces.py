"""The tiles that a search on a device goes through, found quickly for one problem after another."""

from __future__ import annotations

from typing import Any

from clprune.device import DeviceInfo
from clprune.kernels.base import Kernel


class Spaces:
    """Candidates per kernel and operation on one device.

    Most of a kernel's space suits the other type of device, whatever the problem: that part is left out once.
    """

    def __init__(self, device: DeviceInfo) -> None:
        self._device = device
        self._worth_trying: dict[str, list[Any]] = {}

    def candidates(self, kernel: Kernel[Any, Any], operation: Any) -> list[Any]:
        """What `kernel.candidates` gives. Raises ConfigurationRejected with reasons if that is empty."""
        if kernel.name not in self._worth_trying:
            self._worth_trying[kernel.name] = [
                tile for tile in kernel.space(self._device) if kernel.is_worth_trying(tile, operation, self._device)
            ]
        tiles = self._worth_trying[kernel.name]
        valid = [tile for tile in tiles if kernel.rejection(tile, operation, self._device) is None]
        return valid or kernel.candidates(operation, self._device)
