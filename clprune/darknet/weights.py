"""Darknet's `.weights` format: little-endian float32 values layer by layer behind a short header, no magic number.

Three eras exist, told apart by the header's first words: three floats (learning rate, momentum, decay) with connected
weights stored `[inputs][outputs]`; version 0.1 with a 32-bit count of images seen; version 0.2 with a 64-bit count, or
one of 32 bits where darknet was built for such a machine (its `size_t`), told by the file's length.
Every byte of a file must belong to a layer: a file for another network is refused, not read shifted. What was read is
written again byte for byte. Large files are mapped into memory: values are read from disk when they are first used, and
again where memory is short. Such a file must not be written in place meanwhile; to replace it is safe.
Source: darknet's parser.c (`load_weights_upto`, `save_weights_upto`).
"""

from __future__ import annotations

import bisect
import math
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.kinds.base import DEFAULT_ONES, Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.network import Network
from clprune.darknet.values import FloatArray, LayerWeights, Weights
from clprune.errors import WeightsError, shown
from clprune.files import atomic_writer, known_content, open_file

#: A version word above this is the bit pattern of a float: a file from before versions were written.
FLOAT_ERA = 1000

#: What is read to tell files of other kinds: values are text neither in a header nor behind it.
_HEAD_BYTES = 64
_IS_TEXT = re.compile(rb"[\t\n\r -~]+")

#: Values of so many bytes and more are mapped.
MAPPED_BYTES = 1 << 26

#: Side of the blocks in which a matrix is transposed: two blocks of float32 stay in a core's cache.
TRANSPOSE_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class _Header:
    major: int
    minor: int
    revision: int
    seen: int
    bytes: int

    @property
    def transposed(self) -> bool:
        """Connected weights are stored `[inputs][outputs]`."""
        return _is_transposed(self.major, self.minor)


def _is_transposed(major: int, minor: int) -> bool:
    return major > FLOAT_ERA or minor > FLOAT_ERA


def _has_version_2(major: int, minor: int) -> bool:
    return major * 10 + minor >= 2 and major < FLOAT_ERA and minor < FLOAT_ERA


