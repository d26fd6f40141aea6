"""Depthwise convolution along planes: odd sizes, overlapping tiles, strides, what it is offered for, untuned tiles."""

from __future__ import annotations

import dataclasses

import pytest

from clprune.candidate import bind_case, verify
from clprune.geometry import ConvProblem
from clprune.kernels.base import Request
from clprune.kernels.conv_operation import ConvOperation, conv_operation
from clprune.kernels.depthwise import DEPTHWISE, DepthwiseTile
from clprune.kernels.workload import WeightForm, Workload
from clprune.opencl import Session
from tests.covering import roomy_device
from tests.imaginary import imaginary_device

AVX2 = imaginary_device(type="cpu", native_vector_width_float=8, local_mem_is_dedicated=False, compute_units=2)
AVX512 = dataclasses.replace(AVX2, native_vector_width_float=16)


def tile(width: int, rows: int, turns: int = 1) -> DepthwiseTile:
    return DepthwiseTile(vector_width=width, tile_rows=rows, turns=turns)


def conv(channels: int, side: int, *, width: int = 0, **more: int) -> ConvOperation:
    problem = ConvProblem.square(
        **{"batch": 1, "size": 3, "padding": 1, "out_channels": channels, "groups": channels, **more},
        in_channels=channels,
        in_height=side,
        in_width=width or side,
    )
    return conv_operation(problem, activation="leaky")


@pytest.mark.parametrize("workload", [Workload(seed=1), Workload(seed=2, kept_share=0.3, unit_rows=1)])
@pytest.mark.parametrize(
    ("chosen", "operation"),
    [
        (tile(1, 1), conv(1, 1)),
        (tile(4, 2), conv(33, 3, width=7, batch=3)),
        (tile(8, 7, turns=8), conv(31, 7)),
        (tile(16, 4, turns=8), conv(3, 13, width=33)),
        (tile(16, 7), conv(3, 31, width=31, stride=2, batch=2)),
        (tile(8, 2), conv(3, 9, width=33, size=5, padding=2, stride=2, out_channels=6)),
        (tile(4, 1), conv(2, 13, size=4, stride=3)),
        (tile(16, 7), conv(3, 7, width=31, size=1, padding=0)),
    ],
    ids=["1px", "3px high", "7px", "33px wide", "stride 2", "two per channel", "stride 3", "1x1"],
)
def test_kinds_of_layer(
    device_context: Session, chosen: DepthwiseTile, operation: ConvOperation, workload: Workload
) -> None:
    DEPTHWISE.check(chosen, operation, device_context.info)
    case = DEPTHWISE.case(chosen, operation, DEPTHWISE.sample(operation, workload))
    verify(device_context, bind_case(device_context, DEPTHWISE, chosen, operation, case))


def test_rejected_with_a_reason() -> None:
    def reason(chosen: DepthwiseTile, operation: ConvOperation) -> str | None:
        return DEPTHWISE.rejection(chosen, operation, roomy_device())

    plane = "a plane of its own is what every output channel must have as input"
    assert reason(tile(8, 1), conv(6, 9, groups=3)) == plane
    assert reason(tile(8, 1), dataclasses.replace(conv(6, 8), pooled=True)) == plane
    assert reason(tile(8, 4), conv(6, 3, width=9)) == "the tile has more rows than the output"
    assert reason(tile(16, 1), conv(6, 8)) == "more than half of the vector lies outside of the output"
    assert reason(tile(8, 7, turns=64), conv(6, 7)) == "several turns are for layers with as many tiles"


def test_offered_on_cpus_for_plain_layers() -> None:
    def offers(operation: ConvOperation, device: object = AVX2, winograd: int | None = None) -> int:
        form = WeightForm(winograd=winograd)
        return len(DEPTHWISE.offers(Request(operation=operation, form=form, device=device, max_error=1.0)))  # type: ignore[arg-type]

    assert offers(conv(6, 9)) == 1
    assert offers(conv(6, 9, out_channels=12)) == 1
    assert offers(conv(6, 9), imaginary_device()) == offers(conv(6, 9), winograd=2) == offers(conv(6, 9, groups=3)) == 0
    assert offers(dataclasses.replace(conv(6, 8), pooled=True)) == 0
    assert offers(dataclasses.replace(conv(6, 8), added="linear")) == 0


def test_untuned_tiles_fit_rows_and_leave_work_for_all() -> None:
    """Rows of 7 in half of a vector of 16 lanes; 30 planes of 7x7 are too few for turns."""
    assert DEPTHWISE.default_tile(conv(960, 7), AVX512) == tile(8, 7, turns=8)
    assert DEPTHWISE.default_tile(conv(960, 7), dataclasses.replace(AVX512, compute_units=1)) == tile(8, 7, turns=64)
    assert DEPTHWISE.default_tile(conv(32, 112), AVX512) == tile(16, 7, turns=8)
    assert DEPTHWISE.default_tile(conv(576, 14, stride=2), AVX2) == tile(8, 7, turns=8)
    assert DEPTHWISE.default_tile(conv(64, 5, width=33), AVX512).tile_rows == 4
    assert DEPTHWISE.default_tile(conv(30, 7), AVX512) == tile(8, 7)
    assert DEPTHWISE.default_tile(conv(5, 1), AVX512) == tile(1, 1)
