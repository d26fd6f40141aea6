"""What all packed forms of a layer's weights have: arrays for the device, and how much of the dense layer they are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedArrays:
    """values: of the weights that are kept, in the dtype of their storage.
    bias: float32.
    scales, codebook: of the values' storage (clprune/kernels/storage.py), None where it has none.
    kept_share: weights multiplied (without fill) over weights of the dense layer.
    """

    values: npt.NDArray[Any]
    bias: FloatArray
    kept_share: float
    scales: FloatArray | None = None
    codebook: FloatArray | None = None

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays by the names of their kernels' parameters."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}

    @property
    def imbalance(self) -> float:
        """The longest of the parts that run at the same time over their mean."""
        return 1.0

    @property
    def size_bytes(self) -> int:
        """Bytes that the packed layer occupies on the device."""
        return sum(array.nbytes for array in self.arrays.values())


def longest_over_mean(counts: npt.NDArray[np.integer[Any]]) -> float:
    """The largest of `counts` over their mean: by how much longer the longest part takes than with the work spread
    evenly. 1 is balanced, and nothing at all is.
    """
    return float(counts.max() / counts.mean()) if counts.size and counts.any() else 1.0


def never_empty(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One element, which nothing reads, where there is none: no device has buffers without any."""
    return array if array.size else np.zeros(1, array.dtype)
