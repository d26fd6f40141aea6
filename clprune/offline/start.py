"""Starting points for a GPU that is not there: predicted tiles, kept in the tuning database and marked as predicted.

The look-up uses them on every device of that architecture, after anything that was measured, and says so; a tuner can
begin with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from clprune.architecture import Architecture
from clprune.kernels.base import Offer
from clprune.kernels.workload import Workload
from clprune.offline.architectures import imaginary_device
from clprune.offline.ranking import Compiler, Ranked, rank
from clprune.tiles.records import OFFLINE, Key, result_key
from clprune.tiles.store import Store


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """The best of the ranked tiles for one problem, beside the default; `default` is None where that one spills."""

    key: Key
    workload: Workload
    best: Ranked
    default: Ranked | None

    @property
    def speed_up(self) -> float | None:
        """How much faster than the default it should be."""
        return None if self.default is None else self.default.estimate.time_ms / self.best.estimate.time_ms


#: Called before every problem with (problem number, problems, its key).
Progress = Callable[[int, int, str], None]


def starting_points(
    compiler: Compiler, offers: Iterable[Offer], *, progress: Progress | None = None
) -> list[StartingPoint]:
    """Rank tiles for every different problem among `offers` whose kernel says what its tiles ask of a GPU.

    Raises MissingDependencyError naming what to install, BuildError, ConfigurationRejected when every tile spills.
    """
    device = imaginary_device(compiler.architecture)
    problems = {result_key(device, offer): offer for offer in offers if _can_rank(offer, compiler.architecture)}
    points = []
    for number, (key, offer) in enumerate(problems.items()):
        if progress is not None:
            progress(number, len(problems), key.problem)
        default = offer.kernel.default_tile(offer.operation, device)
        ranked = rank(compiler, offer, tiles=(default,))
        own = next((item for item in ranked if item.tile == default), None)
        points.append(StartingPoint(key=key, workload=offer.workload, best=ranked[0], default=own))
    return points


def _can_rank(offer: Offer, architecture: Architecture) -> bool:
    """Whether the offer's kernel says what its tiles ask of a GPU."""
    kernel, operation = offer.kernel, offer.operation
    return kernel.demand(kernel.safe_tile(operation), operation, offer.workload, architecture) is not None


def keep(store: Store, architecture: Architecture, points: Iterable[StartingPoint]) -> None:
    """Put `points` into the database in place of earlier ones; estimated times are not kept, they measured nothing."""
    with store.transaction():
        store.add_device(imaginary_device(architecture))
        for point in points:
            store.set_best(
                point.key, point.best.tile, workload=point.workload, time_ms=None, default_time_ms=None, origin=OFFLINE
            )
