"""What `abwsp` chooses in a comparison: both variants of every layer timed on the device, and judged by their loss.

Masks follow from the dense weights, so that there is one choice for a share, whatever the seed of retraining.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clprune.comparison.retrain import Say, Setting, prune_settings
from clprune.comparison.variants import Variant
from clprune.errors import DataError
from clprune.files import write_atomically
from clprune.training.variants import LayerTimes, choose_layer_variants

CHOICES = "choices.json"
"""In a comparison's folder: share -> list of choices, as `VariantChoice.to_dict` has them."""

CALIBRATION_IMAGES = 2_000
"""Of the training images, to estimate statistics from and to measure losses on."""

Kept = dict[str, list[dict[str, Any]]]


def choose_all(
    setting: Setting, variant: Variant, sparsities: Sequence[float], *, layer_times: LayerTimes, say: Say
) -> None:
    """Choose for each share that has no choice in the folder of work yet. Raises DataError, and what times raise."""
    path = setting.work / CHOICES
    kept = read_choices(path)
    calibration = setting.images.first(CALIBRATION_IMAGES)
    for sparsity in sparsities:
        if str(sparsity) in kept:
            continue
        choices = choose_layer_variants(
            setting.network,
            setting.dense,
            prune_settings(variant, sparsity),
            calibration=calibration,
            layer_times=layer_times,
        )
        for choice in choices:
            say(f"{100 * sparsity:g} %, layer {choice.layer}: {choice.variant}, because {choice.reason}")
        kept[str(sparsity)] = [choice.to_dict() for choice in choices]
        write_atomically(path, json.dumps(kept, indent=1) + "\n")


def read_choices(path: Path) -> Kept:
    """Share -> choices of what `choose_all` kept; nothing where there is no file. Raises DataError."""
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {str(share): [dict(choice) for choice in choices] for share, choices in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"expected choices ({error}); remove the file to choose anew", path=path) from error


def chosen_variants(kept: Kept) -> Mapping[str, Mapping[int, str]]:
    """Share -> layer index -> "wsp" or "bwsp"."""
    return {
        share: {int(choice["layer"]): str(choice["variant"]) for choice in choices} for share, choices in kept.items()
    }
