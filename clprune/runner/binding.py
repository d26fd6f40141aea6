"""A plan on a device: weights packed and copied, buffers allocated, kernels built and bound to their arguments."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.kinds.base import Layer
from clprune.darknet.values import Weights
from clprune.errors import BuildError, UsageError
from clprune.kernels.arguments import INPUTS, NO_WEIGHTS, Scratch
from clprune.kernels.base import Choice
from clprune.launching import BoundStages, BuiltStage, bind_stages, build_stages, obstacle
from clprune.layout import view
from clprune.opencl import Buffer, Session
from clprune.packing.arrays import PackedArrays
from clprune.plan.chooser import SAFE_ORIGIN
from clprune.plan.plan import Plan
from clprune.plan.steps import Chosen, layer_values, step_weights

#: Steps whose weights are packed while those of another travel to the device: no more, for each takes memory.
PACKED_AHEAD = 2

#: Arrays below this size are compared by content before they are copied.
SMALL_BYTES = 2**18


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundStep:
    """A step ready to launch. `kept_share` is the share of the layer's weights that are really multiplied, `imbalance`
    the longest list of them over the mean.
    """

    step: Chosen
    bound: BoundStages
    kept_share: float
    parameter_bytes: int
    imbalance: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundPlan:
    """Everything that one inference needs on the device. One thread at a time may run it."""

    plan: Plan
    steps: tuple[BoundStep, ...]
    tensors: Mapping[int, Buffer]
    scratch: Sequence[Buffer] = ()

    @property
    def scratch_bytes(self) -> int:
        """Device bytes that steps share for what they need for themselves."""
        return sum(buffer.nbytes for buffer in self.scratch)

    @property
    def parameter_bytes(self) -> int:
        """Device bytes of packed weights, lists and biases."""
        return sum(step.parameter_bytes for step in self.steps)

    @property
    def tensor_bytes(self) -> int:
        """Device bytes of activations and of what kernels need for themselves."""
        return self.plan.memory.total_bytes + self.scratch_bytes

    def enqueue(self) -> None:
        """Launch every step; returns before they have run."""
        for step in self.steps:
            step.bound.enqueue()


def bind_plan(session: Session, plan: Plan, weights: Weights, *, check: Callable[[], None] | None = None) -> BoundPlan:
    """Upload `weights` packed for the plan's tiles and bind every kernel.

    Where a built kernel's own limits forbid its tile, or the driver does not build it, the step runs with the safe tile
    and its `tile_origin` says why; the returned plan has these steps. `check` is called before each step: what it
    raises ends the binding.

    Raises BuildError, LaunchError (too little memory, a limit of the built kernel), UsageError (a layer without
    weights).
    """
    buffers = [session.zeros(size) for size in plan.memory.sizes_bytes]
    tensors = {name: buffers[number] for name, number in plan.memory.buffer_of.items()}
    for tensor, layer in plan.constants.items():
        content = np.zeros(plan.layouts[tensor].elements, np.float32)
        view(content, plan.layouts[tensor])[:] = layer_values(layer, plan.network, weights).weights
        session.write(tensors[tensor], content)
    binder = _Binder(session=session, plan=plan, weights=weights, tensors=tensors, check=check)
    prepared = binder.prepare_all(plan.steps)
    scratch = _shared_scratch(session, [item.arguments for item in prepared])
    steps = tuple(binder.bind(item, scratch) for item in prepared)
    session.finish()
    plan = dataclasses.replace(plan, steps=tuple(bound.step for bound in steps))
    return BoundPlan(plan=plan, steps=steps, tensors=tensors, scratch=scratch)


def bind_others(
    session: Session,
    bound: BoundPlan,
    weights: Weights,
    steps: Sequence[Chosen],
    *,
    check: Callable[[], None] | None = None,
) -> tuple[BoundStep, ...]:
    """Other forms of some of a bound plan's steps, on its tensors and, where it is large enough, its scratch memory.

    `check` is as in `bind_plan`, what is raised too.
    """
    binder = _Binder(session=session, plan=bound.plan, weights=weights, tensors=bound.tensors, check=check)
    prepared = binder.prepare_all(steps)
    scratch = _shared_scratch(session, [item.arguments for item in prepared], known=bound.scratch)
    return tuple(binder.bind(item, scratch) for item in prepared)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """A step whose kernels are built and whose weights are on the device; its scratch memory is still to come.

    `kept_share`, `imbalance` and `parameter_bytes` are those of `BoundStep`.
    """

    step: Chosen
    stages: tuple[BuiltStage, ...]
    arguments: Mapping[str, Any]
    kept_share: float
    imbalance: float
    parameter_bytes: int


@dataclass(kw_only=True)
class _Binder:
    """Binds steps; what several steps share (one layer for every image of a batch) is packed and copied once.

    What no other step needs is freed as soon as it is on the device: large layers are the most that a process holds.
    """

    session: Session
    plan: Plan
    weights: Weights
    tensors: Mapping[int, Buffer]
    check: Callable[[], None] | None = None
    packed: dict[tuple[Layer | None, int | None, bool, Choice], Future[PackedArrays]] = field(default_factory=dict)
    copied: dict[Hashable, tuple[Buffer, Any]] = field(default_factory=dict)
    copied_bytes: int = 0

    def prepare_all(self, steps: Sequence[Chosen]) -> list[_Prepared]:
        sources = [step.kernel.source(step.tile, step.operation) for step in steps]
        options = [step.kernel.build_options(self.session.info) for step in steps]
        self.session.build_together(zip(sources, options, strict=True))
        built = [_build(self.session, step, source) for step, source in zip(steps, sources, strict=True)]
        with ThreadPoolExecutor(PACKED_AHEAD, thread_name_prefix="clprune-packing") as threads:
            packed: deque[Future[PackedArrays]] = deque()
            prepared: list[_Prepared] = []
            for number, (step, stages) in enumerate(built):
                for later, _ in built[number + len(packed) : number + 1 + PACKED_AHEAD]:
                    packed.append(self._packed(later, threads))
                if self.check is not None:
                    self.check()
                prepared.append(self._prepare(step, stages, packed.popleft().result()))
        return prepared

    def _prepare(self, step: Chosen, stages: tuple[BuiltStage, ...], packed: PackedArrays) -> _Prepared:
        known_bytes, is_shared = self.copied_bytes, step.image is not None
        tensors = {name: self.tensors[tensor] for name, tensor in zip(INPUTS, step.inputs, strict=False)}
        own = step.kernel.arguments(step.tile, step.operation, packed)
        on_device = {
            name: self._copied(argument, keep=is_shared) if isinstance(argument, np.ndarray) else argument
            for name, argument in own.items()
        }
        return _Prepared(
            step=step,
            stages=stages,
            arguments={**tensors, "y": self.tensors[step.output], **on_device},
            kept_share=packed.kept_share,
            imbalance=packed.imbalance,
            parameter_bytes=self.copied_bytes - known_bytes,
        )

    def bind(self, prepared: _Prepared, scratch: Sequence[Buffer]) -> BoundStep:
        """The step with the first buffers of `scratch` as its scratch arguments."""
        shared = iter(scratch)
        arguments = {
            name: next(shared) if isinstance(argument, Scratch) else argument
            for name, argument in prepared.arguments.items()
        }
        return BoundStep(
            step=prepared.step,
            bound=bind_stages(self.session, prepared.stages, arguments),
            kept_share=prepared.kept_share,
            parameter_bytes=prepared.parameter_bytes,
            imbalance=prepared.imbalance,
        )

    def _packed(self, step: Chosen, threads: ThreadPoolExecutor) -> Future[PackedArrays]:
        """What one of `threads` packs, or has packed for another image."""
        if step.image is None or not step.kernel.takes_weights(step.operation):
            return threads.submit(self._pack, step)
        # a layer has several steps with weights where summands are weighted or a blur follows
        key = (step.layer, step.summand, step.constants is None, step.choice.at_origin)
        if key not in self.packed:
            self.packed[key] = threads.submit(self._pack, step)
        return self.packed[key]

    def _pack(self, step: Chosen) -> PackedArrays:
        pack, tile, operation = step.kernel.pack, step.tile, step.operation
        if not step.kernel.takes_weights(operation):
            return pack(tile, operation, weights=NO_WEIGHTS)
        weights = step_weights(step, self.plan.network, self.weights)
        try:
            return pack(tile, operation, weights=weights)
        except UsageError as error:
            line = "" if step.layer is None else f":{step.layer.line}: {step.layer}"
            raise UsageError(f"{self.plan.network.path}{line}: {error}") from error

    def _copied(self, array: npt.NDArray[Any], *, keep: bool) -> Buffer:
        """A copy of `array`; equal small arrays, and large ones to `keep` that are the same, are copied once."""
        is_small = array.nbytes < SMALL_BYTES
        key: Hashable = (array.dtype.str, array.tobytes()) if is_small else id(array)
        if (is_small or keep) and key in self.copied:
            return self.copied[key][0]
        buffer = self.session.buffer_from(array)
        self.copied_bytes += buffer.nbytes
        if is_small or keep:
            self.copied[key] = (buffer, array)  # held, so that its id stays its own
        return buffer


def _shared_scratch(
    session: Session, arguments: Sequence[Mapping[str, Any]], *, known: Sequence[Buffer] = ()
) -> list[Buffer]:
    """Buffers for the first, second ... scratch argument of every step: steps run one after another and share them.

    As large as any step needs from the start: steps with buffers of their own would meet each a cold one. Those `known`
    are taken where they are large enough.
    """
    sizes: list[int] = []
    for step in arguments:
        wanted = [argument.size_bytes for argument in step.values() if isinstance(argument, Scratch)]
        sizes = [max(pair) for pair in itertools.zip_longest(sizes, wanted, fillvalue=0)]
    return [
        buffer if buffer is not None and buffer.nbytes >= size else session.empty_buffer(size)
        for size, buffer in itertools.zip_longest(sizes, known[: len(sizes)])
    ]


def _build(session: Session, step: Chosen, source: str) -> tuple[Chosen, tuple[BuiltStage, ...]]:
    """The step and its built stages, with the safe tile where the planned one, of that source, cannot run."""
    safe = step.kernel.safe_tile(step.operation)
    try:
        stages = build_stages(session, step.kernel, step.tile, step.operation, source=source)
        reason = obstacle(session, stages)
    except BuildError:
        if step.tile == safe:
            raise
        reason = "the driver does not build the other tile"
    if reason is None or step.tile == safe:
        return step, stages
    choice = dataclasses.replace(step.choice, tile=safe)
    fallback = dataclasses.replace(step, choice=choice, tile_origin=f"{SAFE_ORIGIN}: {reason}")
    return fallback, build_stages(session, fallback.kernel, safe, fallback.operation)
