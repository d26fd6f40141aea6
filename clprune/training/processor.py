"""Where training computes, and in which precision that is fast."""

from __future__ import annotations

from typing import Literal

import torch

from clprune.training.ranks import current_ranks
from clprune.training.recipe import Precision

Wish = Literal["auto", "float32", "bfloat16"]


def training_device() -> torch.device:
    """A GPU that PyTorch can use, each process of a machine its own; else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", current_ranks().local_rank % torch.cuda.device_count())
    return torch.device("cpu")


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
