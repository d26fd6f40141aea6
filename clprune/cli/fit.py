"""`clprune fit`: a trained model under so many milliseconds on this device, with the least loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.model import batch_option, data_option, model_argument, seed_option, weights_argument
from clprune.cli.shared.numbers import FINITE, FiniteRange, WholeRange, finite_number, whole_number
from clprune.cli.shared.options import data_image_options, device_option, json_option, take_image_options
from clprune.cli.shared.progress import show_progress
from clprune.cli.shared.text import print_json, print_table
from clprune.cli.shared.training import take_path

if TYPE_CHECKING:
    from clprune.workflow.fit_result import FitResult, Target


@click.command("fit")
@model_argument
@weights_argument
@click.option("--budget-ms", type=FINITE, metavar="B", help="Milliseconds of an inference of --batch images.")
@click.option("--speed-up", type=FINITE, metavar="S", help="Or: how many times faster than the dense network.")
@click.option(
    "--most-loss", type=FINITE, metavar="POINTS",
    help="Or: as fast as it gets with so many percentage points of accuracy lost (of agreement, without labels).",
)  # fmt: skip
@click.option("--sweep", metavar="B1,B2,...", help="Or: several budgets in ms, by one table: PREFIX-1, PREFIX-2, ...")
@data_option
@click.option("--count", type=WholeRange(min=1), metavar="N", help="Images to fit and retrain on. Default: all.")
@data_image_options
@batch_option
@click.option(
    "--methods", metavar="M[,M...]",
    help="Ways that layers may be pruned. Default: workgroup,bcbp,bwsp,block,unstructured,filter.",
)  # fmt: skip
@click.option(
    "--bits", metavar="B[,B...]",
    help="Bits that a layer's weights may have beside 32: 16 (float16), 8 (int8), 4 (a codebook). Default: none.",
)  # fmt: skip
@click.option(
    "--epochs", type=WholeRange(min=0), metavar="N", default=0, show_default=True,
    help="Retrain so often, by the dense network's answers, and labels where there are some.",
)  # fmt: skip
@click.option("--learning-rate", type=FINITE, metavar="R", default=0.02, show_default=True, help="Its peak.")
@click.option(
    "--tune-s", type=FiniteRange(min=0), metavar="S", default=300.0, show_default=True,
    help="Seconds of tuning in all for the table, and at most for each choice tried, where tiles are missing.",
)  # fmt: skip
@click.option(
    "--tries", type=WholeRange(min=1), metavar="N", default=20, show_default=True,
    help="Choices among which the answer of the whole network decides.",
)  # fmt: skip
@seed_option
@device_option
@click.option("--report", metavar="FILE.html", help="Write a page there.")
@click.option("--out", metavar="PREFIX", required=True, help="Write PREFIX.cfg and the weights beside it.")
@json_option
def command(model: str, as_json: bool, **options: Any) -> None:
    """Prune a trained model so that it takes no longer than asked on this device, with the least loss.

    Every layer is timed in every way that it may be pruned, and judged by what the network's answer loses by it. The
    best choice is tried on the device, retrained where --epochs says so, and proved: timed in turns with the dense
    network, and run on held-out images. The exit status is 1 where the budget is missed by more than 3 %.
    PREFIX.weights are darknet's; with --bits or methods of the Winograd domain they are packed (PREFIX.safetensors).
    PREFIX.fit.json keeps all that was measured: the same command goes on where it was killed, and another budget takes
    no new table.
    """
    from clprune.container.model import load_model
    from clprune.files import write_atomically
    from clprune.workflow.fit import fit_all
    from clprune.workflow.fitter import FitSettings
    from clprune.workflow.report_page import fit_page

    targets, page = _take_targets(options), take_path(options, "report")
    methods, bits, batch = options.pop("methods"), _take_bits(options), options.pop("batch")
    dense = load_model(model, options.pop("weights"), batch=batch, dialect=options.pop("dialect"))
    with show_progress() as progress:
        settings = FitSettings(
            dense, image_options=take_image_options(options), progress=progress, bits=bits,
            methods=None if methods is None else [name.strip() for name in methods.split(",")], **options,
        )  # fmt: skip
        results = fit_all(settings, targets)
    if page is not None:
        write_atomically(page, fit_page(results))
    if as_json:
        print_json(results[0].to_dict() if len(results) == 1 else {"models": [one.to_dict() for one in results]})
    else:
        for result in results:
            _print_text(result)
    missed = [result for result in results if not result.is_met]
    for result in missed:
        click.echo(f"clprune: error: {_missed(result)}", err=True)
    if missed:
        raise SystemExit(1)


def _take_targets(options: dict[str, Any]) -> list[Target]:
    from clprune.errors import UsageError
    from clprune.workflow.fit_result import Target

    given = {name: options.pop(name) for name in ("budget_ms", "speed_up", "most_loss")}
    sweep = options.pop("sweep")
    if sweep is None:
        return [Target(**given)]
    if any(value is not None for value in given.values()):
        raise click.UsageError("both --sweep and another target: expected one of them")
    try:
        return [Target(budget_ms=finite_number(part.strip())) for part in sweep.split(",")]
    except ValueError as error:
        raise UsageError(f"--sweep {sweep!r}: expected milliseconds with commas between") from error


def _take_bits(options: dict[str, Any]) -> list[int]:
    text = options.pop("bits")
    try:
        return [] if text is None else [whole_number(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--bits {text!r}: expected 16, 8 or 4, with commas between") from error


def _missed(result: FitResult) -> str:
    proof = result.proof
    if result.budget_ms is None:
        return f"{proof.points_lost:.2f} points are lost, more than {result.most_loss:g}: see --epochs"
    return (
        f"{proof.fitted_ms:.3g} ms measured, more than 3 % over {result.budget_ms:.3g} ms, after {result.attempts} "
        "choices: is anything else running here? `clprune tune` may find better tiles"
    )


def _print_text(result: FitResult) -> None:
    """A table of layers and one of both models on stdout."""
    proof = result.proof
    rows = [
        (
            one.layer,
            one.kind,
            str(one.chosen),
            f"{100 * one.channels_kept:.0f}%",
            _ms(one.chosen),
            f"{one.chosen.loss:.2g}",
            "; ".join(f"{other} {_ms(other)} {other.loss:.2g}" for other in one.runners_up[:1]),
        )
        for one in result.layers
    ]
    print_table(["layer", "kind", "chosen", "channels", "ms", "loss", "runner-up"], rows)
    click.echo()
    whole = [
        ("dense", _percent(proof.accuracy_dense), "", f"{proof.dense_ms:.3f}", "100.0%"),
        (
            "fitted",
            _percent(proof.accuracy_fitted),
            _percent(proof.agreement),
            f"{proof.fitted_ms:.3f}",
            f"{100 * proof.weights_kept:.1f}%",
        ),
    ]
    print_table(["model", "accuracy", "agreement", "best ms", "weights kept"], whole)
    budget = "" if result.budget_ms is None else f"budget {result.budget_ms:.3f} ms, "
    click.echo(
        f"{budget}promised {result.promised_ms:.3f} ms, measured {proof.fitted_ms:.3f} ms "
        f"({proof.dense_ms / proof.fitted_ms:.2f}x) on {result.device.name}; {proof.points_lost:.2f} points lost, "
        f"largest error {proof.largest_error:.1e}"
    )
    if result.written is not None:
        click.echo(f"written: {result.written[0]}, {result.written[1]}")


def _ms(entry: Any) -> str:
    return f"{entry.time_ms:.4f}{'' if entry.is_time_measured else ' (interpolated)'}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}%"
