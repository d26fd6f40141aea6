"""`convert`: models from ONNX files and PyTorch, compared with what they were before they are written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clprune.container.model import Model, model_targets
from clprune.darknet.kinds.heads import Head
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_images
from clprune.darknet.values import Weights
from clprune.device import DeviceInfo
from clprune.errors import CfgError, ClpruneWarning, ExchangeError
from clprune.opencl import Session
from clprune.plan.capacity import check_network
from clprune.runner import Runner
from clprune.workflow.inputs import Device, opened

if TYPE_CHECKING:
    from clprune.exchange.import_graph import Imported
    from clprune.training.trace import Images, Module

FloatArray = npt.NDArray[np.float32]
Answers = Sequence[npt.NDArray[Any]]

#: Error of the answers, relative to the largest of them, that comes of another order of sums; beyond it something else
#: is computed. Models of float16 are rounded at every layer, ours are not.
LIMIT, HALF_LIMIT = 1e-3, 3e-2

#: Likewise of models whose activations were codes, to what they were: codes are coarse, and cut off noise.
CODES_LIMIT = 0.5

_TORCHVISION = "torchvision:"


class ConvertWarning(ClpruneWarning):
    """The converted model computes something else than its file on purpose; the text says what."""


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """The converted `model` and its files; `relative_error` is that of its answers to those of the `source`, over the
    largest of them, on `device`.
    """

    source: str
    model: Model
    cfg: Path
    weights: Path
    relative_error: float
    device: DeviceInfo

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON can hold them."""
        network = self.model.network
        return {
            "source": self.source,
            "cfg": str(self.cfg),
            "weights": str(self.weights),
            "input": str(network.input),
            "outputs": network.outputs,
            "layers": len(network.layers),
            "parameters": sum(int(np.prod(shape)) for layer in network.layers for shape in layer.arrays.values()),
            "class_names": len(self.model.class_names),
            "relative_error": self.relative_error,
            **self.device.facts,
        }


def convert(
    source: str | Path,
    *,
    out: str | Path,
    state_dict: str | Path | None = None,
    output: str | Sequence[str] = (),
    size: tuple[int, int] | None = None,
    device: Device = None,
) -> ConvertResult:
    """Write an ONNX file or a classifier of torchvision as PREFIX.cfg and PREFIX.weights for `out`.

    `source` is the file's path, or `torchvision:NAME` for the model of that name with the weights of the file
    `state_dict` (`.pt` or `.safetensors`; by default torchvision's own). Of an ONNX file `output` is the tensor that
    the network ends with, or several, by default all its outputs, and `size` (height, width) that of images where it
    leaves it free. Of several outputs each is an `[output]` of the cfg, or a head, and `Runner.outputs` gives them.
    Class names that come with the model are written as PREFIX.names.

    Before anything is written, the answers on `device` are compared with those of ONNX Runtime or PyTorch. Raises
    ExchangeError naming the node that a cfg cannot express, and where the answers differ; UsageError, WeightsError.

    >>> exported = clprune.export("model.cfg", onnx="model.onnx")
    >>> result = clprune.convert("model.onnx", out="converted")
    >>> result.cfg.name, result.relative_error < 1e-4
    ('converted.cfg', True)
    """
    model_targets(out, sources=[] if str(source).startswith(_TORCHVISION) else [source])
    with opened(device) as session:
        if str(source).startswith(_TORCHVISION):
            model, error = _from_torchvision(str(source), state_dict, session)
        else:
            model, error = _from_onnx(Path(source), session, output=output, size=size)
        cfg, weights = model.save(out)
        return ConvertResult(
            source=str(source), model=model, cfg=cfg, weights=weights, relative_error=error, device=session.info
        )


def from_torch(
    module: Module,
    example_input: Images,
    *,
    mean: Sequence[float] | None = None,
    deviation: Sequence[float] | None = None,
    class_names: Sequence[str] = (),
    device: Device = None,
) -> Model:
    """A PyTorch module as a model that runs, is pruned and saved like any other.

    `example_input` float32 `[N, C, H, W]` gives the size of images and is what the module is traced with, at inference.
    With `mean` and `deviation` of each channel the model takes images of 0 to 1 and normalizes them first.

    Answers on `device` are compared with the module's. Raises ExchangeError where the module cannot be traced, naming
    the operator that a cfg cannot express, and where the answers differ; UsageError.

    >>> from torch import nn, rand
    >>> module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    >>> model = clprune.from_torch(module, rand(1, 3, 8, 8))
    >>> [layer.kind for layer in model.network.layers]
    ['convolutional', 'connected']
    """
    with opened(device) as session:
        name = type(module).__name__
        model, _ = _from_module(
            module, example_input, session, name=name, mean=mean, deviation=deviation, class_names=class_names
        )
        return model


