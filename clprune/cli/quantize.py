"""`clprune quantize`: store a model's weights in fewer bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clprune.cli.method_options import MethodCommand
from clprune.cli.model import (
    RandomWeights,
    load_model,
    model_argument,
    prune_settings,
    random_weights_options,
    take_pruning,
    take_random_weights,
    weights_argument,
)
from clprune.cli.shared.options import device_option, json_option
from clprune.cli.shared.progress import show_progress
from clprune.cli.shared.text import print_json, print_table
from clprune.cli.training import (
    distillation_options,
    recipe_options,
    take_checkpoint,
    take_distillation,
    take_recipe,
)

if TYPE_CHECKING:
    from clprune.darknet.network import Network
    from clprune.darknet.quantize import QuantizedLayer, QuantizeSettings
    from clprune.darknet.values import Weights
    from clprune.dataset import DataSet
    from clprune.opencl import Session

#: Learning rate of quantization-aware training over that of retraining after pruning: weights only settle.
CODED_RATE = 0.25

#: What says nothing without --epochs.
TRAINING_OPTIONS = (
    "batch", "learning_rate", "shift_pixels", "flip", "optimiser", "weight_decay", "label_smoothing", "precision",
    "checkpoint", "count", "distillation", "temperature",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model on its way: the cfg's text to write, what it describes, and `losses` of its trainings so far."""

    cfg_text: str
    network: Network
    weights: Weights
    losses: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the options ask for beside the model."""

    settings: QuantizeSettings
    activations: bool
    calibrate: str | None
    calibrate_images: int
    pruning: RandomWeights | None
    recipe: Any
    checkpoint: Path | None
    seed: int


@click.command("quantize", cls=MethodCommand)
@model_argument
@weights_argument
@random_weights_options
@click.option("--prune-first", is_flag=True, help="Prune a file's weights first, as --method and --sparsity say.")
@click.option(
    "--scheme", metavar="linear|codebook|half", default="linear", show_default=True,
    help="Steps of one size per output channel, the layer's own table of values, or float16.",
)  # fmt: skip
@click.option(
    "--bits", type=int, metavar="8|4|16", default=8, show_default=True,
    help="Bits of a weight: linear 8, codebook 4 or 8, half 16.",
)  # fmt: skip
@click.option("--activations", is_flag=True, help="linear: layers' inputs in 8 bits too, by scales from --calibrate.")
@click.option(
    "--calibrate", metavar="DATA", help="Images for the scales of activations, as for --data. Default: that of --data."
)
@click.option(
    "--calibrate-images", type=click.IntRange(min=1), metavar="N", default=128, show_default=True,
    help="How many of them are run.",
)  # fmt: skip
@click.option("--data", metavar="DATA", help="Retrain on its images, and report the accuracy; as in `clprune prune`.")
@recipe_options(learning_rate=0.02, epochs_required=False)
@distillation_options
@device_option
@click.option("--out", metavar="PREFIX", required=True, help="Write PREFIX.cfg and PREFIX.safetensors.")
@json_option
def command(
    model: str,
    weights: str | None,
    data: str | None,
    device: str | None,
    out: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Store a model's weights in fewer bits, pruned or not.

    Batch normalization becomes part of the weights. With --epochs the network is retrained with PyTorch: after
    --prune-first as by `clprune prune`, then for its codes, at a quarter of the learning rate. Random weights show size
    and speed. The cfg and the packed weights written are a model like any other.
    """
    from clprune.container.model import model_targets
    from clprune.darknet.network import load_network
    from clprune.opencl import open_device
    from clprune.workflow.inputs import load_splits

    request, random = _take_request(options, weights=weights, data=data)
    network = load_network(model)
    targets = model_targets(out, file_format="packed", sources=(model, *([] if weights is None else [weights])))
    splits = None
    if data is not None:
        images, held_out = load_splits(data, network, seed=request.seed, count=options["count"])
        assert held_out is not None
        splits = images, held_out
    with open_device(device) as session:
        network, given = load_model(session, network, weights=weights, random=random)
        source = _pruned(session, network, given, request, splits=splits)
        folded = _folded(source)
        scales = _activation_scales(session, folded, request, data=data)
        coded = _coded(folded, request, scales=scales, splits=splits, given=(network, given))
        _write(targets, coded)
        accuracies = {}
        if splits is not None:
            accuracies = {
                "accuracy_before": _accuracy(session, network, given, splits[1]),
                "accuracy_after": _accuracy(session, coded.network, coded.weights, splits[1]),
            }
        facts = session.info.facts
    result = {"model": model, "cfg": str(targets[0]), "weights": str(targets[1]), "data": data, **facts}
    result |= _figures(request, folded, coded, path=targets[1]) | accuracies
    if as_json:
        print_json(result)
    else:
        _print_text(result, held_out=None if splits is None else splits[1])


