"""Everything that all runs of a comparison share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clprune.errors import UsageError
from tools.compare.codings import CODINGS

if TYPE_CHECKING:  # PyTorch comes with it
    from clprune.training.recipe import Precision


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One network, one data set, one recipe.

    `cfg` is the dense network, `dense` its weights (None: trained here, for `dense_epochs` epochs of `dense_images`
    fresh images). Retraining goes `epochs` times through the same `images` images; `held_out` images (None: all) are
    evaluated. `precision` is that of training, `distillation` the share of retraining's loss that comes from the dense
    network's answers, softened by `temperature`; `dropout_strength` multiplies the cfg's dropout in retraining. `fresh`
    composes new images for every epoch, where the data is composed, in place of the same ones again.
    """

    cfg: Path
    data: str
    dense: Path | None
    dense_epochs: int = 25
    dense_images: int = 40_000
    images: int = 15_000
    held_out: int | None = None
    epochs: int = 2
    batch: int = 64
    learning_rate: float = 0.02
    shift_pixels: int = 0
    flip: bool = False
    precision: Precision = "float32"
    distillation: float = 0.0
    temperature: float = 4.0
    dropout_strength: float = 1.0
    fresh: bool = False

    def __post_init__(self) -> None:
        _check_batches(self.images, batch=self.batch)

    @property
    def key(self) -> str:
        """A short digest of all that decides a run beside its variant, share and seed: of contents, not of paths."""
        digest = hashlib.sha256(self.cfg.read_bytes())
        digest.update(b"" if self.dense is None else self.dense.read_bytes())
        values = {name: value for name, value in vars(self).items() if name not in ("cfg", "dense", "data")}
        if self.dense is not None:
            values = {name: value for name, value in values.items() if not name.startswith("dense_")}
        # so that folders of work from before there were these options go on
        defaults = {"distillation": 0.0, "temperature": 4.0, "dropout_strength": 1.0, "fresh": False}
        values = {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}
        digest.update(repr((self.data.partition(":")[0], sorted(values.items()))).encode())
        return digest.hexdigest()[:16]


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

    def __post_init__(self) -> None:
        _check_batches(self.images, batch=self.batch)

    @property
    def key(self) -> str:
        """A short digest of all that decides a run beside its name and seeds: of the weights, not of their path."""
        values = {name: value for name, value in vars(self).items() if name not in ("cfg", "data", "dense")}
        digest = hashlib.sha256(self.dense.read_bytes() + repr((sorted(values.items()), CODINGS)).encode())
        return digest.hexdigest()[:16]


def _check_batches(images: int, *, batch: int) -> None:
    """Raise UsageError where an epoch has no batch."""
    if not 1 <= batch <= images:
        raise UsageError(f"{images} images in batches of {batch}: expected at least one batch")
