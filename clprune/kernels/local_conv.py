"""Convolution whose filters differ at every place (`templates/local_conv.cl.mako`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.kinds.convolutional import Local
from clprune.darknet.values import LayerWeights
from clprune.geometry import ceil_div
from clprune.kernels.arguments import Answer, Arguments, Launch
from clprune.kernels.conv_operation import ConvOperation, conv_operation, conv_problems
from clprune.kernels.matrix import MatrixKernel
from clprune.kernels.signature import places
from clprune.kernels.tile import WORK_GROUP_CONSTRAINTS, Constraint, fits_registers, values
from clprune.kernels.windows import sliding_windows, window_variables
from clprune.layout import Layout
from clprune.packing.arrays import PackedArrays


@dataclass(frozen=True, kw_only=True)
class LocalConvTile:
    """Parameters of the template, explained there."""

    vector_width: int = field(metadata=values(1, 4, 8, 16, gpu=(1, 4)))
    vectors: int = field(default=1, metadata=values(1, 2, 4))
    group_m: int = field(default=1, metadata=values(1, 64, 128, 256, cpu=(1,), gpu=(64, 128, 256)))
    tile_n: int = field(default=1, metadata=values(1, 2, 4, 8))
    k_unroll: int = field(default=1, metadata=values(1, 2, 4, 8))

    @property
    def tile_m(self) -> int:
        """Output channels of a work-group."""
        return self.group_m * self.vectors * self.vector_width

    @property
    def work_group_size(self) -> int:
        return self.group_m


@dataclass(frozen=True, kw_only=True)
class LocalConvOperation(ConvOperation):
    """Its weights are one matrix `[out_channels, columns]` per output position, its bias has one value per output."""

    @property
    def key(self) -> str:
        return f"{self.problem.key} local"

    @property
    def locations(self) -> int:
        """Output positions of one image."""
        return self.problem.out_height * self.problem.out_width

    @property
    def matrix_shape(self) -> tuple[int, int]:
        return (self.locations * self.problem.out_channels, self.problem.columns)


class LocalConvKernel(MatrixKernel[LocalConvTile, LocalConvOperation]):
    """See `templates/local_conv.cl.mako`."""

    name = "local_conv"
    template = "local_conv"
    generators = (window_variables,)
    layer_kind = Local
    computes = LocalConvOperation
    tile_type = LocalConvTile
    constraints = (
        fits_registers(lambda t, o: t.vectors * t.vector_width * t.tile_n, alone=256, shared=32),
        *WORK_GROUP_CONSTRAINTS,
        Constraint(
            reason="the tile has more than twice the images, or channels, of the layer",
            holds=lambda t, o: (
                (t.tile_n == 1 or t.tile_n < 2 * o.problem.batch)
                and (t.tile_m == 1 or t.tile_m < 2 * o.problem.out_channels)
            ),
        ),
    )
    cpu_tiles = (
        LocalConvTile(vector_width=16, vectors=4, tile_n=4, k_unroll=2),
        LocalConvTile(vector_width=16, vectors=4, k_unroll=4),
        LocalConvTile(vector_width=8, vectors=2, k_unroll=4),
        LocalConvTile(vector_width=4, k_unroll=4),
    )
    gpu_tiles = (
        LocalConvTile(vector_width=4, group_m=64, tile_n=4, k_unroll=4),
        LocalConvTile(vector_width=1, group_m=64, tile_n=4, k_unroll=8),
        LocalConvTile(vector_width=1, group_m=64, k_unroll=8),
    )

    def operation_of(self, layer: Local, *, batch: int, input: Layout, output: Layout) -> LocalConvOperation:
        return LocalConvOperation(problem=layer.problem(batch), input=input, output=output, activation=layer.activation)

    def launch(self, tile: LocalConvTile, operation: LocalConvOperation) -> Launch:
        blocks = ceil_div(operation.problem.out_channels, tile.tile_m)
        images = ceil_div(operation.problem.batch, tile.tile_n)
        return Launch(global_size=(blocks * tile.group_m, operation.locations, images), local_size=(tile.group_m, 1, 1))

    def variables(self, tile: LocalConvTile, operation: LocalConvOperation) -> dict[str, Any]:
        return {"activation": operation.activation, **window_variables(operation.problem.window)}

    def safe_tile(self, operation: LocalConvOperation) -> LocalConvTile:
        return LocalConvTile(vector_width=1)

    def pack(self, tile: LocalConvTile, operation: LocalConvOperation, *, weights: LayerWeights) -> PackedArrays:
        """Weights `[locations, out_channels, columns]`, biases `[out_channels, locations]` as this tile reads them."""
        rows, columns = operation.problem.out_channels, operation.problem.columns
        blocks = ceil_div(rows, tile.tile_m)
        missing = (0, blocks * tile.tile_m - rows)
        matrices = weights.weights.reshape(operation.locations, rows, columns)
        if missing[1]:
            matrices = np.pad(matrices, ((0, 0), missing, (0, 0)))
        in_blocks = matrices.reshape(operation.locations, blocks, tile.tile_m, columns).swapaxes(2, 3)
        bias = np.pad(weights.biases.reshape(rows, operation.locations).T, ((0, 0), missing))
        return PackedArrays(values=np.ascontiguousarray(in_blocks), bias=np.ascontiguousarray(bias), kept_share=1.0)

    def arguments(self, tile: LocalConvTile, operation: LocalConvOperation, packed: PackedArrays) -> Arguments:
        problem = operation.problem
        return {
            "weights": packed.values,
            "offsets": operation.column_offsets,
            "bias": packed.bias,
            "column_count": problem.columns,
            "out_channels": problem.out_channels,
            "out_width": problem.out_width,
            "batch": problem.batch,
            **places(x=operation.input, y=operation.output),
        }

    def sums(self, operation: LocalConvOperation, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        p, places_ = operation.problem, operation.locations
        windows = sliding_windows(x.astype(np.float64), p.window, border=0.0)
        columns = windows.transpose(2, 3, 1, 4, 5, 0).reshape(places_, p.columns, p.batch)
        matrices = weights.weights.reshape(places_, p.out_channels, p.columns)
        # one place at a time: float64 copies of all matrices would take much memory
        sums = np.stack([matrix.astype(np.float64) @ part for matrix, part in zip(matrices, columns, strict=True)])
        answer: Answer = sums.transpose(2, 1, 0) + weights.biases.reshape(p.out_channels, places_)
        return answer.reshape(p.batch, p.out_channels, p.out_height, p.out_width)

    def sample_operations(self) -> tuple[LocalConvOperation, ...]:
        names = ("in_channels", "in_height", "in_width", "out_channels", "size", "stride", "padding", "batch")
        shapes = (
            (1, 1, 1, 1, 1, 1, 0, 1),
            (3, 2, 5, 140, 3, 1, 1, 3),
            (5, 8, 6, 9, 3, 2, 1, 3),
            (4, 4, 5, 33, 2, 1, 0, 9),
        )
        return tuple(
            LocalConvOperation(**vars(conv_operation(problem, activation=activation)))
            for problem, activation in zip(
                conv_problems(names, shapes), ("linear", "leaky", "relu", "logistic"), strict=True
            )
        )


LOCAL_CONV = LocalConvKernel()
