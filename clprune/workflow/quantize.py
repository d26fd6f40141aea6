"""`quantize`: a model's weights in fewer bits, with pruning before and retraining where asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clprune.container.model import Model, model_targets
from clprune.container.read import describe_packed
from clprune.darknet.fold import fold_network
from clprune.darknet.quantize import (
    QuantizedLayer,
    QuantizeSettings,
    Scheme,
    describe_quantized,
    quantize_network,
    zero_masks,
)
from clprune.darknet.rewrite import fold_cfg
from clprune.dataset import DataSet
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.opencl import Session
from clprune.progress import OnProgress
from clprune.pruning.prune import prune_network
from clprune.pruning.settings import PruneSettings
from clprune.runner import Runner
from clprune.runner.calibration import activation_scales
from clprune.workflow.agreement import accuracy_on, with_own_answers
from clprune.workflow.inputs import Data, Device, ModelLike, as_data, as_model, data_name, load_splits, opened
from clprune.workflow.keywords import taking
from clprune.workflow.units import Pruning

if TYPE_CHECKING:
    from clprune.training import Recipe

#: Learning rate of quantization-aware training over that of retraining after pruning: weights only settle.
CODED_RATE = 0.25


@dataclass(frozen=True, kw_only=True)
class QuantizeResult:
    """The coded `model` and its files, `cfg` and `weights` (of `size_bytes`).

    `layers` tell what became of each layer, `layer_bytes` what it takes in the file; `losses` (nats) are one per epoch
    of all trainings. Accuracies are shares of the held-out images that the device has right, None without any.
    """

    source: str
    model: Model
    cfg: Path
    weights: Path
    data: str | None
    device: DeviceInfo
    settings: QuantizeSettings
    activations: bool
    layers: tuple[QuantizedLayer, ...]
    layer_bytes: Mapping[int, int]
    size_bytes: int
    losses: tuple[float, ...]
    held_out_images: int = 0
    accuracy_before: float | None = None
    accuracy_after: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON can hold them."""
        accuracies = {"accuracy_before": self.accuracy_before, "accuracy_after": self.accuracy_after}
        return {
            "model": self.source,
            "cfg": str(self.cfg),
            "weights": str(self.weights),
            "data": self.data,
            **self.device.facts,
            **asdict(self.settings),
            "activations": self.activations,
            "layers": [asdict(layer) | {"size_bytes": self.layer_bytes[layer.layer]} for layer in self.layers],
            "left": [layer.layer for layer in self.layers if layer.bits == 32],
            "float32_bytes": 4 * sum(layer.weights for layer in self.layers),
            "size_bytes": self.size_bytes,
            "losses": list(self.losses),
            **(accuracies if self.held_out_images else {}),
        }


@dataclass(frozen=True, eq=False)
class _Asked:
    """What `quantize` takes, and describes."""

    model: ModelLike
    _: KW_ONLY
    out: str | Path
    scheme: Scheme = "linear"
    bits: int = 8
    activations: bool = False
    calibrate: Data | npt.NDArray[np.float32] | None = None
    calibrate_images: int = 128
    pruning: Pruning | None = None
    data: Data | None = None
    held_out: Data | None = None
    count: int | None = None
    recipe: Recipe | None = None
    checkpoint: str | Path | None = None
    image_options: ImageOptions | None = None
    seed: int = 0
    device: Device = None
    progress: OnProgress | None = None

    def settings(self) -> QuantizeSettings:
        """Of the codes. Raises UsageError for what contradicts itself."""
        settings = QuantizeSettings(scheme=self.scheme, bits=self.bits)
        if self.activations and settings.scheme != "linear":
            raise UsageError(f"activations with scheme {settings.scheme}: expected linear")
        if self.activations and self.calibrate is None and self.data is None:
            raise UsageError("activations without calibrate or data: expected images for the scales")
        if self.calibrate is not None and not self.activations:
            raise UsageError("calibrate without activations: weights need no images")
        if self.recipe is not None and self.data is None:
            raise UsageError("epochs without data: expected images to train on")
        return settings

    def reading(self, model: Model) -> dict[str, Any]:
        """How images for the model are read."""
        return {
            "image_options": self.image_options, "names_file": model.names_file, "progress": self.progress
        }  # fmt: skip

    def images(self, model: Model) -> tuple[DataSet | None, DataSet | None]:
        """(to train on, held out), None where there are none."""
        if self.data is None:
            return None, None
        return load_splits(
            self.data, model.network, held_out=self.held_out, seed=self.seed, count=self.count, **self.reading(model)
        )

    def training(self, images: DataSet | None) -> _Training | None:
        """None where nothing is retrained."""
        if images is None or self.recipe is None:
            return None
        recipe = self.recipe if images.is_labelled else replace(self.recipe, distillation=1.0)
        return _Training(images=images, recipe=recipe, checkpoint=self.checkpoint, progress=self.progress)

    def scales(self, model: Model, session: Session) -> dict[int, float] | None:
        """Of the inputs of the layers of `model`, None where they are not coded."""
        if not self.activations:
            return None
        batch = self.calibrate if self.calibrate is not None else self.data
        if not isinstance(batch, np.ndarray):
            assert batch is not None
            count = self.calibrate_images
            some = as_data(batch, model.network, split="train", seed=self.seed, count=count, **self.reading(model))
            batch = some.batch(slice(None))
        with Runner(model, session=session, keep_tensors=True) as runner:
            return activation_scales(runner, [batch])


