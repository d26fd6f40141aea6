"""`bench`: how fast a model is on a device, beside the device's own limits."""

from __future__ import annotations

from clprune.algorithms import Algorithms
from clprune.runner import Runner
from clprune.runner.bench import BenchResult
from clprune.runner.bench import bench as time_runner
from clprune.workflow.inputs import Device, ModelLike, as_model, opened


def bench(
    model: ModelLike,
    *,
    batch: int | None = None,
    rounds: int = 20,
    device: Device = None,
    algorithms: Algorithms | None = None,
) -> BenchResult:
    """Time `rounds` inferences of `batch` images and every layer alone: milliseconds, and GFLOP/s of what remains.

    Times are from host memory to host memory, with tuned tiles where `tune` has found some. Raises NoDeviceError and
    what Runner raises.

    >>> result = clprune.bench("model.cfg", rounds=3)
    >>> result.best_ms <= result.median_ms, result.gflops > 0
    (True, True)
    """
    with opened(device) as session, Runner(as_model(model, batch=batch), session=session, algorithms=algorithms) as run:
        return time_runner(run, rounds=rounds)
