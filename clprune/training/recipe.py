"""How a network is trained: everything that, beside data and weights, decides the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from clprune.darknet.network import Network
from clprune.errors import UsageError

Optimiser = Literal["sgd", "adamw"]
Precision = Literal["float32", "bfloat16"]


def usual_batch(network: Network) -> int:
    """Images of one step where nobody says how many: few of a detector, whose images are large, and few at times."""
    return 16 if network.output_layers[0].is_head else 128


#: More would never end, nothing shows any pixel that is shifted farther, products of such factors are still floats of
#: 32 bits, and PyTorch has no integers for more seeds.
MOST_EPOCHS, _MOST_SHIFT, _LARGEST, _LAST_SEED = 1_000_000, 1_000_000, 1e18, (1 << 63) - 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run.

    `learning_rate` is the peak: it rises linearly over `warm_up` (a share of all steps) and falls to zero by a cosine.
    `optimiser` "sgd" has Nesterov `momentum`; "adamw" ignores it. `weight_decay` spares biases and normalisation.
    Dropout rises from nothing to the cfg's probability over `dropout_ramp` (a share of all steps), as in curriculum
    dropout (Morerio et al. 2017): a deep network may not start to learn under full dropout. `dropout_strength`
    multiplies that probability: pruned networks have less to spare (Han et al. 2015, "Learning both weights and
    connections", section 3.2, multiply it by the square root of the share that is kept). `label_smoothing` is the share
    of the target spread over all classes. `distillation` is the share of the loss that comes from a teacher's answers,
    softened by `temperature` (`clprune.training.distillation`); 0 does without a teacher. `shift_pixels` and `flip`
    augment data that is not composed afresh for each epoch. `precision` "bfloat16" computes layers in that format
    (weights stay float32): faster where the processor has it. `winograd_learning_rate` multiplies the learning rate of
    weights in the Winograd domain.
    """

    epochs: int
    learning_rate: float = 0.05
    batch: int = 128
    optimiser: Optimiser = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    winograd_learning_rate: float = 1.0
    warm_up: float = 0.1
    dropout_ramp: float = 0.1
    dropout_strength: float = 1.0
    label_smoothing: float = 0.1
    distillation: float = 0.0
    temperature: float = 4.0
    shift_pixels: int = 0
    flip: bool = False
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        accepted = {
            "epochs": (1 <= self.epochs <= MOST_EPOCHS, f"1 to {MOST_EPOCHS}"),
            "batch": (self.batch >= 1, "at least 1"),
            "learning_rate": (0 < self.learning_rate <= _LARGEST, f"more than 0 and at most {_LARGEST}"),
            "optimiser": (self.optimiser in get_args(Optimiser), f"one of {', '.join(get_args(Optimiser))}"),
            "winograd_learning_rate": (
                0 < self.winograd_learning_rate <= _LARGEST,
                f"more than 0 and at most {_LARGEST}",
            ),
            "momentum": (0 <= self.momentum < 1, "from 0 to less than 1"),
            "weight_decay": (0 <= self.weight_decay <= _LARGEST, f"0 to {_LARGEST}"),
            "warm_up": (0 <= self.warm_up < 1, "a share from 0 to less than 1"),
            "dropout_ramp": (0 <= self.dropout_ramp <= 1, "a share from 0 to 1"),
            "dropout_strength": (0 <= self.dropout_strength <= 1, "a share from 0 to 1"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "a share from 0 to less than 1"),
            "distillation": (0 <= self.distillation <= 1, "a share from 0 to 1"),
            "temperature": (0 < self.temperature <= _LARGEST, f"more than 0 and at most {_LARGEST}"),
            "shift_pixels": (0 <= self.shift_pixels <= _MOST_SHIFT, f"0 to {_MOST_SHIFT}"),
            "precision": (self.precision in get_args(Precision), f"one of {', '.join(get_args(Precision))}"),
            "seed": (0 <= self.seed <= _LAST_SEED, f"0 to {_LAST_SEED}"),
        }
        for name, (good, expected) in accepted.items():
            if not good:
                raise UsageError(f"{name} {getattr(self, name)}: expected {expected}")

    def learning_rate_at(self, step: int, *, steps: int) -> float:
        """Learning rate of step `step` of `steps`, counted from 0; never zero, so that every step counts."""
        done = (step + 1) / (steps + 1)
        if done < self.warm_up:
            return self.learning_rate * done / self.warm_up
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up)))

    def dropout_strength_at(self, step: int, *, steps: int) -> float:
        """What multiplies the cfg's dropout probabilities at step `step` of `steps`, counted from 0: 0 to 1."""
        ramp = self.dropout_ramp * steps
        return self.dropout_strength * (min(step / ramp, 1.0) if ramp > 0 else 1.0)
