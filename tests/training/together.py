"""What the processes of `test_ranks.py` and `test_killed.py` run: a pruned network retrained with augmentation.

python -m tests.training.together OUT CFG [EPOCH]    the first process writes OUT.npz

With EPOCH the process kills itself at the end of that one, before its checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.data import load_data
from clprune.progress import Progress
from clprune.pruning.network import masks_of, plan_pruning, prune_layers
from clprune.pruning.settings import PruneSettings
from clprune.training import Recipe, join_ranks, train
from clprune.unit import Unit

RECIPE = Recipe(epochs=3, batch=18, learning_rate=0.05, shift_pixels=1, flip=True, seed=3)


def main(out: Path, cfg: Path, last_epoch: int | None = None) -> None:
    """Train and write every value, the losses, and how many reports came."""
    torch.set_num_threads(1)
    network = load_network(cfg)
    weights = random_weights(network, seed=1)
    settings = PruneSettings(method="workgroup", sparsity=0.6, unit_for_layer=lambda layer: Unit(rows=4))
    masks = masks_of(prune_layers(network, weights, plan_pruning(network, weights, settings)))
    reports: list[Progress] = []

    def report(progress: Progress) -> None:
        reports.append(progress)
        if progress.part == last_epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    with join_ranks() as ranks:
        data = load_data("synthetic", split="train", height=8, width=8, count=90)
        result = train(
            network,
            data,
            RECIPE,
            weights=weights,
            masks=masks,
            checkpoint=out.with_suffix(".checkpoint"),
            report=report,
        )
    if not ranks.is_first:
        assert not reports
        return
    arrays = {
        "losses": np.array(result.losses),
        "processes": np.array(ranks.count),
        "reports": np.array(sum(one.is_milestone for one in reports)),
    }
    for index, values in enumerate(result.weights.layers):
        if values is not None:
            for name in ("weights", "biases", "scales", "mean", "variance"):
                value = getattr(values, name)
                if value is not None:
                    arrays[f"{index}.{name}"] = value
    np.savez(out.with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
