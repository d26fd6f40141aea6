"""`fit`: a model under so many milliseconds on this device, with the least loss, and the proof of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clprune.container.model import output_path
from clprune.workflow.fit_result import FitResult, Target
from clprune.workflow.fitter import FitSettings, open_fitter
from clprune.workflow.keywords import taking


@dataclass(frozen=True, eq=False)
class _Asked(FitSettings, Target):
    """The settings, and how fast the model has to be."""


@taking(_Asked)
def fit(asked: _Asked) -> FitResult:
    """Make a trained model as fast as asked on a device with the least loss, and measure what came of it.

    One of `budget_ms` (milliseconds of an inference), `speed_up` (over the dense network) and `most_loss` (percentage
    points of accuracy, of agreement without labels) says how fast.

    Every layer is timed in every way that the `methods` offer (by default `clprune.fitting.kinds.METHODS`), its weights
    in float32 or in one of `bits` (16: float16, 8: int8, 4: a codebook), on `device` for `batch` images at once, with
    up to `tune_s` seconds of tuning where tiles are missing, and judged by what the network's answer to images of
    `data` loses when it alone is pruned and what stays is fitted. The best selection is searched among `tries`, tried
    on the device, and retrained for `epochs` from the dense network's answers, and labels where there are some (or by
    `recipe`). PREFIX.cfg and its weights are written for `out`, packed where there are `bits` or methods of the
    Winograd domain; PREFIX.fit.json keeps the table and PREFIX.fit.checkpoint a retraining, by which a run that was
    killed goes on and another target costs little. Raises UsageError for targets that cannot be reached, and what
    `prune` raises.

    >>> dense = clprune.train("small.cfg", data="synthetic", count=128).model
    >>> result = clprune.fit(dense, data="synthetic", count=64, most_loss=100, methods=("workgroup",), tune_s=0)
    >>> result.is_met, result.proof.fitted_ms > 0
    (True, True)
    """
    (result,) = fit_all(asked, [Target(budget_ms=asked.budget_ms, speed_up=asked.speed_up, most_loss=asked.most_loss)])
    return result


def fit_all(settings: FitSettings, targets: Sequence[Target]) -> tuple[FitResult, ...]:
    """`fit` for each of the `targets`, by one table of times and losses, as PREFIX-1 and so on where there are several.

    Raises UsageError where any of them cannot be reached, and what `fit` raises.
    """
    out = settings.out
    several = [f"{out}-{number}" for number in range(1, len(targets) + 1)]
    prefixes = [None] * len(targets) if out is None else [out] if len(targets) == 1 else several
    record = None if out is None else output_path(out, ".fit.json")
    written = [prefix for prefix in prefixes if prefix is not None]
    with open_fitter(settings, prefixes=written, record=record) as fitter:
        for target in targets:
            fitter.check(target)
        return tuple(fitter.reach(target, prefix) for target, prefix in zip(targets, prefixes, strict=True))
