"""Zeros into the padding of a tensor in a shared buffer (`templates/clear_padding.cl.mako`)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clprune.darknet.values import LayerWeights
from clprune.geometry import Shape, ceil_div
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arguments, Arrays, Expected, Launch
from clprune.kernels.base import Kernel
from clprune.kernels.samples import SENTINEL
from clprune.kernels.signature import PLACES
from clprune.kernels.tile import Constraint, values
from clprune.layout import READ_MARGIN, Layout, padded_layout, view
from clprune.packing.arrays import PackedArrays


@dataclass(frozen=True, kw_only=True)
class ClearTile:
    """Parameters of the template, explained there."""

    group_n: int = field(metadata=values(1, 64, 128))
    tile_planes: int = field(default=1, metadata=values(1, 8, 32))
    prefetch: int = field(default=0, metadata=values(0, 16, 32))


@dataclass(frozen=True, kw_only=True)
class ClearOperation:
    """Clear the padding of one padded (CNHW) tensor; without `gaps` not that between the rows of an image."""

    output: Layout
    gaps: bool = True

    @property
    def key(self) -> str:
        parts = "" if self.gaps else " ends"
        return f"n{self.output.batch} {self.output.shape} pitch{self.output.pitch}{parts}"

    @property
    def flops(self) -> int:
        """Nothing is computed."""
        return 0


class ClearPaddingKernel(Kernel[ClearTile, ClearOperation]):
    """See `templates/clear_padding.cl.mako`."""

    name = "clear_padding"
    template = "clear_padding"
    tile_type = ClearTile
    constraints = (
        Constraint(
            reason="prefetching is for work-groups of one, whose caches are a CPU's",
            holds=lambda t, o: t.prefetch == 0 or t.group_n == 1,
        ),
    )
    cpu_tiles = (ClearTile(group_n=1, tile_planes=32, prefetch=32),)
    gpu_tiles = (ClearTile(group_n=64), ClearTile(group_n=128))

    def launch(self, tile: ClearTile, operation: ClearOperation) -> Launch:
        planes = operation.output.batch * operation.output.shape.channels
        return Launch(global_size=(tile.group_n, ceil_div(planes, tile.tile_planes) + 1), local_size=(tile.group_n, 1))

    def variables(self, tile: ClearTile, operation: ClearOperation) -> dict[str, Any]:
        return {"gaps": operation.gaps}

    def safe_tile(self, operation: ClearOperation) -> ClearTile:
        return ClearTile(group_n=1)

    def arguments(self, tile: ClearTile, operation: ClearOperation, packed: PackedArrays) -> Arguments:
        layout = operation.output
        return {
            "height": layout.shape.height,
            "width": layout.shape.width,
            "padding_rows": layout.padding_rows,
            "planes": layout.batch * layout.shape.channels,
            "batch": layout.batch,
            **{name: getattr(layout, name) for name in PLACES},
        }

    def input_layouts(self, operation: ClearOperation) -> dict[str, Layout]:
        """There is no data."""
        return {}

    def reference(self, operation: ClearOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        """The zeros themselves."""
        return np.zeros(operation.output.elements)

    def expected(self, tile: ClearTile, operation: Any, answer: Answer) -> Expected:
        """Zeros in the padding alone."""
        layout = operation.output
        written = np.ones(layout.elements, np.bool_)
        written[layout.elements - READ_MARGIN :] = False
        view(written, layout)[:] = False
        if not operation.gaps:
            height, width = layout.shape.height - 1, layout.pitch - layout.shape.width
            gaps = dataclasses.replace(layout, shape=dataclasses.replace(layout.shape, height=height, width=width))
            view(written[layout.shape.width :], gaps)[:] = False
        values = np.where(written, answer, float(SENTINEL))
        initial = np.full(layout.elements, SENTINEL, np.float32)
        return Expected(values=values, written=written, initial=initial, terms=1)

    def sample_operations(self) -> tuple[ClearOperation, ...]:
        shapes = ((1, 1, 1, 1, 1), (2, 3, 5, 7, 1), (1, 5, 13, 4, 3), (3, 2, 31, 33, 2))
        layouts = (
            padded_layout(batch=n, shape=Shape(channels=c, height=h, width=w), pitch=w + padding, padding=padding)
            for n, c, h, w, padding in shapes
        )
        return tuple(ClearOperation(output=layout, gaps=gaps) for layout in layouts for gaps in (True, False))


CLEAR_PADDING = ClearPaddingKernel()
