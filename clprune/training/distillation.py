"""Knowledge distillation: a network learns what another one, its teacher, answers (Hinton et al., arXiv:1503.02531)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.errors import UsageError
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
