"""The model of a benchmark: a cfg with its weights, pruned variants of it written as pairs of files, and the answers
that are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from clprune.container.load import default_weights, load_weights
from clprune.container.model import load_model
from clprune.darknet.kinds.functions import Softmax
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.resources import models_folder
from clprune.runner.reference import reference_answers
from tools.bench.serve import FloatArray
from tools.bench.units import Cut, Variant, prune_in_cuts


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


def write_variant(network: Network, dense: Weights, variant: Variant, cuts: Mapping[int, Cut], *, folder: Path) -> Path:
    """Write the variant's cfg, with its weights beside it, into `folder`. Raises FileError."""
    has_domain = any(cut.winograd is not None for cut in cuts.values()) and not variant.is_dense
    model = prune_in_cuts(network, dense, variant, cuts)
    prefix = folder / f"{network.path.stem}-{variant.weights_name}"
    return model.save(prefix, file_format="packed" if has_domain else "darknet")[0]


def cut_texts(cfg: Path) -> list[str]:
    """The cut of each pruned layer, such as `8x1` or `16x1 F(4x4)`."""
    chosen = [layer.prune for layer in load_network(cfg).matrix_layers]
    return [str(Cut(unit=options.unit, winograd=options.winograd)) for options in chosen if options is not None]


def reference_answer(cfg: Path, x: FloatArray) -> FloatArray:
    """The answer `[N, outputs]` to x `[N, C, H, W]` of a cfg with weights beside it, computed in float64 NumPy."""
    model = load_model(cfg)
    answers = reference_answers(model.network, model.weights, x)
    return np.concatenate([answer.reshape(len(x), -1) for answer in answers], axis=1).astype(np.float32)


def ends_in_softmax(network: Network) -> bool:
    """Whether the answers are probabilities."""
    return isinstance(network.output_layers[-1], Softmax)