def read_weights(path: str | Path, network: Network, *, allow_truncated: bool = False) -> Weights:
    """Read a weights file of any era for `network`.

    With `allow_truncated` the file may end after any whole layer (darknet's `partial` files, `.conv.N`); what is
    missing is None. `[batchnorm]` layers are read with or without biases, whichever the file's size says (a truncated
    file: without).
    Raises WeightsError naming the layer and both sizes when the file is short, long, or holds a value that is not
    finite or a negative variance.
    """
    path = Path(path)
    loaded = [layer for layer in network.layers if layer.has_values]
    layers: list[LayerWeights | None] = [None] * len(network.layers)
    with open_file(path, error=WeightsError) as file:
        size = os.fstat(file.fileno()).st_size
        header, optional = _layout(path, file, size, loaded)
        ends = [header.bytes]
        for layer in loaded:
            ends.append(ends[-1] + 4 * _value_count(layer, optional=optional))
        named = [f"{layer} ({network.path}:{layer.line})" for layer in loaded]
        whole = _whole_layers(path, size, ends, named, allow_truncated=allow_truncated)
        values = _values(file, first=header.bytes, count=(ends[whole] - header.bytes) // 4)
    for layer, name, end in zip(loaded[:whole], named, ends, strict=False):
        part = values[(end - header.bytes) // 4 :]
        layers[layer.index] = _read_layer(part, path, layer, name, header, optional=optional)
    return Weights(
        layers=tuple(layers),
        major=header.major,
        minor=header.minor,
        revision=header.revision,
        seen=header.seen,
        seen_bytes=8 if header.bytes == 20 else 4,
        stores_optional=optional,
        has_header=True,
    )


def write_weights(path: str | Path, network: Network, weights: Weights) -> None:
    """Write a weights file whole or not at all. Raises what `encode_weights` does, and FileError."""
    with atomic_writer(path) as file:
        file.writelines(encode_weights(path, network, weights))


def encode_weights(path: str | Path, network: Network, weights: Weights) -> Iterator[bytes | memoryview]:
    """The parts of a file with the header of `weights`; `path` is for errors.

    `[batchnorm]` biases, which the original darknet does not have, are written if the file had them or one of them is
    not zero. Raises WeightsError when a layer's values are missing, of another shape or not finite.
    """
    if len(weights.layers) != len(network.layers):
        raise WeightsError(f"{len(weights.layers)} layers of weights for {len(network.layers)} layers", path=path)
    optional = weights.stores_optional or any(
        values is not None and getattr(values, name).any()
        for layer, values in zip(network.layers, weights.layers, strict=True)
        for name in layer.optional_arrays
    )
    words = (weights.major, weights.minor, weights.revision)
    is_wide = _has_version_2(*words[:2]) and weights.seen_bytes == 8
    yield struct.pack("<iiiQ" if is_wide else "<iiiI", *words, weights.seen % (1 << (64 if is_wide else 32)))
    transposed = _is_transposed(*words[:2])
    for layer, values in zip(network.layers, weights.layers, strict=True):
        if layer.has_values:
            for array in _arrays_to_write(path, layer, values, optional=optional):
                is_transposed = transposed and isinstance(layer, Connected) and array.ndim == 2
                yield (_transpose(array) if is_transposed else array).data


def _arrays_in_file(layer: Layer, *, optional: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a layer's arrays in a file of darknet's or (`optional`) of a fork that stores all of them."""
    return {name: shape for name, shape in layer.stored.items() if optional or name not in layer.optional_arrays}


def _value_count(layer: Layer, *, optional: bool) -> int:
    return sum(math.prod(shape) for shape in _arrays_in_file(layer, optional=optional).values())


def _layout(path: Path, file: BinaryIO, size: int, layers: Sequence[Layer]) -> tuple[_Header, bool]:
    """The header of a file of `size` bytes, and whether it is that of a fork which stores `[batchnorm]` biases.

    Raises WeightsError for a file that is too short, of no known version, or of another kind.
    """
    head = file.read(_HEAD_BYTES)
    other = known_content(head) or ("a safetensors file (rename it to .safetensors)" if head[8:10] == b'{"' else None)
    if other is None and head and _IS_TEXT.fullmatch(head):
        other = f"a text file that begins with {shown(head[:40].decode().split(chr(10))[0])!r}"
    if other is not None:
        raise WeightsError(f"is {other}: expected darknet weights", path=path)
    header = _parse_header(path, head)
    headers = [header]
    if header.bytes == 20 and layers and _may_be_narrow(file, next(iter(layers[0].arrays.values()))[0]):
        headers.append(replace(header, bytes=16, seen=header.seen % (1 << 32)))
    optional_arrays = (True, False) if any(layer.optional_arrays for layer in layers) else (False,)
    for optional in optional_arrays:
        length = 4 * sum(_value_count(layer, optional=optional) for layer in layers)
        for found in headers:
            if size == found.bytes + length:
                return found, optional
    return header, False


def _may_be_narrow(file: BinaryIO, biases: int) -> bool:
    """Whether the upper half of a count of 64 bits may be a bias instead: else such a file just lacks its last value.

    In a real count that half is zero. The first of many `biases` is zero hardly ever, unless all of them are.
    """
    file.seek(16)
    words = np.fromfile(file, "<u4", biases + 1)
    zeros = int(np.argmax(words != 0)) if words.any() else len(words)
    return zeros == 0 or (zeros == biases and biases > 1)


def _parse_header(path: Path, data: bytes) -> _Header:
    """Version words and images seen. Raises WeightsError for a file too short to have them or of no known version."""
    if len(data) < 16:
        raise WeightsError(f"{len(data)} bytes: expected a darknet header of at least 16 bytes", path=path)
    major, minor, revision, seen = struct.unpack_from("<iiiI", data)
    if major < 0 or minor < 0:
        raise WeightsError(f"version {major}.{minor}.{revision}: expected a darknet weights file", path=path)
    length = 16
    if _has_version_2(major, minor):
        if len(data) < 20:
            raise WeightsError(f"{len(data)} bytes: expected a header of 20 bytes in version 0.2", path=path)
        (seen,) = struct.unpack_from("<Q", data, 12)
        length = 20
    return _Header(major=major, minor=minor, revision=revision, seen=seen, bytes=length)


def _whole_layers(path: Path, size: int, ends: Sequence[int], named: Sequence[str], *, allow_truncated: bool) -> int:
    """How many layers a file of `size` bytes holds whose header and layers end at `ends`.

    Raises WeightsError unless it ends exactly where it may.
    """
    count = max(bisect.bisect_right(ends, size) - 1, 0)
    if size == ends[-1] or (allow_truncated and size == ends[count]):
        return count
    if size > ends[-1]:
        last = named[-1] if named else "the header, and no layer has weights"
        what = f"too long: {size - ends[-1]} bytes are left after {last}"
    else:
        what = f"too short: {named[count]} needs {ends[count + 1] - ends[count]} bytes and finds {size - ends[count]}"
        if size == ends[count] and count:
            what += ", so it is a file of the first layers, from which `clprune train --weights` starts"
    raise WeightsError(f"{size} bytes, {what}; this network's file has {ends[-1]} bytes", path=path)


def _values(file: BinaryIO, *, first: int, count: int) -> FloatArray:
    """`count` values of the file from byte `first` on; what is written to them stays in memory."""
    if 4 * count >= MAPPED_BYTES:
        mapping = np.memmap(file, dtype="<f4", mode="c", offset=first, shape=(count,))
        return np.asarray(mapping).astype(np.float32, copy=False)
    file.seek(first)
    values = np.fromfile(file, dtype="<f4", count=count).astype(np.float32, copy=False)
    if len(values) != count:
        raise OSError("the file shrank while it was read")
    return values


def _read_layer(
    values: FloatArray, path: Path, layer: Layer, named: str, header: _Header, *, optional: bool
) -> LayerWeights:
    """The layer's arrays, of which `values` hold what the file does."""
    arrays: dict[str, Any] = {}
    for name, shape in _arrays_in_file(layer, optional=optional).items():
        array, values = np.split(values, [math.prod(shape)])
        check_array(path, f"{named}, {name}", array, is_variance=name == "variance")
        is_transposed = header.transposed and isinstance(layer, Connected) and len(shape) == 2
        arrays[name] = _transpose(array.reshape(shape[::-1])) if is_transposed else array.reshape(shape)
    for name, shape in layer.arrays.items():
        found = arrays.get(name)
        if found is None or found.shape != shape:
            arrays[name] = np.full(shape, float(name in DEFAULT_ONES), np.float32)
            if found is not None:
                arrays[name][: len(found)] = found
    return LayerWeights(**arrays)


def _transpose(matrix: FloatArray) -> FloatArray:
    """A transposed copy in C order, block by block: a plain copy of so large a matrix misses the cache everywhere."""
    rows, columns = matrix.shape
    result = np.empty((columns, rows), dtype=np.float32)
    for row in range(0, rows, TRANSPOSE_BLOCK):
        for column in range(0, columns, TRANSPOSE_BLOCK):
            block = matrix[row : row + TRANSPOSE_BLOCK, column : column + TRANSPOSE_BLOCK]
            result[column : column + TRANSPOSE_BLOCK, row : row + TRANSPOSE_BLOCK] = block.T
    return result


def check_array(path: str | Path, where: str, array: NDArray[np.floating], *, is_variance: bool) -> None:
    """Raise WeightsError about `where` in the file for a NaN, an infinity, or a negative variance."""
    # Minimum and maximum carry NaN on and need no temporary array, unlike isfinite; for float16 NumPy is slow at them.
    is_half = array.dtype == np.float16
    with np.errstate(invalid="ignore"):  # a signalling NaN would warn before it is reported here
        low, high = (float(array.min()), float(array.max())) if array.size and not is_half else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)) or (is_half and not np.isfinite(array).all()):
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise WeightsError(f"{where}: {bad} of {array.size} values are NaN or infinite", path=path)
    if is_variance and low < 0:
        raise WeightsError(f"{where}: {low:g} found, expected at least 0: is it this network's file?", path=path)


def _arrays_to_write(
    path: str | Path, layer: Layer, weights: LayerWeights | None, *, optional: bool
) -> Iterator[NDArray[Any]]:
    """The layer's arrays in the order of the file, checked, little-endian, in C order."""
    expected = _arrays_in_file(layer, optional=optional)
    if expected and weights is None:
        raise WeightsError(f"{layer} (line {layer.line}) has no values to write", path=path)
    for name, stored in expected.items():
        array, shape = getattr(weights, name), layer.arrays[name]
        found = None if array is None else array.shape
        if found != shape:
            raise WeightsError(f"{layer}, {name}: shape {found}, expected {shape}", path=path)
        check_array(path, f"{layer} (line {layer.line}), {name}", array, is_variance=name == "variance")
        yield np.ascontiguousarray(array[: stored[0]], dtype="<f4")
