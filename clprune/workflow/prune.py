"""`prune`: remove from a model what a device can skip, retrain it, and measure what that brought."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from clprune.container.model import FileFormat, Model, model_targets
from clprune.darknet.network import Network
from clprune.dataset import DataSet
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.opencl import Session
from clprune.progress import OnProgress
from clprune.pruning import Options
from clprune.pruning.options import NO_OPTIONS
from clprune.pruning.report import PruningReport
from clprune.pruning.settings import PruneSettings
from clprune.runner.layer_times import layer_times
from clprune.unit import Unit
from clprune.workflow.agreement import with_own_answers
from clprune.workflow.inputs import Data, Device, ModelLike, as_model, data_name, load_splits, opened
from clprune.workflow.keywords import taking
from clprune.workflow.measured import Measured, measure_models
from clprune.workflow.units import device_named, layer_units

if TYPE_CHECKING:
    from clprune.training import PruneReport, Recipe
    from clprune.training.ranks import Ranks

Result = TypeVar("Result")

#: Peak of the learning rate of retraining where no recipe says otherwise.
LEARNING_RATE = 0.02


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """The pruned `model`, a `report` on its layers and on the whole, and what the device measured `before` and `after`.

    `losses` (nats) are one per epoch of all steps, `written` the cfg and the weights file, if any. Processes of
    torchrun but the first write and measure nothing: there `report`, `before`, `after` and `device` are None.
    """

    model: Model
    losses: tuple[float, ...]
    held_out: DataSet
    written: tuple[Path, Path] | None = None
    report: PruningReport | None = None
    before: Measured | None = None
    after: Measured | None = None
    device: DeviceInfo | None = None

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON can hold them."""
        if self.report is None or self.before is None or self.after is None or self.device is None:
            return {"losses": list(self.losses)}
        whole = {
            name: {key: value for key, value in asdict(measured).items() if not key.startswith("layer_")}
            for name, measured in (("before", self.before), ("after", self.after))
        }
        files = {} if self.written is None else {"cfg": str(self.written[0]), "weights": str(self.written[1])}
        speed_up = self.before.best_ms / self.after.best_ms
        facts = {**self.report.to_dict(), **files, **self.device.facts}
        return {**facts, **whole, "speed_up": speed_up, "losses": list(self.losses)}


@dataclass(frozen=True, eq=False)
class _Asked:
    """What `prune` takes, and describes."""

    model: ModelLike
    _: KW_ONLY
    weights: str | Path | None = None
    data: Data
    sparsity: float
    fc_sparsity: float | None = None
    method: str = "workgroup"
    options: Options = NO_OPTIONS
    unit: Unit | None = None
    devices: Sequence[str] = ()
    criterion: str | None = None
    allocation: str = "uniform"
    permute: bool = False
    refit: bool | None = None
    steps: int = 1
    epochs: int = 1
    recipe: Recipe | None = None
    count: int | None = None
    held_out: Data | None = None
    out: str | Path | None = None
    file_format: FileFormat = "darknet"
    checkpoint: str | Path | None = None
    image_options: ImageOptions | None = None
    device: Device = None
    progress: OnProgress | None = None

    def settings(self) -> PruneSettings:
        """Without units, which need a device: everything else is checked before one is opened. Raises UsageError."""
        return PruneSettings(
            method=self.method, options=self.options, sparsity=self.sparsity, fc_sparsity=self.fc_sparsity,
            criterion=self.criterion, allocation=self.allocation, permute=self.permute,
        )  # fmt: skip

    def retraining(self, network: Network) -> Recipe:
        """How it is retrained. Raises UsageError."""
        from clprune.training import Recipe
        from clprune.training.recipe import usual_batch

        return self.recipe or Recipe(epochs=self.epochs, learning_rate=LEARNING_RATE, batch=usual_batch(network))

    def images(self, dense: Model, *, seed: int, progress: OnProgress | None) -> tuple[DataSet, DataSet]:
        """(to train on, held out). Raises UsageError where there are no others."""
        images, held_out = load_splits(
            self.data, dense.network, held_out=self.held_out, seed=seed, count=self.count,
            image_options=self.image_options, names_file=dense.names_file, progress=progress,
        )  # fmt: skip
        if held_out is None:
            raise UsageError("no held-out images to measure the accuracy on: expected held_out beside such data")
        return images, held_out


