"""`clprune export`: write a model as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from clprune.cli.shared.model import model_argument, seed_option, weights_argument
from clprune.cli.shared.options import detection_options, json_option
from clprune.cli.shared.text import print_json

DYNAMIC: Literal["dynamic"] = "dynamic"


def _parse_batch(context: click.Context, parameter: click.Parameter, value: str) -> int | Literal["dynamic"]:
    if value == DYNAMIC:
        return DYNAMIC
    if not value.isascii() or not value.isdigit() or len(value) > 9 or int(value) < 1:
        raise click.BadParameter(f"{value}: expected a whole number of at least 1, below 10^9, or {DYNAMIC}")
    return int(value)


@click.command("export")
@model_argument
@weights_argument
@click.option("--onnx", metavar="FILE", required=True, type=click.Path(path_type=Path), help="Write this file.")
@click.option(
    "--batch", metavar="N|dynamic", default="1", show_default=True, callback=_parse_batch,
    help="Images that the file takes at once, or any number of them.",
)  # fmt: skip
@click.option("--boxes", is_flag=True, help="Of a detector, give boxes as well, chosen as the next options say.")
@detection_options
@seed_option
@json_option
def command(
    model: str,
    weights: str | None,
    onnx: Path,
    batch: int | Literal["dynamic"],
    boxes: bool,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Write MODEL.cfg with its weights as an ONNX file.

    The file is written when ONNX Runtime, on random images, has computed from it what the float64 reference does.
    """
    from clprune.container.model import load_model
    from clprune.detection.options import DetectionOptions
    from clprune.workflow.export import export

    images = 1 if batch == DYNAMIC else batch
    loaded = load_model(model, weights, batch=images, dialect=options["dialect"])
    chosen = DetectionOptions(**options | {"dialect": loaded.dialect.name}) if boxes else None
    result = export(loaded, onnx=onnx, batch=batch, boxes=chosen, seed=seed)
    if as_json:
        print_json(result.to_dict())
        return
    for name, shape in result.outputs.items():
        click.echo(f"{name}  {'x'.join(map(str, shape))}".rstrip())
    click.echo(
        f"{result.path}: {result.bytes / 1e6:.1f} MB, opset {result.opset}, batch {result.batch or DYNAMIC}, "
        f"ONNX Runtime within {result.relative_error:.1e} of float64"
    )
