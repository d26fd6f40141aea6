"""Darknet's `.weights` format: little-endian float32 values layer by layer behind a short header, no magic number.

Three eras exist, told apart by the header's first words: three floats (learning rate, momentum, decay) with connected
weights stored `[inputs][outputs]`; version 0.1 with a 32-bit count of images seen; version 0.2 with a 64-bit count.
Every byte of a file must belong to a layer: a file for another network is refused, not read shifted.
Source: darknet's parser.c (`load_weights_upto`, `save_weights_upto`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clprune.darknet.layers import BatchNorm, Connected, Convolutional, Layer, Local, Shortcut
from clprune.darknet.network import Network
from clprune.errors import UsageError, WeightsError
from clprune.files import atomic_writer

FloatArray = NDArray[np.float32]

BATCH_NORM_EPSILON = 1e-5
"""Added to the variance inside the square root, as darknet's CUDA code and PyTorch have it."""

FLOAT_ERA = 1000
"""A version word above this is the bit pattern of a float: a file from before versions were written."""

TRANSPOSE_BLOCK = 256
"""Side of the blocks in which a matrix is transposed: two blocks of float32 stay in a core's cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWeights:
    """The values of one layer, float32, C order.

    | layer | `weights` | `biases` | `scales`, `mean`, `variance` |
    |---|---|---|---|
    | convolutional | `[filters, channels / groups, size, size]` | `[filters]` | with batch_normalize `[filters]` |
    | connected | `[outputs, inputs]` | `[outputs]` | with batch_normalize `[outputs]` |
    | local | `[locations, filters, channels, size, size]` | `[outputs]` | None |
    | batchnorm | `[0]`; folded: `[channels]` factors | `[channels]` | `[channels]`; folded: None |
    """

    weights: FloatArray
    biases: FloatArray
    scales: FloatArray | None = None
    mean: FloatArray | None = None
    variance: FloatArray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """A weights file: its header, and one entry per layer of the network.

    An entry is None for a layer without values, one with `dontload`, and one behind the end of a truncated file.
    `major`, `minor`, `revision` are the header's words (bit patterns of floats in the oldest files), `seen` the
    number of training images.
    """

    layers: tuple[LayerWeights | None, ...]
    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0


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
        return self.major > FLOAT_ERA or self.minor > FLOAT_ERA


@dataclass(frozen=True, kw_only=True)
class _Field:
    """One array of a layer in a file: the name of the LayerWeights field and its shape, in float32 values."""

    name: str
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        return math.prod(self.shape)


def read_weights(path: str | Path, network: Network, *, allow_truncated: bool = False) -> Weights:
    """Read a weights file of any era for `network`.

    With `allow_truncated` the file may end after any whole layer (darknet's `partial` files); what is missing is
    None. `[batchnorm]` layers are read with or without biases, whichever the file's size says.
    Raises WeightsError naming the layer and both sizes when the file is short, long, or holds a value that is not
    finite or a negative variance.
    """
    path = Path(path)
    header, values, stray = _read_file(path)
    loaded = [layer for layer in network.layers if _fields(layer, biases=True) and not _skipped(layer)]
    biases = _has_batchnorm_biases(loaded, values.size)
    expected = sum(_count(layer, biases=biases) for layer in loaded)
    if stray or values.size > expected or (values.size < expected and not allow_truncated):
        raise _size_error(path, network, loaded, header, found=4 * values.size + stray, biases=biases)
    layers: list[LayerWeights | None] = [None] * len(network.layers)
    offset = 0
    for layer in loaded:
        if offset == values.size:
            break
        count = _count(layer, biases=biases)
        if offset + count > values.size:
            raise _size_error(path, network, loaded, header, found=4 * values.size, biases=biases)
        layers[layer.index] = _cut(layer, values[offset : offset + count], header, biases=biases)
        _check_values(path, network, layer, layers[layer.index])
        offset += count
    return Weights(
        layers=tuple(layers), major=header.major, minor=header.minor, revision=header.revision, seen=header.seen
    )


def write_weights(path: str | Path, network: Network, weights: Weights) -> None:
    """Write version 0.2.0, which every darknet reads, whole or not at all; `weights.seen` is kept.

    `[batchnorm]` biases, which the original darknet does not have, are written only if one of them is not zero.
    Raises WeightsError when a layer's values are missing, of another shape or not finite, FileError when the file
    cannot be written.
    """
    if len(weights.layers) != len(network.layers):
        raise WeightsError(f"{len(weights.layers)} layers of weights for {len(network.layers)} layers", path=path)
    biases = any(
        isinstance(layer, BatchNorm) and values is not None and values.biases.any()
        for layer, values in zip(network.layers, weights.layers, strict=True)
    )
    with atomic_writer(path) as file:
        file.write(struct.pack("<iiiQ", 0, 2, 0, weights.seen))
        for layer, values in zip(network.layers, weights.layers, strict=True):
            if _skipped(layer):
                continue
            for array in _arrays_to_write(path, layer, values, biases=biases):
                file.write(array.data)


def random_weights(network: Network, *, seed: int) -> Weights:
    """Reproducible weights with which activations neither die nor explode.

    Weights are normal with variance 2 / fan-in (He et al. 2015, "Delving deep into rectifiers"), 1 / fan-in under
    activations that are no rectifiers; biases are small; batch normalization statistics are near mean 0, variance 1.
    A layer's values depend on the seed and its index only. Raises UsageError for a negative seed.
    """
    if seed < 0:
        raise UsageError(f"seed {seed}: expected at least 0")
    layers: list[LayerWeights | None] = []
    for layer in network.layers:
        generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, layer.index])))
        follower = network.layers[layer.index + 1] if layer.index + 1 < len(network.layers) else None
        # A branch that is added to its own input would double the variance at every block.
        gain = 0.2 if isinstance(follower, Shortcut) else 1.0
        layers.append(_random_layer(layer, generator, gain=gain) if _fields(layer, biases=True) else None)
    return Weights(layers=tuple(layers))


def fold_batch_norm(layer: Layer, weights: LayerWeights) -> LayerWeights:
    """Fold batch normalization into weights and biases, in float64: what is left is `weights` and `biases` only.

    With factor = scales / sqrt(variance + 1e-5): weights * factor per output channel, biases - mean * factor. A
    `[batchnorm]` layer becomes `weights * x + biases` per channel. Without batch normalization nothing changes.
    Raises UsageError when `layer` normalizes and `weights` has no statistics.
    """
    normalizes = isinstance(layer, BatchNorm) or (
        isinstance(layer, Convolutional | Connected) and layer.batch_normalize
    )
    if not normalizes:
        return LayerWeights(weights=weights.weights, biases=weights.biases)
    if weights.scales is None or weights.mean is None or weights.variance is None:
        raise UsageError(f"{layer}: expected scales, mean and variance to fold, found weights without them")
    factor = weights.scales.astype(np.float64) / np.sqrt(weights.variance.astype(np.float64) + BATCH_NORM_EPSILON)
    biases = (weights.biases - weights.mean * factor).astype(np.float32)
    if isinstance(layer, BatchNorm):
        return LayerWeights(weights=factor.astype(np.float32), biases=biases)
    folded = np.empty(weights.weights.shape, dtype=np.float32)
    for channel in range(len(folded)):
        # One row at a time: a float64 copy of a whole connected layer would be its size twice over.
        folded[channel] = weights.weights[channel] * factor[channel]
    return LayerWeights(weights=folded, biases=biases)


def convolution_matrix(weights: LayerWeights) -> FloatArray:
    """The weights as a matrix `[M, K]`, output channels x weights per output channel: a view where possible."""
    return weights.weights.reshape(len(weights.weights), -1)


def _skipped(layer: Layer) -> bool:
    return isinstance(layer, Convolutional | Connected | Local | BatchNorm) and layer.dontload


def _fields(layer: Layer, *, biases: bool) -> list[_Field]:
    """The arrays of a layer in the order of the file; `biases` says whether `[batchnorm]` layers store theirs."""
    if isinstance(layer, Convolutional):
        norm = _statistics(layer.filters) if layer.batch_normalize else []
        return [_Field(name="biases", shape=(layer.filters,)), *norm, _Field(name="weights", shape=layer.weights_shape)]
    if isinstance(layer, Connected):
        norm = _statistics(layer.outputs) if layer.batch_normalize else []
        return [_Field(name="biases", shape=(layer.outputs,)), _Field(name="weights", shape=layer.weights_shape), *norm]
    if isinstance(layer, Local):
        shapes = {"biases": (layer.output.elements,), "weights": layer.weights_shape}
        return [_Field(name=name, shape=shape) for name, shape in shapes.items()]
    if isinstance(layer, BatchNorm):
        channels = layer.input.channels
        return [*([_Field(name="biases", shape=(channels,))] if biases else []), *_statistics(channels)]
    return []


def _statistics(channels: int) -> list[_Field]:
    return [_Field(name=name, shape=(channels,)) for name in ("scales", "mean", "variance")]


def _count(layer: Layer, *, biases: bool) -> int:
    """float32 values of a layer in a file."""
    return sum(field.values for field in _fields(layer, biases=biases))


def _has_batchnorm_biases(layers: Sequence[Layer], found: int) -> bool:
    """Whether the file's size is that of a fork which stores `[batchnorm]` biases."""
    with_biases = sum(_count(layer, biases=True) for layer in layers)
    without = sum(_count(layer, biases=False) for layer in layers)
    return found == with_biases and with_biases != without


def _read_file(path: Path) -> tuple[_Header, FloatArray, int]:
    """The header, all whole float32 values behind it in one array, and the number of bytes left over (0 to 3)."""
    try:
        with path.open("rb") as file:
            header = _parse_header(path, file.read(20))
            size = file.seek(0, 2)
            file.seek(header.bytes)
            count, stray = divmod(size - header.bytes, 4)
            values = np.fromfile(file, dtype="<f4", count=count)
    except FileNotFoundError as error:
        raise WeightsError("no such file", path=path) from error
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror or error}", path=path) from error
    return header, values.astype(np.float32, copy=False), stray


