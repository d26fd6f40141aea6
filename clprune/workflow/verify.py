"""`verify`: is a device right? Each layer of a model against the float64 reference."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.algorithms import Algorithms
from clprune.darknet.random_weights import random_images
from clprune.device import DeviceInfo
from clprune.plan.capacity import check_network
from clprune.runner.compare import verify_model
from clprune.runner.verify import LayerError
from clprune.workflow.inputs import Device, ModelLike, as_model, opened


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """How far each layer lies from the reference; the last entry is the answer as `Runner` computes it."""

    model: str
    batch: int
    device: DeviceInfo
    layers: tuple[LayerError, ...]

    @property
    def wrong(self) -> tuple[LayerError, ...]:
        """The layers beyond their tolerance."""
        return tuple(layer for layer in self.layers if not layer.is_within)

    @property
    def is_within(self) -> bool:
        """Whether every layer is right."""
        return not self.wrong

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it; a `relative_error` that is not finite is None."""
        layers = []
        for layer in self.layers:
            error = layer.relative_error if math.isfinite(layer.relative_error) else None
            layers.append(asdict(layer) | {"relative_error": error, "is_within": layer.is_within})
        facts = {"model": self.model, "batch": self.batch, **self.device.facts}
        return facts | {"is_within": self.is_within, "layers": layers}


def verify(
    model: ModelLike,
    *,
    images: npt.NDArray[np.float32] | None = None,
    batch: int | None = None,
    seed: int = 0,
    device: Device = None,
    algorithms: Algorithms | None = None,
) -> VerifyResult:
    """Compare every layer on a device with the float64 reference.

    `algorithms` says what each layer's kernel is chosen from. Where a matrix unit multiplies rounded factors, the
    reference rounds them alike.
    `images` float32 `[batch, C, H, W]` are random ones drawn by `seed` where none are given. An error is the largest
    difference over the layer's largest value; its tolerance grows with the terms of the sums and from layer to layer.
    Raises NoDeviceError and what Runner raises; a wrong device raises nothing.

    >>> result = clprune.verify("model.cfg")
    >>> result.is_within, result.layers[0].relative_error < 1e-4
    (True, True)
    """
    model = as_model(model, batch=batch)
    with opened(device) as session:
        if images is None:
            check_network(model.network, session.info)
            images = random_images(model.network, seed=seed)
        errors = verify_model(session, model.network, model.weights, images, algorithms=algorithms)
        return VerifyResult(model=str(model.path), batch=model.network.batch, device=session.info, layers=tuple(errors))
