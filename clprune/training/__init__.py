"""Training and retraining in PyTorch: the only room that imports torch. Running a model never comes here."""

from __future__ import annotations

from clprune.errors import MissingDependencyError

try:
    import torch as _torch  # noqa: F401  # imported to turn its absence into one clear error
except ImportError as error:
    raise MissingDependencyError(
        f"training needs PyTorch, which cannot be imported ({error}); install it with: pip install clprune[train]"
    ) from error

from clprune.training.distillation import Teacher
from clprune.training.evaluate import ModuleEvaluation, evaluate
from clprune.training.loop import TrainingResult, train
from clprune.training.module import NetworkModule, load_module, store_weights
from clprune.training.processor import choose_precision
from clprune.training.prune import PruneReport, prune_and_retrain
from clprune.training.ranks import Ranks, join_ranks
from clprune.training.recipe import Recipe

__all__ = [
    "ModuleEvaluation",
    "NetworkModule",
    "PruneReport",
    "Ranks",
    "Recipe",
    "Teacher",
    "TrainingResult",
    "choose_precision",
    "evaluate",
    "join_ranks",
    "load_module",
    "prune_and_retrain",
    "store_weights",
    "train",
]
