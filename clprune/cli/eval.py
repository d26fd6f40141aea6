"""`clprune eval`: measure accuracy on a data set, or average precision on images with boxes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.bulk import cluster_options, take_cluster
from clprune.cli.shared.model import batch_option, model_argument, weights_argument
from clprune.cli.shared.numbers import FiniteRange, WholeRange
from clprune.cli.shared.options import (
    NamesOption,
    data_image_options,
    detection_options,
    device_option,
    json_option,
    take_image_options,
)
from clprune.cli.shared.progress import show_progress
from clprune.cli.shared.text import print_json, print_table

if TYPE_CHECKING:
    from clprune.workflow.evaluate import EvaluateResult
    from clprune.workflow.evaluate_boxes import DetectionResult


def _data_names() -> Iterable[str]:
    from clprune.data import list_data
    from clprune.data.source import BOX_DATA

    return (*list_data(), *BOX_DATA)


@click.command("eval")
@model_argument
@weights_argument
@click.option("--data", metavar="DATA", required=True, cls=NamesOption, names=_data_names, help="One of ")
@click.option("--count", type=WholeRange(min=1), metavar="N", help="Images to draw. Default: all held out.")
@data_image_options
@detection_options
@click.option("--iou", type=FiniteRange(0, 1), default=0.5, show_default=True, help="Least overlap of a detection.")
@click.option(
    "--points", type=click.Choice(["0", "11", "101"]), default="0", show_default=True,
    help="Points of recall at which precision is averaged: 11 as PascalVOC 2007, 101 as COCO; 0: the whole curve.",
)  # fmt: skip
@cluster_options
@batch_option
@device_option
@json_option
def command(
    model: str,
    weights: str | None,
    data: str,
    count: int | None,
    iou: float,
    points: str,
    batch: int,
    device: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print how good MODEL.cfg is on DATA's held-out images.

    Of a classifier the share that it has right (top-1 and top-5), of a detector the average precision of each class,
    and precision and recall above the threshold.
    """
    from clprune.container.model import load_model
    from clprune.detection import DetectionOptions
    from clprune.workflow.evaluate import EvaluateResult, evaluate

    chosen = {name: options.pop(name) for name in ("threshold", "nms", "dialect")}
    resize = options["resize"]
    cluster, reading = take_cluster(options), take_image_options(options)
    loaded = load_model(model, weights, batch=batch, dialect=chosen["dialect"])
    detection = DetectionOptions(resize=resize, **chosen | {"dialect": loaded.dialect.name})
    with show_progress() as progress:
        settings = {"data": data, "count": count, "image_options": reading, "progress": progress}
        if cluster is None:
            settings |= {"detection": detection, "iou": iou, "points": int(points)}
            result = evaluate(loaded, device=device, **settings)
        else:
            from clprune import distributed

            with cluster.client(device) as client:
                result = distributed.evaluate(client, loaded, device=cluster.worker_device(device), **settings)
    if as_json:
        print_json(result.to_dict())
        return
    _print_accuracy(result) if isinstance(result, EvaluateResult) else _print_precision(result)
    rate = result.images / result.seconds
    click.echo(f"{rate:.0f} images/s on {result.device.name}, preparing them included", err=True)


def _print_accuracy(result: EvaluateResult) -> None:
    click.echo(
        f"{100 * result.accuracy:.2f} % right, {100 * result.top5_accuracy:.2f} % among the five likeliest, "
        f"of {result.images} images of {result.data}"
    )


def _print_precision(result: DetectionResult) -> None:
    scores = result.scores
    rows = [
        (
            one.name, "-" if one.average_precision is None else f"{100 * one.average_precision:.2f}", one.objects,
            one.true_positives, one.false_positives,
        )
        for one in scores.classes
        if one.objects or one.false_positives
    ]  # fmt: skip
    print_table(("class", f"AP at IoU {scores.iou:g} (%)", "objects", "right", "wrong"), rows)
    click.echo(
        f"{100 * scores.mean_average_precision:.2f} % mean average precision of {result.images} images of {result.data}"
    )
    click.echo(
        f"above {scores.threshold:g}: precision {scores.precision:.4f}, recall {scores.recall:.4f}, "
        f"F1 {scores.f1:.4f}, mean IoU {100 * scores.mean_iou:.2f} %"
    )
    for name, value in (result.coco or {}).items():
        click.echo(f"COCO {name}: " + ("no such objects" if value is None else f"{value:.4f}"))
