"""Sparse kernels on layers whose answers can be told by hand: empty rows, one weight, nothing at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clprune import quirks
from clprune.candidate import bind_case, verify
from clprune.geometry import ConnectedProblem, ConvProblem, Window
from clprune.kernels.arguments import Sample
from clprune.kernels.connected import CONNECTED, connected_operation, connected_reference
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation, conv_reference
from clprune.kernels.matrix import MatrixKernel
from clprune.kernels.sparse_connected import SPARSE_CONNECTED, SparseConnectedTile
from clprune.kernels.sparse_conv import SPARSE_CONV
from clprune.kernels.sparse_conv_local import SPARSE_CONV_LOCAL, SparseConvLocalTile
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from tests.imaginary import imaginary_device

RNG = np.random.default_rng(0)


def one_weight(rows: int, columns: int) -> np.ndarray:
    matrix = np.zeros((rows, columns), np.float32)
    matrix[rows // 2, columns - 1] = -1.5
    return matrix


def ragged(rows: int, columns: int) -> np.ndarray:
    """Row r keeps r of its weights."""
    matrix = RNG.standard_normal((rows, columns)).astype(np.float32)
    for row in range(rows):
        matrix[row, row:] = 0
    return matrix


matrices = pytest.mark.parametrize("matrix_of", [lambda m, k: np.zeros((m, k), np.float32), one_weight, ragged])


@matrices
@pytest.mark.parametrize("storage", ["float32", "int8", "codebook4"])
@pytest.mark.parametrize("kernel", [SPARSE_CONV, SPARSE_CONV_LOCAL, CONV], ids=lambda kernel: kernel.name)
def test_convolutions(device_context: Session, kernel, storage: str, matrix_of) -> None:  # type: ignore[no-untyped-def]
    problem = ConvProblem.square(batch=1, in_channels=3, in_height=6, in_width=5, out_channels=9, size=3, padding=1)
    operation = conv_operation(problem, storage=storage)
    matrix = np.sign(matrix_of(9, 27)).astype(np.float32)  # every storage holds -1, 0 and 1 exactly
    x = RNG.standard_normal((1, 3, 6, 5)).astype(np.float32)
    bias = np.arange(9, dtype=np.float32)
    answer = conv_reference(x, matrix, bias, problem)
    check(device_context, kernel, operation, Sample(inputs={"x": x, "matrix": matrix, "bias": bias}, answer=answer))


@matrices
@pytest.mark.parametrize("storage", ["float32", "int8", "codebook4"])
@pytest.mark.parametrize("kernel", [SPARSE_CONNECTED, CONNECTED], ids=lambda kernel: kernel.name)
def test_connected(device_context: Session, kernel, storage: str, matrix_of) -> None:  # type: ignore[no-untyped-def]
    operation = connected_operation(ConnectedProblem(batch=2, inputs=700, outputs=21), storage=storage)
    matrix = np.sign(matrix_of(21, 700)).astype(np.float32)
    x = RNG.standard_normal((2, 700)).astype(np.float32)
    bias = np.arange(21, dtype=np.float32)
    sample = Sample(
        inputs={"x": x[:, :, None, None], "matrix": matrix, "bias": bias}, answer=connected_reference(x, matrix, bias)
    )
    check(device_context, kernel, operation, sample)


@pytest.mark.parametrize("offset_bits", [8, 16, 32])
def test_far_columns(device_context: Session, offset_bits: int) -> None:
    matrix = np.zeros((5, 3000), np.float32)
    matrix[[0, 1, 1, 3, 3], [2999, 0, 2999, 255, 511]] = [1, 2, 3, 4, 5]
    operation = connected_operation(ConnectedProblem(batch=1, inputs=3000, outputs=5))
    x = RNG.standard_normal((1, 3000)).astype(np.float32)
    bias = np.zeros(5, np.float32)
    sample = Sample(
        inputs={"x": x[:, :, None, None], "matrix": matrix, "bias": bias}, answer=connected_reference(x, matrix, bias)
    )
    tile = SparseConnectedTile(vector_width=4, vectors=1, k_unroll=2, offset_bits=offset_bits)
    case = SPARSE_CONNECTED.case(tile, operation, sample)
    verify(device_context, bind_case(device_context, SPARSE_CONNECTED, tile, operation, case))


WINDOWED = SparseConnectedTile(vector_width=16, vectors=2, tile_n=2, k_unroll=2, offset_bits=8, window=2, prefetch=64)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8", "codebook8", "codebook4"])
@pytest.mark.parametrize(
    "changes", [{}, {"vectors": 1, "window": 4}, {"vector_width": 8, "window": 8}], ids=["w2", "w4", "w8"]
)
def test_windows(device_context: Session, storage: str, changes: dict[str, int]) -> None:
    check_windows(device_context, replace(WINDOWED, **changes), storage)


@pytest.mark.parametrize("storage", ["float32", "codebook4"])
def test_windows_without_subscripts(device_context: Session, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
    monkeypatch.setattr(quirks, "takes_vector_subscripts", lambda device: False)
    check_windows(device_context, WINDOWED, storage)


def check_windows(session: Session, tile: SparseConnectedTile, storage: str) -> None:
    """Entries at both ends of the input and far from each other, rows without any."""
    matrix = np.sign(ragged(37, 300)).astype(np.float32)
    matrix[5], matrix[20, :20] = 0, 0
    matrix[[3, 3, 20], [0, 299, 299]] = [1, -1, 1]
    operation = connected_operation(ConnectedProblem(batch=3, inputs=300, outputs=37), storage=storage)
    x = RNG.standard_normal((3, 300)).astype(np.float32)
    bias = np.arange(37, dtype=np.float32)
    sample = Sample(
        inputs={"x": x[:, :, None, None], "matrix": matrix, "bias": bias}, answer=connected_reference(x, matrix, bias)
    )
    case = SPARSE_CONNECTED.case(tile, operation, sample)
    verify(session, bind_case(session, SPARSE_CONNECTED, tile, operation, case, keep=False))


def test_vectors_are_permuted_by_subscripts_on_cpus() -> None:
    assert SPARSE_CONNECTED.build_options(imaginary_device(type="cpu")) == ("-DHAS_VECTOR_SUBSCRIPTS",)
    assert SPARSE_CONNECTED.build_options(imaginary_device(type="cpu", platform_name="Oclgrind")) == ()
    assert SPARSE_CONNECTED.build_options(imaginary_device(type="gpu")) == ()


def test_windows_of_vectors_wider_than_the_device_come_last() -> None:
    operation = connected_operation(ConnectedProblem(batch=1, inputs=4096, outputs=4096))
    for width in (16, 8):
        device = imaginary_device(type="cpu", native_vector_width_float=width)
        tile = SPARSE_CONNECTED.default_tile(operation, device)
        assert (tile.vector_width, tile.window) == (width, 4)


def check(session: Session, kernel: MatrixKernel, operation, sample: Sample) -> None:  # type: ignore[no-untyped-def,type-arg]
    for tile in (kernel.default_tile(operation, session.info), kernel.safe_tile(operation)):
        case = kernel.case(tile, operation, sample)
        assert case.kept_share == pytest.approx(
            np.count_nonzero(sample.inputs["matrix"]) / sample.inputs["matrix"].size
        ) or (kernel in (CONV, CONNECTED))
        verify(session, bind_case(session, kernel, tile, operation, case))


@pytest.mark.parametrize("storage", ["float32", "int8"])
@pytest.mark.parametrize("pooled", [False, True], ids=["", "pooled"])
@pytest.mark.parametrize(
    "tile",
    [
        SparseConvLocalTile(vector_width=8, tile_columns=8, tile_rows=4, tile_k=2, block_rows=4, k_unroll=2),
        SparseConvLocalTile(vector_width=8, tile_columns=4, tile_rows=6, tile_k=3, block_rows=9, prefetch=1),
        SparseConvLocalTile(vector_width=16, tile_columns=2, tile_rows=2, tile_k=1, block_rows=2, prefetch=1),
    ],
    ids=["one", "two", "eight"],
)
def test_pieces_of_several_images(
    device_context: Session, tile: SparseConvLocalTile, pooled: bool, storage: str
) -> None:
    """Ten rows and columns: pieces of four or six rows overlap, and those of three images do not fill all vectors."""
    problem = ConvProblem.square(batch=3, in_channels=5, in_height=10, in_width=10, out_channels=9, size=3, padding=1)
    operation = conv_operation(problem, pooled=pooled, storage=storage, activation="leaky")
    workload = Workload(kept_share=0.3, unit_rows=1)
    case = SPARSE_CONV_LOCAL.case(tile, operation, SPARSE_CONV_LOCAL.sample(operation, workload))
    verify(device_context, bind_case(device_context, SPARSE_CONV_LOCAL, tile, operation, case))


def test_local_tiles_fit_the_layer_and_the_device() -> None:
    device = imaginary_device(type="cpu", local_mem_bytes=2**18, native_vector_width_float=16)
    problem = ConvProblem.square(
        batch=1, in_channels=256, in_height=56, in_width=56, out_channels=256, size=3, padding=1
    )
    tile = SPARSE_CONV_LOCAL.default_tile(conv_operation(problem), device)
    assert (tile.tile_columns, tile.tile_rows) == (8, 7), "56 is a multiple of both"
    assert SPARSE_CONV_LOCAL.local_mem_bytes(tile, conv_operation(problem)) <= 2**18
    few = replace(problem, in_channels=3, out_channels=5)
    assert SPARSE_CONV_LOCAL.default_tile(conv_operation(few), device).tile_k <= 5
    assert SPARSE_CONV_LOCAL.default_tile(conv_operation(few), device).block_rows >= 5  # the input is copied once
    strided = conv_operation(replace(problem, window=Window.square(3, stride=2, padding=1)))
    assert SPARSE_CONV_LOCAL.rejection(tile, strided, device) == "the layer has a stride, groups or uneven windows"
