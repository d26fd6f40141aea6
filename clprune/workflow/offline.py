"""`tune_offline`: starting points for a GPU that is not there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clprune.architecture import Architecture
from clprune.geometry import problem_text
from clprune.offline import compilers
from clprune.offline.architectures import architecture_by_name, imaginary_device
from clprune.offline.ranking import Compiler
from clprune.offline.start import StartingPoint, keep, starting_points
from clprune.plan.plan import make_plan
from clprune.progress import OnProgress, Progress
from clprune.workflow.inputs import ModelLike
from clprune.workflow.tune import store_to_keep, tuning_input


@dataclass(frozen=True, kw_only=True)
class OfflineResult:
    """Predicted tiles for every problem of a model on an architecture; times are estimated, not measured."""

    model: str
    batch: int
    architecture: Architecture
    database: Path | None
    points: tuple[StartingPoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "model": self.model,
            "batch": self.batch,
            "offline": self.architecture.name,
            "card": self.architecture.card,
            "database": None if self.database is None else str(self.database),
            "problems": [_to_dict(point) for point in self.points],
        }


def tune_offline(
    model: ModelLike,
    *,
    architecture: str,
    weights: str | Path | None = None,
    dialect: str | None = None,
    batch: int | None = None,
    kept: bool = True,
    progress: OnProgress | None = None,
) -> OfflineResult:
    """Predict a tile for every problem of a model on a GPU architecture such as "sm_90", and keep them unless `kept`
    is False.

    Raises StoreError where nothing can be kept, UsageError for an unknown architecture, MissingDependencyError naming
    the compilers to install.
    """
    network, forms, _ = tuning_input(model, weights, batch=batch, dialect=dialect)
    chosen = architecture_by_name(architecture)
    toolchain = compilers.find_toolchain()
    toolchain.require(chosen)
    plan = make_plan(network, imaginary_device(chosen), forms=forms)

    def report(number: int, count: int, problem: str) -> None:
        if progress is not None:
            place = f"{number + 1}/{count} {problem_text(problem)}"
            progress(Progress(stage="compiling", done=number, total=count, place=place, part=number + 1))

    with store_to_keep(kept=kept) as store:
        offers = (step.choice.offer for step in plan.steps)
        points = starting_points(Compiler(toolchain, chosen), offers, progress=report)
        keep(store, chosen, points)
    return OfflineResult(
        model=str(network.path), batch=network.batch, architecture=chosen, database=store.path, points=tuple(points)
    )


def _to_dict(point: StartingPoint) -> dict[str, Any]:
    best = point.best
    return {
        "kernel": point.key.kernel,
        "problem": point.key.problem,
        "workload": point.key.workload,
        "tile": asdict(best.tile),
        "estimated_ms": best.estimate.time_ms,
        "estimated_default_ms": point.default.estimate.time_ms if point.default else None,
        "bound": best.estimate.bound,
        "occupancy": best.estimate.occupancy.share,
        "registers": best.report.registers if best.report else None,
    }
