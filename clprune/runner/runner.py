"""`Runner`: a darknet model on an OpenCL device."""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.algorithms import Algorithms
from clprune.closing import Closing
from clprune.container.load import load_weights
from clprune.container.model import Model
from clprune.darknet.network import Network, load_network
from clprune.darknet.values import Weights
from clprune.errors import UsageError
from clprune.layout import view
from clprune.opencl import Session, open_device
from clprune.plan.chooser import TileLookup, TimeLookup
from clprune.plan.forms import weights_forms
from clprune.plan.plan import Plan, make_plan
from clprune.runner.binding import BoundPlan, bind_plan
from clprune.tiles.lookup import Lookup
from clprune.tiles.store import open_store_for_lookups


@dataclass(frozen=True, kw_only=True, eq=False)
class _Exchange:
    """What travels to the device and back, and windows of it that are made once: making them takes longer than a small
    layer. `images` `[batch, C, H, W]` lies in `sent`, each of `answers` `[batch, C, H, W]` in its own of `received`.
    """

    sent: npt.NDArray[np.float32]
    images: npt.NDArray[np.float32]
    received: tuple[npt.NDArray[np.float32], ...]
    answers: tuple[npt.NDArray[np.float32], ...]

    @classmethod
    def of(cls, plan: Plan) -> _Exchange:
        layout_in, layouts_out = plan.layouts[plan.host_input], [plan.layouts[tensor] for tensor in plan.host_outputs]
        sent = np.zeros(layout_in.elements, np.float32)
        received = tuple(np.empty(layout.elements, np.float32) for layout in layouts_out)
        answers = tuple(view(buffer, layout) for buffer, layout in zip(received, layouts_out, strict=True))
        return cls(sent=sent, images=view(sent, layout_in), received=received, answers=answers)


