"""`clprune infer`: print the most likely classes of each image."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.bulk import bulk_options, take_bulk
from clprune.cli.shared.errors import STATUS_FAILURE, print_error
from clprune.cli.shared.model import batch_option, model_argument, tell_size
from clprune.cli.shared.numbers import WHOLE, WholeRange
from clprune.cli.shared.options import (
    algorithm_options,
    device_option,
    image_options,
    json_option,
    take_algorithms,
    take_image_options,
)
from clprune.errors import FileError, UsageError
from clprune.files import atomic_writer, check_writable, open_file, paths_in

if TYPE_CHECKING:
    from clprune.darknet.kinds.base import Layer
    from clprune.runner import Runner
    from clprune.runner.inference import Answer

WEIGHTS_SUFFIXES = (".weights", ".backup", ".safetensors")


@click.command("infer")
@model_argument
@click.argument("files", metavar="[WEIGHTS] [IMAGE]...", nargs=-1)
@click.option(
    "--names",
    metavar="FILE",
    help="Class names, one per line, or a .data file that names such a file. Default: WEIGHTS.names or MODEL.names, "
    "else class numbers.",
)
@click.option(
    "--top", type=WholeRange(min=1), metavar="N", default=5, show_default=True, help="Classes to print per image."
)
@click.option(
    "--until",
    type=WHOLE,
    metavar="LAYER",
    help="Stop after that layer (-1: the last, counted as in the cfg from 0) and print what its values are like.",
)
@click.option(
    "--out",
    metavar="FILE",
    help="With workers: the file of answers, .jsonl or .parquet. With --until alone: FILE.npy gets the values, float32 "
    "[images, C, H, W].",
)
@bulk_options
@image_options
@algorithm_options
@batch_option
@device_option
@json_option
@click.option("--profile", is_flag=True, help="End with the time of each layer.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    files: tuple[str, ...],
    names: str | None,
    top: int,
    until: int | None,
    out: str | None,
    dialect: str | None,
    batch: int,
    device: str | None,
    as_json: bool,
    profile: bool,
    **options: Any,
) -> None:
    """Print the most likely classes of each IMAGE.

    WEIGHTS is the file of the same stem beside MODEL.cfg where it is left out. Without images, their paths are read
    from standard input, one per line. With --json, one object per line and image. A detector's boxes are printed by
    `clprune detect`. With --workers or --scheduler, IMAGE may also be a folder, a list of paths (.txt) or a .parquet
    file, each of any size.
    """
    from clprune.container.load import default_weights
    from clprune.container.model import load_model
    from clprune.darknet.network import load_network
    from clprune.runner import Runner
    from clprune.runner.inference import check_image_network, infer_images

    bulk = take_bulk(options, out=out, device=device)
    if out is not None and until is None and bulk is None:
        raise click.UsageError("--out without --until or workers: expected the layer whose values to write")
    if bulk is not None and profile:
        raise click.UsageError("--profile is for one device: leave out --workers and --scheduler")
    weights, images = split_files(files)
    read = (model, weights or default_weights(model), *images)
    path = None if out is None else check_writable(Path(out), sources=read)
    algorithms, reading = take_algorithms(options), take_image_options(options)
    network = load_network(model, batch=batch, dialect=dialect)
    check_image_network(network)
    layer = None if until is None else network.until(until).layers[-1]
    if layer is None and network.output_layers[0].is_head:
        raise UsageError(f"{model} detects objects, it does not name images: expected `clprune detect`, or --until")
    loaded = load_model(model, weights, names=names, batch=batch, dialect=dialect)
    class_names = loaded.names if layer is None else ()

    def to_dict(answer: Answer) -> dict[str, Any]:
        return answer_to_dict(answer, class_names, top=top, layer=layer)

    def show(answer: Answer) -> None:
        if answer.error is not None:
            print_error(click.format_filename(str(answer.error)))
        if as_json:
            print_line(json.dumps(to_dict(answer), ensure_ascii=False))
        elif answer.values is not None:
            print_line(_text(to_dict(answer)))

    if bulk is not None:
        settings = {"until": until, "algorithms": algorithms, "image_options": reading}
        ctx.exit(bulk.run("map_images", loaded, images, to_dict=to_dict, show=show, shown={"top": top}, **settings))
    kept: list[Any] = []
    with Runner(loaded, until=until, device=device, algorithms=algorithms) as runner:
        _print_note(runner, reading.resize)
        tell_size(network)
        failures, seconds, count = 0, 0.0, 0
        for answer in infer_images(runner, network, images or lines_of_stdin(), options=reading):
            count, seconds = count + 1, seconds + answer.seconds
            failures += answer.values is None
            if answer.values is not None and path is not None:
                kept.append(answer.values)
            show(answer)
        if path is not None and layer is not None:
            _write(path, kept, layer.output.dimensions)
        click.echo(f"clprune: {count - failures} of {count} images in {seconds:.4f} seconds", err=True)
        if profile:
            _print_profile(runner, as_json=as_json)
    if failures:
        ctx.exit(STATUS_FAILURE)


def split_files(files: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The first of the files is WEIGHTS if it is a weights file; all others are images."""
    if files and is_weights_file(files[0]):
        return files[0], tuple(files[1:])
    return None, tuple(files)


