"""Darknet's activations on torch tensors; their float64 references are in `clprune.darknet.activations`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from clprune.darknet.activations import SELU_ALPHA, SELU_SCALE
from clprune.errors import UsageError


def _plse(x: Tensor) -> Tensor:
    middle = torch.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5)
    return torch.where(x < -4, 0.01 * (x + 4), middle)


def _stair(x: Tensor) -> Tensor:
    floor = torch.floor(x)
    half = torch.floor(x / 2)
    return torch.where(torch.remainder(floor, 2) == 0, half, (x - floor) + half)


def _lhtan(x: Tensor) -> Tensor:
    return torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x))


def _hard_mish(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, torch.zeros_like(x)))


def _selu(x: Tensor) -> Tensor:
    return torch.where(x >= 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * torch.expm1(x.clamp(max=0)))


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "logistic": torch.sigmoid,
    "relu": functional.relu,
    "leaky": lambda x: functional.leaky_relu(x, 0.1),
    "elu": functional.elu,
    "selu": _selu,
    "linear": lambda x: x,
    "tanh": torch.tanh,
    "ramp": lambda x: functional.relu(x) + 0.1 * x,
    "hardtan": lambda x: x.clamp(-1, 1),
    "loggy": lambda x: 2 * torch.sigmoid(x) - 1,
    "relie": lambda x: functional.leaky_relu(x, 0.01),
    "plse": _plse,
    "stair": _stair,
    "lhtan": _lhtan,
    "swish": functional.silu,
    "mish": functional.mish,
    "relu6": functional.relu6,
    "hard_mish": _hard_mish,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_swish": functional.hardswish,
    "gelu_erf": functional.gelu,
}

NAMES = tuple(_FUNCTIONS)


#: The same without memory of its own, which is a good part of the time of a large convolution's activation.
_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "leaky": lambda x: functional.leaky_relu_(x, 0.1),
}


def activate(name: str, x: Tensor, *, in_place: bool = False) -> Tensor:
    """Apply the activation `name` to every value; the shape stays. Raises UsageError.

    `in_place`: x may be overwritten, nobody else needs it.
    """
    if in_place and name in _IN_PLACE:
        return _IN_PLACE[name](x)
    if name not in _FUNCTIONS:
        raise UsageError(f"activation {name!r}: expected one of {', '.join(NAMES)}")
    return _FUNCTIONS[name](x)
