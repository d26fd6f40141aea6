"""Direct convolution of short rows, several of which fill a vector: images of 2x2 to 8x8, pruned, grouped, pooled."""

from __future__ import annotations

import numpy as np
import pytest

from clprune.candidate import bind_case, small_operations, verify
from clprune.geometry import ConvProblem
from clprune.kernels.conv import CONV, ConvTile, accumulators
from clprune.kernels.conv_operation import ConvOperation, conv_operation
from clprune.kernels.samples import SENTINEL
from clprune.kernels.workload import Workload
from clprune.layout import view
from clprune.opencl import Session
from tests.covering import roomy_device
from tests.imaginary import imaginary_device

DENSE = Workload(seed=1)
UNITS = Workload(seed=2, kept_share=0.25, unit_rows=8)
NOTHING = Workload(seed=4, kept_share=0.0)


def tile(rows: int, width: int, vectors: int, **more: int) -> ConvTile:
    return ConvTile(tile_m=rows, vector_width=width, vectors=vectors, mapping="packed", **more)


def conv(
    channels: int, height: int, width: int, filters: int, *, batch: int, pooled: bool = False, **more: int
) -> ConvOperation:
    problem = ConvProblem.square(
        **{"size": 3, "padding": 1, **more},
        batch=batch,
        in_channels=channels,
        in_height=height,
        in_width=width,
        out_channels=filters,
    )
    return conv_operation(problem, activation="leaky", pooled=pooled)


def check(session: Session, chosen: ConvTile, operation: ConvOperation, workload: Workload) -> None:
    CONV.check(chosen, operation, session.info)
    case = CONV.case(chosen, operation, CONV.sample(operation, workload))
    verify(session, bind_case(session, CONV, chosen, operation, case))


@pytest.mark.parametrize("workload", [DENSE, UNITS, NOTHING], ids=lambda workload: workload.key)
@pytest.mark.parametrize(
    ("chosen", "operation"),
    [
        (tile(8, 16, 3, prefetch=16), conv(3, 8, 8, 17, batch=1)),
        (tile(8, 16, 2, k_unroll=2), conv(5, 4, 4, 9, batch=3)),
        (tile(8, 16, 3, sweep=1, prefetch=16), conv(4, 2, 2, 17, batch=12)),
        (tile(4, 8, 3), conv(3, 4, 4, 5, batch=1)),
        (tile(4, 8, 2, prefetch=48), conv(3, 2, 2, 7, batch=6)),
        (tile(6, 16, 1), conv(3, 6, 8, 6, batch=3)),
        (tile(2, 16, 2), conv(3, 12, 4, 3, batch=1)),
    ],
    ids=["8x8", "4x4", "2x2", "4x4 half", "2x2 half", "6x8", "12x4"],
)
def test_short_rows(device_context: Session, chosen: ConvTile, operation: ConvOperation, workload: Workload) -> None:
    check(device_context, chosen, operation, workload)


@pytest.mark.parametrize(
    ("chosen", "operation"),
    [
        (tile(8, 16, 2), conv(6, 4, 4, 18, batch=2, groups=2)),
        (tile(4, 16, 1), conv(5, 4, 4, 8, batch=2, size=1, padding=0)),
        (tile(4, 16, 3), conv(3, 8, 8, 6, batch=2, size=5, padding=2)),
        (tile(4, 16, 1), conv(3, 6, 6, 6, batch=2, padding=0)),
    ],
    ids=["groups", "1x1", "5x5", "no padding"],
)
def test_kinds_of_layer(device_context: Session, chosen: ConvTile, operation: ConvOperation) -> None:
    check(device_context, chosen, operation, UNITS)


@pytest.mark.parametrize(
    ("chosen", "operation"),
    [
        (tile(8, 16, 3, prefetch=16), conv(3, 8, 8, 9, batch=2, pooled=True)),
        (tile(8, 16, 2), conv(3, 4, 4, 9, batch=3, pooled=True)),
        (tile(8, 16, 2, sweep=1), conv(3, 2, 2, 17, batch=4, pooled=True)),
        (tile(4, 8, 3), conv(3, 2, 2, 5, batch=4, pooled=True)),
    ],
    ids=["8x8", "4x4", "2x2", "2x2 half"],
)
def test_pooled(device_context: Session, chosen: ConvTile, operation: ConvOperation) -> None:
    check(device_context, chosen, operation, DENSE)