def _parse_header(path: Path, data: bytes) -> _Header:
    """Version words and images seen. Raises WeightsError for a file too short to have them or of no known version."""
    if len(data) < 16:
        raise WeightsError(f"{len(data)} bytes: expected a darknet header of at least 16 bytes", path=path)
    major, minor, revision, seen = struct.unpack_from("<iiii", data)
    if major < 0 or minor < 0:
        raise WeightsError(f"version {major}.{minor}.{revision}: expected a darknet weights file", path=path)
    length = 16
    if major * 10 + minor >= 2 and major < FLOAT_ERA and minor < FLOAT_ERA:
        if len(data) < 20:
            raise WeightsError(f"{len(data)} bytes: expected a header of 20 bytes in version 0.2", path=path)
        (seen,) = struct.unpack_from("<Q", data, 12)
        length = 20
    return _Header(major=major, minor=minor, revision=revision, seen=seen, bytes=length)


def _cut(layer: Layer, values: FloatArray, header: _Header, *, biases: bool) -> LayerWeights:
    """The layer's arrays as views of `values`, transposed connected weights excepted."""
    arrays: dict[str, FloatArray] = {}
    offset = 0
    for field in _fields(layer, biases=biases):
        array = values[offset : offset + field.values]
        if header.transposed and isinstance(layer, Connected) and field.name == "weights":
            arrays[field.name] = _transpose(array.reshape(field.shape[::-1]))
        else:
            arrays[field.name] = array.reshape(field.shape)
        offset += field.values
    if isinstance(layer, BatchNorm):
        arrays.setdefault("biases", np.zeros(layer.input.channels, dtype=np.float32))
        arrays["weights"] = np.empty(0, dtype=np.float32)
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


