"""Depthwise convolution: odd sizes, overlapping tiles, strides, what it is offered for, untuned tiles."""

from __future__ import annotations

import dataclasses

import pytest

from clprune.candidate import bind_case, verify
from clprune.geometry import ConvProblem
from clprune.kernels.base import Request
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.conv_operation import ConvOperation, conv_operation
from clprune.kernels.depthwise import DEPTHWISE, DepthwiseTile
from clprune.kernels.workload import WeightForm, Workload
from clprune.offline.architectures import architecture_by_name
from clprune.offline.architectures import imaginary_device as card
from clprune.opencl import Session
from tests.covering import roomy_device
from tests.imaginary import imaginary_device

AVX2 = imaginary_device(type="cpu", native_vector_width_float=8, local_mem_is_dedicated=False, compute_units=2)
AVX512 = dataclasses.replace(AVX2, native_vector_width_float=16)


def tile(width: int, rows: int, turns: int = 1) -> DepthwiseTile:
    return DepthwiseTile(vector_width=width, tile_rows=rows, turns=turns)


def shared(width: int, rows: int, group_n: int = 64) -> DepthwiseTile:
    return DepthwiseTile(vector_width=width, tile_rows=rows, group_n=group_n)


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
        (shared(1, 1), conv(1, 1)),
        (shared(4, 2), conv(33, 3, width=7, batch=3)),
        (shared(1, 7, 128), conv(31, 7)),
        (shared(4, 4), conv(3, 13, width=33)),
        (shared(2, 7), conv(3, 31, width=31, stride=2, batch=2)),
        (shared(4, 2, 256), conv(3, 9, width=33, size=5, padding=2, stride=2, out_channels=6)),
        (shared(2, 1), conv(2, 13, size=4, stride=3)),
        (shared(4, 7), conv(3, 7, width=31, size=1, padding=0)),
        (shared(4, 7), conv(5, 9, width=3, size=5, padding=2)),
    ],
    ids=[
        *("1px", "3px high", "7px", "33px wide", "stride 2", "two per channel", "stride 3", "1x1"),
        *(f"GPU {kind}" for kind in ("1px", "3px high", "7px", "33px wide", "stride 2", "two per channel", "stride 3")),
        *("GPU 1x1", "GPU rows of part of a vector"),
    ],
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
    turns = "several turns are for work-groups of one, and for layers with as many tiles"
    assert reason(tile(8, 7, turns=64), conv(6, 7)) == turns
    assert reason(DepthwiseTile(vector_width=1, tile_rows=1, turns=8, group_n=64), conv(60, 70)) == turns
    assert reason(shared(8, 1), conv(6, 9)) == "wide vectors are for work-groups of one"
    assert reason(tile(2, 1), conv(6, 9)) == "vectors of two are for work-groups of several items"


def test_offered_for_plain_layers() -> None:
    def offers(operation: ConvOperation, device: object = AVX2, winograd: int | None = None) -> int:
        form = WeightForm(winograd=winograd)
        return len(DEPTHWISE.offers(Request(operation=operation, form=form, device=device, max_error=1.0)))  # type: ignore[arg-type]

    assert offers(conv(6, 9)) == 1
    assert offers(conv(6, 9, out_channels=12)) == 1
    assert offers(conv(6, 9), imaginary_device()) == 1
    assert offers(conv(6, 9), winograd=2) == offers(conv(6, 9, groups=3)) == 0
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


def test_first_of_a_gpu() -> None:
    """Also of those that skip single weights."""
    form = WeightForm(workload=Workload(kept_share=0.1, unit_rows=1))
    request = Request(operation=conv(96, 28), form=form, device=imaginary_device(), max_error=1e-3)
    found = [
        offer for kernel in built_in_kernels() if kernel.computes is ConvOperation for offer in kernel.offers(request)
    ]
    assert len(found) > 2
    assert min(found, key=lambda offer: offer.rank).kernel is DEPTHWISE


@pytest.mark.parametrize(("name", "width"), [("sm_90", 1), ("gfx90a", 4), ("gfx1100", 4)])
def test_untuned_tiles_of_gpus_fill_the_card(name: str, width: int) -> None:
    """One position per work-item where several loads would be made of a vector; short strips for small layers."""
    device = card(architecture_by_name(name))
    assert DEPTHWISE.default_tile(conv(96, 112, stride=2, batch=64), device) == shared(width, 7)
    small = DEPTHWISE.default_tile(conv(960, 7), device)
    assert small.tile_rows <= 2
    for operation in (conv(32, 112), conv(576, 14), conv(960, 7), conv(5, 1)):
        chosen = DEPTHWISE.default_tile(operation, device)
        assert chosen.group_n == 64
        demand = DEPTHWISE.demand(chosen, operation, Workload(), architecture_by_name(name))
        assert demand.groups * demand.work_group_size * chosen.vector_width >= operation.positions // chosen.tile_rows


def test_what_a_gpu_is_asked_for() -> None:
    """33 columns in 9 vectors, 13 rows in 4 tiles, 3 planes: 108 work-items. Six lines of six inputs, nine weights."""
    operation = conv(3, 13, width=33)
    nvidia, amd = (
        DEPTHWISE.demand(shared(4, 4), operation, Workload(), architecture_by_name(name))
        for name in ("sm_90", "gfx90a")
    )
    assert (nvidia.groups, nvidia.work_group_size, nvidia.columns, nvidia.fmas) == (2, 64, 9, 16)
    assert nvidia.load_instructions == pytest.approx(6 * 6 / 9 + 1)
    assert amd.load_instructions == pytest.approx(6 * 2 / 9 + 1)
    assert nvidia.memory_bytes == 4 * (operation.input.elements + operation.output.elements)
