"""A torch module as an ONNX graph without its weights, for `clprune.exchange` to read."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from clprune.errors import ExchangeError, UsageError, shown

#: What a caller hands in.
Module: TypeAlias = nn.Module
Images: TypeAlias = Tensor

#: Version of the operators that graphs are written in: the first with LayerNormalization.
OPSET = 17


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """`graph` is the content of an ONNX file whose weights are inputs, `constants` their values by name.

    `images` float32 `[1, C, H, W]` are what the module was traced with, `answers` `[1, ...]` each tensor that it gave.
    """

    graph: bytes
    constants: dict[str, npt.NDArray[np.float32]]
    images: npt.NDArray[np.float32]
    answers: tuple[npt.NDArray[np.float32], ...]


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """The exporter prints the whole graph that it fails at on stdout; it turns its log on, whatever it was."""
    core: Any = torch._C
    was_on, log = core._jit_is_onnx_log_enabled(), core._jit_onnx_log
    core._jit_onnx_log = lambda *values: None
    try:
        yield
    finally:
        core._jit_onnx_log = log
        core._jit_set_onnx_log_enabled(was_on)


class _Normalized(nn.Module):
    """A module behind the normalisation of its images."""

    def __init__(self, module: nn.Module, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.module = module
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.module((x - self.mean) / self.deviation)
        return answers


def trace(
    module: nn.Module,
    example_input: Tensor,
    *,
    mean: Sequence[float] | None = None,
    deviation: Sequence[float] | None = None,
    name: str,
) -> Trace:
    """Trace `module` at inference for the first image of `example_input` `[N, C, H, W]`; it is left as it is.

    With `mean` and `deviation` of each channel images are normalized first. Raises UsageError for an input that is no
    float32 images and ExchangeError, which calls the module `name`, where it cannot be traced.
    """
    if example_input.ndim not in (2, 4) or example_input.dtype != torch.float32:
        found = f"{example_input.dtype} of shape {tuple(example_input.shape)}"
        raise UsageError(f"example input {found}: expected float32 [N, C, H, W]")
    if mean is not None and deviation is not None:
        module = _Normalized(module, mean, deviation)
    # shares all tensors with the module, but not whether it trains
    traced = copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}).eval()
    images, file = example_input[:1].detach().cpu(), io.BytesIO()
    try:
        with torch.no_grad(), warnings.catch_warnings(), _without_log():
            warnings.simplefilter("ignore")
            answers = traced(images)
            torch.onnx.utils.export(
                traced, (images,), cast(str, file), export_params=False, training=torch.onnx.TrainingMode.PRESERVE,
                opset_version=OPSET, do_constant_folding=False,
            )  # fmt: skip
    except Exception as error:  # a module is anybody's code, and the exporter promises no types of errors
        message = f"cannot be traced: {type(error).__name__}: {shown(str(error).strip(), 300)}"
        raise ExchangeError(message, path=name) from error
    parts = [answers] if isinstance(answers, Tensor) else answers
    if isinstance(parts, Mapping):
        parts = [*parts.values()]
    if not isinstance(parts, list | tuple) or not parts or not all(isinstance(part, Tensor) for part in parts):
        raise ExchangeError(f"returns {type(answers).__name__}: expected a tensor, or several", path=name)
    tensors = dict([*traced.named_parameters(), *traced.named_buffers()])
    return Trace(
        graph=file.getvalue(),
        constants={key: np.asarray(value.detach().cpu()) for key, value in tensors.items()},
        images=images.numpy(),
        answers=tuple(part.float().numpy() for part in parts),
    )