class Runner(Closing):
    """Runs a model; `runner(x)` maps float32 `[N, C, H, W]` to float32 `[N, outputs]` for any N.

    A detector has several answers, one per head: `runner.outputs(x)` gives each as float32 `[N, C, H, W]`, `runner(x)`
    their values one after another. `until` cuts the network after that layer (negative: from the end), whose output is
    the answer then.

    `model` is a Model, a `.cfg` path or a Network; `weights` a `.weights` or `.safetensors` path (by default the file
    of the same stem beside the cfg) or Weights in memory. `device` selects as `clprune.opencl.choose` does. `batch`
    images run at once. Tuned tiles come from the user's tuning database where it has any; nothing is tuned here. Use it
    as a context manager, or call `close()`. One runner may be shared by threads: calls wait for each other. It can be
    pickled unless it was given a `session`: as its settings, with the paths of its files or, where it was given these,
    Model and Weights. The copy opens its device when it is used.

    `keep_tensors` keeps every layer's output readable after a run (`clprune.runner.verify`), at the price of memory.
    `algorithms` narrows what each layer's kernel is chosen from (`clprune.algorithms`).
    `connected_storage="float16"` halves the memory that fully connected layers read; they still sum in float32.

    Raises CfgError, WeightsError, NoDeviceError, BuildError, LaunchError, UnsupportedLayerError.

    >>> with clprune.Runner("model.cfg") as runner:
    ...     runner(numpy.zeros((2, 3, 32, 32), numpy.float32)).shape
    (2, 10)
    """

    def __init__(
        self,
        model: str | Path | Model | Network,
        weights: str | Path | Weights | None = None,
        *,
        device: str | None = None,
        batch: int = 1,
        until: int | None = None,
        lookup: TileLookup | None = None,
        session: Session | None = None,
        keep_tensors: bool = False,
        connected_storage: str = "float32",
        algorithms: Algorithms | None = None,
    ) -> None:
        if isinstance(model, Model):
            weights = model.weights if weights is None else weights
            model = model.network
        self._settings = {
            "model": _absolute(model), "weights": _absolute(weights), "device": device, "batch": batch, "until": until,
            "lookup": lookup, "session": session, "keep_tensors": keep_tensors,
            "connected_storage": connected_storage, "algorithms": algorithms,
        }  # fmt: skip
        self.network = model if isinstance(model, Network) else load_network(model, batch=batch)
        if not isinstance(weights, Weights):
            weights = load_weights(weights, self.network)
        if until is not None:
            self.network = self.network.until(until)
        self._lock = threading.Lock()
        self._owns_session = session is None
        self.session = open_device(device) if session is None else session
        with contextlib.ExitStack() as stack:
            times: TimeLookup | None = None
            estimates: TimeLookup | None = None
            if lookup is None:
                tuned = Lookup(stack.enter_context(open_store_for_lookups()), self.session.info, session=self.session)
                lookup, times, estimates = tuned, tuned.time_ms, tuned.estimate_ms
            plan = make_plan(
                self.network,
                self.session.info,
                forms=weights_forms(self.network, weights),
                lookup=lookup,
                times=times,
                estimates=estimates,
                algorithms=algorithms,
                keep_tensors=keep_tensors,
                connected_storage=connected_storage,
            )
        self._bound: BoundPlan | None = bind_plan(self.session, plan, weights)
        self._exchange = _Exchange.of(plan)

    def __getstate__(self) -> dict[str, Any]:
        if self._settings["session"] is not None:
            raise UsageError("a Runner on an open session cannot be pickled: expected one that was given device=")
        return self._settings

    def __setstate__(self, settings: dict[str, Any]) -> None:
        self._settings, self._opening = settings, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        """Open what was unpickled; nothing else lacks an attribute."""
        if "_opening" not in vars(self) or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with self._opening:
            if name not in vars(self):
                self.__init__(**self._settings)  # type: ignore[misc]
        return object.__getattribute__(self, name)

    @property
    def bound(self) -> BoundPlan:
        """The plan on the device. Raises UsageError after `close()`."""
        if self._bound is None:
            raise UsageError("this Runner is closed; make a new one")
        return self._bound

    def __call__(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Answers float32 `[N, outputs]` for images `[N, C, H, W]`. Raises UsageError for another shape or dtype."""
        answers = [answer.reshape(len(answer), math.prod(answer.shape[1:])) for answer in self.outputs(x)]
        return answers[0] if len(answers) == 1 else np.concatenate(answers, axis=1)

    def outputs(self, x: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], ...]:
        """The answer of every output layer, float32 `[N, C, H, W]` each, for images `[N, C, H, W]`.

        Raises UsageError for another shape or dtype.
        """
        images = self._checked(x)
        answers = tuple(np.empty((len(images), *part.shape[1:]), np.float32) for part in self._exchange.answers)
        with self._lock:
            for first in range(0, len(images), self.network.batch):
                part = images[first : first + self.network.batch]
                for answer, found in zip(answers, self._run(part), strict=True):
                    answer[first : first + len(part)] = found[: len(part)]
        return answers

    def _checked(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        expected = self.network.input.dimensions
        if x.ndim != 4 or x.shape[1:] != expected:
            raise UsageError(f"input of shape {x.shape}: expected [N, {', '.join(map(str, expected))}]")
        if x.dtype.kind != "f":
            raise UsageError(f"input of {x.dtype}: expected float32 in the network's range, such as 0 to 1 for images")
        return np.ascontiguousarray(x, np.float32)

    def _run(self, part: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
        """One batch, or part of it, to windows of the answers that the next run overwrites."""
        bound, exchange = self.bound, self._exchange
        # The whole buffer travels, zeros between rows included: cheaper than a kernel that spreads the pixels.
        exchange.images[: len(part)] = part
        if len(part) < len(exchange.images):
            exchange.images[len(part) :] = 0  # the rest of the last batch computes on zeros
        self.session.write(bound.tensors[bound.plan.host_input], exchange.sent)
        bound.enqueue()
        for tensor, received in zip(bound.plan.host_outputs, exchange.received, strict=True):
            self.session.read_into(bound.tensors[tensor], received)
        return exchange.answers

    def close(self) -> None:
        """Release the device's memory; calling it twice is harmless."""
        if "session" not in vars(self):
            return  # unpickled and never used
        self._bound = None
        if self._owns_session:
            self.session.close()


def _absolute(value: Any) -> Any:
    """A path as seen from every folder; anything else as it is."""
    return Path(value).absolute() if isinstance(value, (str, Path)) else value
