"""`clprune verify`: compare a device with the float64 reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.errors import STATUS_FAILURE, print_error
from clprune.cli.shared.methods import MethodCommand
from clprune.cli.shared.model import (
    batch_option,
    model_argument,
    model_on_device,
    random_weights_options,
    weights_argument,
)
from clprune.cli.shared.options import algorithm_options, device_option, json_option, take_algorithms
from clprune.cli.shared.text import print_json, print_table

if TYPE_CHECKING:
    from clprune.workflow.verify import VerifyResult


@click.command("verify", cls=MethodCommand)
@model_argument
@weights_argument
@random_weights_options
@algorithm_options
@batch_option
@device_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, model: str, as_json: bool, **options: Any) -> None:
    """Compare every layer on a device with the float64 reference, on random images.

    Errors are the largest difference over the largest value of the layer. The status is 1 when one exceeds its
    tolerance, which grows with the terms of the sums and from layer to layer.
    """
    from clprune.workflow.verify import verify

    algorithms = take_algorithms(options)
    with model_on_device(model, options) as (session, loaded):
        result = verify(loaded, seed=options["seed"], device=session, algorithms=algorithms)
    print_json(result.to_dict()) if as_json else _print_text(result)
    if result.wrong:
        first = result.wrong[0]
        where = "" if first.layer is None else f"layer {first.layer} "
        counts = f"{len(result.wrong)} of {len(result.layers)} layers are wrong"
        print_error(f"{counts} on {result.device.name}, first {where}[{first.label}]")
        ctx.exit(STATUS_FAILURE)


def _print_text(result: VerifyResult) -> None:
    rows = [
        (
            "-" if error.layer is None else error.layer,
            error.label,
            f"{error.relative_error:.2e}",
            f"{error.tolerance:.2e}",
            "" if error.is_within else "WRONG",
        )
        for error in result.layers
    ]
    print_table(["layer", "kind", "error", "tolerance", ""], rows)
    largest = max((error.relative_error for error in result.layers), default=0.0)
    click.echo(f"largest error {largest:.2e} on {result.device.name}")
