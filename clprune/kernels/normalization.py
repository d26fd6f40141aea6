"""Local response normalization across channels (`templates/normalization.cl.mako`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clprune.darknet.kinds.normalization import Normalization
from clprune.darknet.values import LayerWeights
from clprune.geometry import Shape, ceil_div, round_up
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arguments, Arrays, Launch
from clprune.kernels.base import Kernel
from clprune.kernels.signature import places
from clprune.kernels.tile import WIDE_VECTORS, Constraint, values
from clprune.layout import Layout, contiguous_layout, padded_layout
from clprune.packing.arrays import PackedArrays


@dataclass(frozen=True, kw_only=True)
class NormalizationTile:
    """Parameters of the template, explained there."""

    vector_width: int = field(metadata=values(1, 4, 8, 16, gpu=(1, 4)))
    group_n: int = field(default=1, metadata=values(1, 16, 64, cpu=(1,), gpu=(16, 64)))
    tile_channels: int = field(default=4, metadata=values(1, 4, 16))

    @property
    def work_group_size(self) -> int:
        return self.group_n


@dataclass(frozen=True, kw_only=True)
class NormalizationOperation:
    """The sums of channel c run from c - `before` to c + `after`; all lack channel `skipped`, if there is one."""

    input: Layout
    output: Layout
    before: int
    after: int
    alpha: float
    beta: float
    kappa: float
    skipped: int

    @property
    def key(self) -> str:
        return f"n{self.output.batch} {self.output.shape} channels{self.before + self.after + 1}"

    @property
    def flops(self) -> int:
        return 2 * (self.before + self.after + 1) * self.output.batch * self.output.shape.elements


class NormalizationKernel(Kernel[NormalizationTile, NormalizationOperation]):
    """See `templates/normalization.cl.mako`."""

    name = "normalization"
    template = "normalization"
    layer_kind = Normalization
    computes = NormalizationOperation
    tile_type = NormalizationTile
    constraints = (
        WIDE_VECTORS,
        Constraint(
            reason="four of five lanes of a row would have nothing to do",
            holds=lambda t, o: (
                t.group_n * t.vector_width <= 16 or t.group_n * t.vector_width < 5 * o.output.shape.width
            ),
        ),
    )
    cpu_tiles = (NormalizationTile(vector_width=16, tile_channels=16), NormalizationTile(vector_width=4))
    gpu_tiles = (NormalizationTile(vector_width=1, group_n=64), NormalizationTile(vector_width=1, group_n=16))

    def operation_of(
        self, layer: Normalization, *, batch: int, input: Layout, output: Layout
    ) -> NormalizationOperation:
        return NormalizationOperation(
            input=input,
            output=output,
            before=(layer.size - 1) // 2,
            after=layer.size // 2,
            alpha=layer.alpha,
            beta=layer.beta,
            kappa=layer.kappa,
            skipped=layer.skipped,
        )

    def launch(self, tile: NormalizationTile, operation: NormalizationOperation) -> Launch:
        layout, shape = operation.output, operation.output.shape
        items = round_up(ceil_div(shape.width, tile.vector_width), tile.group_n)
        blocks = ceil_div(shape.channels, tile.tile_channels)
        return Launch(global_size=(items, layout.batch * shape.height, blocks), local_size=(tile.group_n, 1, 1))

    def safe_tile(self, operation: NormalizationOperation) -> NormalizationTile:
        return NormalizationTile(vector_width=1)

    def arguments(self, tile: NormalizationTile, operation: NormalizationOperation, packed: PackedArrays) -> Arguments:
        shape = operation.output.shape
        return {
            **{name: getattr(operation, name) for name in ("before", "after", "skipped", "alpha", "beta", "kappa")},
            "channels": shape.channels,
            "rows_per_image": shape.height,
            "out_width": shape.width,
            **places(x=operation.input, y=operation.output),
        }

    def reference(
        self, operation: NormalizationOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS
    ) -> Answer:
        """float64 `[N, C, H, W]`, by darknet's running sum."""
        x = inputs[0].astype(np.float64)
        squares, channels = x * x, x.shape[1]
        sums = np.empty_like(x)
        running = squares[:, : operation.after + (operation.skipped < 0)].sum(axis=1)
        for channel in range(channels):
            first, last = channel - operation.before - 1, channel + operation.after
            if channel and first >= 0:
                running = running - squares[:, first]
            if channel and last < channels:
                running = running + squares[:, last]
            sums[:, channel] = running
        answer: Answer = x * (operation.kappa + operation.alpha * sums) ** -operation.beta
        return answer

    def error_terms(self, operation: NormalizationOperation) -> int:
        return operation.before + operation.after + 1

    def sample_operations(self) -> tuple[NormalizationOperation, ...]:
        wide, small = Shape(channels=19, height=5, width=37), Shape(channels=3, height=2, width=3)
        padded = padded_layout(batch=2, shape=wide, pitch=39, padding=2)
        plain = contiguous_layout(batch=2, shape=wide)
        few = contiguous_layout(batch=1, shape=small)
        sizes = (
            (padded, plain, 2, 2, 1e-4, 1.0, 2),
            (plain, padded, 1, 2, 0.01, 2.0, -1),
            (few, few, 4, 5, 0.5, 1.0, 5),
        )
        return tuple(
            NormalizationOperation(
                input=x, output=y, before=before, after=after, alpha=alpha, beta=0.75, kappa=kappa, skipped=skipped
            )
            for x, y, before, after, alpha, kappa, skipped in sizes
        )


NORMALIZATION = NormalizationKernel()
