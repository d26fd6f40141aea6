"""A kernel of the catalogue on a device: its stages built, their limits checked, bound to arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clprune.kernels.arguments import Stage
from clprune.kernels.base import Kernel
from clprune.kernels.signature import Parameter, check_all_are_taken, in_order, signature
from clprune.kernels.tile import OperationT, TileT
from clprune.opencl import BoundKernel, Session
from clprune.opencl import Kernel as BuiltKernel


@dataclass(frozen=True, kw_only=True, eq=False)
class BuiltStage:
    """A stage, its built kernel function, and the parameters that its source declares."""

    stage: Stage
    kernel: BuiltKernel
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundStages:
    """The launches of one run of a kernel, bound to their arguments."""

    kernels: tuple[BoundKernel, ...]

    def enqueue(self) -> None:
        """Start all stages, in order, and return at once. Raises LaunchError."""
        for kernel in self.kernels:
            kernel.enqueue()

    def timed(self, *, before: Sequence[BoundKernel] = ()) -> float:
        """Run every stage once, right behind `before`, and return their seconds together. Raises LaunchError."""
        return sum(BoundKernel.timed_in_a_row(self.kernels, before=before))


def timed_in_a_row(runs: Sequence[BoundStages]) -> list[float]:
    """Run everything once, without a pause in between, and return the seconds of each. Raises LaunchError."""
    seconds = iter(BoundKernel.timed_in_a_row([kernel for run in runs for kernel in run.kernels]))
    return [sum(next(seconds) for _ in run.kernels) for run in runs]


def build_stages(
    session: Session,
    kernel: Kernel[TileT, OperationT],
    tile: TileT,
    operation: OperationT,
    *,
    keep: bool = True,
    source: str | None = None,
) -> tuple[BuiltStage, ...]:
    """Build `tile`'s source and look up every stage's function; with `keep` the binary goes to the cache on disk.

    `source`: what `kernel.source` gave, where that was asked before. Raises BuildError.
    """
    source = source or kernel.source(tile, operation)
    program = session.build(source, options=kernel.build_options(session.info), keep=keep)
    return tuple(
        BuiltStage(stage=stage, kernel=session.kernel(program, stage.name), parameters=signature(source, stage.name))
        for stage in kernel.stages(tile, operation)
    )


def obstacle(session: Session, stages: Sequence[BuiltStage]) -> str | None:
    """Why one of the stages cannot run, as only the built kernel can tell, or None."""
    for built in stages:
        found = built.kernel.obstacle(session.info, work_group_size=built.stage.launch.work_group_size)
        if found is not None:
            return found
    return None


def bind_stages(session: Session, stages: Sequence[BuiltStage], arguments: Mapping[str, Any]) -> BoundStages:
    """Bind each stage to those of `arguments` (on the device) that it takes.

    Raises LaunchError, and RenderError where they are not those that the source declares.
    """
    taken = {built.stage.name: (built.parameters, built.stage.takes) for built in stages}
    check_all_are_taken(arguments, taken)
    return BoundStages(
        kernels=tuple(
            session.bind(
                built.kernel,
                global_size=built.stage.launch.global_size,
                local_size=built.stage.launch.local_size,
                arguments=in_order(built.stage.name, built.parameters, arguments, takes=built.stage.takes),
            )
            for built in stages
        )
    )
