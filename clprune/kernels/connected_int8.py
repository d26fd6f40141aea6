"""Fully connected layers with weights and activations in 8 bits (`templates/connected_int8.cl.mako`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.geometry import ceil_div, round_up
from clprune.kernels.arguments import Answer, Arguments, Launch, Scratch, Stage
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.connected import (
    CONNECTED,
    ConnectedLayerKernel,
    ConnectedOperation,
    ConnectedTile,
    connected_reference,
)
from clprune.kernels.conv_int8 import (
    CONV_INT8,
    MOST_COLUMNS,
    PackedInt8,
    input_codes,
    inverse_scale,
    linear_coding_of,
    quantize_sizes,
)
from clprune.kernels.signature import places
from clprune.kernels.storage import FLOAT32, INT8, stored_matrix
from clprune.kernels.tile import Constraint, values
from clprune.packing.columns import pack_columns

#: Codes of a word -> its dtype.
_WORD_TYPES: dict[int, type[np.integer[Any]]] = {2: np.uint16, 4: np.int32}


@dataclass(frozen=True, kw_only=True)
class ConnectedInt8Tile(ConnectedTile):
    """Parameters of the template, explained there and in connected.cl.mako."""

    inputs_packed: int = field(default=4, metadata=values(2, 4, cpu=(2,), gpu=(4,)))


def input_words(codes: npt.NDArray[np.int8], inputs_packed: int) -> npt.NDArray[np.integer[Any]]:
    """`[rows, inputs]` codes to `[rows, words]`: neighbouring inputs in a word of 16 or 32 bits, low bits first."""
    words = ceil_div(codes.shape[1], inputs_packed)
    filled = np.zeros((len(codes), words * inputs_packed), np.int8)
    filled[:, : codes.shape[1]] = codes
    dtype = np.dtype(_WORD_TYPES[inputs_packed])
    words_of_codes: npt.NDArray[np.integer[Any]] = filled.view(dtype.newbyteorder("<")).astype(dtype, copy=False)
    return words_of_codes


class ConnectedInt8Kernel(ConnectedLayerKernel[ConnectedInt8Tile]):
    """See `templates/connected_int8.cl.mako`."""

    name = "connected_int8"
    template = "connected_int8"
    generators = (
        quantize_sizes,
        ConnectedInt8Tile.work_group_size,
        ConnectedOperation.is_contiguous,
        ConnectedOperation.last_column_offset,
    )
    tile_type = ConnectedInt8Tile
    constraints = (
        Constraint(reason="integer sums are for int8 weights", holds=lambda t, o: o.storage == INT8),
        Constraint(
            reason="sums of so many products may exceed 32 bits",
            holds=lambda t, o: o.problem.inputs <= MOST_COLUMNS,
        ),
        Constraint(
            reason="pairs are for work-groups of one with wide vectors",
            holds=lambda t, o: t.inputs_packed == 4 or (t.vector_width >= 4 and t.work_group_size == 1),
        ),
        *cast("tuple[Constraint[Any, Any], ...]", CONNECTED.constraints),
    )
    cpu_tiles = (
        ConnectedInt8Tile(vector_width=16, vectors=2, tile_n=8, inputs_packed=2),
        ConnectedInt8Tile(vector_width=16, vectors=4, tile_n=4, inputs_packed=2),
        ConnectedInt8Tile(vector_width=16, vectors=4, inputs_packed=2),
        ConnectedInt8Tile(vector_width=16, vectors=1, inputs_packed=2),
        ConnectedInt8Tile(vector_width=8, vectors=1, inputs_packed=2),
    )
    gpu_tiles = (
        ConnectedInt8Tile(vector_width=1, vectors=1, group_m=16, group_k=16, tile_n=4, k_unroll=4, inputs_packed=4),
        ConnectedInt8Tile(vector_width=1, vectors=1, group_m=16, group_k=16, k_unroll=8, inputs_packed=4),
        ConnectedInt8Tile(vector_width=1, vectors=1, group_m=64, k_unroll=8, inputs_packed=4),
    )

    def build_options(self, device: DeviceInfo) -> tuple[str, ...]:
        """As integer convolution."""
        return CONV_INT8.build_options(device)

    def offers(self, request: Request) -> Sequence[Offer]:
        """Where the model says that activations are quantized."""
        return (self.offer(request, label="int8", rank=Rank.SPECIAL),) if request.form.quantizes_input else ()

    def scratch(self, tile: ConnectedInt8Tile, operation: ConnectedOperation) -> dict[str, Scratch]:
        """Words of the input's codes."""
        return {"q": Scratch(elements=_words(tile, operation) * operation.problem.batch)}

    def stages(self, tile: ConnectedInt8Tile, operation: ConnectedOperation) -> tuple[Stage, ...]:
        """Quantize the input, multiply."""
        group, steps = quantize_sizes(tile.work_group_size)
        inputs = _words(tile, operation) * tile.inputs_packed
        runs = round_up(ceil_div(inputs, steps * tile.vector_width), group)
        quantize = Launch(global_size=(runs, operation.problem.batch), local_size=(group, 1))
        return (
            Stage(name="quantize_input", launch=quantize),
            Stage(name=self.name, launch=self.launch(tile, operation)),
        )

    def variables(self, tile: ConnectedInt8Tile, operation: ConnectedOperation) -> dict[str, Any]:
        group, steps = quantize_sizes(tile.work_group_size)
        return {
            "activation": operation.activation,
            "quantize_group": group,
            "quantize_steps": steps,
            "is_contiguous": operation.is_contiguous,
        }

    def pack(self, tile: ConnectedInt8Tile, operation: ConnectedOperation, *, weights: LayerWeights) -> PackedInt8:
        """Kept columns of words of the weights' codes `[outputs, inputs]` per row block.

        Raises UsageError for weights that are not finite, or without linear codes and a scale for activations.
        """
        stored_matrix(weights, operation.storage)
        coding, activation_scale = linear_coding_of(weights)
        columns = pack_columns(
            input_words(coding.codes.reshape(operation.problem.outputs, -1), tile.inputs_packed),
            bias=weights.biases,
            column_offsets=np.arange(_words(tile, operation), dtype=np.int32),
            tile_m=tile.tile_m,
            scales=coding.scales * np.float32(activation_scale),
        )
        return PackedInt8(**vars(columns), inverse_scale=inverse_scale(activation_scale))

    def arguments(self, tile: ConnectedInt8Tile, operation: ConnectedOperation, packed: PackedInt8) -> Arguments:
        """Arguments of both stages."""
        return {
            **self.scratch(tile, operation),
            "x_offsets": np.zeros(1, np.int32) if operation.is_contiguous else operation.column_offsets,
            "inverse_scale": packed.inverse_scale,
            "inputs": operation.problem.inputs,
            "words": _words(tile, operation),
            **packed.arrays,
            "batch": operation.problem.batch,
            **places(x=operation.input, y=operation.output),
        }

    def sums(self, operation: ConnectedOperation, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        """Exact sums of codes, scaled. Raises UsageError where weights or activations have no linear code."""
        coding, scale = linear_coding_of(weights)
        codes = coding.codes.reshape(len(coding.codes), -1)
        sums = connected_reference(input_codes(x.reshape(len(x), -1), scale), codes, np.zeros(len(codes)))
        answer: Answer = sums * (coding.scales * np.float32(scale)).astype(np.float64)
        return answer + weights.biases.astype(np.float64)

    def sample_operations(self) -> tuple[ConnectedOperation, ...]:
        """Those of float32 weights, in int8."""
        plain = (operation for operation in CONNECTED.sample_operations() if operation.storage == FLOAT32)
        return tuple(replace(operation, storage=INT8) for operation in plain)


def _words(tile: ConnectedInt8Tile, operation: ConnectedOperation) -> int:
    """Words of an image's inputs."""
    return ceil_div(operation.problem.inputs, tile.inputs_packed)


CONNECTED_INT8 = ConnectedInt8Kernel()
