"""Scales of activations, from what a device computes on calibration images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from clprune.darknet.kinds.base import MatrixLayer
from clprune.errors import UsageError
from clprune.layout import view
from clprune.quantization.calibrate import DEFAULT_SHARE, ActivationRange
from clprune.runner.runner import Runner


def activation_scales(
    runner: Runner, images: Iterable[npt.NDArray[np.float32]], *, share: float = DEFAULT_SHARE
) -> dict[int, float]:
    """The scale of every convolutional and connected layer's input, by layer index.

    `images` are batches of any size, float32 `[n, C, H, W]`. `share` of a layer's inputs lie within -127 to 127 of its
    scale. `runner` was made with `keep_tensors=True`, else UsageError; so too for no images and values that are not
    finite.
    """
    bound = runner.bound
    if bound.plan.memory.is_shared:
        raise UsageError("intermediate results are gone after a run: make the Runner with keep_tensors=True")
    steps = [step for step in bound.plan.steps if isinstance(step.layer, MatrixLayer)]
    ranges: dict[int, ActivationRange] = {}
    for batch in images:
        for first in range(0, len(batch), runner.network.batch):
            runner(batch[first : first + runner.network.batch])
            for step in steps:
                assert step.layer is not None
                tensor = step.inputs[0]
                layout = bound.plan.layouts[tensor]
                values = view(runner.session.read(bound.tensors[tensor], np.float32, layout.elements), layout)
                seen = ranges.setdefault(step.layer.index, ActivationRange())
                seen.add(values, name=f"{runner.network.path}:{step.layer.line}: {step.layer}")
    if steps and not ranges:
        raise UsageError("no calibration images: expected at least one")
    return {index: seen.scale(share=share) for index, seen in ranges.items()}
