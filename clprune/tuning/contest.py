"""Winners of the kernels that can compute the same layer, measured in turns: the planner compares their times.

Each was tuned at a moment of its own, and a machine may be half as fast a minute later. Only times of one moment say
which kernel is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from clprune.candidate import bind_case
from clprune.errors import BuildError, ConfigurationRejected, LaunchError
from clprune.kernels.arguments import Sample
from clprune.kernels.base import Choice, Offer
from clprune.opencl import Session
from clprune.tuning.caches import Caches
from clprune.turns import in_turns


def rivalry(offer: Offer) -> Hashable:
    """The same for all ways to compute a layer of which as much is left, whatever was removed and in which domain.

    Operations without a problem have no rivals.
    """
    operation = offer.operation
    problem = getattr(operation, "problem", None)
    storage, pooled = getattr(operation, "storage", ""), getattr(operation, "pooled", False)
    return (problem, storage, pooled, round(offer.workload.kept_share, 4)) if problem is not None else operation


def times_in_turns(
    session: Session, caches: Caches, entrants: Sequence[tuple[Choice, Sample]], *, rounds: int
) -> list[float | None]:
    """Best milliseconds of each choice on its data over `rounds` rounds; None for what cannot run in this process.

    Binaries of all are kept on disk: they are what a network will ask for first.
    """
    runs = [_run(session, caches, *entrant) for entrant in entrants]
    samples = in_turns(runs, rounds=rounds)
    return [min(times) if len(times) == rounds else None for times in samples]


def _run(session: Session, caches: Caches, choice: Choice, sample: Sample) -> Callable[[], float | None]:
    """Gives milliseconds of one run with caches as in a network; None where the candidate cannot run."""
    kernel, tile, operation = choice.kernel, choice.tile, choice.operation
    try:
        candidate = bind_case(session, kernel, tile, operation, kernel.case(tile, operation, sample))
    except (BuildError, LaunchError, ConfigurationRejected):
        return lambda: None

    def time_ms() -> float | None:
        try:
            return candidate.bound.timed(before=caches.launches(candidate.warm)) * 1e3
        except LaunchError:
            return None

    return time_ms
