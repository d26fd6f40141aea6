"""Direct convolution that goes through K in chunks: bands of row blocks, all storages, pooled, strided."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from clprune.candidate import bind_case, verify
from clprune.geometry import ConvProblem
from clprune.kernels.conv import CONV, ConvTile, chunk_channels
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.storage import STORAGES
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from clprune.tiles.records import tile_from, tile_text
from tests.covering import roomy_device
from tests.imaginary import imaginary_device

TILE = ConvTile(tile_m=4, vector_width=8, vectors=2, sweep=4, prefetch=16, chunk=144)
WORKLOADS = (Workload(seed=1), Workload(seed=2, kept_share=0.25, unit_rows=4), Workload(seed=3, kept_share=0.0))


def problem(**sizes: int) -> ConvProblem:
    usual = {
        "batch": 1,
        "in_channels": 37,
        "in_height": 10,
        "in_width": 20,
        "out_channels": 21,
        "size": 3,
        "padding": 1,
    }
    return ConvProblem.square(**{**usual, **sizes})


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.key)
@pytest.mark.parametrize(
    ("more", "shape", "fused"),
    [
        ({}, {}, {}),
        ({"turns": 4}, {"batch": 3}, {}),
        ({"mapping": "rows", "sweep": 16}, {}, {"pooled": True}),
        ({"mapping": "rows", "turns": 4, "vectors": 1}, {"out_channels": 40}, {"pooled": True}),
        ({"mapping": "rows", "prefetch": 0}, {"stride": 2, "size": 5, "padding": 2}, {}),
        ({}, {"size": 1, "padding": 0, "in_channels": 300}, {}),
        ({"turns": 4}, {}, {"added": "relu"}),
    ],
    ids=["plain", "turns", "pooled", "pooled turns", "strided", "1x1", "summed"],
)
def test_chunks_are_right(
    device_context: Session, more: dict[str, Any], shape: dict[str, int], fused: dict[str, Any], workload: Workload
) -> None:
    tile, operation = dataclasses.replace(TILE, **more), conv_operation(problem(**shape), activation="leaky", **fused)
    assert 2 * chunk_channels(tile, operation) < operation.problem.in_channels
    case = CONV.case(tile, operation, CONV.sample(operation, workload))
    verify(device_context, bind_case(device_context, CONV, tile, operation, case))


@pytest.mark.parametrize("storage", STORAGES)
def test_chunks_of_coded_weights(device_context: Session, storage: str) -> None:
    operation = conv_operation(problem(), activation="relu", storage=storage)
    case = CONV.case(TILE, operation, CONV.sample(operation, WORKLOADS[1]))
    verify(device_context, bind_case(device_context, CONV, TILE, operation, case))


@pytest.mark.parametrize(
    ("more", "shape", "reason"),
    [
        ({"sweep": 0}, {}, "bands of row blocks"),
        ({"sweep": 16, "chunk": 0}, {"out_channels": 100}, "for chunks of K"),
        ({}, {"groups": 3, "in_channels": 36}, "one group of channels"),
        ({"mapping": "packed"}, {"in_width": 4, "in_height": 4}, "runs of positions"),
        ({"prefetch": 48}, {}, "all at once"),
    ],
)
def test_chunks_that_make_no_sense(more: dict[str, Any], shape: dict[str, int], reason: str) -> None:
    operation = conv_operation(problem(**shape))
    assert reason in str(CONV.rejection(dataclasses.replace(TILE, **more), operation, roomy_device()))


@pytest.mark.parametrize("lanes", [8, 16])
def test_first_choice_for_pooled_layers_of_many_channels(lanes: int) -> None:
    """Not where there are few row blocks."""
    cpu = imaginary_device(type="cpu", native_vector_width_float=lanes, local_mem_is_dedicated=False)
    for out_channels, is_chunked in ((64, True), (8, False)):
        shape = problem(in_channels=64, in_height=112, in_width=112, out_channels=out_channels)
        assert (CONV.default_tile(conv_operation(shape, pooled=True), cpu).chunk > 0) == is_chunked


def test_tiles_of_before_chunks_stay_what_they_were() -> None:
    """They are kept as text without the parameter, and read so; only what differs says it."""
    plain = dataclasses.replace(TILE, chunk=0)
    assert "chunk" not in tile_text(plain)
    assert '"chunk": 144' in tile_text(TILE)
    assert tile_from(CONV, tile_text(plain)) == plain
    assert tile_from(CONV, tile_text(TILE)) == TILE
