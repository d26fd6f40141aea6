"""Writing a packed container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.container.bits import pack_bits
from clprune.container.fingerprint import network_record
from clprune.container.gaps import encode_positions
from clprune.container.layer import zero_code
from clprune.container.record import METADATA_KEY, SPATIAL, VERSION, WINOGRAD, LayerRecord
from clprune.container.units import (
    DENSE,
    KeptUnits,
    Matrix,
    MatrixShape,
    kept_positions,
    smallest_unit_rows,
    take_units,
)
from clprune.darknet.kinds.base import Layer, WeightedLayer
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights
from clprune.darknet.weights import check_array
from clprune.errors import UsageError, WeightsError
from clprune.files import write_atomically
from clprune.quantization.coding import CodebookCoding, Coding, HalfCoding, LinearCoding

Tensors = dict[str, npt.NDArray[Any]]

#: Rows of units that are tried beside the cfg's and whole columns; what takes the fewest bytes is stored.
UNIT_ROWS = (1, 4, 8, 16, 32)


def write_packed(path: str | Path, network: Network, weights: Weights) -> None:
    """Write a container whole or not at all. Raises what `encode_packed` does, and FileError."""
    write_atomically(path, encode_packed(path, network, weights))


def encode_packed(path: str | Path, network: Network, weights: Weights) -> bytes:
    """The weights of `network`, each layer in the form that takes the fewest bytes; `path` is for errors.

    Values are stored as each layer's `coding` has them, float32 without one; nothing is rounded. The order of the
    `layers` is the network's; what a layer must not have, such as weights of another shape or type, NaN or infinity, is
    refused with a WeightsError that names the layer.
    """
    from safetensors.numpy import save  # here: models without a container run where it is missing

    if len(weights.layers) != len(network.layers):
        raise WeightsError(f"{len(weights.layers)} layers of weights for {len(network.layers)} layers", path=path)
    tensors: Tensors = {}
    records: dict[str, Any] = {}
    for layer, values in zip(network.layers, weights.layers, strict=True):
        if not layer.has_values:
            continue
        if values is None:
            raise WeightsError(f"{layer} (line {layer.line}) has no values to write", path=path)
        try:
            added, record = _encode_layer(path, layer, values)
        except UsageError as error:
            raise WeightsError(f"{layer} (line {layer.line}): {error}", path=path) from error
        tensors |= {f"layers.{layer.index}.{name}": array for name, array in added.items()}
        if record is not None:
            records[str(layer.index)] = record.to_json()
    facts = {"version": VERSION, "seen": weights.seen, "network": network_record(network), "layers": records}
    if weights.has_header:
        facts["header"] = [weights.major, weights.minor, weights.revision]
    metadata = {METADATA_KEY: json.dumps(facts)}
    content: bytes = save(tensors, metadata)
    return content


def _encode_layer(path: str | Path, layer: Layer, values: LayerWeights) -> tuple[Tensors, LayerRecord | None]:
    """Arrays by name, and what is said of the weights; those of a `[shortcut]` are an array."""
    tensors: Tensors = {}
    for name, shape in layer.arrays.items():
        if name != "weights" or not isinstance(layer, WeightedLayer):
            tensors[name] = _checked(path, layer, name, getattr(values, name), shape).reshape(-1)
    if not isinstance(layer, WeightedLayer):
        return tensors, None
    added, record = _encode_weights(path, layer, values)
    return tensors | {f"weights.{name}": array for name, array in added.items()}, record


def _checked(path: str | Path, layer: Layer, name: str, array: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """`array` as float32 in C order. Raises WeightsError for another shape or type, NaN or infinity."""
    if array is None or array.shape != shape:
        raise UsageError(f"{name} of shape {None if array is None else array.shape}: expected {shape}")
    if array.dtype != np.float32:
        raise UsageError(f"{name} of {array.dtype}: expected float32")
    check_array(path, f"{layer} (line {layer.line}), {name}", array, is_variance=name == "variance")
    return np.ascontiguousarray(array)


def _encode_weights(path: str | Path, layer: WeightedLayer, values: LayerWeights) -> tuple[Tensors, LayerRecord]:
    axes = layer.domain_shape(values.winograd)
    shape = MatrixShape.of(layer, winograd=values.winograd)
    coding = values.coding
    codes = values.weights if coding is None else _codes(coding)
    if codes.shape != axes:
        raise UsageError(f"weights of shape {codes.shape}: expected {axes}")
    if not isinstance(coding, LinearCoding | CodebookCoding):
        if coding is None and codes.dtype != np.float32:
            raise UsageError(f"weights of {codes.dtype}: expected float32")
        check_array(path, f"{layer} (line {layer.line}), weights", codes, is_variance=False)
    matrix = codes.reshape(shape.rows, shape.columns)
    codebook = coding.codebook if isinstance(coding, CodebookCoding) else None
    is_kept = matrix != 0 if codebook is None else (codebook != 0)[matrix]
    bits = 32 if coding is None else coding.bits
    prune = layer.prune
    candidates = (*UNIT_ROWS, shape.group_rows, *([prune.unit.rows] if prune else []))
    unit_rows = smallest_unit_rows(is_kept, shape, value_bits=bits, candidates=candidates)
    tensors, counts = _encode_matrix(matrix, shape, is_kept, unit_rows=unit_rows, bits=bits, codebook=codebook)
    if isinstance(coding, LinearCoding):
        tensors["scales"] = np.ascontiguousarray(coding.scales)
    if codebook is not None:
        tensors["codebook"] = np.ascontiguousarray(codebook)
    return tensors, LayerRecord(
        domain=SPATIAL if values.winograd is None else WINOGRAD,
        output_tile=values.winograd,
        coding=_coding_name(coding),
        bits=bits,
        activation_scale=coding.activation_scale if isinstance(coding, LinearCoding) else None,
        unit_rows=unit_rows,
        nonzero=int(np.count_nonzero(is_kept)),
        method=prune.method if prune else None,
        unit=str(prune.unit) if prune else None,
        sparsity=prune.sparsity if prune else None,
        **counts,
    )


def _encode_matrix(
    matrix: Matrix,
    shape: MatrixShape,
    is_kept: npt.NDArray[np.bool_],
    *,
    unit_rows: int,
    bits: int,
    codebook: npt.NDArray[np.float32] | None,
) -> tuple[Tensors, dict[str, int]]:
    """Values or codes, with the units' places where not all are stored; and the counts of the record."""
    if unit_rows == DENSE:
        return {"values": _values(matrix, bits=bits)}, {}
    positions = kept_positions(is_kept, shape, unit_rows=unit_rows)
    units: KeptUnits = take_units(matrix, shape, positions, unit_rows=unit_rows, zero=zero_code(codebook))
    coded = encode_positions(positions)
    tensors = {"values": _values(units.values, bits=bits), "quotients": coded.quotients, "remainders": coded.remainders}
    return tensors, {"kept_units": coded.count, "remainder_bits": coded.remainder_bits}


def _values(values: Matrix, *, bits: int) -> npt.NDArray[Any]:
    """As they are stored: in their own type, codes of 4 bits two to a byte."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return pack_bits(flat, width=4) if bits == 4 else flat


def _codes(coding: Coding) -> Matrix:
    return coding.values if isinstance(coding, HalfCoding) else coding.codes


def _coding_name(coding: Coding | None) -> str:
    names = {LinearCoding: "linear", CodebookCoding: "codebook", HalfCoding: "float16"}
    return "float32" if coding is None else names[type(coding)]