@dataclass(frozen=True, kw_only=True)
class _Training:
    """How each stage is trained."""

    images: DataSet
    recipe: Recipe
    checkpoint: str | Path | None
    progress: OnProgress | None

    def checkpoint_of(self, stage: str) -> Path | None:
        """Each stage has one of its own."""
        return None if self.checkpoint is None else Path(f"{self.checkpoint}.{stage}")


@taking(_Asked)
def quantize(asked: _Asked) -> QuantizeResult:
    """Store a model's weights in fewer bits, as PREFIX.cfg and PREFIX.safetensors for `out`.

    `scheme` "linear" (8 `bits`) has steps of one size per output channel, "codebook" (4 or 8) the layer's own table of
    values, "half" (16) is float16. Batch normalization becomes part of the weights. With `activations` layers' inputs
    are in 8 bits too, by scales from `calibrate_images` of `calibrate` (by default of `data`; or float32
    `[N, C, H, W]`). `pruning` (`clprune.workflow.units.Pruning`) comes first. With a `recipe` the network is retrained
    with PyTorch on `data`: after pruning as by `prune`, then for its codes, at a quarter of the learning rate. Accuracy
    is that of the `held_out` images (by default the test images of named data). Image files are read as `image_options`
    say. Raises UsageError for what contradicts itself, what `train` raises, and NoDeviceError.

    >>> result = clprune.quantize("model.cfg", out="small", scheme="codebook", bits=4)
    >>> result.size_bytes < 0.2 * result.to_dict()["float32_bytes"]
    True
    >>> clprune.verify(result.model).is_within
    True
    """
    settings, given = asked.settings(), as_model(asked.model)
    model_targets(asked.out, file_format="packed", sources=given.files)
    images, test = asked.images(given)
    training = asked.training(images)
    with opened(asked.device) as session:
        test = None if test is None else with_own_answers(session, given, test)
        removed = None if asked.pruning is None else asked.pruning.on(session.info, given.network)
        source, losses = _pruned(given, removed, training)
        network, weights = fold_network(source.network, source.weights)
        folded = replace(source, network=network, weights=weights, cfg_text=fold_cfg(source.text))
        coded, more = _coded(folded, settings, asked.scales(folded, session), training, teacher=given)
        cfg, packed = coded.save(asked.out, file_format="packed")

        def accuracy(model: Model) -> float | None:
            return None if test is None else accuracy_on(session, model, test, progress=asked.progress)

        return QuantizeResult(
            source=str(given.path),
            model=coded,
            cfg=cfg,
            weights=packed,
            data=None if asked.data is None else data_name(asked.data),
            device=session.info,
            settings=settings,
            activations=asked.activations,
            layers=describe_quantized(network, weights, coded.weights),
            layer_bytes={layer.layer: layer.size_bytes for layer in describe_packed(packed)},
            size_bytes=packed.stat().st_size,
            losses=(*losses, *more),
            held_out_images=0 if test is None else len(test),
            accuracy_before=accuracy(given),
            accuracy_after=accuracy(coded),
        )


def _pruned(
    model: Model, settings: PruneSettings | None, training: _Training | None
) -> tuple[Model, tuple[float, ...]]:
    """The model with units removed where asked for, retrained where asked for; and the losses."""
    if settings is None:
        return model, ()
    if training is None:
        return prune_network(model.network, model.weights, settings).model, ()
    from clprune.training import prune_and_retrain

    outcome = prune_and_retrain(
        model.network,
        model.weights,
        settings,
        data=training.images,
        recipe=training.recipe,
        refit=not training.images.is_labelled,
        checkpoint=training.checkpoint_of("pruned"),
        report=training.progress,
    )
    return outcome.model, outcome.losses


def _coded(
    model: Model,
    settings: QuantizeSettings,
    scales: Mapping[int, float] | None,
    training: _Training | None,
    *,
    teacher: Model,
) -> tuple[Model, tuple[float, ...]]:
    """The model with coded weights, retrained for its codes where asked for; and the losses."""
    if training is None:
        coded = quantize_network(model.network, model.weights, settings, activation_scales=scales)
        return replace(model, weights=coded), ()
    from clprune.training import Teacher, train
    from clprune.training.quantize import Quantization

    result = train(
        model.network,
        training.images,
        replace(training.recipe, learning_rate=CODED_RATE * training.recipe.learning_rate),
        weights=model.weights,
        masks=zero_masks(model.network, model.weights),
        quantization=Quantization(settings=settings, activation_scales=scales),
        teacher=Teacher(network=teacher.network, weights=teacher.weights),
        checkpoint=training.checkpoint_of("coded"),
        report=training.progress,
    )
    return replace(model, weights=result.weights), result.losses
