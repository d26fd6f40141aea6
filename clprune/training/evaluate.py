"""How well a module does on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from clprune.darknet.network import check_data
from clprune.dataset import DataSet, Truth
from clprune.errors import UsageError
from clprune.training.layers import make_layer
from clprune.training.module import NetworkModule
from clprune.training.values import Normalize

BATCH = 250
DETECTOR_BATCH = 16
#: Values of the largest layer's output that are held at once.
MAX_VALUES = 1 << 28


@dataclass(frozen=True, kw_only=True)
class ModuleEvaluation:
    """`accuracy` and `top5_accuracy` are shares of `images`, 0 to 1; `loss` is the mean cross entropy in nats."""

    images: int
    accuracy: float
    top5_accuracy: float
    loss: float


@torch.no_grad()
def evaluate(module: NetworkModule, data: DataSet, *, batch: int = BATCH) -> ModuleEvaluation:
    """Evaluate in float32; the module's training mode is left as it was. Raises UsageError when classes do not fit."""
    check_data(module.network, data)
    if data.truths is not None:
        return _evaluate_detector(module, data, data.truths, batch=min(batch, DETECTOR_BATCH))
    data.check_labelled("images with classes to be right about")
    was_training = module.training
    module.eval()
    right = top5 = 0
    loss = 0.0
    device = next(module.parameters()).device
    batch = max(1, min(batch, MAX_VALUES // max(layer.output.elements for layer in module.network.layers)))
    try:
        for start in range(0, len(data), batch):
            indices = range(start, min(start + batch, len(data)))
            labels = torch.from_numpy(data.labels[start : indices.stop]).to(device)
            logits = module(torch.from_numpy(data.batch(indices)).to(device))
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
            right += int(best[:, 0].sum())
            top5 += int(best.sum())
    finally:
        module.train(was_training)
    count = len(data)
    return ModuleEvaluation(images=count, accuracy=right / count, top5_accuracy=top5 / count, loss=loss / count)


def _evaluate_detector(
    module: NetworkModule, data: DataSet, truths: Sequence[Truth], *, batch: int
) -> ModuleEvaluation:
    """The accuracy of a detector is the agreement with the `truths`; the loss what lacks of it."""
    from clprune.detection.agreement import LEAST, agreement, detections_of

    was_training, found = module.training, []
    device = next(module.parameters()).device
    heads = [make_layer(layer) for layer in module.network.output_layers]
    module.eval()
    try:
        for start in range(0, len(data), batch):
            images = torch.from_numpy(data.batch(slice(start, start + batch))).to(device)
            raw = module.outputs(images)
            outputs = [head(values.contiguous()).cpu().numpy() for head, values in zip(heads, raw, strict=True)]
            found.extend(detections_of(module.network, outputs, least=LEAST))
    finally:
        module.train(was_training)
    accuracy = agreement(module.network, truths, found)
    return ModuleEvaluation(images=len(data), accuracy=accuracy, top5_accuracy=accuracy, loss=1 - accuracy)


def check_batch(module: NetworkModule, images: int) -> None:
    """Raise UsageError where batch normalization would have a single value per channel in a step of so many images."""
    for layer, torch_layer in zip(module.network.layers, module.layers, strict=True):
        normalizes = isinstance(torch_layer, Normalize) or getattr(torch_layer, "normalize", None) is not None
        if normalizes and images * layer.output.height * layer.output.width == 1:
            raise UsageError(
                f"{layer} (line {layer.line}): batch normalization over 1 value per channel, of a batch of 1 image: "
                "expected a batch and a count of at least 2"
            )
