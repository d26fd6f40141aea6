"""`prune`: remove from a model what a device can skip, retrain it, and measure what that brought."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from clprune.container.model import FileFormat, Model, load_model, model_targets
from clprune.darknet.network import Network
from clprune.dataset import DataSet
from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.image import ImageOptions
from clprune.opencl import Session
from clprune.progress import OnProgress, share_of
from clprune.pruning import Options
from clprune.pruning.options import NO_OPTIONS
from clprune.pruning.report import PruningReport
from clprune.pruning.settings import PruneSettings
from clprune.runner import Runner
from clprune.runner.bench import bench
from clprune.runner.compare import largest_error, time_in_turns, weights_kept
from clprune.runner.layer_times import layer_times
from clprune.unit import Unit
from clprune.workflow.agreement import accuracy_on, with_own_answers
from clprune.workflow.inputs import Data, Device, ModelLike, as_model, data_name, load_splits, opened
from clprune.workflow.units import device_named, layer_units

if TYPE_CHECKING:
    from clprune.training import PruneReport, Recipe

Result = TypeVar("Result")

#: Peak of the learning rate of retraining where no recipe says otherwise.
LEARNING_RATE = 0.02


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model on the device: milliseconds of an inference of one image, each layer's, and accuracy.

    `largest_error` is that of any layer from the float64 reference, which multiplies all the zeros: it shows that
    skipping them on the device changes nothing.
    """

    best_ms: float
    median_ms: float
    accuracy: float
    weights_kept: float
    largest_error: float
    layer_ms: Mapping[int, float]
    layer_kept: Mapping[int, float]


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


def prune(
    model: ModelLike,
    *,
    weights: str | Path | None = None,
    data: Data,
    sparsity: float,
    fc_sparsity: float | None = None,
    method: str = "workgroup",
    options: Options = NO_OPTIONS,
    unit: Unit | None = None,
    devices: Sequence[str] = (),
    criterion: str | None = None,
    allocation: str = "uniform",
    permute: bool = False,
    refit: bool | None = None,
    steps: int = 1,
    epochs: int = 1,
    recipe: Recipe | None = None,
    count: int | None = None,
    held_out: Data | None = None,
    out: str | Path | None = None,
    file_format: FileFormat = "darknet",
    checkpoint: str | Path | None = None,
    image_options: ImageOptions | None = None,
    device: Device = None,
    progress: OnProgress | None = None,
) -> PruneResult:
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
    from clprune.training import Recipe, join_ranks, prune_and_retrain
    from clprune.training.recipe import usual_batch

    # the units need a device, everything else is checked before one is opened
    settings = PruneSettings(
        method=method, options=options, sparsity=sparsity, fc_sparsity=fc_sparsity, criterion=criterion,
        allocation=allocation, permute=permute,
    )  # fmt: skip
    if settings.winograd is not None:
        file_format = "packed"
    given = as_model(model) if weights is None or isinstance(model, Model) else load_model(model, weights)
    written = None if out is None else model_targets(out, file_format=file_format, sources=given.files)
    network = given.network
    recipe = recipe or Recipe(epochs=epochs, learning_rate=LEARNING_RATE, batch=usual_batch(network))
    with join_ranks() as ranks, opened(device) if ranks.is_first else nullcontext() as session:

        def on_first(make: Callable[[Session], Result]) -> Result:
            """What the process with the device makes of it, in every one."""
            return ranks.from_first(lambda: make(cast(Session, session)))

        def units(session: Session) -> dict[int, Unit]:
            infos = [device_named(name) for name in devices] or [session.info]
            return layer_units(network, settings, infos, unit=unit)

        in_units = settings.in_units(on_first(units))
        images, test = load_splits(
            data, network, held_out=held_out, seed=recipe.seed, count=count, image_options=image_options,
            names_file=given.names_file, progress=progress if ranks.is_first else None,
        )  # fmt: skip
        if test is None:
            raise UsageError("no held-out images to measure the accuracy on: expected held_out beside such data")
        if not images.is_labelled:
            recipe = replace(recipe, distillation=1.0)
        held_out_images = test
        test = on_first(lambda session: with_own_answers(session, given, held_out_images))
        outcome = prune_and_retrain(
            network,
            given.weights,
            in_units,
            data=images,
            recipe=recipe,
            steps=steps,
            refit=not images.is_labelled if refit is None else refit,
            validation=test,
            checkpoint=checkpoint,
            report=progress if ranks.is_first else None,
            layer_times=lambda *pruned: on_first(lambda session: layer_times(session, *pruned)),
        )
        result = PruneResult(model=outcome.model, losses=outcome.losses, written=written, held_out=test)
        if session is None:
            return result
        if out is not None:
            replace(outcome.model, names_path=given.names_file).save(out, file_format=file_format)
        before, after = measure_models(session, [given, outcome.model], held_out=test, progress=progress)
        report = _report(outcome, before, after, model=str(given.path), data=data_name(data), device=session.info)
        return replace(result, report=report, before=before, after=after, device=session.info)


def measure_models(
    session: Session, models: Sequence[Model], *, held_out: DataSet, progress: OnProgress | None = None
) -> list[Measured]:
    """Times (in turns) and accuracy of each model on the device; weights are counted against the first model's."""
    runners = [Runner(model, session=session) for model in models]
    times = time_in_turns(runners)
    sizes = [_weight_count(model.network) for model in models]
    measured = []
    for number, (model, runner, whole, size) in enumerate(zip(models, runners, times, sizes, strict=True)):
        layer_ms: dict[int, float] = {}
        layer_kept: dict[int, float] = {}
        for step in bench(runner).layers:
            if step.layer is not None:
                layer_ms[step.layer] = layer_ms.get(step.layer, 0.0) + step.best_ms
                layer_kept[step.layer] = step.kept_share
        share = share_of(progress, number=number, count=len(models))
        measured.append(
            Measured(
                best_ms=whole.best_ms,
                median_ms=whole.median_ms,
                accuracy=accuracy_on(session, model, held_out, progress=share),
                weights_kept=weights_kept(model.network, model.weights) * size / sizes[0],
                largest_error=largest_error(session, model.network, model.weights, held_out.batch([0])),
                layer_ms=layer_ms,
                layer_kept=layer_kept,
            )
        )
    return measured


def _weight_count(network: Network) -> int:
    """Weights that the layers of a network have in the spatial domain."""
    return sum(math.prod(layer.arrays.get("weights", (0,))) for layer in network.layers)


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
