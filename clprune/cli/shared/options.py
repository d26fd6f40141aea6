"""Options of one name and meaning, in every program that has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from clprune.algorithms import ALGORITHMS, DEFAULT_MAX_ERROR, Algorithms
from clprune.cli.shared.numbers import FiniteRange, WholeRange
from clprune.precision import FLOAT32, PRECISIONS

Command = TypeVar("Command", bound=Callable[..., Any])


def together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator of several, which help shows in this order."""

    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class NamesOption(click.Option):
    """An option whose help ends with names that are looked up when it is shown."""

    def __init__(self, *arguments: Any, names: Callable[[], Iterable[str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.names = names

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        before = self.help
        self.help = f"{before}{', '.join(self.names())}."
        try:
            return super().get_help_record(ctx)
        finally:
            self.help = before


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")

#: The command receives the text or None and passes it to `clprune.opencl.open_device`.
device_option = click.option(
    "--device",
    metavar="PLATFORM[:DEVICE]",
    default=None,
    help="Index or part of a name, or gpu or cpu. Default: $CLPRUNE_DEVICE, $PYOPENCL_CTX, a GPU, a CPU.",
)

#: `--algorithms`, `--max-error` and `--precision`; the command passes its options to `take_algorithms`.
algorithm_options = together(
    click.option(
        "--algorithms",
        metavar="LIST",
        default=",".join(ALGORITHMS),
        show_default=True,
        help="What each convolution's algorithm is chosen from, by measured time.",
    ),
    click.option(
        "--max-error",
        type=FiniteRange(min=0, min_open=True),
        metavar="E",
        help="Largest relative error of a layer with which an algorithm may replace the direct one. Default: "
        f"{DEFAULT_MAX_ERROR}, or what the precision costs.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=FLOAT32,
        show_default=True,
        help="Least precision of factors that a GPU's matrix unit multiplies; sums are float32.",
    ),
)


#: What image files are refused.
image_limits = together(
    click.option(
        "--max-pixels",
        type=WholeRange(min=1),
        metavar="N",
        help="Refuse larger image files, which take 4 bytes a pixel and more. Default: 178956970.",
    ),
    click.option(
        "--max-aspect-ratio",
        type=FiniteRange(min=1),
        metavar="R",
        help="Refuse image files whose longer side is more than R times the shorter one. Default: 1000.",
    ),
)

#: How image files are read; the command passes its options to `take_image_options`.
image_options = together(
    click.option(
        "--resize",
        type=click.Choice(["letterbox", "crop", "stretch"]),
        help="How an image is made to fit: grey borders, its centre, or another aspect ratio. Default: letterbox; for "
        "detectors as darknet does it.",
    ),
    image_limits,
)

#: The same for commands that read data sets.
data_image_options = together(
    image_options,
    click.option(
        "--strict", is_flag=True, help="Stop at an image file that cannot be read, instead of leaving it out."
    ),
)


#: The fork of darknet whose rules hold, or None: the command passes it where it reads the cfg. It comes with
#: `clprune.cli.shared.model.model_argument`.
dialect_option = click.option(
    "--dialect",
    type=click.Choice(["alexeyab", "hank-ai", "pjreddie"]),
    help="Whose rules hold where forks of darknet differ. Default: as the cfg's keys tell, or the weights' header.",
)

#: Which boxes of a detector count: `threshold` and `nms` of `clprune.detection.DetectionOptions`.
detection_options = together(
    click.option(
        "--threshold",
        type=FiniteRange(0, 1),
        default=0.25,
        show_default=True,
        help="Least confidence of an object.",
    ),
    click.option(
        "--nms",
        type=FiniteRange(0, 1),
        default=0.45,
        show_default=True,
        help="Overlap from which on the surer of two boxes of a class stays alone; 0: never.",
    ),
)


def take_image_options(options: dict[str, Any]) -> Any:
    """Take the options of `image_limits`, `image_options` or `data_image_options` out of `options`, as
    `clprune.image.ImageOptions`.
    """
    from clprune.image import ImageOptions

    names = ("resize", "max_pixels", "max_aspect_ratio", "strict")
    given = {name: options.pop(name) for name in names if name in options}
    return ImageOptions(**{name: value for name, value in given.items() if value is not None})


def take_algorithms(options: dict[str, Any]) -> Algorithms:
    """Take the options of `algorithm_options` out of `options`. Raises UsageError for an unknown name."""
    names = tuple(name.strip() for name in options.pop("algorithms").split(",") if name.strip())
    return Algorithms(names=names, max_error=options.pop("max_error"), precision=options.pop("precision"))
