"""A whole network in float64 NumPy: the yardstick for every device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.network import Network
from clprune.darknet.values import Weights
from clprune.offline.architectures import ARCHITECTURES, imaginary_device
from clprune.plan.forms import weights_forms
from clprune.plan.plan import Plan, make_plan
from clprune.plan.steps import layer_values, step_weights

FloatArray = npt.NDArray[np.float64]


def reference_outputs(plan: Plan, weights: Weights, x: npt.NDArray[Any]) -> dict[int, FloatArray]:
    """float64 value `[N, C, H, W]` of every tensor of `plan` for the batch x `[N, C, H, W]`; N is 1 for views.

    Steps are followed in the plan's order, each computed by its kernel's reference. Raises UsageError for a layer
    without weights.
    """
    outputs: dict[int, FloatArray] = {}
    for tensor in plan.layouts:
        _allocate(outputs, plan, tensor)
    outputs[plan.host_input][:] = x
    for tensor, layer in plan.constants.items():
        outputs[tensor][:] = layer_values(layer, plan.network, weights).weights
    for step in plan.steps:
        if step.inputs:  # else it clears padding, which is none of a tensor's values
            inputs = [outputs[tensor] for tensor in step.inputs]
            answer = step.kernel.reference(step.operation, inputs, step_weights(step, plan.network, weights))
            step.kernel.store_reference(step.operation, answer, outputs[step.output])
    return outputs


def reference_answers(network: Network, weights: Weights, x: npt.NDArray[Any]) -> tuple[FloatArray, ...]:
    """float64 value `[N, C, H, W]` of every output layer for x `[N, C, H, W]`, one image at a time to spare memory.

    No device takes part: the plan is made for one that is not here. Raises UnsupportedLayerError, UsageError.
    """
    forms = weights_forms(network, weights)
    plan = make_plan(replace(network, batch=1), imaginary_device(ARCHITECTURES[0]), forms=forms)
    images = [reference_outputs(plan, weights, image[None]) for image in x]
    return tuple(np.concatenate([outputs[tensor] for outputs in images]) for tensor in plan.host_outputs)


def _allocate(outputs: dict[int, FloatArray], plan: Plan, tensor: int) -> FloatArray:
    """The array of a tensor; that of a view lies inside its tensor's, on the device as well as here."""
    if tensor not in outputs:
        view, layout = plan.views.get(tensor), plan.layouts[tensor]
        if view is None:
            shape = layout.shape
            outputs[tensor] = np.zeros((layout.batch, shape.channels, shape.height, shape.width))
        else:
            whole, channels = _allocate(outputs, plan, view.tensor), layout.shape.channels
            images = slice(None) if view.image is None else slice(view.image, view.image + 1)
            outputs[tensor] = whole[images, view.first_channel : view.first_channel + channels]
    return outputs[tensor]
