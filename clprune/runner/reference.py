"""A whole network in float64 NumPy: the yardstick for every device."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.activations import activate
from clprune.darknet.fold import fold_batch_norm
from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Softmax
from clprune.darknet.kinds.joins import Route
from clprune.darknet.kinds.normalization import BatchNorm
from clprune.darknet.network import Network
from clprune.darknet.values import LayerWeights, Weights, convolution_matrix
from clprune.errors import UsageError
from clprune.geometry import ConvProblem
from clprune.kernels.clear_padding import ClearOperation
from clprune.kernels.connected import connected_reference
from clprune.kernels.connected_int8 import CONNECTED_INT8, connected_int8_reference
from clprune.kernels.conv_int8 import CONV_INT8, conv_int8_reference
from clprune.kernels.conv_operation import conv_reference, pool_problem
from clprune.kernels.pointwise import pointwise_reference
from clprune.kernels.pool import average_pool_reference, max_pool_reference
from clprune.kernels.softmax import softmax_reference
from clprune.kernels.storage import decoded_matrix
from clprune.plan.steps import Chosen
from clprune.runner.plan import Plan
from clprune.winograd.transforms import winograd_convolution

FloatArray = npt.NDArray[np.float64]


def reference_outputs(plan: Plan, weights: Weights, x: npt.NDArray[Any]) -> dict[int, FloatArray]:
    """float64 value `[N, C, H, W]` of every tensor of `plan` for the batch x `[N, C, H, W]`; N is 1 for views.

    Steps are followed in the plan's order, each computed by its kernel's reference.
    """
    outputs: dict[int, FloatArray] = {}
    for tensor in plan.layouts:
        _allocate(outputs, plan, tensor)
    outputs[plan.host_input][:] = x
    for step in plan.steps:
        if isinstance(step.operation, ClearOperation):
            continue
        inputs = [outputs[tensor] for tensor in step.inputs]
        values = weights.layers[step.layer.index] if step.layer is not None else None
        result = _step_reference(step, inputs, values, plan.network)
        whole = outputs[step.output]
        if isinstance(step.layer, Route):
            first = step.operation.channel_offset
            whole[:, first : first + result.shape[1]] = result
        else:
            whole[:] = result.reshape(whole.shape)
    return outputs


def _allocate(outputs: dict[int, FloatArray], plan: Plan, tensor: int) -> FloatArray:
    """The array of a tensor; that of a view lies inside its tensor's, on the device as well as here."""
    if tensor not in outputs:
        view, layout = plan.views.get(tensor), plan.layouts[tensor]
        if view is None:
            shape = layout.shape
            outputs[tensor] = np.zeros((layout.batch, shape.channels, shape.height, shape.width))
        else:
            outputs[tensor] = _allocate(outputs, plan, view.tensor)[view.image : view.image + 1]
    return outputs[tensor]


def _step_reference(
    step: Chosen, inputs: list[FloatArray], values: LayerWeights | None, network: Network
) -> FloatArray:
    operation, layer = step.operation, step.layer
    if isinstance(layer, Convolutional | Connected):
        weights = _folded(layer, values, network)
        if isinstance(layer, Convolutional):
            is_integer = step.kernel is CONV_INT8
            reference = conv_int8_reference if is_integer else _convolution
            answer = reference(inputs[0], weights, operation.problem)
        else:
            x = inputs[0].reshape(len(inputs[0]), -1)
            if step.kernel is CONNECTED_INT8:
                answer = connected_int8_reference(x, weights)
            else:
                answer = connected_reference(x, decoded_matrix(weights, operation.storage), weights.biases)
        activated = activate(operation.activation, answer)
        return activated if step.fused is None else max_pool_reference(activated, pool_problem(operation.problem))
    if step.kernel.name == "max_pool":
        return max_pool_reference(inputs[0], operation.problem)
    if step.kernel.name == "average_pool":
        return average_pool_reference(inputs[0])
    if isinstance(layer, Softmax):
        rows = inputs[0].reshape(operation.count, operation.length)
        return softmax_reference(rows, temperature=operation.temperature)
    return _pointwise(step, inputs, values, network)


def _convolution(x: FloatArray, weights: LayerWeights, problem: ConvProblem) -> FloatArray:
    """Weights in the Winograd domain are no kernel's transform once they were pruned there: they are used there."""
    if weights.winograd is None:
        return conv_reference(x, convolution_matrix(weights), weights.biases, problem)
    y = winograd_convolution(x, weights.weights, output_tile=weights.winograd, padding=problem.padding)
    return y + weights.biases.astype(np.float64)[:, None, None]


def _pointwise(step: Chosen, inputs: list[FloatArray], values: LayerWeights | None, network: Network) -> FloatArray:
    extras: dict[str, Any] = {}
    channels = inputs[0].shape[1]
    if isinstance(step.layer, BatchNorm):
        weights = _folded(step.layer, values, network)
        extras = {"scale": weights.weights, "shift": weights.biases}
    elif step.constants is not None:
        extras = {"scale": np.full(channels, step.constants[0]), "shift": np.full(channels, step.constants[1])}
    if len(inputs) > 1:
        extras["other"] = inputs[1]
    return pointwise_reference(step.operation, inputs[0], **extras)


def _folded(layer: Layer, values: LayerWeights | None, network: Network) -> LayerWeights:
    if values is None:
        raise UsageError(f"{network.path}:{layer.line}: {layer} has no weights to compare with")
    return fold_batch_norm(layer, values)