def _check_values(path: str | Path, network: Network, layer: Layer, weights: LayerWeights | None) -> None:
    """Raise WeightsError for a NaN, an infinity, or a negative variance."""
    for name, array in _named_arrays(weights):
        # Minimum and maximum carry NaN on and need no temporary array, unlike isfinite.
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        where = f"{layer} ({network.path}:{layer.line}), {name}"
        if not (math.isfinite(low) and math.isfinite(high)):
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            raise WeightsError(f"{where}: {bad} of {array.size} values are NaN or infinite", path=path)
        if name == "variance" and low < 0:
            raise WeightsError(f"{where}: {low:g} found, expected at least 0: is it this network's file?", path=path)


def _named_arrays(weights: LayerWeights | None) -> Iterator[tuple[str, FloatArray]]:
    if weights is None:
        return
    for name in ("biases", "scales", "mean", "variance", "weights"):
        array = getattr(weights, name)
        if array is not None:
            yield name, array


def _size_error(
    path: Path, network: Network, loaded: Sequence[Layer], header: _Header, *, found: int, biases: bool
) -> WeightsError:
    """The error of a file whose values (`found` bytes behind the header) do not end where a layer ends."""
    end = 0
    for layer in loaded:
        begin, end = end, end + 4 * _count(layer, biases=biases)
        if end > found:
            where = f"{layer} ({network.path}:{layer.line})"
            at = f"needs {end - begin} bytes and finds {max(found - begin, 0)}"
            return WeightsError(
                f"{header.bytes + found} bytes, too short: {where} {at}; "
                f"expected {_expected_bytes(loaded, header, biases=biases)} bytes for this network",
                path=path,
            )
    last = f"{loaded[-1]} ({network.path}:{loaded[-1].line})" if loaded else "the header; no layer has weights"
    return WeightsError(
        f"{header.bytes + found} bytes, too long: {found - end} bytes are left after {last}; "
        f"expected {header.bytes + end} bytes for this network",
        path=path,
    )