@taking(_Asked)
def prune(asked: _Asked) -> PruneResult:
    """Prune a trained model, retrain it with PyTorch, write it as PREFIX `out` if one is given, and measure it.

    `sparsity` is the share of units that convolutions lose (the first stays dense), `fc_sparsity` that of connected
    layers, reached in `steps` with retraining after each; with `refit` (by default where images have no labels) what
    stays is first fitted, by least squares on training images without their labels, to what each layer put out before.
    What goes together is `unit`, by default the rows of the tuned tile of `device`, or what the tiles of all `devices`
    skip (names as for `device`, or GPU architectures such as "sm_90"). `options` are those of the `method`:
    `clprune.pruning.registry.get_method("bwsp").options(...)`. The rest is as in `PruneSettings` and `clprune.train`.
    Weights are read from a file of their own where `weights` names one, and written in `file_format`, those of the
    Winograd domain always packed. The model before and after is timed on `device` in turns, and run on the `held_out`
    images. Image files are read as `image_options` say. From data without labels (`images:PATH`), and so every
    detector, the network learns what the dense one answers; on held-out images without labels the accuracy is their
    agreement, of a detector the mean average precision with the dense one's objects as the truth.
    Raises what `train` does, WeightsError and NoDeviceError.

    >>> dense = clprune.train("small.cfg", data="synthetic", count=128).model
    >>> result = clprune.prune(dense, data="synthetic", count=128, sparsity=0.5)
    >>> round(result.report.layers[0].kept_share, 1), result.after.largest_error < 1e-4
    (0.5, True)
    >>> result.model.save("pruned", file_format="packed")[1].name
    'pruned.safetensors'
    """
    from clprune.training import join_ranks

    settings, dense = asked.settings(), as_model(asked.model, asked.weights)
    file_format: FileFormat = "packed" if settings.winograd is not None else asked.file_format
    written = None if asked.out is None else model_targets(asked.out, file_format=file_format, sources=dense.files)
    recipe = asked.retraining(dense.network)
    with join_ranks() as ranks, opened(asked.device) if ranks.is_first else nullcontext() as session:
        outcome, held_out = _pruned(asked, dense, settings, recipe, _Device(ranks, session))
        result = PruneResult(model=outcome.model, losses=outcome.losses, written=written, held_out=held_out)
        if session is None:
            return result
        if asked.out is not None:
            replace(outcome.model, names_path=dense.names_file).save(asked.out, file_format=file_format)
        before, after = measure_models(session, [dense, outcome.model], held_out=held_out, progress=asked.progress)
        model, data = str(dense.path), data_name(asked.data)
        report = _report(outcome, before, after, model=model, data=data, device=session.info)
        return replace(result, report=report, before=before, after=after, device=session.info)


@dataclass(frozen=True)
class _Device:
    """What one of the processes of a training has open, the first."""

    ranks: Ranks
    session: Session | None

    def __call__(self, make: Callable[[Session], Result]) -> Result:
        """What the process with the device makes of it, in every one."""
        return self.ranks.from_first(lambda: make(cast(Session, self.session)))


def _pruned(
    asked: _Asked, dense: Model, settings: PruneSettings, recipe: Recipe, device: _Device
) -> tuple[PruneReport, DataSet]:
    """What pruning and retraining made of the model, and the held-out images, with answers for labels."""
    from clprune.training import prune_and_retrain

    def units(session: Session) -> dict[int, Unit]:
        infos = [device_named(name) for name in asked.devices] or [session.info]
        return layer_units(dense.network, settings, infos, unit=asked.unit)

    in_units = settings.in_units(device(units))
    progress = asked.progress if device.ranks.is_first else None
    images, test = asked.images(dense, seed=recipe.seed, progress=progress)
    held_out = device(lambda session: with_own_answers(session, dense, test))
    outcome = prune_and_retrain(
        dense.network,
        dense.weights,
        in_units,
        data=images,
        recipe=recipe if images.is_labelled else replace(recipe, distillation=1.0),
        steps=asked.steps,
        refit=not images.is_labelled if asked.refit is None else asked.refit,
        validation=held_out,
        checkpoint=asked.checkpoint,
        report=progress,
        layer_times=lambda *pruned: device(lambda session: layer_times(session, *pruned)),
    )
    return outcome, held_out


def _report(
    outcome: PruneReport, before: Measured, after: Measured, *, model: str, data: str, device: DeviceInfo
) -> PruningReport:
    """What pruning says about itself, with what was measured on the device."""
    settings = outcome.settings
    layers = tuple(
        replace(
            layer,
            multiplied_share=after.layer_kept[layer.layer] * (layer.kept_share if settings.removes_channels else 1.0),
            ms_before=before.layer_ms[layer.layer],
            ms_after=after.layer_ms[layer.layer],
        )
        for layer in outcome.reports
    )
    return PruningReport(
        model=model,
        method=settings.method,
        criterion=settings.criterion_name,
        allocation=settings.allocation,
        layers=layers,
        left=outcome.left,
        permuted=outcome.permuted,
        data=data,
        device=device.name,
        accuracy_dense=before.accuracy,
        accuracy_masked=outcome.accuracy_masked,
        accuracy_retrained=after.accuracy,
        ms_before=before.best_ms,
        ms_after=after.best_ms,
        choices=outcome.choices,
    )
