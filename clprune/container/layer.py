"""One layer's weights as a container holds them, and what is decoded from that when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.container.units import KeptUnits, Matrix, row_numbers, to_matrix
from clprune.darknet.values import FloatArray, LayerWeights
from clprune.quantization.coding import CodebookCoding, Coding, HalfCoding, LinearCoding


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredMatrix:
    """Weights of `shape`, the axes of LayerWeights, as a matrix of values or codes.

    `values` are all of them, `[rows, columns]`, or the units that hold any; float32, float16, or codes: int8 with
    `scales` (see LinearCoding), uint8 with a `codebook` (CodebookCoding).
    """

    shape: tuple[int, ...]
    values: KeptUnits | Matrix
    scales: FloatArray | None = None
    codebook: FloatArray | None = None
    activation_scale: float | None = None

    @property
    def array(self) -> Matrix:
        """The values or codes that are stored, whether of units or of the whole matrix."""
        return self.values.values if isinstance(self.values, KeptUnits) else self.values

    @property
    def zero(self) -> int:
        """What stands for 0.0 among the values; 0 in a codebook that has no such entry."""
        return zero_code(self.codebook)

    def coding(self) -> Coding | None:
        """The coding with codes for every weight, None for float32."""
        if self.array.dtype == np.float32:
            return None
        whole = self._whole()
        if self.scales is not None:
            return LinearCoding(codes=whole, scales=self.scales, activation_scale=self.activation_scale)
        if self.codebook is not None:
            return CodebookCoding(codes=whole, codebook=self.codebook)
        return HalfCoding(values=whole)

    def weights(self) -> FloatArray:
        """The weights, float32 `shape`: exactly what `coding().decode()` gives, without codes for what was removed."""
        if not isinstance(self.values, KeptUnits):
            coding = self.coding()
            return self._whole() if coding is None else coding.decode()
        units = self.values
        decoded = KeptUnits(
            shape=units.shape, unit_rows=units.unit_rows, positions=units.positions, values=self._decoded(units)
        )
        return to_matrix(decoded, zero=0).reshape(self.shape)

    def _whole(self) -> npt.NDArray[Any]:
        if isinstance(self.values, KeptUnits):
            return to_matrix(self.values, zero=self.zero).reshape(self.shape)
        return self.values.reshape(self.shape)

    def _decoded(self, units: KeptUnits) -> FloatArray:
        """The units' values as float32 `[kept, unit_rows]`."""
        if self.codebook is not None:
            return self.codebook[units.values]
        values = units.values.astype(np.float32, copy=False)
        if self.scales is None:
            return values
        rows_per_scale = units.shape.rows // len(self.scales)
        return values * self.scales[row_numbers(units) // rows_per_scale]


def zero_code(codebook: FloatArray | None) -> int:
    """The first entry of a codebook that is 0.0; 0 where there is none, and for values that are no codes."""
    is_zero = np.zeros(0, np.bool_) if codebook is None else codebook == 0
    return int(is_zero.argmax()) if is_zero.any() else 0


class StoredWeights(LayerWeights):
    """LayerWeights of a container: `weights` and `coding` are decoded when first asked for.

    A layer is up to a hundred times smaller in its file than as float32; what only checks, copies or describes a model
    never makes that. `dataclasses.replace` gives one that is decoded.
    """

    _stored: StoredMatrix | None = None

    @classmethod
    def make(cls, stored: StoredMatrix, arrays: Mapping[str, FloatArray], *, winograd: int | None) -> StoredWeights:
        """Weights that are still to be decoded, with the layer's other `arrays` by the names of the fields."""
        layer = cls.__new__(cls)
        others = {name: arrays.get(name) for name in ("biases", "scales", "mean", "variance")}
        for name, value in {"_stored": stored, "winograd": winograd, **others}.items():
            object.__setattr__(layer, name, value)  # the class is frozen
        return layer

    @cached_property
    def weights(self) -> FloatArray:
        return self._matrix.weights()

    @cached_property
    def coding(self) -> Coding | None:
        return self._matrix.coding()

    @property
    def _matrix(self) -> StoredMatrix:
        assert self._stored is not None, "made without a stored matrix, weights and coding are given"
        return self._stored
