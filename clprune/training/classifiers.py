"""Classifiers of torchvision, with its weights or those of a file."""

from __future__ import annotations

import inspect
import pickle
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from clprune.errors import ExchangeError, UsageError, WeightsError, shown
from clprune.files import open_file
from clprune.training.tensor_files import read_pickled, read_safetensors
from clprune.training.vision import import_torchvision

#: ImageNet has 21,841; the layer of so many takes up to 2 GB.
MOST_CLASSES = 1 << 17

#: What reading a broken or hostile file raises.
_LOAD_ERRORS = (
    SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
    ArithmeticError, AssertionError, MemoryError, OSError, SyntaxError, ImportError, struct.error,
)  # fmt: skip

#: Where a checkpoint keeps its state dict, and what wrappers of a module put before all of its names: DataParallel,
#: torch.compile, Lightning.
_KEYS, _PREFIXES = ("state_dict", "model_state_dict", "model"), ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """A classifier of torchvision: `example_input` `[1, 3, H, W]` is of the size that it was trained on.

    `mean` and `deviation` normalize its images, `class_names` are those of its outputs, empty where nobody knows them.
    """

    module: nn.Module
    example_input: Tensor
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    class_names: tuple[str, ...]


def load_classifier(name: str, *, state_dict: str | Path | None = None) -> Classifier:
    """torchvision's model `name` with the weights of a file, or with its own, which torchvision downloads once.

    Raises UsageError for names of no classifier, WeightsError for a file that does not fit, and ExchangeError where
    torchvision's weights cannot be had.
    """
    models = import_torchvision().models
    if name not in models.list_models(module=models):
        raise UsageError(f"torchvision:{name}: expected one of {', '.join(models.list_models(module=models))}")
    weights = models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if state_dict is not None:
            module = _with_state(models.get_model_builder(name), read_state_dict(state_dict), state_dict)
        else:
            try:
                module = models.get_model(name, weights=weights)
            except (OSError, RuntimeError) as error:  # offline, or a file of another hash
                message = f"weights cannot be downloaded ({shown(str(error))}): give --state-dict FILE"
                raise ExchangeError(message, path=f"torchvision:{name}") from error
    side = transforms.crop_size[0]
    example = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    names = tuple(weights.meta.get("categories", ()))
    with torch.no_grad():
        outputs = module.eval()(example).shape[-1]
    return Classifier(
        module=module,
        example_input=example,
        mean=tuple(transforms.mean),
        deviation=tuple(transforms.std),
        class_names=names if len(names) == outputs else (),
    )


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.pt` file (never its code) or a `.safetensors` file, by name. Raises WeightsError."""
    path = Path(path)
    with open_file(path, error=WeightsError) as file:
        try:
            if path.suffix.lower() == ".safetensors":
                state: Any = read_safetensors(path)
            else:
                state = read_pickled(file)
        except _LOAD_ERRORS as error:
            what = f"{type(error).__name__}: {str(error).strip()}"
            message = f"no state dict that can be read safely ({shown(what, 200)}): expected tensors by name"
            raise WeightsError(message, path=path) from error
    if isinstance(state, dict):
        state = next((state[key] for key in _KEYS if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise WeightsError("holds no state dict: expected tensors by name", path=path)
    for name, value in state.items():
        if not _is_whole(value):
            raise WeightsError(f"tensor {shown(str(name))} is not in it value by value: expected plain ones", path=path)
    found = {str(key): value for key, value in state.items()}
    for prefix in _PREFIXES * 2:  # one may stand before another
        if all(key.startswith(prefix) for key in found):
            found = {key.removeprefix(prefix): value for key, value in found.items()}
    return found


def _is_whole(value: Tensor) -> bool:
    """Whether the file has all values of a tensor: one may repeat a single value without end, or promise others."""
    is_plain = value.device.type == "cpu" and value.layout == torch.strided and not value.is_quantized
    return is_plain and value.nbytes <= value.untyped_storage().nbytes()


def _with_state(builder: Any, state: dict[str, Tensor], path: str | Path) -> nn.Module:
    """The model that `builder` makes, with `state` in it; as many classes as the tensor has values that is its last."""
    known = inspect.signature(builder).parameters
    options: dict[str, Any] = {}
    if "GoogLeNet" in str(known["weights"]) or "Inception" in str(known["weights"]):
        # as with torchvision's own weights; the auxiliary classifiers matter to training alone
        options |= {"transform_input": True, "aux_logits": False, "init_weights": False}
        state = {key: value for key, value in state.items() if not key.lower().startswith("aux")}
    with torch.device("meta"):  # names alone: files sort them as they like
        last = list(builder(weights=None, **options).state_dict())[-1]
    classes = {"num_classes": state[last].numel()} if last in state else {}
    if classes and not 1 <= classes["num_classes"] <= MOST_CLASSES:
        found = f"its last tensor has {classes['num_classes']} values"
        raise WeightsError(f"{found}: expected one of each class, at most {MOST_CLASSES}", path=path)
    module: nn.Module = builder(weights=None, **options, **classes)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        message = f"does not fit {type(module).__name__}: {shown(' '.join(str(error).split()), 300)}"
        raise WeightsError(message, path=path) from error
    return module
