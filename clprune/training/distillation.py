"""Knowledge distillation: a network learns what another one, its teacher, answers (Hinton et al., arXiv:1503.02531)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from clprune.darknet.kinds.heads import AnchorHead, runs_of
from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.training.module import NetworkModule, load_module
from clprune.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained network whose answers are learned, such as the dense one that a network was pruned from."""

    network: Network
    weights: Weights


def teacher_module(teacher: Teacher | None, student: Network, recipe: Recipe) -> NetworkModule | None:
    """The teacher as a module that learns nothing and has no dropout; None where the recipe does without one.

    Raises UsageError when it is missing, or has another input or number of outputs than the student.
    """
    if recipe.distillation == 0:
        return None
    if teacher is None:
        raise UsageError(f"distillation {recipe.distillation:g} without a teacher: expected a trained network")
    for what, found, expected in (
        ("input", teacher.network.input, student.input),
        ("outputs", teacher.network.outputs, student.outputs),
    ):
        if found != expected:
            raise UsageError(f"a teacher of {what} {found} for a network of {expected}: expected the same")
    module = load_module(teacher.network, teacher.weights)
    return module.eval().requires_grad_(False)


def distillation_loss(logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """How far answers are from the teacher's, both `[batch, outputs]`: the mean over the batch.

    The Kullback-Leibler divergence, in nats, of the softmax of logits / temperature from the teacher's, multiplied by
    temperature^2: so its gradients are as large as those of the labels' cross entropy (section 2).
    """
    answers = functional.log_softmax(logits / temperature, dim=1)
    expected = functional.log_softmax(teacher_logits / temperature, dim=1)
    divergence = functional.kl_div(answers, expected, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def check_goal(network: Network, recipe: Recipe) -> None:
    """Raise UnsupportedLayerError for a detector, unless a teacher is all that it learns from."""
    head = network.output_layers[0]
    if recipe.distillation < 1 and head.is_head:
        message = f"{head} (line {head.line}) cannot be trained: expected a classifier, or images:PATH to learn from"
        raise UnsupportedLayerError(f"{message} what the network itself answers (distillation 1)")


def heads_loss(network: Network, raw: Tensor, teacher_raw: Tensor) -> Tensor:
    """How far a detector's values before its heads are from the teacher's, both `[batch, outputs]`: per object of it.

    Kullback-Leibler divergences, in nats, of what becomes a probability, half squared differences of all else. Those of
    boxes and classes count by the teacher's objectness, as in Mehta and Ozturk, "Object detection at 200 frames per
    second", ECCV workshops 2018; the sum is divided by its sum, plus one per image.
    """
    sizes = [layer.output.elements for layer in network.output_layers]
    total, objects = raw.new_zeros(()), raw.new_full((), float(len(raw)))
    parts = zip(network.output_layers, torch.split(raw, sizes, 1), torch.split(teacher_raw, sizes, 1), strict=True)
    for head, part, teacher_part in parts:
        if not isinstance(head, AnchorHead):
            total = total + functional.mse_loss(part, teacher_part, reduction="sum") / 2
            continue
        boxes = (len(raw), head.boxes, head.entries, -1)
        x, t = part.view(boxes), teacher_part.view(boxes)
        place = head.values.index("objectness")
        runs = runs_of(head.entry_functions)
        is_logit = any(run.function == "logistic" and run.first <= place < run.first + run.count for run in runs)
        weight = t[:, :, place].sigmoid() if is_logit else t[:, :, place].clamp(0, 1)
        objects = objects + weight.sum()
        for run in runs:
            chosen = slice(run.first, run.first + run.count)
            distances = _distances(x[:, :, chosen], t[:, :, chosen], function=run.function)
            if run.function != "softmax":
                is_box = torch.tensor([run.first + index != place for index in range(run.count)], device=x.device)
                total = total + distances[:, :, ~is_box].sum()
                distances = distances[:, :, is_box]
            total = total + (distances * weight[:, :, None]).sum()
    return total / objects


def _distances(x: Tensor, teacher: Tensor, *, function: str) -> Tensor:
    """Of values `[batch, boxes, n, cells]`; of a softmax one for all n."""
    if function == "softmax":
        answers, expected = functional.log_softmax(x, 2), functional.log_softmax(teacher, 2)
        return functional.kl_div(answers, expected, reduction="none", log_target=True).sum(2, keepdim=True)
    if function == "logistic":
        share = teacher.sigmoid()
        entropy = functional.binary_cross_entropy_with_logits
        return entropy(x, share, reduction="none") - entropy(teacher, share, reduction="none")
    return (x - teacher).square() / 2
