"""Everything that all runs of a comparison of codings share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.compare.codings import CODINGS

if TYPE_CHECKING:  # PyTorch comes with it
    from clprune.training.recipe import Precision


@dataclass(frozen=True, kw_only=True)
class CodedExperiment:
    """One dense network, one data set, one recipe of pruning and one of retraining for codes.

    `cfg` and `dense` are the dense network and its weights. `sparsity` of all layers' weights but the first's are
    removed in `steps`, with `step_epochs` of retraining after each but the last and `epochs` after that, by labels, at
    most at `learning_rate`; then `distilled_epochs` at most at `distilled_rate`. In these, and in retraining for codes
    at most at `coded_rate`, `distillation` is the share of the loss that comes from the dense network's answers,
    softened by `temperature`, and `distilled_dropout` multiplies the cfg's dropout; without that share neither counts.
    An epoch is of `images` images, composed afresh; `held_out` images (None: all) are evaluated, and `other_held_out`
    more that are composed anew from the same originals.
    """

    cfg: Path
    data: str
    dense: Path
    sparsity: float
    images: int
    held_out: int | None
    other_held_out: int
    epochs: int
    steps: int
    step_epochs: int
    learning_rate: float
    distilled_epochs: int
    distilled_rate: float
    distillation: float
    temperature: float
    distilled_dropout: float
    coded_rate: float
    batch: int
    precision: Precision

    @property
    def key(self) -> str:
        """A short digest of all that decides a run beside its name and seeds: of the weights, not of their path."""
        values = {name: value for name, value in vars(self).items() if name not in ("cfg", "data", "dense")}
        digest = hashlib.sha256(self.dense.read_bytes() + repr((sorted(values.items()), CODINGS)).encode())
        return digest.hexdigest()[:16]
