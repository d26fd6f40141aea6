"""Planes of another size (`templates/resize.cl.mako`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clprune.darknet.kinds.planes import Resize
from clprune.darknet.resample import Resampling
from clprune.darknet.values import LayerWeights
from clprune.geometry import Shape, round_up
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arguments, Arrays, Launch
from clprune.kernels.base import Kernel
from clprune.kernels.pointwise import POINTWISE, VALUE_CONSTRAINTS, PointwiseTile
from clprune.kernels.signature import places
from clprune.layout import Layout, contiguous_layout, padded_layout
from clprune.packing.arrays import PackedArrays


@dataclass(frozen=True, kw_only=True)
class ResizeOperation:
    """`rows` and `columns` say which values of the input each one is made of."""

    input: Layout
    output: Layout
    rows: Resampling
    columns: Resampling

    @property
    def key(self) -> str:
        old, new = self.input.shape, self.output.shape
        return f"n{self.output.batch} {old} to {new.height}x{new.width} {self.rows.mode}"

    @property
    def flops(self) -> int:
        return 2 * self.rows.taps * self.columns.taps * self.output.batch * self.output.shape.elements


class ResizeKernel(Kernel[PointwiseTile, ResizeOperation]):
    """See `templates/resize.cl.mako`."""

    name = "resize"
    template = "resize"
    layer_kind = Resize
    computes = ResizeOperation
    tile_type = PointwiseTile
    constraints = VALUE_CONSTRAINTS
    cpu_tiles = POINTWISE.cpu_tiles
    gpu_tiles = POINTWISE.gpu_tiles

    def operation_of(self, layer: Resize, *, batch: int, input: Layout, output: Layout) -> ResizeOperation:
        return ResizeOperation(input=input, output=output, rows=layer.rows, columns=layer.columns)

    def launch(self, tile: PointwiseTile, operation: ResizeOperation) -> Launch:
        shape = operation.output.shape
        planes = shape.channels * operation.output.batch
        return Launch(
            global_size=(round_up(shape.width, tile.group_n), round_up(shape.height, tile.group_rows), planes),
            local_size=(tile.group_n, tile.group_rows, 1),
        )

    def variables(self, tile: PointwiseTile, operation: ResizeOperation) -> dict[str, Any]:
        return {"taps": operation.rows.taps}

    def safe_tile(self, operation: ResizeOperation) -> PointwiseTile:
        return PointwiseTile(group_n=1)

    def arguments(self, tile: PointwiseTile, operation: ResizeOperation, packed: PackedArrays) -> Arguments:
        """Rows are given as their offsets in the input."""
        rows, columns, layout = operation.rows, operation.columns, operation.output
        return {
            "row_offsets": rows.sources * np.int32(operation.input.pitch),
            "row_shares": rows.shares,
            "column_offsets": columns.sources,
            "column_shares": columns.shares,
            "batch": layout.batch,
            "out_height": layout.shape.height,
            "out_width": layout.shape.width,
            **places(x=operation.input, y=layout),
        }

    def reference(self, operation: ResizeOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        """float64 `[N, C, H, W]`, first the rows, then the columns."""
        rows, columns = operation.rows, operation.columns
        x = inputs[0].astype(np.float64)
        x = np.einsum("ncitw,it->nciw", x[:, :, rows.sources], rows.shares.astype(np.float64))
        answer: Answer = np.einsum("ncijt,jt->ncij", x[..., columns.sources], columns.shares.astype(np.float64))
        return answer

    def error_terms(self, operation: ResizeOperation) -> int:
        return operation.rows.taps * operation.columns.taps

    def sample_operations(self) -> tuple[ResizeOperation, ...]:
        sizes = (
            ("linear", "half_pixel", (5, 7), (10, 21)),
            ("linear", "align_corners", (6, 19), (9, 37)),
            ("linear", "asymmetric", (9, 8), (4, 3)),
            ("linear", "pytorch_half_pixel", (3, 2), (1, 1)),
            ("nearest", "asymmetric", (7, 5), (3, 13)),
            ("cubic", "half_pixel", (4, 33), (7, 31)),
            ("cubic", "align_corners", (1, 3), (2, 70)),
        )
        return tuple(
            _sample(mode, coordinates, old, new, pitch=old[1] + number % 3, batch=1 + number % 2)
            for number, (mode, coordinates, old, new) in enumerate(sizes)
        )


def _sample(
    mode: str, coordinates: str, old: tuple[int, int], new: tuple[int, int], *, pitch: int, batch: int
) -> ResizeOperation:
    shapes = [Shape(channels=3, height=height, width=width) for height, width in (old, new)]
    padding = pitch - old[1]
    rows, columns = (
        Resampling(old=before, new=after, mode=mode, coordinates=coordinates, scale=after / before)
        for before, after in zip(old, new, strict=True)
    )
    return ResizeOperation(
        input=padded_layout(batch=batch, shape=shapes[0], pitch=pitch, padding=padding),
        output=contiguous_layout(batch=batch, shape=shapes[1])
        if padding
        else padded_layout(batch=batch, shape=shapes[1], pitch=new[1] + 1, padding=1),
        rows=rows,
        columns=columns,
    )


RESIZE = ResizeKernel()
