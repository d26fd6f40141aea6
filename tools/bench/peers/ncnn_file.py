"""A chain in ncnn's own format: a text of layers (`.param`) and their arrays in order (`.bin`).

Source: ncnn's wiki, "param and model file structure" and "operation-param-weight-table". An array of weights begins
with four bytes that name its type, zero for float32; biases have no such mark.
"""

from __future__ import annotations

from tools.bench.chain import (
    LEAKY_SLOPE,
    AveragePoolLink,
    Chain,
    ConnectedLink,
    ConvolutionLink,
    Link,
    MaxPoolLink,
)

INPUT, OUTPUT = "images", "answer"

_MAGIC = "7767517"
_FLOAT32_MARK = bytes(4)


def ncnn_files(chain: Chain) -> tuple[str, bytes]:
    """(text of the `.param` file, content of the `.bin` file); ncnn takes one image at a time, whatever the batch."""
    shape = chain.input
    lines = [f"Input {INPUT} 0 1 {INPUT} 0={shape.width} 1={shape.height} 2={shape.channels}"]
    arrays: list[bytes] = []
    blob = INPUT
    for number, link in enumerate(chain.links):
        output = OUTPUT if number == len(chain.links) - 1 else f"blob{number}"
        kind, parameters = _layer(link)
        text = " ".join(f"{key}={value}" for key, value in parameters.items())
        lines.append(f"{kind} layer{number} 1 1 {blob} {output} {text}".rstrip())
        if isinstance(link, ConvolutionLink | ConnectedLink):
            arrays += [_FLOAT32_MARK, link.weights.tobytes(), link.bias.tobytes()]
        blob = output
    return "\n".join([_MAGIC, f"{len(lines)} {len(lines)}", *lines]) + "\n", b"".join(arrays)


def _layer(link: Link) -> tuple[str, dict[str, object]]:
    """ncnn's name of the layer and its numbered parameters."""
    if isinstance(link, ConvolutionLink):
        sides = {"1": link.weights.shape[2], "3": link.stride, "4": link.padding}
        kind, groups = ("ConvolutionDepthWise", {"7": link.groups}) if link.groups > 1 else ("Convolution", {})
        counts = {"0": len(link.weights), "5": 1, "6": link.weights.size}
        return kind, {**counts, **sides, **groups, **_activation(link.activation)}
    if isinstance(link, ConnectedLink):
        counts = {"0": len(link.weights), "1": 1, "2": link.weights.size}
        return "InnerProduct", {**counts, **_activation(link.activation)}
    if isinstance(link, MaxPoolLink):
        borders = {"3": link.before, "13": link.before, "14": link.right, "15": link.below}
        return "Pooling", {"0": 0, "1": link.size, "2": link.stride, **borders, "5": 1}
    if isinstance(link, AveragePoolLink):
        return "Pooling", {"0": 1, "4": 1}
    return "Softmax", {"0": 0, "1": 1}


def _activation(name: str) -> dict[str, object]:
    """Parameters 9 (kind) and 10 (its numbers; an array's key is -23300 minus its number)."""
    if name == "relu":
        return {"9": 1}
    return {"9": 2, "-23310": f"1,{LEAKY_SLOPE}"} if name == "leaky" else {}
