"""What `abwsp` chooses in a comparison: both variants of every layer timed on the device, and judged by their loss.

Masks follow from the dense weights, so that there is one choice for a share, whatever the seed of retraining.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from clprune.darknet.kinds.base import PruneOptions
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.errors import DataError
from clprune.files import write_atomically
from clprune.pruning.prune import prune_network
from clprune.pruning.registry import get_method
from clprune.training.variants import CALIBRATION_IMAGES, LayerTimes, choose_layer_variants
from tools.compare.retrain import Setting, prune_settings
from tools.compare.variants import Variant
from tools.terminal import Say

#: In a comparison's folder: share -> list of choices, as `VariantChoice.to_dict` has them.
CHOICES = "choices.json"

#: In the same folder: share -> variant -> layer index -> milliseconds.
LAYER_TIMES = "layer_times.json"

Value = TypeVar("Value")

Kept = dict[str, list[dict[str, Any]]]


def time_all(
    network: Network,
    dense: Weights,
    variant: Variant,
    sparsities: Sequence[float],
    *,
    work: Path,
    layer_times: LayerTimes,
    say: Say,
) -> None:
    """Time the layers of both variants at each share that has no times in `work` yet; needs no PyTorch.

    Raises DataError, and what `layer_times` raises.
    """
    kept = _read_times(work / LAYER_TIMES)
    for sparsity in sparsities:
        if str(sparsity) in kept:
            continue
        of_share = {}
        selection = get_method(variant.method).selection
        for method in () if selection is None else selection.variants:
            pruned = prune_network(network, dense, replace(prune_settings(variant, sparsity), method=method))
            times = layer_times(network, pruned.weights, pruned.plan)
            of_share[method] = {index: times[index] for index in pruned.plan}
            say(f"{method}, {100 * sparsity:g} %: {sum(of_share[method].values()):.4g} ms in the pruned layers")
        kept[str(sparsity)] = of_share
        write_atomically(work / LAYER_TIMES, json.dumps(kept, indent=1) + "\n")


def choose_all(setting: Setting, variant: Variant, sparsities: Sequence[float], *, say: Say) -> None:
    """Choose for each share that has no choice in the folder of work yet, by the times that `time_all` kept.

    Raises DataError where there are none.
    """
    path = setting.work / CHOICES
    kept, times = read_choices(path), _read_times(setting.work / LAYER_TIMES)
    calibration = setting.images.drawn(CALIBRATION_IMAGES)
    for sparsity in sparsities:
        if str(sparsity) in kept:
            continue
        if str(sparsity) not in times:
            raise DataError(
                f"no times of layers at {100 * sparsity:g} %: run the stage `time` first", path=setting.work
            )
        choices = choose_layer_variants(
            setting.network,
            setting.dense,
            prune_settings(variant, sparsity),
            calibration=calibration,
            layer_times=partial(_times_of, times[str(sparsity)]),
        )
        for choice in choices:
            say(f"{100 * sparsity:g} %, layer {choice.layer}: {choice.variant}, because {choice.reason}")
        kept[str(sparsity)] = [choice.to_dict() for choice in choices]
        write_atomically(path, json.dumps(kept, indent=1) + "\n")


def _times_of(
    of_share: Mapping[str, Mapping[int, float]], network: Network, weights: Weights, plan: Mapping[int, PruneOptions]
) -> Mapping[int, float]:
    """The kept times of the one variant in `plan`."""
    (method,) = {options.method for options in plan.values() if options.winograd is not None}
    return of_share[method]


def _read_times(path: Path) -> dict[str, dict[str, dict[int, float]]]:
    """Share -> variant -> layer index -> milliseconds."""

    def parse(of_share: Any) -> dict[str, dict[int, float]]:
        return {
            str(method): {int(index): float(time_ms) for index, time_ms in times.items()}
            for method, times in of_share.items()
        }

    return _read(path, parse, what="times of layers")


def read_choices(path: Path) -> Kept:
    """Share -> choices of what `choose_all` kept; nothing where there is no file. Raises DataError."""
    return _read(path, lambda choices: [dict(choice) for choice in choices], what="choices")


def _read(path: Path, parse: Callable[[Any], Value], *, what: str) -> dict[str, Value]:
    """Share -> its value in a JSON file; nothing where there is no file."""
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {str(share): parse(value) for share, value in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"expected {what} ({error}); remove the file to make them anew", path=path) from error


def chosen_variants(kept: Kept) -> Mapping[str, Mapping[int, str]]:
    """Share -> layer index -> "wsp" or "bwsp"."""
    return {
        share: {int(choice["layer"]): str(choice["variant"]) for choice in choices} for share, choices in kept.items()
    }
