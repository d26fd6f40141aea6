"""Where training computes, whether it has the memory, and in which precision it is fast."""

from __future__ import annotations

import math
from typing import Literal

import torch

from clprune.darknet.network import Network
from clprune.errors import LaunchError
from clprune.machine import memory_bytes
from clprune.training.ranks import current_ranks
from clprune.training.recipe import Precision

Wish = Literal["auto", "float32", "bfloat16"]


def training_device() -> torch.device:
    """A GPU that PyTorch can use, each process of a machine its own; else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", current_ranks().local_rank % torch.cuda.device_count())
    return torch.device("cpu")


def check_memory(network: Network, *, images: int) -> None:
    """Raise LaunchError where training on `images` at once takes more memory than there is, before any is taken.

    Counted are weights, their gradients and momentum, and every layer's output with its gradient: float32 each.
    """
    weights = sum(math.prod(shape) for layer in network.layers for shape in layer.arrays.values())
    outputs = sum(layer.output.elements for layer in network.layers if not layer.is_identity)
    needed = 4 * (3 * weights + 2 * images * outputs)
    device = training_device()
    is_gpu = device.type == "cuda"
    memory = torch.cuda.get_device_properties(device).total_memory if is_gpu else memory_bytes()
    if needed > memory:
        found = f"training {images} images at once needs at least {needed} bytes, the {device.type} has {memory}"
        raise LaunchError(f"{network.path}: {found}; use a smaller network, or a smaller --batch")


def choose_precision(wish: Wish) -> Precision:
    """`wish`, or for "auto" what the device has: bfloat16 where it multiplies that format natively, else float32."""
    if wish != "auto":
        return wish
    return "bfloat16" if _has_bfloat16(training_device()) else "float32"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        # the function also says yes where the format is only emulated: Ampere (8.0) is the first that has it
        return torch.cuda.get_device_capability(device)[0] >= 8 and torch.cuda.is_bf16_supported()
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(asked is not None and asked())