def is_weights_file(path: str) -> bool:
    """True for a weights file by its suffix, else by darknet's header (an image begins with none of its versions)."""
    if Path(path).suffix.lower() in WEIGHTS_SUFFIXES:
        return True
    try:
        with open_file(path, error=FileError) as file:
            head = file.read(12)
    except FileError:
        return False
    return len(head) == 12 and struct.unpack("<iii", head)[:2] in {(0, 1), (0, 2)}


def lines_of_stdin(*, asks: bool = True) -> Iterator[str]:
    """Paths from standard input, as `paths_in` reads them; a person at a terminal is asked for each if it `asks`."""
    is_terminal = asks and sys.stdin.isatty()

    def ask() -> None:
        if is_terminal:
            click.echo("Enter Image Path: ", nl=False, err=True)

    yield from paths_in(sys.stdin.buffer, name="standard input", before_each=ask)
    if is_terminal:
        click.echo(err=True)


def answer_to_dict(answer: Answer, names: Sequence[str], *, top: int, layer: Layer | None = None) -> dict[str, Any]:
    """An answer as JSON can hold it: `image` and either `predictions` or `error`; with `layer`, that of `--until`, what
    its values are like.
    """
    from clprune.runner.inference import top_k

    image = click.format_filename(answer.path)  # a path may hold bytes that are no text
    if answer.values is None:
        return {"image": image, "error": click.format_filename(str(answer.error))}
    if layer is not None:
        facts = {"image": image, "layer": layer.index, "kind": layer.kind, "shape": layer.output.dimensions}
        return facts | {name: float(getattr(answer.values, name)()) for name in ("min", "mean", "max")}
    predictions = [
        {"index": int(index), "name": names[index], "probability": float(answer.values[index])}
        for index in top_k(answer.values, count=top)
    ]
    return {"image": image, "predictions": predictions, "seconds": answer.seconds}


def _text(facts: dict[str, Any]) -> str:
    """Darknet's lines, or what a layer's values are like, under the image's path."""
    if "layer" in facts:
        shape = "x".join(map(str, facts["shape"]))
        values = ", ".join(f"{name} {facts[name]:.4g}" for name in ("min", "mean", "max"))
        return f"{facts['image']}\nlayer {facts['layer']} [{facts['kind']}] {shape}: {values}"
    lines = [f"{100 * found['probability']:5.2f}%: {found['name']}" for found in facts["predictions"]]
    return "\n".join([facts["image"], *lines])


def _write(path: Path, values: Sequence[Any], dimensions: tuple[int, int, int]) -> None:
    """Write the values of all images as one array [images, C, H, W]."""
    import numpy as np

    with atomic_writer(path) as file:
        np.save(file, np.reshape(np.asarray(values, np.float32), (len(values), *dimensions)))


def print_line(text: str) -> None:
    """Print at once: the reader of a pipe waits for it."""
    click.echo(text)
    sys.stdout.flush()


def _print_note(runner: Runner, resize: str) -> None:
    """Say on stderr what decides the result besides the model: the resize (two are legitimate) and the device."""
    shape, info = runner.network.input, runner.session.info
    click.echo(f"clprune: {resize} to {shape.width}x{shape.height}, on {info.name} ({info.platform_name})", err=True)


def _print_profile(runner: Runner, *, as_json: bool) -> None:
    from clprune.cli.bench import print_layers
    from clprune.runner.bench import bench

    result = bench(runner, rounds=10)
    if as_json:
        print_line(json.dumps({"profile": result.to_dict()}))
    else:
        print_layers(result)
