"""Batch normalization's statistics estimated anew: a fairer look at pruned weights before they are retrained.

Pruning shifts what layers put out, and statistics of the dense network no longer fit: much of the accuracy that is lost
at once comes back with statistics of the pruned one, without any learning (Li et al., EagleEye, ECCV 2020).
"""

from __future__ import annotations

import torch

from clprune.dataset import DataSet
from clprune.training.module import NetworkModule
from clprune.training.values import BATCH_NORM_MOMENTUM, Normalize

BATCH = 250


@torch.no_grad()
def refresh_statistics(module: NetworkModule, images: DataSet, *, batch: int = BATCH) -> None:
    """Give every batch normalization of a module the mean and variance that `images` have; nothing else changes.

    Forward passes over all of them in training mode, without dropout; each batch counts alike.
    """
    was_training = module.training
    module.train()
    module.set_dropout_strength(0.0)
    normalizations = [layer for layer in module.modules() if isinstance(layer, Normalize)]
    full = max(len(images) // batch, 1)
    try:
        for number in range(full):
            for layer in normalizations:
                layer.momentum = 1 / (number + 1)  # so that running statistics are the mean over the batches so far
            stop = len(images) if number + 1 == full else (number + 1) * batch
            module(torch.from_numpy(images.batch(range(number * batch, stop))))
    finally:
        for layer in normalizations:
            layer.momentum = BATCH_NORM_MOMENTUM
        module.set_dropout_strength(1.0)
        module.train(was_training)
