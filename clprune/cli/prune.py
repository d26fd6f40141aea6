"""`clprune prune`: prune a trained model for a device's tiles and retrain it with PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.method_options import MethodCommand, take_method_options
from clprune.cli.model import (
    data_option,
    load_weights,
    model_argument,
    seed_option,
    sparsity_options,
    unit_option,
)
from clprune.cli.prune_text import print_text
from clprune.cli.shared.options import device_option, json_option
from clprune.cli.shared.progress import show_progress
from clprune.cli.shared.text import print_json
from clprune.cli.training import (
    distillation_options,
    recipe_options,
    report_path,
    take_checkpoint,
    take_distillation,
    take_recipe,
)

if TYPE_CHECKING:
    from clprune.darknet.network import Network
    from clprune.darknet.values import Weights
    from clprune.dataset import DataSet
    from clprune.opencl import Session
    from clprune.pruning import Options, PruneSettings
    from clprune.pruning.report import PruningReport
    from clprune.runner.bench import BenchResult
    from clprune.training.prune import PruneReport
    from clprune.unit import Unit


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
    layer_ms: dict[int, float]
    layer_kept: dict[int, float]


@click.command("prune", cls=MethodCommand)
@model_argument
@click.argument("weights", metavar="WEIGHTS")
@sparsity_options
@unit_option
@click.option(
    "--for", "for_devices", metavar="DEVICE[,DEVICE...]",
    help="Units that the tiles of all these devices skip; a device as in --device, or a GPU architecture such as "
    "sm_90 (see `clprune tune --offline`).",
)  # fmt: skip
@click.option("--criterion", metavar="l1|l2", help="Importance of a unit: its norm. Default: l1, for block l2.")
@click.option(
    "--allocation",
    metavar="uniform|global|erdos-renyi",
    default="uniform",
    show_default=True,
    help="The same share of every convolution, the least important units of all, or less of small layers.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), metavar="N", default=1, show_default=True,
    help="Reach the sparsity in N steps, with --epochs after each.",
)  # fmt: skip
@click.option("--permute", is_flag=True, help="Reorder output channels first, so that rows with like patterns meet.")
@click.option(
    "--winograd-learning-rate", type=click.FloatRange(min=0, min_open=True), metavar="F", default=1.0,
    show_default=True, help="What multiplies --learning-rate for weights in the Winograd domain.",
)  # fmt: skip
@click.option("--report", metavar="FILE.html", help="Write a page with plots there.")
@data_option
@recipe_options(learning_rate=0.02)
@distillation_options
@seed_option
@device_option
@click.option("--out", metavar="PREFIX", required=True, help="Write PREFIX.cfg and the weights beside it.")
@click.option(
    "--format", "file_format", type=click.Choice(["darknet", "packed"]), default="darknet", show_default=True,
    help="PREFIX.weights, which darknet reads, or the smaller PREFIX.safetensors; in the Winograd domain always that.",
)  # fmt: skip
@json_option
def command(
    model: str,
    weights: str,
    steps: int,
    data: str,
    seed: int,
    device: str | None,
    out: str,
    file_format: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Prune a trained model and retrain it with PyTorch.

    What is removed goes in units of the tuned tile of --device, so that its kernels skip it: run `clprune tune` first.
    The first convolution stays dense. The result is a cfg with the unit and share of each layer (keys that darknet
    ignores) and weights with zeros, which darknet runs too; after filter pruning, a smaller cfg and its weights. Ends
    with times and accuracy before and after. Several processes retrain together: torchrun --nproc-per-node N -m clprune
    prune ... (the first one has the device, writes the files and reports).
    """
    from clprune.darknet.network import load_network
    from clprune.files import write_atomically
    from clprune.opencl import open_device
    from clprune.pruning.report_page import report_page
    from clprune.training import join_ranks, prune_and_retrain
    from clprune.workflow.inputs import load_splits

    recipe = _recipe(options, seed=seed)
    options["options"] = take_method_options(options)
    network = load_network(model)
    targets = _targets(out, file_format, options["method"], options["options"], sources=(model, weights))
    dense = load_weights(network, weights)
    checkpoint = take_checkpoint(options)
    page = report_path(options["report"])
    with join_ranks() as ranks, open_device(device) if ranks.is_first else nullcontext() as session:
        settings = _settings(options, units=ranks.from_first(lambda: _units(session, network, options)))
        images, held_out = load_splits(data, network, seed=seed, count=options["count"])
        assert held_out is not None
        with show_progress(is_shown=ranks.is_first) as report:
            outcome = prune_and_retrain(
                network, dense, settings, data=images, recipe=recipe, steps=steps, validation=held_out,
                checkpoint=checkpoint, report=report,
                layer_times=lambda *pruned: ranks.from_first(lambda: _layer_times(session, *pruned)),
            )  # fmt: skip
        if session is None:
            return
        pruned = _write(targets, network, outcome, settings)
        before, after = measure_models(
            session, [(network, dense), (load_network(targets[0]), pruned)], held_out=held_out
        )
        facts = session.info.facts
    result = {"model": model, "cfg": str(targets[0]), "weights": str(targets[1]), "data": data, **facts}
    summary = _summary(result, settings, outcome, before, after)
    if page is not None:
        write_atomically(page, report_page(summary))
    if as_json:
        print_json(result | _figures(summary, before, after, losses=outcome.losses))
    else:
        print_text(summary, before, after, held_out=held_out, facts=result)


