"""clprune itself: a Runner with the tiles that are tuned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import clprune
from clprune.algorithms import Algorithms
from clprune.runner import Runner
from tools.bench.serve import FloatArray


class ClpruneEngine:
    """Options: model, weights, batch, device (None: the one that would be chosen), connected_storage,
    algorithms (separated by commas).
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._runner = Runner(
            options["model"],
            options["weights"],
            batch=options["batch"],
            device=options["device"],
            connected_storage=options["connected_storage"],
            algorithms=Algorithms(names=tuple(options["algorithms"].split(","))),
        )

    def describe(self) -> dict[str, Any]:
        bound, info = self._runner.bound, self._runner.session.info
        origins = Counter(step.step.tile_origin for step in bound.steps if step.step.tile_origin)
        dense = sum(step.step.operation.flops for step in bound.steps)
        kept = sum(step.step.operation.flops * step.kept_share for step in bound.steps)
        return {
            "version": clprune.__version__,
            "device": info.name,
            "platform": info.platform_name,
            "driver_version": info.driver_version,
            "tile_origins": dict(origins),
            "algorithms": dict(Counter(step.step.algorithm for step in bound.steps if step.step.layer is not None)),
            "operations_share": kept / dense,
            "parameter_bytes": bound.parameter_bytes,
            "tensor_bytes": bound.tensor_bytes,
            "largest_neighbours_bytes": bound.plan.largest_neighbours_bytes,
        }

    def run(self, x: FloatArray) -> FloatArray:
        return self._runner(x)


def load(options: Mapping[str, Any]) -> ClpruneEngine:
    return ClpruneEngine(options)
