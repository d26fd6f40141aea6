"""Direct convolution with channels along vectors: odd sizes, overlapping tiles, pruned and grouped layers, pooling."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.candidate import bind_case, small_operations, verify
from clprune.geometry import ConvProblem
from clprune.kernels.arguments import Sample
from clprune.kernels.conv_channels import CONV_CHANNELS, ConvChannelsTile
from clprune.kernels.conv_operation import ConvOperation, conv_operation
from clprune.kernels.samples import SENTINEL
from clprune.kernels.workload import Workload
from clprune.layout import view
from clprune.opencl import Session
from tests.covering import roomy_device
from tests.imaginary import imaginary_device

DENSE = Workload(seed=1)
UNITS = Workload(seed=2, kept_share=0.25, unit_rows=8)
LONE_ROWS = Workload(seed=3, kept_share=0.3, unit_rows=1)
NOTHING = Workload(seed=4, kept_share=0.0)

CPU = imaginary_device(type="cpu", native_vector_width_float=16)


def tile(width: int, vectors: int, rows: int, columns: int, **more: int) -> ConvChannelsTile:
    return ConvChannelsTile(vector_width=width, vectors=vectors, tile_rows=rows, tile_columns=columns, **more)


def conv(channels: int, side: int, filters: int, *, width: int = 0, pooled: bool = False, **more: int) -> ConvOperation:
    problem = ConvProblem.square(
        **{"batch": 1, "size": 3, "padding": 1, **more},
        in_channels=channels,
        in_height=side,
        in_width=width or side,
        out_channels=filters,
    )
    return conv_operation(problem, activation="leaky", pooled=pooled)


def check(session: Session, chosen: ConvChannelsTile, operation: ConvOperation, workload: Workload) -> None:
    CONV_CHANNELS.check(chosen, operation, session.info)
    case = CONV_CHANNELS.case(chosen, operation, CONV_CHANNELS.sample(operation, workload))
    verify(session, bind_case(session, CONV_CHANNELS, chosen, operation, case))


@pytest.mark.parametrize("workload", [DENSE, UNITS, LONE_ROWS, NOTHING], ids=lambda workload: workload.key)
@pytest.mark.parametrize(
    ("chosen", "operation"),
    [
        (tile(1, 1, 1, 1), conv(1, 1, 1)),
        (tile(4, 1, 2, 3, prefetch=16), conv(3, 5, 5)),
        (tile(16, 1, 4, 7, k_unroll=2), conv(5, 7, 17)),
        (tile(8, 2, 2, 7, sweep=1), conv(3, 13, 17)),
        (tile(16, 2, 2, 7, sweep=1, prefetch=16), conv(5, 31, 17, width=7)),
        (tile(4, 3, 1, 8), conv(17, 3, 17, width=31)),
    ],
    ids=["1px", "5px", "7px", "13px", "31px high", "31px wide"],
)
def test_odd_sizes(
    device_context: Session, chosen: ConvChannelsTile, operation: ConvOperation, workload: Workload
) -> None:
    check(device_context, chosen, operation, workload)


@pytest.mark.parametrize(
    ("chosen", "operation"),
    [
        (tile(16, 1, 2, 7), conv(3, 13, 16, batch=3)),
        (tile(8, 1, 3, 4, sweep=1), conv(4, 15, 11, batch=3, stride=2)),
        (tile(4, 2, 2, 5), conv(6, 9, 21, groups=3)),
        (tile(1, 1, 2, 2), conv(5, 8, 5, groups=5, size=5, padding=2)),
        (tile(16, 2, 2, 6, sweep=1), conv(3, 10, 20, size=1, padding=0)),
        (tile(16, 1, 2, 10), conv(3, 7, 9, width=41, size=4, stride=3)),
        (tile(16, 1, 2, 14), conv(3, 4, 30, batch=2, width=14)),
    ],
    ids=["batch", "stride 2", "groups", "depthwise", "1x1", "stride 3", "whole rows"],
)
def test_kinds_of_layer(device_context: Session, chosen: ConvChannelsTile, operation: ConvOperation) -> None:
    check(device_context, chosen, operation, UNITS)


@pytest.mark.parametrize(
    ("chosen", "operation"),
    [
        (tile(16, 2, 2, 6), conv(3, 14, 33, pooled=True)),
        (tile(8, 1, 4, 6), conv(3, 10, 7, batch=3, width=14, pooled=True)),
        (tile(16, 6, 2, 2, sweep=1), conv(5, 2, 65, pooled=True)),
        (tile(1, 1, 2, 14), conv(2, 6, 3, width=28, pooled=True)),
    ],
)
def test_pooled(device_context: Session, chosen: ConvChannelsTile, operation: ConvOperation) -> None:
    check(device_context, chosen, operation, DENSE)


@pytest.mark.parametrize("chosen", CONV_CHANNELS.gpu_tiles)
def test_work_groups(device_context: Session, chosen: ConvChannelsTile) -> None:
    """Channels over the items of a work-group, and tiles of positions that some of them do not have."""
    operation = conv(3, 5, 37, width=7)
    if CONV_CHANNELS.rejection(chosen, operation, device_context.info) is not None:
        pytest.skip("the device has no work-groups of that size")
    check(device_context, chosen, operation, UNITS)


def test_sums_told_by_hand(device_context: Session) -> None:
    """Filter m adds m to what its one weight, m + 1, makes of the left neighbour: columns of 0, 1, 2 become those."""
    operation = conv_operation(
        ConvProblem.square(batch=1, in_channels=1, in_height=2, in_width=3, out_channels=16, size=3, padding=1)
    )
    x = np.arange(3, dtype=np.float32) * np.ones((1, 1, 2, 1), np.float32)
    matrix = np.zeros((16, 9), np.float32)
    matrix[:, 3] = np.arange(1, 17)
    answer = np.arange(16)[:, None, None] + np.array([0, 0, 1]) * np.arange(1, 17)[:, None, None] * np.ones((2, 1))
    inputs = {"x": x, "matrix": matrix, "bias": np.arange(16, dtype=np.float32)}
    sample = Sample(inputs=inputs, answer=answer[None].astype(np.float64))
    case = CONV_CHANNELS.case(tile(16, 1, 1, 2), operation, sample)
    assert case.kept_share == pytest.approx(1 / 9)
    verify(device_context, bind_case(device_context, CONV_CHANNELS, tile(16, 1, 1, 2), operation, case))


def test_nothing_but_the_output_is_written(device_context: Session) -> None:
    operation = conv(3, 7, 17, batch=2)
    chosen = tile(16, 1, 2, 4)
    case = CONV_CHANNELS.case(chosen, operation, CONV_CHANNELS.sample(operation, DENSE))
    candidate = bind_case(device_context, CONV_CHANNELS, chosen, operation, case)
    verify(device_context, candidate)
    (buffer, _), *_ = candidate.outputs
    values = device_context.read(buffer, np.float32, (operation.output.elements,))
    is_output = np.zeros(operation.output.elements, np.bool_)
    view(is_output, operation.output)[:] = True
    assert np.count_nonzero(is_output) == 2 * 17 * 49
    assert np.all(values[~is_output] == SENTINEL)


def test_tiles_fit_the_layer() -> None:
    def reason(chosen: ConvChannelsTile, operation: ConvOperation) -> str | None:
        return CONV_CHANNELS.rejection(chosen, operation, roomy_device())

    assert reason(tile(4, 1, 2, 2), conv(3, 7, 4)) is None
    assert reason(tile(4, 1, 2, 8), conv(3, 7, 4)) == "the tile has more positions along one side than the output"
    assert reason(tile(16, 1, 1, 1), conv(3, 7, 8)) == (
        "the tile has more rows than the layer has output channels per group"
    )
    assert reason(tile(4, 1, 2, 3), conv(3, 6, 4, pooled=True)) == "fused pooling needs tiles of whole windows"
    assert reason(tile(4, 3, 2, 5), conv(3, 6, 32)) == "the results of a work-item exceed the registers of any device"
    assert reason(tile(8, 1, 1, 1, group_m=64), conv(3, 6, 512)) == "wide vectors are for work-groups of one"


def test_default_tile_wastes_least() -> None:
    def default(operation: ConvOperation) -> tuple[int, int, int, int]:
        chosen = CONV_CHANNELS.default_tile(operation, CPU)
        return chosen.vector_width, chosen.vectors, chosen.tile_rows, chosen.tile_columns

    assert default(conv(3, 14, 512)) == (16, 2, 2, 7)
    assert default(conv(3, 7, 480)) == (16, 3, 1, 7)
    assert default(conv(3, 7, 160)) == (16, 2, 2, 7)  # single positions waste nothing but load weights for each
    assert default(conv(3, 8, 512)) == (16, 2, 2, 4)
    assert default(conv(3, 2, 512)) == (16, 4, 2, 2)
    assert default(conv(3, 4, 16)) == (16, 1, 4, 4)


def test_unit_is_a_row_block() -> None:
    assert CONV_CHANNELS.wavefront_rows(tile(16, 2, 2, 7)) == CONV_CHANNELS.workgroup_rows(tile(16, 2, 2, 7)) == 32
    assert CONV_CHANNELS.wavefront_rows(tile(4, 2, 1, 1, group_m=16)) == 128


@pytest.mark.parametrize("chosen", [tile(16, 6, 2, 2, sweep=1), tile(4, 2, 2, 4, group_m=64)])
def test_tiles_of_others_are_tried_on_enough_channels(chosen: ConvChannelsTile) -> None:
    operations = small_operations(CONV_CHANNELS, chosen, roomy_device())
    assert len(operations) == 2
    assert max(operation.problem.out_channels for operation in operations) > chosen.tile_m
