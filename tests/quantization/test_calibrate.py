"""Scales of activations."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.errors import UsageError
from clprune.quantization.calibrate import ActivationRange


def test_the_largest_magnitude() -> None:
    seen = ActivationRange()
    seen.add(np.array([[-3.0, 1.0]], np.float32), name="layer 1")
    seen.add(np.array([[2.0, 100.0]], np.float32), name="layer 1")
    assert seen.scale(share=1.0) == np.float32(100 / 127)


def test_a_share_clips_the_few_largest() -> None:
    values = np.append(np.linspace(0, 1, 9999), 1000).astype(np.float32)
    seen = ActivationRange()
    seen.add(values, name="layer 1")
    assert seen.scale(share=0.9999) * 127 == pytest.approx(1.0, abs=1024 / 4096)
    assert seen.scale(share=1.0) * 127 == pytest.approx(1000)


def test_order_does_not_matter() -> None:
    random = np.random.default_rng(0)
    batches = [random.standard_normal(100).astype(np.float32) * 10.0**power for power in (-3, 2, 0)]
    scales = set()
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        seen = ActivationRange()
        for number in order:
            seen.add(batches[number], name="layer 1")
        scales.add(seen.scale(share=0.99))
    assert len(scales) == 1


def test_nothing_but_zeros() -> None:
    seen = ActivationRange()
    seen.add(np.zeros(5, np.float32), name="layer 1")
    assert seen.scale() == 1.0


def test_refusals() -> None:
    seen = ActivationRange()
    with pytest.raises(UsageError, match="layer 7: its input holds nan"):
        seen.add(np.array([np.nan], np.float32), name="layer 7")
    for share in (0.0, 1.5):
        with pytest.raises(UsageError, match=f"share {share}"):
            seen.scale(share=share)
