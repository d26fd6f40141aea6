"""Batch normalization's statistics estimated anew: a fairer look at pruned weights before they are retrained.

Pruning shifts what layers put out, and statistics of the dense network no longer fit: much of the accuracy that is lost
at once comes back with statistics of the pruned one, without any learning (Li et al., EagleEye, ECCV 2020).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from clprune.darknet.network import Network, check_data
from clprune.darknet.values import Weights
from clprune.dataset import DataSet
from clprune.errors import UsageError
from clprune.training.layers import BATCH_NORM_MOMENTUM, Normalize
from clprune.training.module import NetworkModule, load_module, store_weights

BATCH = 250


def estimate_statistics(network: Network, weights: Weights, images: DataSet, *, batch: int = BATCH) -> Weights:
    """`weights` with the mean and variance of every batch normalization as `images` have them; nothing else changes.

    Forward passes over all of `images` in training mode, without dropout and without gradients; each batch counts
    alike. Raises UsageError when images and network do not fit, or there are too few images to have a variance.
    """
    if len(images) < 2:
        raise UsageError(f"{len(images)} images to estimate statistics from: expected at least 2")
    module = load_module(network, weights)
    check_data(network, images)
    refresh_statistics(module, images, batch=batch)
    return replace(store_weights(module, seen=weights.seen), major=weights.major, minor=weights.minor)


@torch.no_grad()
def refresh_statistics(module: NetworkModule, images: DataSet, *, batch: int = BATCH) -> None:
    """`estimate_statistics` of a module, in place; its training mode is left as it was."""
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
