"""Half precision storage."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.errors import UsageError
from clprune.quantization.coding import half_coding


def test_rounds_to_nearest() -> None:
    coding = half_coding(np.array([[1 + 2.0**-12, 65504.0, 2.0**-26]], np.float32), name="layer 1")
    assert coding.decode().tolist() == [[1.0, 65504.0, 0.0]]


@pytest.mark.parametrize(
    ("value", "expected"), [(65520.0, "magnitude 65520.0: half precision ends at 65504"), (np.nan, "weight 0 is nan")]
)
def test_refuses_with_the_layers_name(value: float, expected: str) -> None:
    with pytest.raises(UsageError, match=f"layer 7: .*{expected}"):
        half_coding(np.array([[value]], np.float32), name="layer 7")
