"""How weights may lie in device memory, and a layer's weights as arrays in one of these storages.

Kernels turn what they load into float32 in registers and sum in float32. A linear code's scale is a row's own, so it is
multiplied to the row's sum, once, instead of to every weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import LayerWeights, convolution_matrix
from clprune.errors import UsageError
from clprune.packing.arrays import FloatArray, PackedArrays
from clprune.packing.columns import PackedColumns, pack_columns
from clprune.packing.rows import CompressedRows, check_finite
from clprune.quantization.coding import CodebookCoding, Coding, HalfCoding, LinearCoding

PackedT = TypeVar("PackedT", bound=PackedArrays)

_NO_TABLE = np.zeros(1, np.float32)

FLOAT32, FLOAT16, INT8, CODEBOOK8, CODEBOOK4 = "float32", "float16", "int8", "codebook8", "codebook4"
STORAGES = (FLOAT32, FLOAT16, INT8, CODEBOOK8, CODEBOOK4)

#: Bits of one weight.
STORAGE_BITS = {FLOAT32: 32, FLOAT16: 16, INT8: 8, CODEBOOK8: 8, CODEBOOK4: 4}


def storage_of(coding: Coding | None) -> str:
    """The storage that keeps `coding` as it is."""
    if isinstance(coding, LinearCoding):
        return INT8
    if isinstance(coding, CodebookCoding):
        return CODEBOOK4 if coding.bits == 4 else CODEBOOK8
    return FLOAT16 if isinstance(coding, HalfCoding) else FLOAT32


def storage_key(storage: str) -> str:
    """What an operation's key has behind its problem's: nothing for float32."""
    return "" if storage == FLOAT32 else f" {storage}"


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredMatrix:
    """A layer's weights `[rows, columns]` as they lie in device memory.

    values: float32, float16, int8 (linear codes) or uint8 (places in the codebook), `[rows, columns]`.
    scales: float32 `[rows]`, by which the sums of a row are multiplied; None but for int8.
    codebook: float32 `[16 or 256]`; None but for the codebooks.
    """

    values: npt.NDArray[Any]
    scales: FloatArray | None = None
    codebook: FloatArray | None = None

    @property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """Where the weight is not zero, bool `[rows, columns]`."""
        kept: npt.NDArray[np.bool_] = self.values != 0 if self.codebook is None else (self.codebook != 0)[self.values]
        return kept

    @property
    def zero(self) -> int:
        """What stands for 0.0 among the values; without such an entry, 0: nothing is removed then."""
        return 0 if self.codebook is None else int(np.abs(self.codebook).argmin())


def stored_matrix(weights: LayerWeights, storage: str) -> StoredMatrix:
    """`weights` `[rows, ...]` in one of STORAGES.

    int8 and the codebooks take the layer's own coding, so that nothing is rounded twice. Raises UsageError for another
    name, weights that are not finite, a layer without such a coding, and a weight beyond float16's range.
    """
    if storage not in STORAGES:
        raise UsageError(f"storage {storage!r}: expected one of {', '.join(STORAGES)}")
    matrix = convolution_matrix(weights)
    check_finite(matrix)
    if storage == FLOAT32:
        return StoredMatrix(values=matrix)
    if storage == FLOAT16:
        return StoredMatrix(values=_half(matrix, weights.coding))
    coding = weights.coding
    if isinstance(coding, LinearCoding) and storage == INT8:
        return StoredMatrix(values=coding.codes.reshape(matrix.shape), scales=coding.scales)
    if isinstance(coding, CodebookCoding) and storage == storage_of(coding):
        return StoredMatrix(values=coding.codes.reshape(matrix.shape), codebook=coding.codebook)
    raise UsageError(
        f"weights stored as {storage_of(coding)} cannot run as {storage}: quantize the model that way first"
    )


def _half(matrix: FloatArray, coding: Coding | None) -> npt.NDArray[np.float16]:
    if isinstance(coding, HalfCoding):
        return coding.values.reshape(matrix.shape)
    largest = float(np.abs(matrix).max(initial=0))
    if largest > float(np.finfo(np.float16).max):
        raise UsageError(f"a weight of {largest:g} does not fit float16, whose largest value is 65504: use float32")
    return matrix.astype(np.float16)


def decoded_matrix(weights: LayerWeights, storage: str) -> FloatArray:
    """The float32 weights `[rows, columns]` that a kernel computes with: float16 rounds those of no coding."""
    matrix = convolution_matrix(weights)
    return _half(matrix, weights.coding).astype(np.float32) if storage == FLOAT16 else matrix


def device_values(values: npt.NDArray[Any], storage: str) -> npt.NDArray[Any]:
    """Values as kernels load them: codebook4 goes two to a byte, all others stay what they are."""
    return pack_nibbles(values) if storage == CODEBOOK4 else values


def weight_arguments(packed: PackedArrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays of packed weights, scales and codebook among them whatever the storage: one element that nothing
    reads where there are none.
    """
    return {"scales": _NO_TABLE, "codebook": _NO_TABLE, **packed.arrays}


def column_lists(weights: LayerWeights, storage: str, **options: Any) -> PackedColumns:
    """Column lists of `weights` in one of STORAGES; `options` are those of `pack_columns`.

    Raises UsageError for weights that are not finite or not coded as `storage`.
    """
    stored = stored_matrix(weights, storage)
    tables: dict[str, Any] = {"scales": stored.scales, "codebook": stored.codebook}
    packed = pack_columns(stored.values, bias=weights.biases, **tables, **options)
    return replace(packed, values=device_values(packed.values, storage))


def entry_lists(pack: Callable[..., PackedT], weights: LayerWeights, storage: str, **options: Any) -> PackedT:
    """The single weights that are not zero, in one of STORAGES, as `pack` packs them with `options`.

    Raises UsageError for weights that are not finite or not coded as `storage`.
    """
    stored = stored_matrix(weights, storage)
    entries = CompressedRows.from_dense(convolution_matrix(weights))
    entries = replace(entries, values=stored.values[entries.row_numbers, entries.columns], zero=stored.zero)
    packed = pack(entries, bias=weights.biases, scales=stored.scales, **options)
    return replace(packed, values=device_values(packed.values, storage), codebook=stored.codebook)


def table_bytes(storage: str) -> int:
    """Bytes of the codebook that a work-group keeps in local memory."""
    return {CODEBOOK4: 4 * 16, CODEBOOK8: 4 * 256}.get(storage, 0)


def pack_nibbles(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Codes below 16, two to a byte, the first in the low bits; filled up with zeros to 8 bytes, which vectors load."""
    filled = np.zeros(-(-codes.size // 16) * 16, np.uint8)
    filled[: codes.size] = codes.reshape(-1)
    return np.asarray(filled[0::2] | filled[1::2] << 4, np.uint8)
