"""Rows of a made-up comparison: two methods and the dense network, with figures that can be checked by hand."""

from __future__ import annotations

from typing import Any


def run(
    method: str,
    sparsity: float,
    accuracy: float,
    *,
    seed: int = 0,
    unit: str = "8x1",
    permute: bool = False,
    method_sparsity: float | None = None,
) -> dict[str, Any]:
    """A row of the stage that retrains."""
    return {
        "experiment": "key",
        "variant": f"{method}{'-permute' if permute else ''}",
        "method": method,
        "permute": permute,
        "sparsity": sparsity,
        "method_sparsity": sparsity if method_sparsity is None else method_sparsity,
        "seed": seed,
        "unit": unit,
        "kept_share": 1 - sparsity,
        "accuracy": accuracy,
        "dense_accuracy": 0.95,
        "held_out": 400,
        "images": 640,
        "epochs": 2,
        "train_s": 3.0,
        "date": "2026-01-02",
    }


def timed(
    variant: str, sparsity: float, ratio: float, *, imbalance: float = 1.0, device: str = "GPU"
) -> dict[str, Any]:
    """A row of the stage that measures: a network that takes `ratio` of the dense one's 10 ms."""
    return {
        "experiment": "key",
        "variant": variant,
        "sparsity": sparsity,
        "device": device,
        "batch": 32,
        "algorithms": "direct,sparse",
        "rounds": 5,
        "groups_per_unit": 2.0,
        "algorithms_used": "direct 3",
        "imbalance": imbalance,
        "time_ms": 10 * ratio,
        "time_median_ms": 11 * ratio,
        "dense_time_ms": 10.0,
        "dense_time_median_ms": 11.0,
        "time_ratio": ratio,
        "conv_time_ms": 8 * ratio,
        "dense_conv_time_ms": 8.0,
        "dense_conv_time_median_ms": 8.5,
        "conv_time_ratio": ratio,
        "direct_conv_time_ms": 9.0,
        "direct_conv_time_ratio": ratio * 8 / 9,
        "date": "2026-01-03",
    }
