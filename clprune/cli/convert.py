"""`clprune convert`: make a cfg and weights of an ONNX file or a torchvision model."""

from __future__ import annotations

import re
from typing import Any

import click

from clprune.cli.shared.options import device_option, json_option
from clprune.cli.shared.text import print_json


class _Size(click.ParamType[tuple[int, int]]):
    """HEIGHTxWIDTH, or one number for both."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", str(value))
        if found is None:
            self.fail(f"{value!r}: expected HEIGHTxWIDTH such as 224x224", param, ctx)
        return int(found[1]), int(found[2] or found[1])


@click.command("convert")
@click.argument("source", metavar="MODEL.onnx|torchvision:NAME")
@click.option("--out", metavar="PREFIX", required=True, help="Write PREFIX.cfg and PREFIX.weights.")
@click.option(
    "--state-dict", metavar="FILE", help="torchvision: weights, .pt or .safetensors. Default: torchvision's own."
)
@click.option(
    "--output", metavar="NAME", multiple=True, help="ONNX: a tensor to end with. Default: all outputs of the model."
)
@click.option("--size", type=_Size(), metavar="HxW", help="ONNX: the size of images where the model leaves it free.")
@device_option
@json_option
def command(source: str, as_json: bool, **options: Any) -> None:
    """Make a cfg and weights of an ONNX file or a torchvision classifier.

    Class names and the normalisation of images come with it where the model has them. Before anything is written, the
    answers on the device are compared with those of ONNX Runtime or PyTorch. An operator that a cfg cannot express is
    an error that names the node.
    """
    from clprune.workflow.convert import convert

    result = convert(source, **options)
    facts = result.to_dict()
    if as_json:
        print_json(facts)
        return
    click.echo(
        f"{facts['layers']} layers, {facts['parameters'] / 1e6:.2f} million parameters, {facts['input']} to "
        f"{facts['outputs']} values"
    )
    click.echo(f"largest error {result.relative_error:.2e} of the largest answer on {result.device.name}")
    names = f", {result.cfg.with_suffix('.names')}" if result.model.class_names else ""
    click.echo(f"written: {result.cfg}, {result.weights}{names}")
