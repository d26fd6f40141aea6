"""Small networks of random layers, and their answers straight from the layers' definitions.

The answers follow the network layer by layer in float64; they know nothing of plans, layouts or buffers.
"""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.activations import activate
from clprune.darknet.fold import fold_batch_norm
from clprune.darknet.kinds.base import Layer
from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.functions import Softmax
from clprune.darknet.kinds.normalization import BatchNorm
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.kernels.connected import connected_reference
from clprune.kernels.conv_operation import conv_reference
from clprune.kernels.pool import max_pool_reference
from clprune.kernels.softmax import softmax_reference
from clprune.tolerance import relative_tolerance
from tests.layer_answers import answer

FloatArray = npt.NDArray[np.float64]
_ACTIVATIONS = ("linear", "relu", "leaky", "logistic", "tanh", "elu", "mish")


class _Writer:
    """Writes a cfg layer by layer and keeps the shapes that the layers so far have."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        channels, height, width = (self.random.choice(sides) for sides in ((1, 3, 4, 5), (7, 8, 9, 13), (6, 11, 12)))
        self.lines = [f"[net]\nheight={height}\nwidth={width}\nchannels={channels}\n"]
        self.shape = (channels, height, width)
        self.shapes: list[tuple[int, int, int]] = []

    def add(self, name: str, shape: tuple[int, int, int], **options: Any) -> None:
        self.lines.append(f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options.items()))
        self.shape = shape
        self.shapes.append(shape)

    def convolutional(self) -> None:
        channels, height, width = self.shape
        size = self.random.choice([side for side in (1, 2, 3, 5) if side <= min(height, width) + 2])
        stride, padding = self.random.choice((1, 1, 1, 2, 3)), self.random.choice((size // 2, size // 2, 0, 1, 2))
        if min(height, width) + 2 * padding < size:
            padding = size // 2
        groups = self.random.choice([count for count in (1, 1, 1, 2, 3, channels) if channels % count == 0])
        filters = groups * self.random.randint(1, 9)
        sides = [(side + 2 * padding - size) // stride + 1 for side in (height, width)]
        self.add(
            "convolutional",
            (filters, *sides),
            filters=filters,
            size=size,
            stride=stride,
            padding=padding,
            groups=groups,
            activation=self.random.choice(_ACTIVATIONS),
            batch_normalize=self.random.choice((0, 1)),
        )

    def maxpool(self) -> None:
        channels, height, width = self.shape
        size, stride = self.random.choice(((2, 2), (2, 2), (2, 1), (3, 2), (3, 1), (1, 1)))
        padding = self.random.choice((size - 1, size - 1, 0)) if min(height, width) >= size else size - 1
        sides = [(side + padding - size) // stride + 1 for side in (height, width)]
        self.add("maxpool", (channels, *sides), size=size, stride=stride, padding=padding)

    def upsample(self) -> None:
        channels, height, width = self.shape
        if max(height, width) > 8:
            return
        if self.random.random() < 0.4:
            height, width = self.random.randint(1, 2 * height), self.random.randint(1, 2 * width)
            self.add("resize", (channels, height, width), height=height, width=width)
            return
        if self.random.random() < 0.4:
            sides = {key: self.random.randint(0, 1) for key in ("top", "left", "bottom", "right")}
            mode = self.random.choice(("zeros", "edge", "reflect"))
            if mode == "reflect" and min(height, width) < 2:
                return
            shape = (channels, height + sides["top"] + sides["bottom"], width + sides["left"] + sides["right"])
            self.add("pad", shape, mode=mode, **sides)
            return
        self.add("upsample", (channels, 2 * height, 2 * width), stride=2, scale=self.random.choice((1, 0.5)))

    def route(self) -> None:
        like = [i for i, shape in enumerate(self.shapes) if shape[1:] == self.shape[1:]]
        if like:
            names = self.random.choices(like, k=self.random.choice((1, 2, 3)))
            counts = [self.shapes[name][0] for name in names]
            groups = self.random.choice([groups for groups in (1, 1, 2, 3) if not any(n % groups for n in counts)])
            options = {"groups": groups, "group_id": self.random.randrange(groups)} if groups > 1 else {}
            shape = (sum(counts) // groups, *self.shape[1:])
            self.add("route", shape, layers=",".join(map(str, names)), **options)

    def shortcut(self) -> None:
        like = [i for i, shape in enumerate(self.shapes[:-1]) if shape[1:] == self.shape[1:]]
        if like:
            options = {"alpha": self.random.choice((1, 0.5)), "activation": self.random.choice(("linear", "leaky"))}
            others = self.random.choices(like, k=self.random.choice((1, 1, 2)))
            if len(others) > 1:
                kinds = self.random.choice(("none", "per_feature", "per_channel"))
                options = {"weights_type": kinds, "weights_normalization": self.random.choice(("relu", "softmax"))}
            self.add("shortcut", self.shape, **{"from": ",".join(map(str, others))}, **options)

    def product(self) -> None:
        channels, height, width = self.shape
        index = len(self.shapes) - 1
        if index < 0:
            return
        kind = self.random.choice(("avgpool", "implicit", "plane", "sam"))
        if kind == "avgpool":
            self.add("avgpool", (channels, 1, 1))
        elif kind == "implicit":
            self.add("implicit", (channels, 1, 1), filters=channels)
        else:
            filters = 1 if kind == "plane" else channels
            self.add("convolutional", (filters, height, width), filters=filters, size=1)
        options = {"scale_wh": 1} if kind == "plane" else {}
        name = "sam" if kind == "sam" else "scale_channels"
        self.add(name, (channels, height, width), activation="leaky", **{"from": index}, **options)

    def reorg(self) -> None:
        channels, height, width = self.shape
        if height % 2 == 0 and width % 2 == 0 and channels % 4 == 0:
            self.add(self.random.choice(("reorg", "reorg3d")), (4 * channels, height // 2, width // 2), stride=2)
        elif channels % 4 == 0:
            self.add("reorg", (channels // 4, 2 * height, 2 * width), stride=2, reverse=1)

    def crop(self) -> None:
        channels, height, width = self.shape
        if self.random.random() < 0.25:
            sides = {"crop_height": height - self.random.randint(0, 3), "crop_width": width - self.random.randint(0, 2)}
            self.add("crop", (channels, *sides.values()), **sides, noadjust=self.random.choice((0, 1)))

    def same(self) -> None:
        name = self.random.choice(("batchnorm", "groupnorm", "dropout", "activation", "l2norm", "logistic", "empty"))
        divisors = [count for count in range(1, self.shape[0] + 1) if self.shape[0] % count == 0]
        # a small epsilon makes rounding large where a group's values are nearly equal
        options = {
            "activation": {"activation": "tanh"},
            "groupnorm": {"groups": divisors[len(divisors) // 2], "epsilon": 0.1},
        }
        self.add(name, self.shape, **options.get(name, {}))

    def yolo(self) -> None:
        boxes, classes = self.random.choice((1, 2)), self.random.randint(1, 4)
        shape = (boxes * (5 + classes), *self.shape[1:])
        self.add("convolutional", shape, filters=shape[0], size=1, activation="linear")
        self.add("yolo", shape, num=boxes, classes=classes, scale_x_y=self.random.choice((1, 1.2)))

    def head(self) -> None:
        """None, one of vectors, a mean of planes, or two of a detector."""
        kind = self.random.choice(("none", "avgpool", "connected", "connected", "yolo"))
        if kind == "yolo":
            self.yolo()
            self.add("route", self.shapes[-3], layers=-3)
            self.yolo()
            return
        if kind == "avgpool":
            self.add("avgpool", (self.shape[0], 1, 1))
        for _ in range(self.random.choice((1, 2)) if kind == "connected" else 0):
            outputs = self.random.randint(2, 19)
            options = {"batch_normalize": self.random.choice((0, 1)), "activation": self.random.choice(_ACTIVATIONS)}
            self.add("connected", (outputs, 1, 1), output=outputs, **options)
        if self.random.random() < 0.5:
            self.add("softmax", self.shape, temperature=self.random.choice((1, 2)))
        if self.random.random() < 0.3:
            self.add("cost", self.shape)


def random_cfg(seed: int) -> str:
    """A cfg of three to ten layers of every supported kind."""
    writer = _Writer(seed)
    writer.crop()
    body = (writer.convolutional,) * 5 + (
        writer.maxpool,
        writer.maxpool,
        writer.upsample,
        writer.route,
        writer.shortcut,
        writer.product,
        writer.reorg,
        writer.same,
    )
    for _ in range(writer.random.randint(2, 7)):
        writer.random.choice(body)()
    writer.convolutional()
    writer.head()
    return "\n".join(writer.lines)


def random_network(folder: Path, seed: int, *, batch: int = 1) -> tuple[Network, Weights]:
    """A network and seeded weights; of every other one, units of 4 x 1 are removed."""
    path = folder / f"random{seed}.cfg"
    path.write_text(random_cfg(seed))
    network = load_network(path, batch=batch)
    weights = random_weights(network, seed=seed)
    return network, remove_units(network, weights, seed=seed, share=0.6) if seed % 2 else weights


def remove_units(network: Network, weights: Weights, *, seed: int, share: float, unit_rows: int = 4) -> Weights:
    """`weights` with a random `share` of units of `unit_rows` x 1 set to zero in every layer that has a matrix."""
    layers = list(weights.layers)
    for layer, values in zip(network.layers, weights.layers, strict=True):
        if values is not None and isinstance(layer, Convolutional | Connected):
            rows, columns = len(values.weights), values.weights[0].size
            rng = np.random.default_rng((seed, layer.index))
            kept = rng.random((-(-rows // unit_rows), columns)) >= share
            mask = np.repeat(kept, unit_rows, axis=0)[:rows].reshape(values.weights.shape)
            layers[layer.index] = dataclasses.replace(values, weights=values.weights * mask.astype(np.float32))
    return dataclasses.replace(weights, layers=tuple(layers))


def answers(network: Network, weights: Weights, x: npt.NDArray[np.float32]) -> FloatArray:
    """float64 `[N, outputs]` for x `[N, C, H, W]`."""
    outputs: dict[int, FloatArray] = {-1: x.astype(np.float64)}
    for layer in network.layers:
        outputs[layer.index] = _answer(layer, outputs, weights, batch=len(x))
    return np.concatenate([outputs[layer.index].reshape(len(x), -1) for layer in network.output_layers], axis=1)


def tolerance(network: Network) -> float:
    """What rounding may add up to from the first layer to the last, relative to the largest answer."""
    terms = [int(np.prod(getattr(layer, "weights_shape", (1, 1))[1:])) for layer in network.layers]
    return sum(relative_tolerance(count) for count in terms)


def _answer(layer: Layer, outputs: dict[int, FloatArray], weights: Weights, *, batch: int) -> FloatArray:
    x = outputs[layer.sources[0]]
    values = weights.layers[layer.index]
    if isinstance(layer, Convolutional | Connected | BatchNorm):
        assert values is not None
        folded = fold_batch_norm(layer, values)
        matrix, bias = folded.weights.reshape(len(folded.weights), -1), folded.biases
    if isinstance(layer, Convolutional):
        x = activate(layer.activation, conv_reference(x, matrix, bias, layer.problem(batch)))
    elif isinstance(layer, Connected):
        x = activate(layer.activation, connected_reference(x.reshape(batch, -1), matrix, bias))
    elif isinstance(layer, BatchNorm):
        x = x * matrix.reshape(1, -1, 1, 1).astype(np.float64) + bias.reshape(1, -1, 1, 1)
    elif isinstance(layer, MaxPool):
        x = max_pool_reference(x, layer.problem(batch))
    elif isinstance(layer, AvgPool):
        x = x.mean(axis=(2, 3))
    elif isinstance(layer, Softmax):
        groups = x.reshape(batch * layer.groups, -1)
        x = softmax_reference(groups, temperature=layer.temperature)
    else:
        x = answer(layer, [outputs[source] for source in layer.sources], values)
    shape = layer.output
    return np.asarray(x, np.float64).reshape(batch, shape.channels, shape.height, shape.width)
