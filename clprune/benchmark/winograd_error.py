"""Numerical errors of convolution algorithms on a device, layer by layer, against float64 direct convolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clprune.darknet.layers import Convolutional
from clprune.darknet.network import Network
from clprune.geometry import ConvProblem
from clprune.kernels.base import Sample, Workload
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.winograd_fused import WINOGRAD_FUSED
from clprune.kernels.winograd_operation import OUTPUT_TILES, winograd_obstacle, winograd_operation
from clprune.opencl import Session
from clprune.tuning.measure import bind_case, verify
from clprune.winograd.error import expected_error


@dataclass(frozen=True, kw_only=True)
class LayerErrors:
    """Largest |difference| to float64 over the largest |output|, for data and weights of unit variance.

    `direct`: of direct convolution; `winograd`: output tile -> error measured; `expected`: output tile -> error that
    `clprune.winograd.error` foretells, by which the planner goes.
    """

    layer: int
    problem: ConvProblem
    direct: float
    winograd: dict[int, float]
    expected: dict[int, float]


def network_errors(session: Session, network: Network, *, seed: int) -> Iterator[LayerErrors]:
    """The errors of every layer that Winograd convolution can compute, batch 1; equal problems are measured once.

    Raises BuildError, LaunchError, WrongAnswer.
    """
    known: dict[ConvProblem, LayerErrors] = {}
    for layer in network.layers:
        if not isinstance(layer, Convolutional):
            continue
        problem = layer.problem(1)
        if winograd_obstacle(problem) is None and problem not in known:
            known[problem] = layer_errors(session, problem, layer=layer.index, seed=seed)
            yield known[problem]


def layer_errors(session: Session, problem: ConvProblem, *, layer: int, seed: int) -> LayerErrors:
    """The errors of one problem, with the device's default tiles. Raises BuildError, LaunchError, WrongAnswer."""
    plain = conv_operation(problem)
    operations = {tile: winograd_operation(plain, output_tile=tile) for tile in OUTPUT_TILES}
    sample = WINOGRAD_FUSED.sample(operations[OUTPUT_TILES[0]], Workload(seed=seed))
    winograd = {}
    for output_tile, operation in operations.items():
        tile = WINOGRAD_FUSED.default_tile(operation, session.info)
        case = WINOGRAD_FUSED.case(tile, operation, sample)
        winograd[output_tile] = verify(session, bind_case(session, WINOGRAD_FUSED, tile, operation, case))
    inputs = {"x": sample.inputs["x"], "matrix": sample.inputs["weights"], "bias": sample.inputs["bias"]}
    direct_tile = CONV.default_tile(plain, session.info)
    case = CONV.case(direct_tile, plain, Sample(inputs=inputs, answer=sample.answer))
    return LayerErrors(
        layer=layer,
        problem=problem,
        direct=verify(session, bind_case(session, CONV, direct_tile, plain, case)),
        winograd=winograd,
        expected={tile: expected_error(tile, problem.in_channels) for tile in OUTPUT_TILES},
    )