def _expected_bytes(loaded: Sequence[Layer], header: _Header, *, biases: bool) -> int:
    return header.bytes + 4 * sum(_count(layer, biases=biases) for layer in loaded)


def _arrays_to_write(
    path: str | Path, layer: Layer, weights: LayerWeights | None, *, biases: bool
) -> Iterator[NDArray[Any]]:
    """The layer's arrays in the order of the file, checked, little-endian, in C order."""
    fields = _fields(layer, biases=biases)
    if fields and weights is None:
        raise WeightsError(f"{layer} (line {layer.line}) has no values to write", path=path)
    for field in fields:
        array = getattr(weights, field.name)
        shape = None if array is None else array.shape
        if shape != field.shape:
            raise WeightsError(f"{layer}, {field.name}: shape {shape}, expected {field.shape}", path=path)
        yield np.ascontiguousarray(array, dtype="<f4")


def _random_layer(layer: Layer, generator: np.random.Generator, *, gain: float) -> LayerWeights:
    arrays: dict[str, FloatArray] = {}
    for field in _fields(layer, biases=True):
        arrays[field.name] = _random_field(layer, field, generator, gain=gain)
    arrays.setdefault("weights", np.empty(0, dtype=np.float32))
    return LayerWeights(**arrays)


def _random_field(layer: Layer, field: _Field, generator: np.random.Generator, *, gain: float) -> FloatArray:
    values = generator.standard_normal(field.shape, dtype=np.float32)
    if field.name == "weights":
        # The leading axes count outputs, for local layers places too; what is left is the fan-in.
        fan_in = math.prod(field.shape[2:] if isinstance(layer, Local) else field.shape[1:])
        rectifiers = ("relu", "leaky", "elu", "selu", "relie", "relu6", "swish", "mish", "hard_mish", "ramp")
        variance = (2.0 if getattr(layer, "activation", "linear") in rectifiers else 1.0) / fan_in
        values *= np.float32(gain * math.sqrt(variance))
    elif field.name == "scales":
        values = 1 + np.float32(0.1) * values
    elif field.name == "variance":
        values = generator.uniform(0.8, 1.25, field.shape).astype(np.float32)
    else:
        values *= np.float32(0.05)
    return values
