"""What clprune's rows are to reach beside the fastest rival, by class of processor: figures that the project set itself
when AVX2 had been measured first, in November 2026. Dense direct convolutions and 75 % removed of direct ones, whose
goals had been met with AVX-512, have none any more: what is faster is compared.
"""

from __future__ import annotations

from collections.abc import Mapping

from tools.bench.peers.contestants import BEST_DOMAINS, FASTEST_DENSE, TRAINED

#: (Class of processor, batch) -> share of VGG16's convolutions removed (0: dense, by the fastest algorithm) -> most of
#: the fastest rival's time at 224 x 224.
VGG16: Mapping[tuple[str, int], Mapping[float, float]] = {
    ("AVX2", 1): {0: 0.80, 0.75: 0.28, 0.875: 0.19, 0.95: 0.14},
    ("AVX2", 8): {0: 0.75, 0.75: 0.26, 0.875: 0.18, 0.95: 0.13},
    ("AVX-512", 1): {0: 0.70, 0.75: 0.20, 0.875: 0.14, 0.95: 0.11},
    ("AVX-512", 8): {0: 0.55, 0.75: 0.19, 0.875: 0.13, 0.95: 0.09},
}

#: The dense row's of any other network in batches of one, and on the mean over networks: dense, and with 75 % removed.
OTHER_DENSE: Mapping[str, float] = {"AVX2": 1.0, "AVX-512": 0.95}
MEAN: Mapping[str, tuple[float, float]] = {"AVX2": (0.9, 0.5), "AVX-512": (0.85, 0.42)}

#: vgg16-digits: dense, and trained with 75 % removed, in batches of one.
DIGITS = {FASTEST_DENSE.name: 1.0, TRAINED: 0.75}


def goals_of(model: str, batch: int, cpu_class: str) -> dict[str, float]:
    """Row -> most of the fastest rival's time; rows without a goal are left out."""
    if model == "vgg16":
        shares = VGG16.get((cpu_class, batch), {})
        rows = {variant.name: variant.sparsity for variant in (FASTEST_DENSE, *BEST_DOMAINS)}
        return {name: shares[sparsity] for name, sparsity in rows.items() if sparsity in shares}
    if batch != 1:
        return {}
    if model == "vgg16-digits":
        return DIGITS
    return {FASTEST_DENSE.name: OTHER_DENSE[cpu_class]} if cpu_class in OTHER_DENSE else {}
