"""`clprune detect`: find the objects in images and videos, with the boxes that darknet gives."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.infer import lines_of_stdin, print_line, split_files
from clprune.cli.shared.bulk import Bulk, bulk_options, take_bulk
from clprune.cli.shared.errors import STATUS_FAILURE, print_error
from clprune.cli.shared.model import batch_option, model_argument
from clprune.cli.shared.options import (
    algorithm_options,
    detection_options,
    device_option,
    image_limits,
    json_option,
    take_algorithms,
    take_image_options,
)
from clprune.cli.shared.pictures import PictureFolder
from clprune.errors import ClpruneError

if TYPE_CHECKING:
    from clprune.detection import Detection, Detector, Found
    from clprune.image import ImageOptions


@click.command("detect")
@model_argument
@click.argument("files", metavar="[WEIGHTS] [IMAGE]...", nargs=-1)
@click.option(
    "--names",
    "--data",
    "names",
    metavar="FILE",
    help="Class names, one per line, or a .data file that names such a file. Default: WEIGHTS.names or MODEL.names, "
    "else class numbers.",
)
@detection_options
@click.option(
    "--resize",
    type=click.Choice(["stretch", "letterbox"]),
    help="How an image is made to fit. Default: letterbox with letter_box=1 in [net] or --dialect pjreddie, else "
    "stretch.",
)
@click.option("--boxes", is_flag=True, help="Print the boxes in pixels, as darknet's -ext_output does.")
@click.option(
    "--out",
    metavar="FOLDER",
    help="Write each picture or video with the objects drawn into it. With workers: the file of answers, .jsonl or "
    ".parquet.",
)
@click.option("--crops", metavar="FOLDER", help="Write each object as a picture of its own.")
@bulk_options
@image_limits
@algorithm_options
@batch_option
@device_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    files: tuple[str, ...],
    boxes: bool,
    out: str | None,
    crops: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print the objects in each IMAGE, best first.

    IMAGE may be a folder of images or a video (extra `video`). WEIGHTS is the file of the same stem beside MODEL.cfg
    where it is left out. Without images, their paths are read from standard input, one per line. With --json, one
    object per line and image (of a video: per frame); coordinates are shares of its width and height. With
    --workers or --scheduler, IMAGE may also be a list of paths (.txt) or a .parquet file, and no video.
    """
    from clprune.detection import Detector

    weights, images = split_files(files)
    bulk = take_bulk(options, out=out, device=options["device"])
    if bulk is not None:
        ctx.exit(_detect_by_workers(bulk, model, weights, images, crops=crops, as_json=as_json, boxes=boxes, **options))
    paths = list(_files(images))
    sources = paths if images else None
    drawn, cut = PictureFolder.of(out, sources=sources), PictureFolder.of(crops, sources=sources)
    resize, algorithms = options.pop("resize"), take_algorithms(options)
    reading = take_image_options(options)
    with Detector(model, weights, resize=resize, algorithms=algorithms, image_options=reading, **options) as detector:
        _print_note(detector)
        start, failures, count = time.perf_counter(), 0, 0
        # From a stream, no more is read than what is answered.
        ahead = 2 * detector.network.batch if images else 0
        for found, frame in _find(detector, paths if images else lines_of_stdin(), drawn, ahead=ahead, options=reading):
            count, failures = count + 1, failures + (found.error is not None)
            if found.error is None and found.picture is not None and (drawn or cut):
                _write_pictures(found, drawn=drawn, cut=cut)
            _show(found, frame, as_json=as_json, boxes=boxes)
        seconds = time.perf_counter() - start
    rate = f"{count / seconds:.1f} images/s" if seconds else ""
    click.echo(f"clprune: {count - failures} of {count} images in {seconds:.4f} seconds, {rate}", err=True)
    if failures:
        ctx.exit(STATUS_FAILURE)


def _detect_by_workers(
    bulk: Bulk,
    model: str,
    weights: str | None,
    images: tuple[str, ...],
    *,
    crops: str | None,
    as_json: bool,
    boxes: bool,
    **options: Any,
) -> int:
    """The exit status."""
    from clprune.container.model import load_model

    if crops is not None:
        raise click.UsageError("--crops is for one device: leave out --workers and --scheduler")
    names, batch = options.pop("names"), options.pop("batch")
    loaded = load_model(model, weights, names=names, batch=batch, dialect=options["dialect"])
    options |= {"algorithms": take_algorithms(options), "image_options": take_image_options(options)}
    del options["device"]  # the workers'
    show = partial(_show, as_json=as_json, boxes=boxes)
    return bulk.run("detect_images", loaded, images, to_dict=found_to_dict, show=show, shown={}, **options)