def _take_request(
    options: dict[str, Any], *, weights: str | None, data: str | None
) -> tuple[Request, RandomWeights | None]:
    """What is asked for, and the random weights. Raises click.UsageError and UsageError for what contradicts itself."""
    from clprune.darknet.quantize import QuantizeSettings

    seed = options["seed"]
    settings = QuantizeSettings(scheme=options.pop("scheme"), bits=options.pop("bits"))
    pruning = random = None
    if options.pop("prune_first"):
        if options["random_weights"]:
            raise click.UsageError("both --prune-first and --random-weights, which are pruned as they are drawn")
        if options["sparsity"] is None:
            raise click.UsageError("--prune-first without --sparsity")
        del options["random_weights"]
        pruning = take_pruning(options)
    else:
        random = take_random_weights(options, weights=weights)
    activations, calibrate = options.pop("activations"), options.pop("calibrate")
    if activations and settings.scheme != "linear":
        raise click.UsageError(f"--activations with --scheme {settings.scheme}: expected linear")
    if activations and calibrate is None and data is None and random is None:
        raise click.UsageError("--activations without --calibrate or --data: expected images for the scales")
    if calibrate is not None and not activations:
        raise click.UsageError("--calibrate without --activations: weights need no images")
    recipe = _take_recipe(options, seed=seed, data=data)
    request = Request(
        settings=settings,
        activations=activations,
        calibrate=calibrate,
        calibrate_images=options.pop("calibrate_images"),
        pruning=pruning,
        recipe=recipe,
        checkpoint=take_checkpoint(options),
        seed=seed,
    )
    return request, random


def _take_recipe(options: dict[str, Any], *, seed: int, data: str | None) -> Any:
    """How to retrain, None without --epochs."""
    if options["epochs"] is not None:
        if data is None:
            raise click.UsageError("--epochs without --data: expected images to train on")
        return take_distillation(options, take_recipe(options, seed=seed))
    for name in TRAINING_OPTIONS:
        if click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} without --epochs: nothing is trained")
    return None


def _pruned(
    session: Session,
    network: Network,
    weights: Weights,
    request: Request,
    *,
    splits: tuple[DataSet, DataSet] | None,
) -> Model:
    """The model with units removed where asked for, retrained where asked for; else as it was given."""
    from clprune.pruning import prune_network

    if request.pruning is None:
        return Model(cfg_text=_cfg_text(network), network=network, weights=weights)
    settings = prune_settings(session.info, network, request.pruning)
    losses: tuple[float, ...] = ()
    if request.recipe is None or splits is None:
        outcome = prune_network(network, weights, settings)
    else:
        from clprune.training import prune_and_retrain

        with show_progress() as report:
            outcome = retrained = prune_and_retrain(
                network,
                weights,
                settings,
                data=splits[0],
                recipe=request.recipe,
                checkpoint=_checkpoint(request, "pruned"),
                report=report,
            )
        losses = retrained.losses
    made = outcome.model
    text = made.cfg_text or _cfg_text(made.network)
    return Model(cfg_text=text, network=made.network, weights=made.weights, losses=losses)


def _cfg_text(network: Network) -> str:
    """The cfg's text with the prune options that the network carries."""
    from clprune.darknet.kinds.connected import Connected
    from clprune.darknet.kinds.convolutional import Convolutional
    from clprune.darknet.rewrite import annotate_cfg

    plan = {
        layer.index: layer.prune
        for layer in network.layers
        if isinstance(layer, Convolutional | Connected) and layer.prune is not None
    }
    return annotate_cfg(network.path, plan)


def _folded(model: Model) -> Model:
    from clprune.darknet.fold import fold_network
    from clprune.darknet.rewrite import fold_cfg

    network, weights = fold_network(model.network, model.weights)
    return replace(model, cfg_text=fold_cfg(model.cfg_text), network=network, weights=weights)


def _activation_scales(
    session: Session, model: Model, request: Request, *, data: str | None
) -> dict[int, float] | None:
    """Scales of inputs by layer, None without --activations; random weights may do with random images."""
    import numpy as np

    from clprune.runner import Runner
    from clprune.runner.calibration import activation_scales

    if not request.activations:
        return None
    shape = model.network.input
    spec = request.calibrate or data
    if spec is None:
        generator = np.random.default_rng(request.seed)
        batch = generator.random((1, shape.channels, shape.height, shape.width), dtype=np.float32)
    else:
        from clprune.data import load_data
        from clprune.runner.evaluate import check_data

        count = request.calibrate_images
        images = load_data(spec, split="train", height=shape.height, width=shape.width, seed=request.seed, count=count)
        check_data(model.network, images)
        batch = images.batch(slice(0, count))
    with Runner(model.network, model.weights, session=session, keep_tensors=True) as runner:
        return activation_scales(runner, [batch])


