"""Pruning masks: pure functions of weights, unit and ratio. Criterion, unit, allocation and schedule compose freely.

`prune_network` prunes a whole network in one call; its parts live in `clprune.pruning.network`.
"""

from __future__ import annotations

from clprune.pruning.allocation import list_allocations
from clprune.pruning.criterion import list_criteria
from clprune.pruning.method import MaskOptions, Method
from clprune.pruning.methods import get_method, list_methods, mask_for
from clprune.pruning.network import PruneSettings
from clprune.pruning.prune import Pruned, prune_network
from clprune.pruning.schedule import sparsity_steps
from clprune.pruning.shrink import Shrunk, shrink_network
from clprune.pruning.unit import Mask, check_sparsity

__all__ = [
    "Mask",
    "MaskOptions",
    "Method",
    "PruneSettings",
    "Pruned",
    "Shrunk",
    "check_sparsity",
    "get_method",
    "list_allocations",
    "list_criteria",
    "list_methods",
    "mask_for",
    "prune_network",
    "shrink_network",
    "sparsity_steps",
]
