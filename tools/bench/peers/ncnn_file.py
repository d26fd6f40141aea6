"""A chain in ncnn's own format: a text of layers (`.param`) and their arrays in order (`.bin`).

Source: ncnn's wiki, "param and model file structure" and "operation-param-weight-table". An array of weights begins
with four bytes that name its type, zero for float32; biases have no such mark.
"""

from __future__ import annotations

import math

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.darknet.kinds.pools import AvgPool, MaxPool
from tools.bench.chain import LEAKY_SLOPE, Chain, Link, borders

INPUT, OUTPUT = "images", "answer"

_MAGIC = "7767517"
_FLOAT32_MARK = bytes(4)


def ncnn_files(chain: Chain) -> tuple[str, bytes]:
    """(text of the `.param` file, content of the `.bin` file); ncnn takes one image at a time, whatever the batch."""
    shape = chain.network.input
    lines = [f"Input {INPUT} 0 1 {INPUT} 0={shape.width} 1={shape.height} 2={shape.channels}"]
    arrays: list[bytes] = []
    blob = INPUT
    for number, link in enumerate(chain.links):
        output = OUTPUT if number == len(chain.links) - 1 else f"blob{number}"
        kind, parameters = _layer(link)
        text = " ".join(f"{key}={value}" for key, value in parameters.items())
        lines.append(f"{kind} layer{number} 1 1 {blob} {output} {text}".rstrip())
        if link[1] is not None:
            arrays += [_FLOAT32_MARK, link[1].weights.tobytes(), link[1].biases.tobytes()]
        blob = output
    return "\n".join([_MAGIC, f"{len(lines)} {len(lines)}", *lines]) + "\n", b"".join(arrays)


def _layer(link: Link) -> tuple[str, dict[str, object]]:
    """ncnn's name of the layer and its numbered parameters."""
    layer, _ = link
    if isinstance(layer, Convolutional):
        sides = {"1": layer.size, "3": layer.stride, "4": layer.padding}
        kind, groups = ("ConvolutionDepthWise", {"7": layer.groups}) if layer.groups > 1 else ("Convolution", {})
        counts = {"0": layer.filters, "5": 1, "6": math.prod(layer.weights_shape)}
        return kind, {**counts, **sides, **groups, **_activation(layer.activation)}
    if isinstance(layer, Connected):
        counts = {"0": layer.weights_shape[0], "1": 1, "2": math.prod(layer.weights_shape)}
        return "InnerProduct", {**counts, **_activation(layer.activation)}
    if isinstance(layer, MaxPool):
        before, below, right = borders(layer)
        sides = {"3": before, "13": before, "14": right, "15": below}
        return "Pooling", {"0": 0, "1": layer.size, "2": layer.stride, **sides, "5": 1}
    if isinstance(layer, AvgPool):
        return "Pooling", {"0": 1, "4": 1}
    return "Softmax", {"0": 0, "1": 1}


def _activation(name: str) -> dict[str, object]:
    """Parameters 9 (kind) and 10 (its numbers; an array's key is -23300 minus its number)."""
    if name == "relu":
        return {"9": 1}
    return {"9": 2, "-23310": f"1,{LEAKY_SLOPE}"} if name == "leaky" else {}
