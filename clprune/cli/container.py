"""`clprune info FILE.safetensors`: what a packed container holds, layer by layer."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.common import print_json, print_table
from clprune.errors import WeightsError

if TYPE_CHECKING:
    from clprune.container.read import StoredLayer


def print_container(file: str, *, as_json: bool) -> None:
    """Print each layer's domain, unit, share of weights that are left, coding and bytes, and the file's size.

    `file` is a container or a cfg that has one beside it. Raises WeightsError.
    """
    from clprune.container.load import default_weights, is_packed
    from clprune.container.read import describe_packed

    path = default_weights(file) if Path(file).suffix == ".cfg" else Path(file)
    if not is_packed(path):
        raise WeightsError(
            "expected a packed model, PREFIX.safetensors: other files do not say what they hold", path=path
        )
    layers = describe_packed(path)
    size_bytes = path.stat().st_size
    if as_json:
        print_json({"file": str(path), "size_bytes": size_bytes, "layers": [_to_dict(layer) for layer in layers]})
        return
    columns = ["layer", "kind", "weights", "domain", "method", "unit", "kept", "coding", "bits", "stored", "kB"]
    print_table(columns, [_row(layer) for layer in layers])
    whole_bytes = 4 * sum(math.prod(layer.shape) for layer in layers)
    click.echo(
        f"{path}: {size_bytes / 1e6:.2f} MB, {whole_bytes / size_bytes:.1f} times smaller than "
        f"{whole_bytes / 1e6:.2f} MB of float32"
    )


def _to_dict(layer: StoredLayer) -> dict[str, Any]:
    facts = {"layer": layer.layer, "kind": layer.kind, "shape": list(layer.shape), "size_bytes": layer.size_bytes}
    if layer.record is None:
        return facts
    return facts | {"kept_share": layer.kept_share} | asdict(layer.record)


def _row(layer: StoredLayer) -> tuple[object, ...]:
    shape = "x".join(map(str, layer.shape))
    size = f"{layer.size_bytes / 1e3:.1f}"
    record = layer.record
    if record is None:
        return (layer.layer, layer.kind, shape, *["-"] * 7, size)
    tile = record.output_tile
    return (
        layer.layer,
        layer.kind,
        shape,
        record.domain if tile is None else f"winograd F({tile}x{tile},3x3)",
        record.method or "-",
        record.unit or "-",
        f"{100 * layer.kept_share:.1f}%",
        record.coding,
        record.bits,
        "whole" if record.is_dense else f"units of {record.unit_rows}x1",
        size,
    )
