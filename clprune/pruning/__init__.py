"""Pruning masks: pure functions of weights, unit and ratio. Criterion, unit, allocation and schedule compose freely.

`prune_network` prunes a whole network in one call; its parts live in `clprune.pruning.network`.
"""

from __future__ import annotations

from clprune.pruning.allocation import list_allocations
from clprune.pruning.criterion import list_criteria
from clprune.pruning.method import MaskRequest, Method, UnitRequest
from clprune.pruning.network import PrunedLayer
from clprune.pruning.options import Options, option
from clprune.pruning.prune import Pruned, prune_network
from clprune.pruning.registry import get_method, list_methods, mask_for
from clprune.pruning.schedule import sparsity_steps
from clprune.pruning.settings import PruneSettings
from clprune.pruning.shrink import Shrunk, shrink_network
from clprune.pruning.unit import Mask, check_sparsity

__all__ = [
    "Mask",
    "MaskRequest",
    "Method",
    "Options",
    "PruneSettings",
    "Pruned",
    "PrunedLayer",
    "Shrunk",
    "UnitRequest",
    "check_sparsity",
    "get_method",
    "list_allocations",
    "list_criteria",
    "list_methods",
    "mask_for",
    "option",
    "prune_network",
    "shrink_network",
    "sparsity_steps",
]
