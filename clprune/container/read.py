"""Reading a packed container."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clprune.container.bits import Bytes, packed_bytes, unpack_bits
from clprune.container.fingerprint import check_network
from clprune.container.gaps import CodedGaps, decode_positions
from clprune.container.layer import StoredMatrix, StoredWeights
from clprune.container.record import LayerRecord
from clprune.container.source import Source, opened
from clprune.container.units import KeptUnits, Matrix, MatrixShape
from clprune.darknet.kinds.base import Layer, WeightedLayer
from clprune.darknet.network import Network
from clprune.darknet.values import FloatArray, LayerWeights, Weights
from clprune.darknet.weights import check_array
from clprune.errors import UsageError, WeightsError, shown
from clprune.json_input import mapping, required
from clprune.quantization.coding import LARGEST_CODE, CodebookCoding, check_scales

#: NumPy's type of the stored values of each coding.
DTYPES: Mapping[str, Any] = {"float32": np.float32, "float16": np.float16, "linear": np.int8, "codebook": np.uint8}


@dataclass(frozen=True, kw_only=True)
class StoredLayer:
    """What a container says of one layer.

    `shape` is that of its weights in the spatial domain (`[channels]` of a `[batchnorm]` layer, which has no `record`),
    `size_bytes` what all its arrays take.
    """

    layer: int
    kind: str
    shape: tuple[int, ...]
    record: LayerRecord | None
    size_bytes: int

    @property
    def kept_share(self) -> float:
        """Weights that are not zero over all of them, in the domain that they are stored in."""
        if self.record is None:
            return 1.0
        tile = self.record.output_tile
        weights = math.prod(self.shape if tile is None else (tile + 2, tile + 2, *self.shape[:2]))
        return self.record.nonzero / weights


def read_packed(path: str | Path, network: Network) -> Weights:
    """Read the weights of `network` from a packed container.

    All of the file is read and checked; values become float32 when they are first asked for (`StoredWeights`). Raises
    WeightsError saying what was found and expected for a file that is cut short, is no safetensors file or none of
    clprune's, has a newer version, belongs to another network, or holds what no layer can have.
    """
    path = Path(path)
    with opened(path) as source:
        check_network(network, source.network)
        layers = tuple(_read_layer(source, layer) if layer.has_values else None for layer in network.layers)
        source.check_all_read()
    if source.header is None:
        return Weights(layers=layers, seen=source.seen)
    major, minor, revision = source.header
    return Weights(layers=layers, seen=source.seen, major=major, minor=minor, revision=revision, has_header=True)


def describe_packed(path: str | Path) -> list[StoredLayer]:
    """What a container says of each of its layers, without reading weights or a cfg. Raises WeightsError."""
    path = Path(path)
    with opened(path) as source:
        return [_describe(source, mapping(facts, "a layer")) for facts in source.network]


def _describe(source: Source, facts: Mapping[str, Any]) -> StoredLayer:
    index, kind = required(facts, "layer", int), required(facts, "kind", str)
    shape = facts.get("weights", [facts.get("channels")])
    if not isinstance(shape, list) or not shape or not all(type(side) is int and side > 0 for side in shape):
        raise UsageError(f"layer {index} has the shape {shown(repr(shape))}: expected whole numbers from 1 on")
    described = StoredLayer(
        layer=index,
        kind=kind,
        shape=tuple(shape),
        record=source.record(index) if "weights" in facts else None,
        size_bytes=source.layer_bytes[str(index)],
    )
    if described.kept_share > 1:
        raise UsageError(f"layer {index} has more weights that are not zero than weights: expected {shape}")
    return described


def _read_layer(source: Source, layer: Layer) -> LayerWeights:
    try:
        arrays: dict[str, Any] = {}
        for name, axes in layer.arrays.items():
            if name == "weights" and isinstance(layer, WeightedLayer):
                continue
            array = source.array(layer.index, name, dtype=np.float32, length=math.prod(axes))
            check_array(source.path, f"{layer}, {name}", array, is_variance=name == "variance")
            arrays[name] = array.reshape(axes)
        if not isinstance(layer, WeightedLayer):
            return LayerWeights(**arrays)
        record = source.record(layer.index)
        stored = _read_matrix(source, layer, record)
    except UsageError as error:
        raise WeightsError(f"{layer}: {error}", path=source.path) from error
    return StoredWeights.make(stored, arrays, winograd=record.output_tile)


def _read_matrix(source: Source, layer: WeightedLayer, record: LayerRecord) -> StoredMatrix:
    tile = record.output_tile
    shape = MatrixShape.of(layer, winograd=tile)
    axes = layer.domain_shape(tile)
    values: KeptUnits | Matrix
    if record.is_dense:
        values = _read_values(source, layer, record, shape=(shape.rows, shape.columns))
        array = values
    else:
        values = _read_units(source, layer, record, shape)
        array = values.values
    scales = codebook = None
    if record.coding == "linear":
        scales = source.array(layer.index, "weights.scales", dtype=np.float32, length=axes[0])
        _check_linear(array, scales, record.activation_scale)
    elif record.coding == "codebook":
        codebook = source.array(layer.index, "weights.codebook", dtype=np.float32, length=2**record.bits)
        CodebookCoding(codes=array, codebook=codebook)  # for its checks
    else:
        check_array(source.path, f"{layer}, weights", array, is_variance=False)
    return StoredMatrix(
        shape=axes, values=values, scales=scales, codebook=codebook, activation_scale=record.activation_scale
    )


def _read_units(source: Source, layer: WeightedLayer, record: LayerRecord, shape: MatrixShape) -> KeptUnits:
    assert record.kept_units is not None and record.remainder_bits is not None
    if record.unit_rows > shape.group_rows:
        raise UsageError(f"units of {record.unit_rows} rows: expected at most {shape.group_rows}")
    coded = CodedGaps(
        count=record.kept_units,
        remainder_bits=record.remainder_bits,
        quotients=_bytes(source, layer, "weights.quotients"),
        remainders=_bytes(source, layer, "weights.remainders"),
    )
    positions = decode_positions(coded, size=shape.units(record.unit_rows))
    values = _read_values(source, layer, record, shape=(coded.count, record.unit_rows))
    return KeptUnits(shape=shape, unit_rows=record.unit_rows, positions=positions, values=values)


def _read_values(source: Source, layer: WeightedLayer, record: LayerRecord, *, shape: tuple[int, int]) -> Matrix:
    count = shape[0] * shape[1]
    if record.bits != 4:
        return source.array(layer.index, "weights.values", dtype=DTYPES[record.coding], length=count).reshape(shape)
    length = packed_bytes(count, width=4)
    packed = source.array(layer.index, "weights.values", dtype=np.uint8, length=length)
    return unpack_bits(packed, width=4, count=count).reshape(shape)


def _bytes(source: Source, layer: WeightedLayer, name: str) -> Bytes:
    return source.array(layer.index, name, dtype=np.uint8, length=None)


def _check_linear(codes: Matrix, scales: FloatArray, activation_scale: float | None) -> None:
    if codes.size and codes.min() < -LARGEST_CODE:
        raise UsageError(f"a code of {codes.min()}: expected -{LARGEST_CODE} to {LARGEST_CODE}")
    check_scales(scales, activation_scale)
