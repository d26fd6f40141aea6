"""Numerical error of Winograd convolution on each layer of VGG16; writes docs/results/winograd_error.md and .json.

    python -m tools.bench.winograd_error [--model M] [--device D]

F(2x2, 3x3), F(4x4, 3x3) and direct convolution in float32 on the device, against direct convolution in float64, with
data and weights of unit variance; beside them the error that the planner expects (`--max-error`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clprune.candidate import bind_case, verify
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.network import Network, load_network
from clprune.geometry import ConvProblem
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.winograd_fused import WINOGRAD_FUSED
from clprune.kernels.winograd_operation import OUTPUT_TILES, winograd_obstacle, winograd_operation
from clprune.kernels.workload import Workload
from clprune.opencl import Session, open_device
from clprune.winograd.error import amplification, expected_error
from tools import RESULTS
from tools.bench.figures import Figure
from tools.bench.models import find_cfg
from tools.bench.report import figure_table, make_section, show, table_of, write_section
from tools.terminal import options, run_command, say


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
    direct_tile = CONV.default_tile(plain, session.info)
    case = CONV.case(direct_tile, plain, sample)
    return LayerErrors(
        layer=layer,
        problem=problem,
        direct=verify(session, bind_case(session, CONV, direct_tile, plain, case)),
        winograd=winograd,
        expected={tile: expected_error(tile, problem.in_channels) for tile in OUTPUT_TILES},
    )


#: Largest relative error of F(4x4, 3x3) that any layer may show.
ERROR_GOAL = 1e-4

COLUMN_NAMES = ("layer", "channels", "size", "direct", "F(2x2)", "expected", "F(4x4)", "expected")

HEADING = """
# Numerical error of Winograd convolution

Written by `tools/bench/winograd_error.py`. Largest difference to direct convolution in float64 over the largest output,
of float32 kernels on the device, for inputs of unit variance and dense filters of variance 2 over their number of
weights. Filters are transformed exactly and rounded once. "expected" is what `clprune.winograd.error.expected_error`
says beforehand, from the norms of the transforms and the number of channels: the planner leaves out what exceeds
`--max-error`. Equal layers are measured once.
"""


@click.command()
@options(model="vgg16", device=None, seed=0, out=RESULTS / "winograd_error.json")
def winograd_error(model: str, device: str | None, seed: int, out: Path) -> None:
    """Measure every layer that Winograd convolution can compute."""
    network = load_network(find_cfg(model))
    with open_device(device) as session:
        errors = []
        for layer in network_errors(session, network, seed=seed):
            say(" ".join(row_of(layer)))
            errors.append(layer)
        section = section_of(errors, device=session.info.name, seed=seed)
    title = f"{network.path.stem} on {section['device']}"
    show(title, section["parts"])
    write_section(out, title, section, heading=HEADING)


def section_of(errors: Sequence[LayerErrors], *, device: str, seed: int) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it."""
    figures = [
        Figure(
            name=f"F({tile}x{tile}, 3x3): largest relative error of all layers",
            best=max(layer.winograd[tile] for layer in errors),
            goal=ERROR_GOAL,
        )
        for tile in errors[0].winograd
    ]
    factors = {tile: amplification(tile) for tile in errors[0].winograd}
    growth = ", ".join(f"{factor:.1f} for F({tile}x{tile}, 3x3)" for tile, factor in factors.items())
    return make_section(
        ["clprune", "numpy", "pyopencl"],
        text=f"Seed {seed}. Roundings are amplified by a factor of {growth}.",
        parts=[figure_table(figures), table_of(COLUMN_NAMES, map(row_of, errors))],
        figures=figures,
        device=device,
        seed=seed,
        amplification=factors,
        layers=[{**vars(layer), "problem": layer.problem.key} for layer in errors],
    )


def row_of(layer: LayerErrors) -> tuple[str, ...]:
    """A line of the table."""
    problem = layer.problem
    pairs = [(layer.winograd[tile], layer.expected[tile]) for tile in layer.winograd]
    return (
        str(layer.layer),
        f"{problem.in_channels} to {problem.out_channels}",
        f"{problem.in_height}x{problem.in_width}",
        f"{layer.direct:.1e}",
        *(f"{error:.1e}" for pair in pairs for error in pair),
    )


if __name__ == "__main__":
    run_command(winograd_error)