def _show(found: Found, frame: int | None = None, *, as_json: bool, boxes: bool) -> None:
    if found.error is not None:
        print_error(click.format_filename(str(found.error)))
    if as_json:
        print_line(json.dumps(found_to_dict(found, frame), ensure_ascii=False))
    elif found.error is None:
        print_line(_text(found, frame, boxes=boxes))


def found_to_dict(found: Found, frame: int | None = None) -> dict[str, Any]:
    """What came of an image as JSON can hold it; of a video also the number of the `frame`, from 0."""
    image = {"image": click.format_filename(str(found.image)), **({} if frame is None else {"frame": frame})}
    if found.error is not None:
        return {**image, "error": click.format_filename(str(found.error))}
    detections = [dataclasses.asdict(one) for one in found.detections]
    return {**image, "width": found.width, "height": found.height, "detections": detections}


def text_line(found: Found, one: Detection, *, boxes: bool) -> str:
    """An object in darknet's words: `dog: 98%`, and its box in pixels."""
    left, top, right, bottom = one.corners(width=found.width, height=found.height)
    line = f"{one.name}: {100 * one.confidence:.0f}%"
    if boxes:
        line += (
            f"\t(left_x: {left:4.0f}   top_y: {top:4.0f}   width: {right - left:4.0f}   height: {bottom - top:4.0f})"
        )
    return line


def _text(found: Found, frame: int | None, *, boxes: bool) -> str:
    title = click.format_filename(str(found.image)) + ("" if frame is None else f": frame {frame}")
    return "\n".join([title, *(text_line(found, one, boxes=boxes) for one in found.detections)])


def _find(
    detector: Detector, paths: Iterable[str], drawn: PictureFolder | None, *, ahead: int, options: ImageOptions
) -> Iterator[tuple[Found, int | None]]:
    """What came of each image, and of each frame of a video with its number; videos are drawn here."""
    from clprune.detection.video import is_video

    for of_videos, group in itertools.groupby(paths, is_video):
        if of_videos:
            for path in group:
                yield from _find_in_video(detector, path, drawn, options=options)
        else:
            yield from ((found, None) for found in detector.stream(group, ahead=ahead))


def _find_in_video(
    detector: Detector, path: str, drawn: PictureFolder | None, *, options: ImageOptions
) -> Iterator[tuple[Found, int | None]]:
    from clprune.detection import Found
    from clprune.detection.drawing import draw_objects
    from clprune.detection.video import Video, video_writer

    try:
        with Video(path, options=options) as video, contextlib.ExitStack() as stack:
            write = None
            for frame, found in enumerate(detector.stream(video, ahead=2 * detector.network.batch)):
                if drawn is not None and found.picture is not None and found.error is None:
                    if write is None:
                        write = stack.enter_context(video_writer(drawn.target(path, ".mp4"), rate=video.rate))
                    write(draw_objects(found.picture.pixels(), found.detections))
                yield dataclasses.replace(found, image=path, picture=None), frame
    except ClpruneError as error:
        yield Found(image=path, error=error), None


def _files(images: Iterable[str]) -> Iterator[str]:
    """The images, and in the place of a folder those in it, in the order of their names."""
    from clprune.data.folder import natural_order
    from clprune.picture import IMAGE_SUFFIXES

    for path in images:
        if Path(path).is_dir():
            names = sorted((entry.name for entry in Path(path).iterdir()), key=natural_order)
            yield from (str(Path(path) / name) for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES)
        else:
            yield path


def _write_pictures(found: Found, *, drawn: PictureFolder | None, cut: PictureFolder | None) -> None:
    from clprune.detection.drawing import crop_object, draw_objects

    assert found.picture is not None
    pixels, path = found.picture.pixels(), str(found.image)
    if drawn is not None:
        drawn.save(draw_objects(pixels, found.detections), path)
    for number, one in enumerate(found.detections if cut is not None else ()):
        part = crop_object(pixels, one)
        if part is not None and cut is not None:
            cut.save(part, path, ending=f"-{number}-{one.name}")


def _print_note(detector: Detector) -> None:
    """Say on stderr what decides the result besides the model."""
    shape, info, options = detector.network.input, detector.runner.session.info, detector.options
    resize = options.resize_for(detector.network)
    click.echo(
        f"clprune: {resize} to {shape.width}x{shape.height} as {options.dialect} does, "
        f"on {info.name} ({info.platform_name})",
        err=True,
    )