def _coded(
    model: Model,
    request: Request,
    *,
    scales: Mapping[int, float] | None,
    splits: tuple[DataSet, DataSet] | None,
    given: tuple[Network, Weights],
) -> Model:
    """The model with coded weights, retrained for its codes where asked for; distillation learns from `given`."""
    from clprune.darknet.quantize import quantize_network, zero_masks

    if request.recipe is None or splits is None:
        coded = quantize_network(model.network, model.weights, request.settings, activation_scales=scales)
        return replace(model, weights=coded)
    from clprune.training import Teacher, train
    from clprune.training.quantize import Quantization

    recipe = replace(request.recipe, learning_rate=CODED_RATE * request.recipe.learning_rate)
    with show_progress() as report:
        result = train(
            model.network,
            splits[0],
            recipe,
            weights=model.weights,
            masks=zero_masks(model.network, model.weights),
            quantization=Quantization(settings=request.settings, activation_scales=scales),
            teacher=Teacher(network=given[0], weights=given[1]),
            checkpoint=_checkpoint(request, "coded"),
            report=report,
        )
    return replace(model, weights=result.weights, losses=(*model.losses, *result.losses))


def _checkpoint(request: Request, stage: str) -> Path | None:
    """Each stage has a checkpoint of its own."""
    path = request.checkpoint
    return None if path is None else path.with_name(f"{path.name}.{stage}")


def _write(targets: tuple[Path, Path], model: Model) -> None:
    """Both files or none: the cfg takes its name only after the weights are there."""
    from clprune.container.write import write_packed
    from clprune.files import atomic_writer

    with atomic_writer(targets[0]) as file:
        file.write(model.cfg_text.encode("utf-8", "surrogateescape"))
        write_packed(targets[1], model.network, model.weights)


def _accuracy(session: Session, network: Network, weights: Weights, held_out: DataSet) -> float:
    """Share of the held-out images that the device gets right."""
    from clprune.runner import Runner
    from clprune.runner.evaluate import evaluate

    with Runner(network, weights, session=session) as runner, show_progress() as progress:
        return evaluate(runner, network, held_out, progress=progress).accuracy


def _figures(request: Request, folded: Model, coded: Model, *, path: Path) -> dict[str, Any]:
    """What became of each layer and of the whole, as JSON can hold it."""
    from clprune.container.read import describe_packed
    from clprune.darknet.quantize import describe_quantized

    sizes = {layer.layer: layer.size_bytes for layer in describe_packed(path)}
    described = describe_quantized(folded.network, folded.weights, coded.weights)
    return {
        "scheme": request.settings.scheme,
        "bits": request.settings.bits,
        "activations": request.activations,
        "layers": [asdict(layer) | {"size_bytes": sizes[layer.layer]} for layer in described],
        "left": [layer.layer for layer in described if layer.bits == 32],
        "float32_bytes": _float32_bytes(described),
        "size_bytes": path.stat().st_size,
        "losses": list(coded.losses),
    }


def _float32_bytes(layers: tuple[QuantizedLayer, ...]) -> int:
    return 4 * sum(layer.weights for layer in layers)


def _print_text(result: dict[str, Any], *, held_out: DataSet | None) -> None:
    rows = [
        (
            layer["layer"],
            layer["kind"],
            layer["weights"],
            layer["bits"],
            f"{100 * layer['kept_share']:.1f}%",
            f"{100 * layer['norm_error']:.2f}%",
            "-" if layer["activation_scale"] is None else f"{layer['activation_scale']:.3g}",
            f"{layer['size_bytes'] / 1e3:.1f}",
        )
        for layer in result["layers"]
    ]
    print_table(["layer", "kind", "weights", "bits", "not zero", "norm error", "input scale", "kB"], rows)
    click.echo()
    if result["left"]:
        layers = ", ".join(map(str, result["left"]))
        click.echo(f"clprune: note: weights in the Winograd domain stay float32 in layers {layers}", err=True)
    size, whole = result["size_bytes"] / 1e6, result["float32_bytes"] / 1e6
    click.echo(f"size: {size:.2f} MB, {whole / size:.1f} times smaller than the {whole:.2f} MB of float32 weights")
    if held_out is not None:
        before, after = result["accuracy_before"], result["accuracy_after"]
        click.echo(
            f"accuracy: {100 * before:.2f}% before, {100 * after:.2f}% after, on {len(held_out)} held-out images of "
            f"{held_out.name} on {result['device']}"
        )
    click.echo(f"written: {result['cfg']}, {result['weights']}")
