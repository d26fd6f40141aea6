"""`darknet classifier predict` and `valid`, in pjreddie's words. Source: classifier.c of pjreddie/darknet and of
AlexeyAB/darknet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from clprune.cli.infer import print_line
from clprune.cli.shared.darknet_words import Words
from clprune.cli.shared.errors import print_error
from clprune.errors import DataError

if TYPE_CHECKING:
    from clprune.container.model import Model
    from clprune.image import Resize
    from clprune.runner.inference import Answer


def predict(words: Words) -> bool:
    """Print the likeliest classes of images; True unless one could not be read."""
    from clprune.runner.inference import top_k

    data, model, is_pjreddies = words.data, _model(words), words.dialect == "pjreddie"
    top = words.whole("-t", data.integer("top", 1))
    failures = 0
    for answer in _answers(words, model, words.images(), resize="letterbox" if is_pjreddies else "crop"):
        failures += answer.values is None
        if answer.values is None:
            print_error(click.format_filename(str(answer.error)))
            continue
        path, best = click.format_filename(answer.path), top_k(answer.values, count=top)
        if is_pjreddies:
            click.echo(f"{path}: Predicted in {answer.seconds:f} seconds.", err=True)
            lines = [f"{100 * answer.values[index]:5.2f}%: {model.names[index]}" for index in best]
        else:
            lines = [f"{path}: Predicted in {1000 * answer.seconds:f} milli-seconds."]
            lines += [f"{model.names[index]}: {answer.values[index]:f}" for index in best]
        print_line("\n".join(lines))
    return not failures


def valid(words: Words) -> bool:
    """Print the shares of the list `valid=` that are right; an image's class is the first label that its path holds.

    Raises DataError for an image whose path holds none.
    """
    from clprune.darknet.names import read_names
    from clprune.runner.inference import top_k

    data, model = words.data, _model(words)
    labels = read_names(data.required("labels", "names"))[: data.integer("classes", model.network.classes)]
    top, images = data.integer("top", 1), [str(path) for path in data.images("valid")]
    right = among = done = 0
    for answer in _answers(words, model, images, resize="crop"):
        if answer.values is None:
            print_error(click.format_filename(str(answer.error)))
            continue
        label = next((index for index, label in enumerate(labels) if label in answer.path), None)
        if label is None:
            raise DataError(f"holds no label of {data.path}: expected one in the path", path=answer.path)
        best = top_k(answer.values, count=top).tolist()
        done, right, among = done + 1, right + (best[0] == label), among + (label in best)
        if words.dialect == "pjreddie":
            print_line(f"{answer.path}, {label}, " + "".join(f"{value:f}, " for value in answer.values[:2]))
        print_line(f"{done - 1}: top 1: {right / done:f}, top {top}: {among / done:f}")
    return done == len(images)


def _model(words: Words) -> Model:
    from clprune.container.model import load_model

    return load_model(*words.model, names=words.data.file("names", "labels"), dialect=words.dialect)


def _answers(words: Words, model: Model, images: Iterable[str], *, resize: Resize) -> Iterator[Answer]:
    from clprune.image import ImageOptions
    from clprune.runner import Runner
    from clprune.runner.inference import infer_images

    with Runner(model, device=words.device) as runner:
        yield from infer_images(runner, model.network, images, options=ImageOptions(resize=resize))