def _from_torchvision(source: str, state_dict: str | Path | None, session: Session) -> tuple[Model, float]:
    from clprune.training.classifiers import load_classifier

    found = load_classifier(source.removeprefix(_TORCHVISION), state_dict=state_dict)
    return _from_module(
        found.module, found.example_input, session, name=source, mean=found.mean, deviation=found.deviation,
        class_names=found.class_names,
    )  # fmt: skip


def _from_module(
    module: Module, example_input: Images, session: Session, *, name: str, class_names: Sequence[str], **options: Any
) -> tuple[Model, float]:
    from clprune.exchange.import_graph import import_graph
    from clprune.exchange.read import parse_onnx
    from clprune.training.trace import trace

    traced = trace(module, example_input, name=name, **options)
    graph = parse_onnx(traced.graph, name)
    imported = import_graph(graph, name, constants=traced.constants)
    model = make_model(imported, name, class_names=tuple(class_names))
    images = traced.images.reshape(1, *_sides(imported))
    return model, _error(model, images, lambda _: traced.answers, session, limit=LIMIT)


def _from_onnx(
    path: Path, session: Session, *, output: str | Sequence[str], size: tuple[int, int] | None
) -> tuple[Model, float]:
    from clprune.exchange.codes import with_float_activations
    from clprune.exchange.import_graph import import_graph
    from clprune.exchange.read import class_names_of, has_halves, read_onnx
    from clprune.exchange.runtime import run_tensors

    graph = read_onnx(path)
    are_codes = with_float_activations(graph, path)
    if are_codes:
        message = "its activations are codes: read as float, with the values that its weights' codes stand for"
        warnings.warn(ConvertWarning(f"{path}: {message}"), stacklevel=3)
    imported = import_graph(graph, path, outputs=[output] if isinstance(output, str) else output, size=size)
    model = make_model(imported, str(path))
    names = class_names_of(graph)
    if len({layer.classes for layer in model.network.output_layers if isinstance(layer, Head)}) < 2:
        model = replace(model, class_names=names if len(names) == model.network.classes else ())

    def answer(images: FloatArray, of: Any = graph) -> Answers:
        given = np.moveaxis(images, 1, -1) if imported.is_channels_last else images
        return run_tensors(of, path, given, names=imported.output_names)

    images = random_images(model.network, seed=0)
    error = _error(model, images, answer, session, limit=HALF_LIMIT if has_halves(graph) else LIMIT)
    if are_codes:
        far = 0.0
        with suppress(ExchangeError):  # what takes codes, or what ONNX Runtime has no operator for, is not compared
            pairs = zip(answer(images), answer(images, read_onnx(path)), strict=True)
            far = max([0.0, *(_difference(*pair) for pair in pairs if pair[1].dtype.kind == "f")])
        if not far <= CODES_LIMIT:
            message = f"read as float, it is far from what its codes give for noise: relative error {far:.2g}"
            warnings.warn(ConvertWarning(f"{path}: {message}; try it with images of your own"), stacklevel=3)
    return model, error


def _sides(imported: Imported) -> tuple[int, int, int]:
    return imported.input.channels, imported.input.height, imported.input.width


def make_model(imported: Imported, source: str, *, class_names: tuple[str, ...] = ()) -> Model:
    """The model in memory. Raises ExchangeError where it is beyond what a cfg holds."""
    from clprune.exchange.sketch import cfg_of

    title = Path(source).name.encode("ascii", "replace").decode()
    text, values = cfg_of(imported.input, imported.parts, title=f"converted by clprune from {title}")
    try:
        network = load_network(source, text=text)
    except CfgError as error:
        raise ExchangeError(f"its cfg is not accepted: {error}", path=source) from error
    return Model(network=network, weights=Weights(layers=values), cfg_text=text, class_names=class_names)


def _error(
    model: Model, images: FloatArray, answer: Callable[[FloatArray], Answers], session: Session, *, limit: float
) -> float:
    """Relative error of the model's answers, the largest of all. Raises ExchangeError where it exceeds `limit`."""
    check_network(model.network, session.info)
    with Runner(model, session=session) as runner:
        answers = answer(images)
        if not all(np.isfinite(each).all() for each in answers):
            message = "its own answers to noise are not finite: expected a model whose weights were trained"
            raise ExchangeError(message, path=model.path)
        with np.errstate(invalid="ignore"):
            error = float(np.max([_difference(*pair) for pair in zip(runner.outputs(images), answers, strict=True)]))
    if not error <= limit:
        message = f"converted, it computes something else: relative error {error:.2g}, expected at most {limit:g}"
        raise ExchangeError(f"{message}; its authors would like to see such a model", path=model.path)
    return error


def _difference(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> float:
    """Largest |difference| over the largest value; infinite where the counts differ."""
    if ours.size != theirs.size:
        return float("inf")
    expected = theirs.reshape(-1).astype(np.float64)
    largest = float(np.abs(expected).max(initial=0))
    return float(np.abs(ours.reshape(-1) - expected).max(initial=0)) / (largest or 1.0)
