"""The float64 references against loops written from the definitions, and against PyTorch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clprune.darknet.activations import ACTIVATIONS, activate
from clprune.darknet.kinds.heads import runs_of
from clprune.geometry import ConvProblem, PoolProblem, Shape, Window
from clprune.kernels.connected import connected_reference
from clprune.kernels.conv_operation import conv_reference
from clprune.kernels.head import HEAD, HeadOperation
from clprune.kernels.pointwise import PointwiseOperation, pointwise_reference
from clprune.kernels.pool import average_pool_reference, max_pool_reference, window_average_reference
from clprune.kernels.softmax import softmax_reference
from clprune.layout import contiguous_layout
from clprune.rendering import render

PROBLEMS = [
    ConvProblem.square(
        batch=n, in_channels=c, in_height=h, in_width=w, out_channels=m, size=r, stride=s, padding=p, groups=g
    )
    for n, c, h, w, m, r, s, p, g in (
        (1, 1, 1, 1, 1, 1, 1, 0, 1),
        (2, 3, 5, 4, 2, 3, 1, 1, 1),
        (1, 4, 6, 3, 6, 2, 1, 0, 2),
        (1, 2, 7, 5, 3, 3, 2, 1, 1),
        (1, 3, 2, 3, 3, 5, 1, 2, 3),
        (2, 2, 8, 7, 2, 3, 3, 2, 1),
    )
]
UNEVEN = Window(size_y=2, size_x=3, stride_y=2, stride_x=1, dilation_y=2, dilation_x=1, top=1, left=0, right=2)
PROBLEMS.append(ConvProblem(batch=2, in_channels=4, in_height=6, in_width=7, out_channels=2, window=UNEVEN, groups=2))


def tensors(problem: ConvProblem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((problem.batch, problem.in_channels, problem.in_height, problem.in_width), np.float32)
    matrix = rng.standard_normal((problem.out_channels, problem.columns), np.float32)
    return x, matrix, rng.standard_normal(problem.out_channels, np.float32)


def conv_by_loops(x: np.ndarray, matrix: np.ndarray, bias: np.ndarray, problem: ConvProblem) -> np.ndarray:
    """One multiplication after the other; exact sums."""
    p = problem
    window = p.window
    weights = matrix.reshape(p.out_channels, p.group_in_channels, window.size_y, window.size_x)
    y = np.zeros((p.batch, p.out_channels, p.out_height, p.out_width))
    for n, m, i, j in np.ndindex(*y.shape):
        first = m // p.group_out_channels * p.group_in_channels
        terms = [float(bias[m])]
        for c, r, s in itertools.product(range(p.group_in_channels), range(window.size_y), range(window.size_x)):
            row = i * window.stride_y + r * window.dilation_y - window.top
            column = j * window.stride_x + s * window.dilation_x - window.left
            if 0 <= row < p.in_height and 0 <= column < p.in_width:
                terms.append(float(weights[m, c, r, s]) * float(x[n, first + c, row, column]))
        y[n, m, i, j] = math.fsum(terms)
    return y


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.key)
def test_convolution(problem: ConvProblem) -> None:
    x, matrix, bias = tensors(problem)
    answer = conv_reference(x, matrix, bias, problem)
    assert answer.dtype == np.float64
    np.testing.assert_allclose(answer, conv_by_loops(x, matrix, bias, problem), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.key)
def test_convolution_against_pytorch(problem: ConvProblem) -> None:
    torch = pytest.importorskip("torch")
    x, matrix, bias = tensors(problem)
    window = problem.window
    weights = matrix.reshape(problem.out_channels, problem.group_in_channels, window.size_y, window.size_x)
    padded = np.pad(x, ((0, 0), (0, 0), (window.top, window.bottom), (window.left, window.right)))
    theirs = torch.nn.functional.conv2d(
        *(torch.from_numpy(values).double() for values in (padded, weights, bias)),
        stride=(window.stride_y, window.stride_x),
        dilation=(window.dilation_y, window.dilation_x),
        groups=problem.groups,
    )
    np.testing.assert_allclose(conv_reference(x, matrix, bias, problem), theirs.numpy(), rtol=1e-12, atol=1e-12)


def test_convolution_by_hand() -> None:
    """A 2 x 2 filter over a 2 x 3 image, with a bias of 10."""
    problem = ConvProblem.square(batch=1, in_channels=1, in_height=2, in_width=3, out_channels=1, size=2)
    x = np.array([[[[1, 2, 3], [4, 5, 6]]]], np.float32)
    answer = conv_reference(x, np.array([[1, 10, 100, 1000]], np.float32), np.array([10], np.float32), problem)
    assert answer.tolist() == [[[[10 + 1 + 20 + 400 + 5000, 10 + 2 + 30 + 500 + 6000]]]]


def test_connected_by_hand() -> None:
    x = np.array([[1, 2], [0, -1]], np.float32)
    matrix = np.array([[1, 10], [0, 3], [-1, 0]], np.float32)
    answer = connected_reference(x, matrix, np.array([0, 1, 2], np.float32))
    assert answer.tolist() == [[21, 7, 1], [-10, -2, 2]]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    ("size", "padding"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2), (5, 0), (5, 4)]
)
def test_max_pool(size: int, padding: int, stride: int) -> None:
    problem = PoolProblem.square(
        batch=2, channels=2, in_height=6, in_width=7, size=size, stride=stride, padding=padding
    )
    x = np.random.default_rng(3).standard_normal((2, 2, 6, 7), np.float32)
    wanted = np.full((2, 2, problem.out_height, problem.out_width), -np.inf)
    before = padding // 2
    for n, c, i, j in np.ndindex(*wanted.shape):
        for r, s in itertools.product(range(size), range(size)):
            row, column = i * stride + r - before, j * stride + s - before
            if 0 <= row < 6 and 0 <= column < 7:
                wanted[n, c, i, j] = max(wanted[n, c, i, j], x[n, c, row, column])
    assert np.array_equal(max_pool_reference(x, problem), wanted)


def test_max_pool_against_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 11), np.float32)
    problem = PoolProblem.square(batch=2, channels=3, in_height=9, in_width=11, size=3, stride=2, padding=2)
    theirs = torch.nn.functional.max_pool2d(torch.from_numpy(x), 3, stride=2, padding=1).numpy()
    assert np.array_equal(max_pool_reference(x, problem), theirs)


@pytest.mark.parametrize("counts_border", [False, True])
def test_window_average_against_pytorch(counts_border: bool) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 11), np.float32)
    window = Window.square(3, stride=2, padding=1)
    problem = PoolProblem(
        batch=2, channels=3, in_height=9, in_width=11, window=window, is_average=True, counts_border=counts_border
    )
    theirs = torch.nn.functional.avg_pool2d(
        torch.from_numpy(x).double(), 3, stride=2, padding=1, count_include_pad=counts_border
    ).numpy()
    np.testing.assert_allclose(window_average_reference(x, problem), theirs, rtol=1e-12)


def test_max_of_channels() -> None:
    """Of five channels and two of output the first has three to choose from, the second two."""
    x = np.array([1, 9, 3, 4, 2], np.float32).reshape(1, 5, 1, 1)
    problem = PoolProblem(batch=1, channels=5, in_height=1, in_width=1, window=Window.square(1), depth_channels=2)
    assert max_pool_reference(x, problem).ravel().tolist() == [3, 9]


def test_average_pool_by_hand() -> None:
    x = np.array([[[[1, 2], [3, 6]], [[0, 0], [0, -4]]]], np.float32)
    assert average_pool_reference(x).tolist() == [[[[3.0]], [[-1.0]]]]


def test_softmax() -> None:
    x = np.array([[0.0, math.log(3.0)], [1000.0, 1000.0]])
    np.testing.assert_allclose(softmax_reference(x), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-14)
    np.testing.assert_allclose(softmax_reference(2 * x, temperature=2.0), softmax_reference(x), rtol=1e-14)


def layout(*, channels: int, height: int, width: int) -> object:
    return contiguous_layout(batch=1, shape=Shape(channels=channels, height=height, width=width))


def test_pointwise_upsamples_and_crops() -> None:
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    up = PointwiseOperation(
        input=layout(channels=1, height=2, width=2), output=layout(channels=1, height=4, width=4), up=2
    )
    assert pointwise_reference(up, x)[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    whole = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    crop = PointwiseOperation(
        input=layout(channels=1, height=3, width=4),
        output=layout(channels=1, height=2, width=2),
        row_offset=1,
        column_offset=2,
        is_scaled=True,
    )
    answer = pointwise_reference(crop, whole, scale=np.array([2.0]), shift=np.array([-1.0]))
    assert answer[0, 0].tolist() == [[11, 13], [19, 21]]


def test_pointwise_adds_a_smaller_and_a_larger_tensor() -> None:
    """Darknet's shortcut: every stride-th value of a wider tensor; a narrower one lands on every other place."""
    wide, narrow = layout(channels=1, height=4, width=4), layout(channels=1, height=2, width=2)
    large, small = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4), np.ones((1, 1, 2, 2), np.float32)
    down = PointwiseOperation(input=narrow, output=narrow, other=wide, alpha=10.0, beta=1.0)
    assert pointwise_reference(down, small, other=large)[0, 0].tolist() == [[10, 12], [18, 20]]
    upward = PointwiseOperation(input=wide, output=wide, other=narrow, alpha=1.0, beta=100.0)
    wanted = large[0, 0].astype(np.float64)
    wanted[::2, ::2] += 100
    assert np.array_equal(pointwise_reference(upward, large, other=small)[0, 0], wanted)


