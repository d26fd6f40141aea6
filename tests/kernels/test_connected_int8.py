"""Fully connected layers in integers: exact sums, rounding and saturation, the same bits whatever the words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clprune.darknet.values import LayerWeights
from clprune.errors import UsageError
from clprune.geometry import ConnectedProblem, Shape
from clprune.kernels.arguments import Scratch
from clprune.kernels.connected import ConnectedOperation, connected_operation
from clprune.kernels.connected_int8 import (
    CONNECTED_INT8,
    ConnectedInt8Tile,
    input_words,
)
from clprune.kernels.conv_int8 import MOST_COLUMNS
from clprune.kernels.samples import input_buffer
from clprune.launching import bind_stages, build_stages
from clprune.layout import padded_layout, view
from clprune.opencl import Session
from clprune.quantization.coding import LinearCoding
from tests.imaginary import imaginary_device

OPERATION = connected_operation(ConnectedProblem(batch=3, inputs=75, outputs=21), storage="int8")
TILES = (
    ConnectedInt8Tile(vector_width=4, vectors=2, inputs_packed=2),
    ConnectedInt8Tile(vector_width=16, vectors=1, k_unroll=2, tile_n=2, inputs_packed=2),
    ConnectedInt8Tile(vector_width=8, vectors=1, tile_n=4, inputs_packed=2),
    ConnectedInt8Tile(vector_width=4, vectors=1, inputs_packed=4),
    ConnectedInt8Tile(vector_width=1, vectors=1, group_m=16, group_k=4, k_unroll=2, inputs_packed=4),
)


def layer(codes: np.ndarray, *, scale: float = 1.0, activation_scale: float | None = 1.0) -> LayerWeights:
    scales = np.full(len(codes), scale, np.float32)
    coding = LinearCoding(codes=codes.astype(np.int8), scales=scales, activation_scale=activation_scale)
    return LayerWeights(weights=coding.decode(), biases=np.zeros(len(codes), np.float32), coding=coding)


def run(
    session: Session, tile: ConnectedInt8Tile, operation: ConnectedOperation, x: np.ndarray, weights: LayerWeights
) -> np.ndarray:
    """Outputs `[N, outputs]` of x `[N, inputs]`."""
    CONNECTED_INT8.check(tile, operation, session.info)
    packed = CONNECTED_INT8.pack(tile, operation, weights=weights)
    y = session.zeros(operation.output.size_bytes)
    shape = operation.input.shape
    values = x.reshape(-1, shape.channels, shape.height, shape.width)
    buffer = session.buffer_from(input_buffer(values, operation.input))
    on_device = {
        name: session.empty_buffer(argument.size_bytes)
        if isinstance(argument, Scratch)
        else session.buffer_from(argument)
        if isinstance(argument, np.ndarray)
        else argument
        for name, argument in CONNECTED_INT8.arguments(tile, operation, packed).items()
    }
    arguments = {"x": buffer, "y": y, **on_device}
    bind_stages(session, build_stages(session, CONNECTED_INT8, tile, operation), arguments).enqueue()
    answer = np.array(view(session.read(y, np.float32, operation.output.elements), operation.output))
    return answer.reshape(len(x), -1)


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_sums_are_exact(device_context: Session, tile: ConnectedInt8Tile) -> None:
    """Integers in, integers out: of the largest codes too, and with columns removed."""
    rng = np.random.default_rng(1)
    codes = rng.integers(-127, 128, (21, 75))
    codes[:, 10:31] = 0
    codes[4] = 0
    codes[5] = 127
    x = rng.integers(-127, 128, (3, 75)).astype(np.float32)
    x[1] = -127
    got = run(device_context, tile, OPERATION, x, layer(codes))
    assert np.array_equal(got, x.astype(np.int64) @ codes.T)


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_inputs_with_gaps_are_rounded_and_saturated(device_context: Session, tile: ConnectedInt8Tile) -> None:
    """The identity as weights: outputs are the codes of the inputs, which come as a padded image."""
    values = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.4, 128.0, 1e30, -1e30, -127.6, 0.49999997]
    wanted = [0, 2, 2, 0, -2, 126, 127, 127, 127, -127, -127, 0]
    operation = dataclasses.replace(
        connected_operation(ConnectedProblem(batch=1, inputs=12, outputs=12), storage="int8"),
        input=padded_layout(batch=1, shape=Shape(channels=2, height=2, width=3), pitch=5, padding=1),
    )
    tile = dataclasses.replace(tile, tile_n=1, vectors=1)
    x = np.array([values], np.float32)
    assert run(device_context, tile, operation, x, layer(np.eye(12))).tolist() == [wanted]


def test_all_tiles_give_the_same_bits(device_context: Session) -> None:
    rng = np.random.default_rng(2)
    weights = layer(rng.integers(-127, 128, (21, 75)), scale=0.0123, activation_scale=0.0071)
    x = rng.standard_normal((3, 75)).astype(np.float32)
    answers = [run(device_context, tile, OPERATION, x, weights) for tile in TILES]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)
    assert np.allclose(answers[0], CONNECTED_INT8.sums(OPERATION, x, weights), rtol=1e-6)


def test_words() -> None:
    codes = np.array([[1, -1, 2], [127, -127, 0]], np.int8)
    assert input_words(codes, 2).tolist() == [[0xFF01, 2], [0x817F, 0]]
    assert input_words(codes, 4).tolist() == [[0x02FF01], [0x00817F]]


def test_layer_without_scales_is_refused() -> None:
    with pytest.raises(UsageError, match="needs linear codes and a scale for activations"):
        CONNECTED_INT8.pack(TILES[0], OPERATION, weights=layer(np.ones((21, 75)), activation_scale=None))


def test_what_is_not_computed_in_integers_is_refused() -> None:
    wide = connected_operation(ConnectedProblem(batch=1, inputs=MOST_COLUMNS + 1, outputs=8), storage="int8")
    plain = connected_operation(OPERATION.problem)
    tile, device = CONNECTED_INT8.safe_tile(wide), imaginary_device()
    assert CONNECTED_INT8.rejection(tile, wide, device) == "sums of so many products may exceed 32 bits"
    assert CONNECTED_INT8.rejection(tile, plain, device) == "integer sums are for int8 weights"
