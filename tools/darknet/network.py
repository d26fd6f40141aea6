"""A darknet cfg with weights that suit every reader: random, well-conditioned, and small images where time is short."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from clprune.darknet.cfg import CfgWarning
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import LayerWeights, Weights
from clprune.errors import CfgError

#: pjreddie's CPU code divides by sqrt(variance) + 1e-6, everyone else by sqrt(variance + 1e-5): alike at 25.
VARIANCE = 25.0

_SIDE = re.compile(r"^(\s*(?:height|width)\s*=\s*)(\d+)", re.MULTILINE)


def read_network(path: Path, *, side: int | None, work: Path) -> Network:
    """The network of a cfg; with images of at most `side` x `side` pixels where it can have such.

    The smaller cfg is written into `work`. What the cfg's unknown keys are is not said. Raises CfgError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        if side is not None:
            smaller = work / path.name
            head, mark, rest = _text(path).partition("\n[")
            smaller.write_text(_SIDE.sub(lambda m: f"{m[1]}{min(int(m[2]), side)}", head) + mark + rest, "utf-8")
            try:
                return load_network(smaller)
            except CfgError:
                pass  # a crop or a window that needs more: the network as it is
        return load_network(path)


def well_conditioned(network: Network, *, seed: int) -> Weights:
    """`random_weights` whose variances lie where all of darknet's forks normalize alike."""
    weights = random_weights(network, seed=seed)
    return Weights(layers=tuple(None if values is None else _with_large_variance(values) for values in weights.layers))


def _with_large_variance(values: LayerWeights) -> LayerWeights:
    """The same function: weights and means five times as large, variances 25 times."""
    if values.variance is None or values.mean is None:
        return values
    scale = np.float32(np.sqrt(VARIANCE))
    weights = None if values.weights is None else values.weights * scale
    return replace(values, weights=weights, mean=values.mean * scale, variance=values.variance * np.float32(VARIANCE))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").replace("\r", "")
