"""What share of a card's peak VGG16's convolutions should reach by their default tiles: predicted, not measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clprune.architecture import Architecture
from clprune.geometry import ConvProblem
from clprune.kernels.base import Offer
from clprune.kernels.conv_operation import ConvOperation, conv_operation
from clprune.kernels.conv_tiled import CONV_TILED, ConvTiledTile
from clprune.kernels.register_tile import local_accesses
from clprune.kernels.workload import Workload
from clprune.offline.architectures import imaginary_device
from clprune.offline.ranking import Compiler, Estimate, demand_of, estimate
from clprune.offline.report import Report

BATCH = 8
KEPT_SHARE = 0.25

#: Input channels, height and width, output channels, and whether 2x2 max pooling follows.
VGG16 = (
    (3, 224, 64, False), (64, 224, 64, True),
    (64, 112, 128, False), (128, 112, 128, True),
    (128, 56, 256, False), (256, 56, 256, False), (256, 56, 256, True),
    (256, 28, 512, False), (512, 28, 512, False), (512, 28, 512, True),
    (512, 14, 512, False), (512, 14, 512, False), (512, 14, 512, True),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One layer on one card. `multiply_adds` are those of kept weights, `report` is of the tile's compiled kernel."""

    operation: ConvOperation
    architecture: Architecture
    tile: ConvTiledTile
    report: Report
    estimate: Estimate
    multiply_adds: float

    @property
    def share(self) -> float:
        return self.estimate.share_of_peak(self.architecture, self.multiply_adds)

    @property
    def limit_ms(self) -> float:
        """What the layer's slowest resource takes alone."""
        return self.estimate.limits[self.estimate.limit]


def predictions(compiler: Compiler, *, kept_share: float = KEPT_SHARE) -> Iterator[Prediction]:
    """VGG16's convolutions, of whose weights so much is kept in units of the tile's rows.

    Raises MissingDependencyError naming what to install, BuildError.
    """
    architecture = compiler.architecture
    device = imaginary_device(architecture)
    for channels, size, filters, is_pooled in VGG16:
        problem = ConvProblem.square(
            batch=BATCH,
            in_channels=channels,
            in_height=size,
            in_width=size,
            out_channels=filters,
            size=3,
            padding=1,
        )
        operation = conv_operation(problem, activation="relu", pooled=is_pooled)
        tile = CONV_TILED.default_tile(operation, device)
        workload = Workload(kept_share=kept_share, unit_rows=tile.rows)
        offer = Offer(kernel=CONV_TILED, operation=operation, workload=workload)
        (report,) = compiler.reports(offer, [tile])
        yield Prediction(
            operation=operation,
            architecture=architecture,
            tile=tile,
            report=report,
            estimate=estimate(architecture, demand_of(offer, tile, architecture), report),
            multiply_adds=operation.flops / 2 * kept_share,
        )


def network_share(found: Sequence[Prediction]) -> float:
    """Share of the peak over all layers, one after the other."""
    time_s = sum(prediction.limit_ms for prediction in found) / 1e3
    return sum(prediction.multiply_adds for prediction in found) / found[0].architecture.multiply_adds_per_s / time_s


def main_limit(found: Sequence[Prediction]) -> str:
    """What most of the time goes to."""
    times: dict[str, float] = {}
    for prediction in found:
        times[prediction.estimate.limit] = times.get(prediction.estimate.limit, 0.0) + prediction.limit_ms
    return max(times, key=times.__getitem__)


def conflict_clocks(tile: ConvTiledTile, architecture: Architecture) -> float:
    """Clocks per warp and column that wait for banks of local memory."""
    return sum(
        times * architecture.bank_conflicts(words, width=width)
        for words, width, times in local_accesses(tile, architecture.warp_size)
    )
