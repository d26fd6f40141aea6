"""What a cfg describes, as a table: its layers with shapes, parameters and work, and the dialect."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.text import print_json, print_table

if TYPE_CHECKING:
    from clprune.darknet.network import Network


def network_facts(cfg: str, dialect: str | None) -> dict[str, Any]:
    """What there is to say of a cfg, as JSON can hold it. Raises CfgError, UnsupportedLayerError."""
    from clprune.darknet.kinds.base import WeightedLayer
    from clprune.darknet.network import load_network

    network = load_network(cfg, dialect=dialect)
    told = network.dialect.with_header(_version_words(network))
    return {
        "file": str(network.path),
        "input": network.input.dimensions,
        "dialect": told.name,
        "dialect_reason": told.reason,
        "outputs": [layer.index for layer in network.output_layers],
        "layers": [
            {
                "layer": layer.index,
                "kind": layer.kind,
                "sources": layer.sources,
                "output": layer.output.dimensions,
                "parameters": sum(math.prod(shape) for shape in layer.arrays.values() if layer.owns_values),
                "multiply_adds": layer.problem(1).flops // 2 if isinstance(layer, WeightedLayer) else 0,
            }
            for layer in network.layers
        ],
    }


def print_network(cfg: str, dialect: str | None, *, as_json: bool) -> None:
    """Print `network_facts`."""
    facts = network_facts(cfg, dialect)
    if as_json:
        print_json(facts)
        return
    rows = []
    for layer in facts["layers"]:
        sources = layer["sources"]
        named = "" if sources == (layer["layer"] - 1,) else " of " + ", ".join(map(str, sources))
        marked = " *" if layer["layer"] in facts["outputs"] else ""
        shape, million = "x".join(map(str, layer["output"])), f"{layer['multiply_adds'] / 1e6:.2f}"
        rows.append((layer["layer"], f"{layer['kind']}{named}{marked}", shape, layer["parameters"], million))
    print_table(["layer", "kind", "output", "parameters", "million multiply-adds"], rows)
    parameters, multiply_adds = (
        sum(layer[key] for layer in facts["layers"]) for key in ("parameters", "multiply_adds")
    )
    click.echo(
        f"{facts['file']}: takes {'x'.join(map(str, facts['input']))}, answers with *; {parameters} parameters, "
        f"{multiply_adds / 1e6:.2f} million multiply-adds\ndialect: {facts['dialect']} ({facts['dialect_reason']})"
    )


def _version_words(network: Network) -> tuple[int, int, int]:
    """Those of the weights beside a cfg; words that say nothing where there are none."""
    from clprune.container.load import default_weights, is_packed
    from clprune.errors import WeightsError
    from clprune.files import open_file

    path = default_weights(network.path)
    if is_packed(path) or not path.exists():
        return (-1, 0, 0)
    with open_file(path, error=WeightsError) as file:
        head = file.read(12).ljust(12, b"\xff")
    major, minor, revision = struct.unpack("<iii", head)
    return (major, minor, revision)
