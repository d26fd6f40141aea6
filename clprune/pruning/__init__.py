"""Pruning masks: pure functions of weights, unit and ratio. Criterion, unit, allocation and schedule compose freely.

Here is what a method is made of; `clprune.pruning.prune.prune_network` prunes a whole network.
"""

from __future__ import annotations

from clprune.pruning.method import MaskRequest, Method, UnitRequest
from clprune.pruning.options import Options, option
from clprune.pruning.unit import Mask

__all__ = ["Mask", "MaskRequest", "Method", "Options", "UnitRequest", "option"]
