"""Integer convolution: exact sums, rounding and saturation of activations, the same bits whatever the words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.geometry import ConvProblem
from clprune.kernels.arguments import Scratch
from clprune.kernels.conv_int8 import (
    CONV_INT8,
    MOST_COLUMNS,
    ConvInt8Tile,
    channel_words,
    input_codes,
)
from clprune.kernels.conv_operation import ConvOperation, conv_operation, conv_reference
from clprune.kernels.samples import input_buffer
from clprune.launching import bind_stages, build_stages
from clprune.layout import view
from clprune.opencl import Session
from clprune.quantization.coding import LinearCoding
from tests.imaginary import imaginary_device

PROBLEM = ConvProblem.square(batch=2, in_channels=5, in_height=6, in_width=7, out_channels=6, size=3, padding=1)
TILES = (
    ConvInt8Tile(tile_m=4, vector_width=4, vectors=2, channels_packed=2),
    ConvInt8Tile(tile_m=2, vector_width=8, vectors=1, channels_packed=2, mapping="rows", k_unroll=2),
    ConvInt8Tile(tile_m=4, vector_width=16, vectors=1, channels_packed=2, prefetch=16),
    ConvInt8Tile(tile_m=4, vector_width=4, vectors=1, channels_packed=4, mapping="rows"),
    ConvInt8Tile(tile_m=2, vector_width=1, vectors=2, channels_packed=4, group_n=64),
)


def layer(codes: np.ndarray, *, scale: float = 1.0, activation_scale: float | None = 1.0) -> LayerWeights:
    coding = LinearCoding(
        codes=codes.astype(np.int8),
        scales=np.full(len(codes), scale, np.float32),
        activation_scale=activation_scale,
    )
    return LayerWeights(weights=coding.decode(), biases=np.zeros(len(codes), np.float32), coding=coding)


def run(
    session: Session, tile: ConvInt8Tile, operation: ConvOperation, x: np.ndarray, weights: LayerWeights
) -> np.ndarray:
    CONV_INT8.check(tile, operation, session.info)
    packed = CONV_INT8.pack(tile, operation, weights=weights)
    y = session.zeros(operation.output.size_bytes)
    arguments = {"x": input_buffer(x, operation.input), "y": y, **CONV_INT8.arguments(tile, operation, packed)}
    on_device = {
        name: session.empty_buffer(a.size_bytes)
        if isinstance(a, Scratch)
        else session.buffer_from(a)
        if isinstance(a, np.ndarray)
        else a
        for name, a in arguments.items()
    }
    bind_stages(session, build_stages(session, CONV_INT8, tile, operation), on_device).enqueue()
    return np.array(view(session.read(y, np.float32, operation.output.elements), operation.output))


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_sums_are_exact(device_context: Session, tile: ConvInt8Tile) -> None:
    """Integers in, integers out: of the largest codes too, and with columns removed."""
    rng = np.random.default_rng(1)
    operation = conv_operation(PROBLEM, storage="int8")
    codes = rng.integers(-127, 128, (6, 5, 3, 3))
    codes[:, 1:3] = 0
    codes[4] = 0
    x = rng.integers(-127, 128, (2, 5, 6, 7)).astype(np.float32)
    expected = conv_reference(x, codes.reshape(6, -1), np.zeros(6), PROBLEM)
    assert np.array_equal(run(device_context, tile, operation, x, layer(codes)), expected)


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_rounding_and_saturation(device_context: Session, tile: ConvInt8Tile) -> None:
    """1x1 with one weight: outputs are the codes of the inputs."""
    problem = ConvProblem.square(batch=1, in_channels=1, in_height=2, in_width=6, out_channels=1, size=1)
    operation = conv_operation(problem, storage="int8")
    tile = dataclasses.replace(tile, tile_m=1)
    values = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.4, 128.0, 1e30, -1e30, -127.6, 0.49999997]
    wanted = [0, 2, 2, 0, -2, 126, 127, 127, 127, -127, -127, 0]
    x = np.array(values, np.float32).reshape(1, 1, 2, 6)
    got = run(device_context, tile, operation, x, layer(np.ones((1, 1, 1, 1))))
    assert got.reshape(-1).tolist() == wanted
    assert input_codes(x, 1.0).reshape(-1).tolist() == wanted


def test_all_tiles_give_the_same_bits(device_context: Session) -> None:
    rng = np.random.default_rng(2)
    operation = conv_operation(PROBLEM, storage="int8")
    weights = layer(rng.integers(-127, 128, (6, 5, 3, 3)), scale=0.0123, activation_scale=0.0071)
    x = rng.standard_normal((2, 5, 6, 7)).astype(np.float32)
    answers = [run(device_context, tile, operation, x, weights) for tile in TILES]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)
    assert np.allclose(answers[0], CONV_INT8.sums(operation, x, weights), rtol=1e-6)


def test_words() -> None:
    codes = np.array([[1, -1, 2], [127, -127, 0]], np.int8)
    assert channel_words(codes, 2).tolist() == [[-65535, 2], [127 - (127 << 16), 0]]
    assert channel_words(codes, 4).view(np.uint32).tolist() == [[0x02FF01], [0x00817F]]


def test_layer_without_scales_is_refused() -> None:
    operation = conv_operation(PROBLEM, storage="int8")
    with pytest.raises(UsageError, match="needs linear codes and a scale for activations"):
        CONV_INT8.pack(TILES[0], operation, weights=layer(np.ones((6, 5, 3, 3)), activation_scale=None))


def test_sums_that_could_overflow_are_refused() -> None:
    assert MOST_COLUMNS * 127**2 < 2**31 <= (MOST_COLUMNS + 1) * 127**2
    problem = ConvProblem.square(batch=1, in_channels=MOST_COLUMNS + 1, in_height=1, in_width=1, out_channels=1, size=1)
    tile = CONV_INT8.safe_tile(conv_operation(problem, storage="int8"))
    reason = CONV_INT8.rejection(tile, conv_operation(problem, storage="int8"), imaginary_device())
    assert reason == "sums of so many products may exceed 32 bits"


def test_pair_products_are_for_cpu_drivers() -> None:
    assert CONV_INT8.build_options(imaginary_device(type="cpu")) == ("-DHAS_PAIR_PRODUCTS",)
    assert CONV_INT8.build_options(imaginary_device(type="cpu", name="llvmpipe")) == ()


@pytest.mark.parametrize(
    ("facts", "options"),
    [
        ({}, ()),
        ({"extensions": ("cl_khr_integer_dot_product",), "opencl_c_version": "OpenCL C 1.2"}, ()),
        (
            {"extensions": ("cl_khr_integer_dot_product",), "opencl_c_version": "OpenCL C 3.0"},
            ("-cl-std=CL3.0", "-DHAS_INTEGER_DOT_PRODUCT"),
        ),
    ],
)
def test_dot_product_where_the_language_has_it(facts: dict[str, object], options: tuple[str, ...]) -> None:
    device: DeviceInfo = imaginary_device(**facts)
    assert CONV_INT8.build_options(device) == options
