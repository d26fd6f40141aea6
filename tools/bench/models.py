"""The model of a benchmark: a cfg with its weights, pruned variants of it written as pairs of files, and the answers
that are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clprune.container.load import DARKNET_SUFFIX, PACKED_SUFFIX, default_weights, load_weights, save_weights
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Softmax
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.rewrite import annotate_cfg
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.files import write_atomically
from clprune.offline.architectures import ARCHITECTURES, imaginary_device
from clprune.plan.forms import weights_forms
from clprune.plan.plan import make_plan
from clprune.resources import models_folder
from clprune.runner.reference import reference_outputs
from tools.bench.serve import FloatArray
from tools.bench.units import Cut, Variant, prune_in_cuts


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A cfg and its weights file; `units` names the cut of each pruned layer, such as `8x1` or `16x1 F(4x4)`."""

    cfg: Path
    weights: Path
    units: tuple[str, ...] = ()


def find_cfg(model: str) -> Path:
    """A cfg by its path, or a shipped one by its stem. Raises UsageError."""
    for path in (Path(model), models_folder() / f"{model}.cfg"):
        if path.suffix == ".cfg" and path.is_file():
            return path
    shipped = ", ".join(sorted(path.stem for path in models_folder().glob("*.cfg")))
    raise UsageError(f"model {model!r}: expected the path of a cfg, or one of {shipped}")


def load_or_make_weights(network: Network, *, seed: int) -> tuple[Weights, str]:
    """(weights, where they are from): the file beside the cfg where there is one, else seeded random ones."""
    path = default_weights(network.path)
    if path.is_file():
        return load_weights(path, network), path.name
    return random_weights(network, seed=seed), f"random, seed {seed}"


def write_variant(
    network: Network, dense: Weights, variant: Variant, cuts: Mapping[int, Cut], *, folder: Path
) -> ModelFiles:
    """Write the variant's cfg and weights into `folder`: a pair as a pruned model has. Raises FileError."""
    pruned, weights = prune_in_cuts(network, dense, variant, cuts)
    stem = f"{network.path.stem}-{variant.weights_name}"
    options = {
        layer.index: layer.prune
        for layer in pruned.layers
        if isinstance(layer, Convolutional | Connected) and layer.prune is not None
    }
    has_domain = any(chosen.winograd is not None for chosen in options.values())
    cfg, path = folder / f"{stem}.cfg", folder / f"{stem}{PACKED_SUFFIX if has_domain else DARKNET_SUFFIX}"
    write_atomically(cfg, annotate_cfg(network.path, options))
    save_weights(path, pruned, weights)
    return ModelFiles(cfg=cfg, weights=path, units=tuple(str(cuts[index]) for index in options))


def reference_answer(files: ModelFiles, x: FloatArray) -> FloatArray:
    """The answer `[N, outputs]` to x `[N, C, H, W]`, computed in float64 NumPy, one image at a time to spare memory.

    No device takes part: the plan is made for one that is not here. Raises UnsupportedLayerError.
    """
    network = load_network(files.cfg)
    weights = load_weights(files.weights, network)
    plan = make_plan(network, imaginary_device(ARCHITECTURES[0]), forms=weights_forms(network, weights))
    answers = [reference_outputs(plan, weights, image[None])[plan.host_output].reshape(-1) for image in x]
    return np.stack(answers).astype(np.float32)


def ends_in_softmax(network: Network) -> bool:
    """Whether the answers are probabilities."""
    return isinstance(network.output_layer, Softmax)