def _recipe(options: dict[str, Any], *, seed: int) -> Any:
    """The recipe out of `options`, after a look at what must be there."""
    recipe = take_distillation(options, take_recipe(options, seed=seed))
    if options["sparsity"] is None:
        raise click.UsageError("Missing option '--sparsity'.")
    return replace(recipe, winograd_learning_rate=options["winograd_learning_rate"])


def _targets(
    out: str, file_format: str, method: str, options: Options, *, sources: tuple[str, str]
) -> tuple[Path, Path]:
    """(cfg, weights) to write. Raises what `model_targets` raises."""
    from clprune.container.model import model_targets
    from clprune.pruning.settings import asked_output_tile

    is_packed = file_format == "packed" or asked_output_tile(method, options) is not None
    return model_targets(out, file_format="packed" if is_packed else "darknet", sources=sources)


def _units(session: Session | None, network: Network, options: dict[str, Any]) -> dict[int, Unit]:
    """Layer index -> the unit of each layer that may be pruned, from the first process's device."""
    from clprune.pruning import check_sparsity
    from clprune.pruning.network import prunable_layers
    from clprune.workflow.units import device_named, unit_for_layer

    assert session is not None
    devices = [session.info]
    for share in (options["sparsity"], options["fc_sparsity"] or 0.0):
        check_sparsity(share)
    if options["for_devices"] is not None:
        if options["unit"] is not None:
            raise click.UsageError("both --unit and --for: expected one of them")
        devices = [device_named(name.strip()) for name in options["for_devices"].split(",") if name.strip()]
        if not devices:
            raise click.UsageError(f"--for {options['for_devices']!r} names no device")
    asked = {name: options[name] for name in ("method", "sparsity", "fc_sparsity", "options", "unit")}
    unit_of = unit_for_layer(devices, network, **asked)
    convolutions, connected = prunable_layers(network, first_dense=False)
    return {layer.index: unit_of(layer) for layer in (*convolutions, *connected)}


def _settings(options: dict[str, Any], *, units: Mapping[int, Unit]) -> PruneSettings:
    from clprune.pruning import PruneSettings

    names = ("method", "options", "sparsity", "fc_sparsity", "criterion", "allocation", "permute")
    return PruneSettings(**{name: options[name] for name in names}, unit_for_layer=lambda layer: units[layer.index])


def _layer_times(session: Session | None, *pruned: Any) -> dict[int, float]:
    """Milliseconds of the layers of a network, its weights and its plan, on the first process's device."""
    from clprune.runner.layer_times import layer_times

    assert session is not None
    return layer_times(session, *pruned)


