"""From image files to answers: order, batches, unreadable files, ties."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from clprune.darknet.network import Network, load_network
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.runner.inference import check_image_network, infer_images, top_k

FloatArray = npt.NDArray[np.float32]


@pytest.fixture
def network(tmp_path: Path) -> Network:
    path = tmp_path / "model.cfg"
    path.write_text("[net]\nwidth=3\nheight=2\nchannels=1\n[connected]\noutput=2\n")
    return load_network(path, batch=2)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Five grey images of value 0, 51, 102, ...; the second and the fourth cannot be read."""
    for index in range(5):
        Image.fromarray(np.full((2, 3), 51 * index, np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_text("no image")
    (tmp_path / "3.png").unlink()
    return [str(tmp_path / f"{index}.png") for index in range(5)]


class Recorder:
    """Stands in for a Runner: answers with each image's first value, and keeps the sizes of the batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, x: FloatArray) -> FloatArray:
        self.sizes.append(len(x))
        return np.repeat(x[:, 0, 0, :1], 2, axis=1)


def test_order_is_kept_and_batches_are_full(network: Network, paths: list[str]) -> None:
    run = Recorder()
    answers = list(infer_images(run, network, paths, options=ImageOptions(resize="stretch")))
    assert [answer.path for answer in answers] == paths
    assert [answer.error is None for answer in answers] == [True, False, True, False, True]
    values = [answer.values[0] for answer in answers if answer.values is not None]
    np.testing.assert_allclose(values, [0, 0.4, 0.8], rtol=1e-6)
    assert run.sizes == [2, 1]


def test_no_more_paths_are_read_than_needed(network: Network, paths: list[str]) -> None:
    taken: list[str] = []

    def stream() -> Iterator[str]:
        for path in paths:
            taken.append(path)
            yield path

    answers = infer_images(Recorder(), network, stream(), options=ImageOptions())
    next(answers)
    assert taken == paths[:3]  # one image, one that cannot be read, one image: a full batch


def test_an_error_before_any_image_is_told_at_once(network: Network, paths: list[str]) -> None:
    answers = infer_images(Recorder(), network, iter([paths[3], *paths]), options=ImageOptions(resize="crop"))
    assert "no such file" in str(next(answers).error)


def test_answer_that_is_not_finite(network: Network, paths: list[str]) -> None:
    answers = infer_images(
        lambda x: np.full((len(x), 2), np.nan, np.float32), network, paths[:1], options=ImageOptions(resize="crop")
    )
    assert str(next(answers).error) == f"{paths[0]}: the network's answer is not finite"


def test_channels(tmp_path: Path) -> None:
    path = tmp_path / "model.cfg"
    path.write_text("[net]\nwidth=3\nheight=2\nchannels=2\n[connected]\noutput=2\n")
    with pytest.raises(UsageError, match="takes 2x2x3; images have 1 channel"):
        check_image_network(load_network(path))


def test_ties_keep_the_lower_index() -> None:
    values = np.array([0.1, 0.3, 0.3, 0.0, 0.3], np.float32)
    assert top_k(values, count=4).tolist() == [1, 2, 4, 0]
    assert top_k(values, count=9).tolist() == [1, 2, 4, 0, 3]
    with pytest.raises(UsageError, match="top 0: expected at least 1"):
        top_k(values, count=0)
