"""Everything that all runs of a comparison share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clprune.errors import UsageError

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
        if min(self.images, self.epochs, self.batch) < 1 or self.images < self.batch:
            raise UsageError(f"{self.images} images in batches of {self.batch}: expected at least one batch")

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
