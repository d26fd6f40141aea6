"""Build a candidate, compare its answer with the float64 reference, and only then time it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.device import DeviceInfo
from clprune.errors import BuildError, ConfigurationRejected, WrongAnswer
from clprune.kernels.arguments import Case, Expected, Scratch
from clprune.kernels.base import Kernel
from clprune.kernels.tile import OperationT, TileT
from clprune.kernels.workload import Workload
from clprune.launching import BoundStages, bind_stages, build_stages, obstacle
from clprune.opencl import Buffer, Session
from clprune.precision import FLOAT32
from clprune.tolerance import absolute_tolerance

#: Small problems that a tile must solve where its constraints allow as many, dense and pruned in turns.
FEWEST_OPERATIONS = 2
_WORKLOADS = (Workload(), Workload(kept_share=0.5, unit_rows=4))


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A built kernel bound to a case's data on a device.

    `warm`: what the step before leaves in caches when a network runs: shared scratch memory, and at last the input,
    which is the first argument of every kernel.
    """

    bound: BoundStages
    outputs: tuple[tuple[Buffer, Expected], ...]
    warm: tuple[Buffer, ...] = ()


def bind_case(
    session: Session,
    kernel: Kernel[TileT, OperationT],
    tile: TileT,
    operation: OperationT,
    case: Case,
    *,
    keep: bool = True,
) -> Candidate:
    """Check, build and bind; with `keep` the binary goes to the cache on disk.

    Raises ConfigurationRejected when the device's limits forbid this tile, BuildError when the driver refuses the
    source, LaunchError when it refuses the sizes or the memory.
    """
    kernel.check(tile, operation, session.info)
    stages = build_stages(session, kernel, tile, operation, keep=keep)
    reason = obstacle(session, stages)
    if reason is not None:
        raise ConfigurationRejected(f"{kernel.name} {tile}: {reason}")
    arguments: dict[str, Any] = {}
    outputs: list[tuple[Buffer, Expected]] = []
    scratch: list[Buffer] = []
    for name, argument in case.arguments.items():
        if isinstance(argument, Expected):
            buffer = session.buffer_from(argument.initial)
            outputs.append((buffer, argument))
            arguments[name] = buffer
        elif isinstance(argument, np.ndarray):
            arguments[name] = session.buffer_from(argument)
        elif isinstance(argument, Scratch):
            # Whatever a stage reads before it has written it spoils the answer.
            scratch.append(session.buffer_from(np.full(argument.elements, np.nan, np.float32)))
            arguments[name] = scratch[-1]
        else:
            arguments[name] = argument
    warm = (*scratch, *(argument for argument in [*arguments.values()][:1] if isinstance(argument, Buffer)))
    return Candidate(bound=bind_stages(session, stages, arguments), outputs=tuple(outputs), warm=warm)


def verify(session: Session, candidate: Candidate) -> float:
    """Run once; return the largest error relative to the reference's largest magnitude.

    Raises WrongAnswer for a value outside tolerance, a NaN, or a write where none belongs.
    """
    candidate.bound.enqueue()
    return compare_outputs(session, candidate)


def compare_outputs(session: Session, candidate: Candidate) -> float:
    """What `verify` says of a candidate that has been run."""
    worst = 0.0
    for buffer, expected in candidate.outputs:
        got = session.read(buffer, np.float32, expected.initial.shape)
        worst = max(worst, _compare(got, expected))
    return worst


def _compare(got: npt.NDArray[np.float32], expected: Expected) -> float:
    stray = np.flatnonzero(~expected.written & (got != expected.initial))
    if stray.size:
        raise WrongAnswer(f"wrote {stray.size} values outside its output, first at element {stray[0]}")
    values, reference = got[expected.written], expected.values[expected.written]
    if not np.all(np.isfinite(values)):
        raise WrongAnswer(f"{np.count_nonzero(~np.isfinite(values))} results are not finite")
    largest = float(np.abs(reference).max(initial=0))
    difference = float(np.abs(values - reference).max(initial=0))
    limit = absolute_tolerance(expected.terms, largest=largest)
    if difference > limit:
        scale = largest or 1.0
        raise WrongAnswer(f"relative error {difference / scale:.2e} exceeds {limit / scale:.2e}")
    return difference / largest if largest else 0.0


def gives_right_answers(session: Session, kernel: Kernel[Any, Any], tile: Any) -> bool:
    """Run `tile` on small problems against float64: for tiles that were tuned or predicted elsewhere.

    False when the device refuses to build it, when an answer is wrong, and when no small problem allows it. Raises
    LaunchError when it cannot be run, which may pass: memory that others hold.
    """
    operations = small_operations(kernel, tile, session.info)
    if len(operations) == 1:
        operations *= len(_WORKLOADS)
    try:
        for operation, workload in zip(operations, cycle(_WORKLOADS), strict=False):
            case = kernel.case(tile, operation, kernel.sample(operation, workload))
            verify(session, bind_case(session, kernel, tile, operation, case))
    except (BuildError, ConfigurationRejected):
        return False
    return bool(operations)


def small_operations(kernel: Kernel[Any, Any], tile: Any, device: DeviceInfo) -> list[Any]:
    """Problems that `tile` may solve: the largest of each precision of products, as each is code of its own, and of the
    others as make FEWEST_OPERATIONS; at most those that there are, the largest first.
    """
    allowed = [operation for operation in kernel.probes(tile) if kernel.rejection(tile, operation, device) is None]
    allowed.sort(key=lambda operation: -operation.flops)
    precisions = [getattr(operation, "precision", FLOAT32) for operation in allowed]
    numbers = range(len(allowed))
    ranked = sorted(numbers, key=lambda number: precisions[number] in precisions[:number])  # the first of each
    chosen = sorted(ranked[: max(FEWEST_OPERATIONS, len(set(precisions)))])
    return [allowed[number] for number in chosen]