def _write(targets: tuple[Path, Path], network: Network, outcome: PruneReport, settings: PruneSettings) -> Weights:
    """Both files or none: the cfg takes its name only after the weights are there. Returns the weights written."""
    from clprune.container.load import save_weights
    from clprune.darknet.rewrite import annotate_cfg
    from clprune.files import atomic_writer
    from clprune.plan.pruned import with_prune_options
    from clprune.pruning import shrink_network

    if settings.removes_channels:
        small = shrink_network(network, outcome.weights, outcome.masks)
        text, network, weights = small.cfg_text, small.network, small.weights
    else:
        text, weights = annotate_cfg(network.path, outcome.plan), outcome.weights
        network = with_prune_options(network, outcome.plan)
    with atomic_writer(targets[0]) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        save_weights(targets[1], network, weights)
    return weights


def measure_models(session: Session, models: Sequence[tuple[Network, Weights]], *, held_out: DataSet) -> list[Measured]:
    """Times (in turns) and accuracy of each model on the device; weights are counted against the first model's."""
    from clprune.progress import share_of
    from clprune.runner import Runner
    from clprune.runner.bench import bench
    from clprune.runner.compare import largest_error, time_in_turns, weights_kept
    from clprune.runner.evaluate import evaluate

    runners = [Runner(network, weights, session=session) for network, weights in models]
    times = time_in_turns(runners)
    sizes = [_weight_count(network) for network, _ in models]
    measured = []
    with show_progress() as progress:
        for number, ((network, weights), runner, whole, size) in enumerate(
            zip(models, runners, times, sizes, strict=True)
        ):
            layer_ms, layer_kept = _by_layer(bench(runner))
            share = share_of(progress, number=number, count=len(models))
            evaluation = evaluate(runner, network, held_out, progress=share)
            measured.append(
                Measured(
                    best_ms=whole.best_ms,
                    median_ms=whole.median_ms,
                    accuracy=evaluation.accuracy,
                    weights_kept=weights_kept(network, weights) * size / sizes[0],
                    largest_error=largest_error(session, network, weights, held_out.batch([0])),
                    layer_ms=layer_ms,
                    layer_kept=layer_kept,
                )
            )
    return measured


def _weight_count(network: Network) -> int:
    """Weights that the layers of a network have in the spatial domain."""
    return sum(math.prod(getattr(layer, "weights_shape", (0,))) for layer in network.layers)


def _by_layer(result: BenchResult) -> tuple[dict[int, float], dict[int, float]]:
    """(best ms, share of weights that are multiplied) by layer index."""
    layer_ms: dict[int, float] = {}
    layer_kept: dict[int, float] = {}
    for step in result.layers:
        if step.layer is not None:
            layer_ms[step.layer] = layer_ms.get(step.layer, 0.0) + step.best_ms
            layer_kept[step.layer] = step.kept_share
    return layer_ms, layer_kept


def _summary(
    facts: Mapping[str, str], settings: PruneSettings, outcome: PruneReport, before: Measured, after: Measured
) -> PruningReport:
    """What pruning says about itself, with what was measured on the device."""
    from clprune.pruning.report import PruningReport

    is_smaller = settings.removes_channels
    layers = tuple(
        replace(
            layer,
            multiplied_share=after.layer_kept[layer.layer] * (layer.kept_share if is_smaller else 1.0),
            ms_before=before.layer_ms[layer.layer],
            ms_after=after.layer_ms[layer.layer],
        )
        for layer in outcome.reports
    )
    return PruningReport(
        model=facts["model"],
        method=settings.method,
        criterion=settings.criterion_name,
        allocation=settings.allocation,
        layers=layers,
        left=outcome.left,
        permuted=outcome.permuted,
        data=facts["data"],
        device=facts["device"],
        accuracy_dense=before.accuracy,
        accuracy_masked=outcome.accuracy_masked,
        accuracy_retrained=after.accuracy,
        ms_before=before.best_ms,
        ms_after=after.best_ms,
        choices=outcome.choices,
    )


def _figures(summary: PruningReport, before: Measured, after: Measured, *, losses: Sequence[float]) -> dict[str, Any]:
    """All figures as JSON can hold them."""
    whole = {
        name: {key: value for key, value in asdict(measured).items() if not key.startswith("layer_")}
        for name, measured in (("before", before), ("after", after))
    }
    speed_up = before.best_ms / after.best_ms
    return {**summary.to_dict(), **whole, "speed_up": speed_up, "losses": list(losses)}
