"""`train`: make the dense model of a cfg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clprune.container.load import load_weights, save_weights
from clprune.container.model import Model, output_path
from clprune.darknet.network import Network, load_network
from clprune.darknet.random_weights import with_random_rest
from clprune.files import write_atomically
from clprune.image import ImageOptions
from clprune.progress import OnProgress
from clprune.workflow.inputs import Data, data_name, load_splits

if TYPE_CHECKING:
    from clprune.training import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The trained `model`, the loss (nats) of each epoch, and the share of held-out images that PyTorch has right.

    `accuracy` is None where no images are held out. `written` is the weights file, None where none was asked for.
    `is_first` is False in all but one of the processes that torchrun starts: those write and evaluate nothing.
    """

    model: Model
    data: str
    losses: tuple[float, ...]
    held_out_images: int
    accuracy: float | None
    written: Path | None
    is_first: bool = True

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it, the model by its path."""
        return {
            "model": str(self.model.path),
            "weights": None if self.written is None else str(self.written),
            "data": self.data,
            "epochs": len(self.losses),
            "losses": list(self.losses),
            "held_out_images": self.held_out_images,
            "accuracy": self.accuracy,
        }


def train(
    cfg: str | Path,
    *,
    weights: str | Path | None = None,
    dialect: str | None = None,
    data: Data,
    epochs: int = 1,
    recipe: Recipe | None = None,
    count: int | None = None,
    held_out: Data | None = None,
    out: str | Path | None = None,
    checkpoint: str | Path | None = None,
    image_options: ImageOptions | None = None,
    progress: OnProgress | None = None,
) -> TrainResult:
    """Train the network of a cfg with PyTorch; the last epoch's weights count.

    It starts from random weights or from a file of `weights`, which may hold the first layers alone (darknet's
    `.conv.N` of a backbone): the others, and `dontload` layers, are random.
    `dialect` is as in `load_model`, `data` a name as for `--data`, a DataSet or arrays, `count` limits the images of an
    epoch; `held_out` images decide nothing (by default the test images of a named data set). Image files are read as
    `image_options` say.
    `recipe` (`clprune.training.Recipe`) replaces `epochs` of the default one. PREFIX.weights is written for `out`, and
    beside it the classes as PREFIX.names; a names file that is there decides their order. The state is kept in
    `checkpoint` after each epoch, and a run that finds its own goes on from there. Processes that torchrun started
    train together. Raises CfgError, UsageError, DataError, FileError, UnsupportedLayerError, MissingDependencyError
    without PyTorch.

    >>> result = clprune.train("small.cfg", data="synthetic", epochs=2, count=64)
    >>> len(result.losses), result.held_out_images
    (2, 256)
    >>> clprune.Runner(result.model).network.outputs
    10
    """
    from clprune.training import Recipe, evaluate, join_ranks, load_module
    from clprune.training import train as run

    network = load_network(cfg, dialect=dialect)
    recipe = Recipe(epochs=epochs) if recipe is None else recipe
    start = None
    if weights is not None:
        start = with_random_rest(network, load_weights(weights, network, allow_truncated=True), seed=recipe.seed)
    target = None if out is None else output_path(out, ".weights")
    if out is not None:
        output_path(out, ".names")
    names_file = _names_file(network, target)
    with join_ranks() as ranks:
        images, test = load_splits(
            data, network, held_out=held_out, seed=recipe.seed, count=count, image_options=image_options,
            names_file=names_file, progress=progress if ranks.is_first else None,
        )  # fmt: skip
        result = run(network, images, recipe, weights=start, checkpoint=checkpoint, report=progress)
    accuracy = None
    if ranks.is_first:
        if target is not None:
            save_weights(target, network, result.weights)
            if not target.with_suffix(".names").exists():
                unused = (f"(no class {index})" for index in range(len(images.class_names), network.outputs))
                write_atomically(target.with_suffix(".names"), "\n".join((*images.class_names, *unused, "")))
        if test is not None:
            accuracy = evaluate(load_module(network, result.weights), test).accuracy
    return TrainResult(
        model=Model(network=network, weights=result.weights),
        data=data_name(data),
        losses=result.losses,
        held_out_images=0 if test is None else len(test),
        accuracy=accuracy,
        written=target,
        is_first=ranks.is_first,
    )


def _names_file(network: Network, target: Path | None) -> Path | None:
    """The file that says which class is which output, beside the weights to write or beside the cfg."""
    paths = [path.with_suffix(".names") for path in (target, network.path) if path is not None]
    return next((path for path in paths if path.exists()), None)