def pytorch_activation(name: str) -> Callable[[Any], Any]:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    functions = {
        "linear": lambda v: v,
        "leaky": lambda v: functional.leaky_relu(v, 0.1),
        "logistic": torch.sigmoid,
        "tanh": torch.tanh,
        "swish": functional.silu,
        "hardtan": functional.hardtanh,
        "hard_sigmoid": functional.hardsigmoid,
        "hard_swish": functional.hardswish,
        "gelu_erf": functional.gelu,
    }
    return functions[name] if name in functions else getattr(functional, name)


@pytest.mark.parametrize(
    "name",
    [
        *("linear", "relu", "relu6", "leaky", "logistic", "tanh", "elu", "selu", "swish", "mish", "hardtan"),
        *("hard_sigmoid", "hard_swish", "gelu_erf"),
    ],
)
def test_activations_against_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    v = np.linspace(-9, 9, 181)
    theirs = pytorch_activation(name)(torch.from_numpy(v)).numpy()
    np.testing.assert_allclose(activate(name, v), theirs, rtol=1e-4 if name == "selu" else 1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_has_device_code(name: str) -> None:
    """In a kernel of vectors and in one of single values."""
    assert "activate(" in render("pointwise", pointwise_variables(name))


def pointwise_variables(activation: str) -> dict[str, object]:
    return {
        "group_n": 1,
        "group_rows": 1,
        "activation": activation,
        "scaled": False,
        "summed": False,
        "factor": "",
        "ordered": False,
        "up": 1,
        "other_step": 1,
        "other_up": 1,
    }


def test_head_by_hand() -> None:
    """A logistic channel scaled by 2, one left alone, and a softmax of two at temperature 2."""
    layout = contiguous_layout(batch=1, shape=Shape(channels=4, height=1, width=2))
    runs = runs_of([(1, "logistic", 2.0), (1, "linear", 1.0), (2, "softmax", 1.0)])
    operation = HeadOperation(input=layout, output=layout, runs=runs, temperature=2.0)
    x = np.array([0, math.log(3), 5, -7, 1, 0, 1, 2 * math.log(4)]).reshape(1, 4, 1, 2)
    answer = HEAD.reference(operation, [x]).reshape(4, 2)
    np.testing.assert_allclose(answer, [[0.5, 1.0], [5, -7], [0.5, 0.2], [0.5, 0.8]], rtol=1e-12)