def test_nothing_but_the_output_is_written(device_context: Session) -> None:
    """Other than a run of positions, which also writes zeros to the gaps between rows."""
    operation = conv(3, 4, 4, 9, batch=2)
    case = CONV.case(tile(8, 16, 3), operation, CONV.sample(operation, DENSE))
    candidate = bind_case(device_context, CONV, tile(8, 16, 3), operation, case)
    verify(device_context, candidate)
    (buffer, _), *_ = candidate.outputs
    values = device_context.read(buffer, np.float32, (operation.output.elements,))
    is_output = np.zeros(operation.output.elements, np.bool_)
    view(is_output, operation.output)[:] = True
    assert np.count_nonzero(is_output) == 2 * 9 * 16
    assert np.all(values[~is_output] == SENTINEL)


def test_where_rows_of_a_vector_lie() -> None:
    """Images of 2x2 have a zero to the right of each row; images follow each other."""
    operation = conv(3, 2, 2, 5, batch=4)
    pitch, image = operation.input.pitch, operation.input.image_stride
    assert pitch == 3
    distances = operation.row_distances(tile(8, 16, 3))
    assert [place for place, _ in distances] == [row * pitch + number * image for number in range(4) for row in (0, 1)]
    pooled = conv(3, 2, 2, 5, batch=4, pooled=True)
    assert [place for _, place in pooled.row_distances(tile(8, 16, 3))][::2] == [
        number * pooled.output.image_stride for number in range(4)
    ]


@pytest.mark.parametrize(
    ("chosen", "operation", "fits"),
    [
        (tile(8, 16, 3), conv(3, 4, 4, 8, batch=1), True),
        (tile(8, 16, 3), conv(3, 2, 2, 8, batch=4), True),
        (tile(8, 16, 3), conv(3, 2, 2, 8, batch=3), False),  # three images are not a whole vector
        (tile(8, 16, 3), conv(3, 6, 4, 8, batch=2), False),  # a vector's four rows would lie in two images
        (tile(8, 16, 3), conv(3, 7, 7, 8, batch=2), False),
        (tile(8, 16, 3), conv(3, 16, 16, 8, batch=2), False),
        (tile(8, 16, 3), conv(3, 8, 8, 8, batch=2, stride=2), False),
        (tile(4, 8, 3), conv(3, 8, 8, 8, batch=2), False),  # one row fills it
        (tile(4, 4, 3), conv(3, 2, 2, 8, batch=2), False),
    ],
)
def test_only_whole_rows(chosen: ConvTile, operation: ConvOperation, *, fits: bool) -> None:
    reason = CONV.rejection(chosen, operation, roomy_device())
    assert (reason is None) == fits
    assert fits or "mapping packed" in str(reason)


def test_both_rows_of_a_window_lie_in_one_vector() -> None:
    """So that pooling takes no more accumulators, other than where a vector is one row."""
    plain, pooled = (conv(3, 8, 8, 8, batch=2, pooled=pooled) for pooled in (False, True))
    assert accumulators(tile(8, 16, 3), plain) == accumulators(tile(8, 16, 3), pooled) == 8 * 3 * 16
    rows = ConvTile(tile_m=8, vector_width=16, vectors=1, mapping="rows")
    assert accumulators(rows, pooled) == 2 * accumulators(rows, plain)


def test_first_choice_for_short_rows() -> None:
    cpu = imaginary_device(type="cpu", native_vector_width_float=16)
    assert CONV.default_tile(conv(3, 4, 4, 16, batch=8), cpu).mapping == "packed"
    assert CONV.default_tile(conv(3, 28, 28, 16, batch=8), cpu).mapping != "packed"
    narrow = imaginary_device(type="cpu", native_vector_width_float=8)
    chosen = CONV.default_tile(conv(3, 4, 4, 16, batch=8), narrow)
    assert (chosen.mapping, chosen.vector_width) == ("packed", 8)


def test_a_tuned_tile_can_be_tried_elsewhere() -> None:
    operations = small_operations(CONV, tile(8, 16, 3, sweep=4), roomy_device())
    assert operations[0].problem.out_channels > 4 * 8
