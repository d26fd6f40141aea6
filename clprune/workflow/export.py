"""`export` and `to_torch`: a model for other programs, as an ONNX file and as a PyTorch module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from clprune.container.model import Model
from clprune.darknet.network import Network
from clprune.darknet.quantize import input_scale
from clprune.darknet.random_weights import random_images
from clprune.detection.objects import find_objects
from clprune.detection.options import DetectionOptions
from clprune.errors import ExchangeError, UsageError
from clprune.files import check_writable, write_atomically
from clprune.runner.reference import reference_answers
from clprune.workflow.inputs import ModelLike, as_model

if TYPE_CHECKING:
    from clprune.training import NetworkModule

#: Of a batch: the float64 reference takes longer than all else, and a graph treats all images alike.
CHECKED_IMAGES = 2
#: Largest difference from the float64 reference over the output's largest value: rounding stays below.
TOLERANCE = 1e-4
#: The same where inputs of layers are codes: of one that lies between two codes, rounding decides which it gets.
CODED_TOLERANCE = 5e-2
#: Where random images hold no object by this confidence, boxes cannot be compared.
LEAST_THRESHOLD = 1e-6


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The ONNX file `path`: its batch (None: dynamic), operator version, the shape of one image of each output, and
    how far ONNX Runtime's answers lie from the float64 reference, the largest of all outputs.
    """

    model: str
    path: Path
    batch: int | None
    opset: int
    outputs: Mapping[str, tuple[int, ...]]
    relative_error: float
    tolerance: float
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return asdict(self) | {"path": str(self.path)}


def export(
    model: ModelLike,
    *,
    onnx: str | Path,
    batch: int | Literal["dynamic"] | None = None,
    boxes: DetectionOptions | None = None,
    seed: int = 0,
) -> ExportResult:
    """Write a model as the ONNX file `onnx`, for `batch` images at once (by default the model's own batch).

    With `boxes` the file of a detector gives these, too, chosen as the options say. Pruned weights are zeros in place,
    quantized ones stay codes, those of the Winograd domain stay there. The file is kept only where ONNX Runtime
    computes what the float64 reference does, for random images drawn by `seed`. Raises MissingDependencyError without
    onnx and ONNX Runtime, UnsupportedLayerError for what ONNX cannot say, ExchangeError where it would compute another
    answer, UsageError, FileError.

    >>> result = clprune.export("model.cfg", onnx="model.onnx", batch="dynamic")
    >>> result.outputs, result.relative_error < 1e-4
    ({'softmax_23': (10,)}, True)
    """
    from clprune.exchange.runtime import run_onnx
    from clprune.exchange.write import OPSET, onnx_content

    path = check_writable(Path(onnx))
    if path.suffix != ".onnx":
        raise UsageError(f"{path}: expected a file name that ends in .onnx")
    loaded = as_model(model, batch=None if batch == "dynamic" else batch)
    fixed = None if batch == "dynamic" else loaded.network.batch
    content = onnx_content(loaded, batch=fixed, boxes=boxes)
    x = random_images(replace(loaded.network, batch=fixed or CHECKED_IMAGES), seed=seed)
    found, expected = run_onnx(content, x), reference_answers(loaded.network, loaded.weights, x[:CHECKED_IMAGES])
    pairs = zip(found.values(), expected, strict=False)  # boxes come behind
    error = float(np.max([_relative_error(*pair) for pair in pairs]))  # NaN if any is
    tolerance = CODED_TOLERANCE if _has_coded_inputs(loaded) else TOLERANCE
    if not error <= tolerance:
        difference = f"ONNX Runtime's answer lies {error:.1e} from the float64 reference"
        raise ExchangeError(f"{difference}: expected at most {tolerance:g}; nothing is written", path=loaded.path)
    if boxes is not None and not len(found["boxes"]):  # noise holds no objects: with less confidence it does
        boxes = _finding_some(loaded.network, found, boxes)
        found = found | run_onnx(onnx_content(loaded, batch=fixed, boxes=boxes), x)
    if boxes is not None and not _has_same_boxes(loaded.network, found, boxes):
        message = "ONNX Runtime's boxes differ from those of clprune detect: expected the same; nothing is written"
        raise ExchangeError(message, path=loaded.path)
    write_atomically(path, content)
    return ExportResult(
        model=str(loaded.path),
        path=path,
        batch=fixed,
        opset=OPSET,
        outputs={name: value.shape[1:] for name, value in found.items()},
        relative_error=error,
        tolerance=tolerance,
        bytes=len(content),
    )


def to_torch(model: ModelLike) -> NetworkModule:
    """A model as a `torch.nn.Module` of the same numbers, in evaluation mode: float32 `[N, C, H, W]` to `[N, outputs]`.

    It can be trained, its `state_dict` saved, its `outputs` called for each of a detector's heads. Parameters keep the
    names of darknet's arrays. Weights in the Winograd domain stay there; quantized ones are those that their codes
    stand for, and training moves them off these. Raises MissingDependencyError without PyTorch, UnsupportedLayerError
    for a layer that has no module.

    >>> module = clprune.to_torch("model.cfg")
    >>> module.layers[0].weights.shape
    torch.Size([16, 3, 3, 3])
    """
    from clprune.training import load_module

    loaded = as_model(model)
    return load_module(loaded.network, loaded.weights, answers=True).eval()


def _relative_error(found: npt.NDArray[Any], expected: npt.NDArray[np.float64]) -> float:
    """Largest |difference| over the largest |expected|; NaN where a value is none."""
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(found[: len(expected)].reshape(expected.shape) - expected).max()) / scale


def _finding_some(
    network: Network, found: Mapping[str, npt.NDArray[Any]], options: DetectionOptions
) -> DetectionOptions:
    """The options with the first lower threshold by which the heads in `found` hold objects."""
    while options.threshold > LEAST_THRESHOLD and not _objects(network, found, options):
        options = replace(options, threshold=options.threshold / 4)
    return options


def _objects(
    network: Network, found: Mapping[str, npt.NDArray[Any]], options: DetectionOptions
) -> list[tuple[float, ...]]:
    """The image, class, confidence and box of all that the outputs of the heads mean."""
    outputs, names = list(found.values())[: len(network.output_layers)], [""] * network.outputs
    size = network.input.height, network.input.width
    return [
        (image, one.class_index, one.confidence, one.center_x, one.center_y, one.width, one.height)
        for image in range(len(outputs[0]))
        for one in find_objects(network, [values[image] for values in outputs], names=names, size=size, options=options)
    ]


def _has_same_boxes(network: Network, found: Mapping[str, npt.NDArray[Any]], options: DetectionOptions) -> bool:
    """Whether ONNX Runtime's boxes are those that its outputs of the heads mean."""
    got = np.column_stack([found[name] for name in ("image_indices", "class_indices", "confidences", "boxes")])
    wanted = np.array(_objects(network, found, options)).reshape(-1, got.shape[1])
    order = [np.lexsort(rows.T[2::-1]) for rows in (got, wanted)]
    return got.shape == wanted.shape and np.allclose(got[order[0]], wanted[order[1]], rtol=1e-4, atol=1e-4)


def _has_coded_inputs(model: Model) -> bool:
    pairs = [(layer, model.weights.layers[layer.index]) for layer in model.network.matrix_layers]
    return any(values is not None and input_scale(layer, values) is not None for layer, values in pairs)
