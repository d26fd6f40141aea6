"""How often a model is right on labelled images, computed on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clprune.darknet.network import Network, check_data
from clprune.dataset import DataSet
from clprune.errors import ClpruneError
from clprune.progress import OnProgress, Progress

#: Images that are held as float32 at once.
CHUNK_IMAGES = 256

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """`correct` of `images` have their label as the largest value, `top5_correct` among the five largest."""

    images: int
    correct: int
    top5_correct: int

    @property
    def accuracy(self) -> float:
        """Share of images, 0 to 1."""
        return self.correct / self.images

    @property
    def top5_accuracy(self) -> float:
        """Share of images, 0 to 1."""
        return self.top5_correct / self.images


def evaluate(
    run: Callable[[FloatArray], FloatArray],
    network: Network,
    data: DataSet,
    *,
    progress: OnProgress | None = None,
) -> Evaluation:
    """Run all of `data` through `run` (a Runner of `network`); `progress` hears of the images done.

    Of equal values the lower index counts as larger. Raises UsageError when data and network do not fit, ClpruneError
    when an answer is not finite.
    """
    check_data(network, data)
    data.check_labelled("images with classes to be right about")
    correct = top5 = 0
    tell = progress or (lambda event: None)
    tell(Progress(stage="evaluation", done=0, total=len(data)))
    chunk = max(CHUNK_IMAGES // network.batch, 1) * network.batch
    for first in range(0, len(data), chunk):
        last = min(first + chunk, len(data))
        values = run(data.batch(slice(first, last)))
        if not np.all(np.isfinite(values)):
            raise ClpruneError(f"{network.path}: an answer among images {first} to {last - 1} is not finite")
        ranks = label_ranks(values, data.labels[first:last])
        correct += int(np.count_nonzero(ranks < 1))
        top5 += int(np.count_nonzero(ranks < 5))
        tell(Progress(stage="evaluation", done=last, total=len(data), place=f"{last}/{len(data)} images"))
    return Evaluation(images=len(data), correct=correct, top5_correct=top5)


def label_ranks(values: FloatArray, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many values of `values` `[N, outputs]` stand before each label's own: int64 `[N]`, 0 where it is the best."""
    own = values[np.arange(len(labels)), labels][:, None]
    ties_before = (values == own) & (np.arange(values.shape[1]) < labels[:, None])
    ranks: npt.NDArray[np.int64] = np.count_nonzero((values > own) | ties_before, axis=1)
    return ranks
