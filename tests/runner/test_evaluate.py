"""Accuracy: ranks by hand, ties, chunks, and data that does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from clprune.darknet.network import Network, load_network
from clprune.data import DataSet
from clprune.errors import ClpruneError, UsageError
from clprune.progress import Progress
from clprune.runner import evaluate as module
from clprune.runner.evaluate import evaluate, label_ranks


def make_network(folder: Path, *, outputs: int = 7, batch: int = 1) -> Network:
    path = folder / "model.cfg"
    path.write_text(f"[net]\nwidth=3\nheight=2\nchannels=3\n[connected]\noutput={outputs}\n")
    return load_network(path, batch=batch)


def make_data(labels: list[int], *, width: int = 3) -> DataSet:
    """Images that hold their own number in every value."""
    images = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 3, 2, width))
    names = tuple(str(index) for index in range(7))
    return DataSet(name="made", images=images.copy(), labels=np.array(labels, np.int64), class_names=names)


def test_ranks() -> None:
    values = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]], np.float32)
    assert label_ranks(values, np.array([2, 0, 1])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_accuracy_over_chunks(tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_IMAGES", 4)
    scores = np.linspace(1, 0, 7, dtype=np.float32)  # class 0 is always likeliest, class 6 least likely
    done: list[Progress] = []

    def run(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.broadcast_to(scores, (len(x), 7)).copy()

    network = make_network(tmp_path, batch=batch)
    result = evaluate(run, network, make_data([0, 4, 5, 0, 6, 1, 0]), progress=done.append)
    assert (result.images, result.correct, result.top5_correct) == (7, 3, 5)
    assert result.accuracy == pytest.approx(3 / 7)
    assert result.top5_accuracy == pytest.approx(5 / 7)
    assert [done[0].done, done[-1].done, done[-1].total] == [0, 7, 7]


def test_data_that_does_not_fit(tmp_path: Path) -> None:
    network = make_network(tmp_path, outputs=6)
    with pytest.raises(UsageError, match=r"made has 7 classes, .*model.cfg has only 6 outputs"):
        evaluate(lambda x: x, network, make_data([1]))
    with pytest.raises(UsageError, match=r"made has images of 3x2x5, .*model.cfg takes 3x2x3"):
        evaluate(lambda x: x, network, make_data([1], width=5))
    with pytest.raises(UsageError, match="made has no images"):
        evaluate(lambda x: x, network, make_data([]))


def test_answers_that_are_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ClpruneError, match="among images 0 to 1 is not finite"):
        evaluate(lambda x: np.full((len(x), 7), np.inf, np.float32), make_network(tmp_path), make_data([1, 2]))
