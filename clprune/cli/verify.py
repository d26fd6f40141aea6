"""`clprune verify`: is a device right? Each layer against the float64 reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from clprune.cli.common import STATUS_FAILURE, device_option, json_option, print_error, print_json, print_table
from clprune.cli.method_options import MethodCommand
from clprune.cli.model import (
    batch_option,
    device_facts,
    load_model,
    model_argument,
    random_weights_options,
    take_random_weights,
    weights_argument,
)

if TYPE_CHECKING:
    from clprune.runner.verify import LayerError


@click.command("verify", cls=MethodCommand, short_help="Compare a device with the float64 reference.")
@model_argument
@weights_argument
@random_weights_options
@batch_option
@device_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    weights: str | None,
    batch: int,
    device: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare every layer on a device with the float64 reference, on random images.

    Errors are the largest difference over the largest value of the layer. The status is 1 when one exceeds its
    tolerance, which grows with the terms of the sums and from layer to layer.
    """
    from clprune.darknet.network import load_network
    from clprune.opencl import open_device
    from clprune.runner.compare import verify_model

    seed = options["seed"]
    random = take_random_weights(options, weights=weights)
    network = load_network(model, batch=batch)
    shape = network.input
    x = np.random.default_rng(seed).random((batch, shape.channels, shape.height, shape.width), np.float32)
    with open_device(device) as session:
        network, loaded = load_model(session, network, weights=weights, random=random)
        errors = verify_model(session, network, loaded, x)
        facts = device_facts(session.info)
    wrong = [error for error in errors if not error.is_within]
    if as_json:
        layers = [_to_dict(error) for error in errors]
        print_json({"model": model, "batch": batch, **facts, "is_within": not wrong, "layers": layers})
    else:
        _print_text(errors, device=facts["device"])
    if wrong:
        first = wrong[0]
        where = "" if first.layer is None else f"layer {first.layer} "
        counts = f"{len(wrong)} of {len(errors)} layers are wrong"
        print_error(f"{counts} on {facts['device']}, first {where}[{first.label}]")
        ctx.exit(STATUS_FAILURE)


def _to_dict(error: LayerError) -> dict[str, Any]:
    """`relative_error` is null where a result is not finite, which JSON cannot say."""
    return {
        "layer": error.layer,
        "label": error.label,
        "relative_error": error.relative_error if math.isfinite(error.relative_error) else None,
        "tolerance": error.tolerance,
        "is_within": error.is_within,
    }


def _print_text(errors: Sequence[LayerError], *, device: str) -> None:
    rows = [
        (
            "-" if error.layer is None else error.layer,
            error.label,
            f"{error.relative_error:.2e}",
            f"{error.tolerance:.2e}",
            "" if error.is_within else "WRONG",
        )
        for error in errors
    ]
    print_table(["layer", "kind", "error", "tolerance", ""], rows)
    largest = max((error.relative_error for error in errors), default=0.0)
    click.echo(f"largest error {largest:.2e} on {device}")
