"""Darknet's activations as ONNX operators; those that ONNX lacks are composed. References: clprune.darknet.activations.

Piecewise ones are sums of clipped lines, which are exact at their corners and need no comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from clprune.darknet.activations import SELU_ALPHA, SELU_SCALE
from clprune.errors import UnsupportedLayerError
from clprune.exchange.graph import Graph


def _scaled(graph: Graph, x: str, factor: float, offset: float = 0.0) -> str:
    product = graph.add("Mul", x, graph.number(factor))
    return graph.add("Add", product, graph.number(offset)) if offset else product


def _clip(graph: Graph, x: str, low: float, high: float) -> str:
    return graph.add("Clip", x, graph.number(low), graph.number(high))


def _beyond(graph: Graph, x: str, low: float, high: float, slope: float) -> str:
    """How far x lies outside low to high, times `slope`."""
    return _scaled(graph, graph.add("Sub", x, _clip(graph, x, low, high)), slope)


def _ramp(graph: Graph, x: str) -> str:
    return graph.add("Add", graph.add("Relu", x), _scaled(graph, x, 0.1))


def _plse(graph: Graph, x: str) -> str:
    return graph.add("Add", _clip(graph, _scaled(graph, x, 0.125, 0.5), 0, 1), _beyond(graph, x, -4, 4, 0.01))


def _lhtan(graph: Graph, x: str) -> str:
    return graph.add("Add", _clip(graph, x, 0, 1), _beyond(graph, x, 0, 1, 0.001))


def _stair(graph: Graph, x: str) -> str:
    """floor(x / 2), plus x - floor(x) where floor(x) is odd."""
    floor, half = graph.add("Floor", x), graph.add("Floor", _scaled(graph, x, 0.5))
    is_odd = graph.add("Sub", floor, _scaled(graph, half, 2))
    return graph.add("Add", half, graph.add("Mul", is_odd, graph.add("Sub", x, floor)))


def _mish(graph: Graph, x: str) -> str:
    return graph.add("Mul", x, graph.add("Tanh", graph.add("Softplus", x)))


def _hard_mish(graph: Graph, x: str) -> str:
    low = _clip(graph, x, -2, 0)
    parabola = graph.add("Add", _scaled(graph, graph.add("Mul", low, low), 0.5), low)
    return graph.add("Add", graph.add("Relu", x), parabola)


def _gelu_erf(graph: Graph, x: str) -> str:
    share = _scaled(graph, graph.add("Erf", _scaled(graph, x, math.sqrt(0.5))), 0.5, 0.5)
    return graph.add("Mul", x, share)


def _hard_sigmoid(graph: Graph, x: str) -> str:
    return graph.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)


_OPERATORS: dict[str, Callable[[Graph, str], str]] = {
    "logistic": lambda graph, x: graph.add("Sigmoid", x),
    "relu": lambda graph, x: graph.add("Relu", x),
    "leaky": lambda graph, x: graph.add("LeakyRelu", x, alpha=0.1),
    "elu": lambda graph, x: graph.add("Elu", x, alpha=1.0),
    "selu": lambda graph, x: graph.add("Selu", x, alpha=SELU_ALPHA, gamma=SELU_SCALE),
    "linear": lambda graph, x: x,
    "tanh": lambda graph, x: graph.add("Tanh", x),
    "ramp": _ramp,
    "hardtan": lambda graph, x: _clip(graph, x, -1, 1),
    "loggy": lambda graph, x: _scaled(graph, graph.add("Sigmoid", x), 2, -1),
    "relie": lambda graph, x: graph.add("LeakyRelu", x, alpha=0.01),
    "plse": _plse,
    "stair": _stair,
    "lhtan": _lhtan,
    "swish": lambda graph, x: graph.add("Mul", x, graph.add("Sigmoid", x)),
    "mish": _mish,
    "relu6": lambda graph, x: _clip(graph, x, 0, 6),
    "hard_mish": _hard_mish,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda graph, x: graph.add("Mul", x, _hard_sigmoid(graph, x)),
    "gelu_erf": _gelu_erf,
}


def activate(graph: Graph, name: str, x: str) -> str:
    """Add the activation `name` of x. Raises UnsupportedLayerError for one that has no operators here."""
    if name not in _OPERATORS:
        raise UnsupportedLayerError(f"activation {name} cannot be exported: expected one of {', '.join(_OPERATORS)}")
    return _OPERATORS[name](graph, x)
