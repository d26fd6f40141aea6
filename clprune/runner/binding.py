"""A plan on a device: weights packed and copied, buffers allocated, kernels built and bound to their arguments."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from clprune.chaining import Link, can_chain, chained
from clprune.darknet.kinds.base import Layer
from clprune.darknet.values import Weights
from clprune.errors import BuildError, UsageError
from clprune.kernels.arguments import INPUTS, NO_WEIGHTS, Scratch
from clprune.kernels.base import Choice
from clprune.kernels.signature import in_order, signature
from clprune.launching import BoundStages, BuiltStage, bind_stages, build_stages, obstacle
from clprune.layout import view
from clprune.opencl import BoundKernel, Buffer, Session
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
    """A step whose arguments are on the device. `kept_share` is the share of the layer's weights that are really
    multiplied, `imbalance` the longest list of them over the mean. `bind` builds and binds its own launches.
    """

    step: Chosen
    bind: Callable[[], BoundStages]
    kept_share: float
    parameter_bytes: int
    imbalance: float = 1.0

    @functools.cached_property
    def bound(self) -> BoundStages:
        """The step's own launches; raises BuildError and LaunchError where they were not asked for before."""
        return self.bind()


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundPlan:
    """Everything that one inference needs on the device. One thread at a time may run it.

    `launches` are those of all steps, or of many steps each (`clprune.chaining`); `joining_refused` says why not,
    where the device would gain by that.
    """

    plan: Plan
    steps: tuple[BoundStep, ...]
    launches: tuple[BoundKernel, ...]
    tensors: Mapping[int, Buffer]
    scratch: Sequence[Buffer] = ()
    joining_refused: str = ""

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
        for launch in self.launches:
            launch.enqueue()


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
    (steps, scratch, launches), refusal = _bind_steps(binder)
    session.finish()
    plan = dataclasses.replace(plan, steps=tuple(bound.step for bound in steps))
    return BoundPlan(
        plan=plan, steps=steps, tensors=tensors, scratch=scratch, launches=launches, joining_refused=refusal
    )  # fmt: skip


_Bound: TypeAlias = tuple[tuple[BoundStep, ...], list[Buffer], tuple[BoundKernel, ...]]


def _bind_steps(binder: _Binder) -> tuple[_Bound, str]:
    """((steps, scratch, launches), why launches are not joined on a device that gains by it, or nothing)."""
    refusal = ""
    if can_chain(binder.session.info):
        try:
            return _bind_built(binder, [(step, None) for step in binder.plan.steps]), ""
        except BuildError as error:
            refusal = str(error).partition("\n")[0]
    return _bind_built(binder, binder.build_all(binder.plan.steps)), refusal


def _bind_built(binder: _Binder, built: Sequence[_Built]) -> _Bound:
    """(steps, scratch, launches): every launch by itself where the stages are built, else many steps in a launch.

    Raises BuildError where the driver does not build that, or one of the kernels cannot run.
    """
    prepared = binder.prepare_all(built)
    scratch = _shared_scratch(binder.session, [item.arguments for item in prepared])
    steps = tuple(binder.bind(item, scratch) for item in prepared)
    if all(stages is not None for _, stages in built):
        return steps, scratch, tuple(kernel for step in steps for kernel in step.bound.kernels)
    links = [link for item in prepared for link in binder.links(item, scratch)]
    return steps, scratch, chained(binder.session, links)


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
    prepared = binder.prepare_all(binder.build_all(steps))
    scratch = _shared_scratch(session, [item.arguments for item in prepared], known=bound.scratch)
    return tuple(binder.bind(item, scratch) for item in prepared)


#: A step, and its stages where they are built.
_Built: TypeAlias = tuple[Chosen, tuple[BuiltStage, ...] | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """A step whose weights are on the device; its scratch memory is still to come. `stages` where they are built.

    `kept_share`, `imbalance` and `parameter_bytes` are those of `BoundStep`.
    """

    step: Chosen
    stages: tuple[BuiltStage, ...] | None
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
    sources: dict[Choice, str] = field(default_factory=dict)
    packed: dict[tuple[Layer | None, int | None, bool, Choice], Future[PackedArrays]] = field(default_factory=dict)
    copied: dict[Hashable, tuple[Buffer, Any]] = field(default_factory=dict)
    copied_bytes: int = 0

    def build_all(self, steps: Sequence[Chosen]) -> list[_Built]:
        """Steps with their built stages, with the safe tile where the planned one cannot run."""
        sources = [self._source(step) for step in steps]
        options = [step.kernel.build_options(self.session.info) for step in steps]
        self.session.build_together(zip(sources, options, strict=True))
        return [_build(self.session, step, source) for step, source in zip(steps, sources, strict=True)]

    def prepare_all(self, built: Sequence[_Built]) -> list[_Prepared]:
        """Steps with their weights packed and on the device."""
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

    def _prepare(self, step: Chosen, stages: tuple[BuiltStage, ...] | None, packed: PackedArrays) -> _Prepared:
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
        step, stages, arguments = prepared.step, prepared.stages, _with_scratch(prepared.arguments, scratch)

        def bind() -> BoundStages:
            built = stages or build_stages(self.session, step.kernel, step.tile, step.operation)
            return bind_stages(self.session, built, arguments)

        return BoundStep(
            step=step,
            bind=bind,
            kept_share=prepared.kept_share,
            parameter_bytes=prepared.parameter_bytes,
            imbalance=prepared.imbalance,
        )

    def links(self, prepared: _Prepared, scratch: Sequence[Buffer]) -> Iterator[Link]:
        """The launches of the step, with the first buffers of `scratch` as its scratch arguments."""
        step, arguments = prepared.step, _with_scratch(prepared.arguments, scratch)
        source = self._source(step)
        options = step.kernel.build_options(self.session.info)
        for stage in step.kernel.stages(step.tile, step.operation):
            parameters = signature(source, stage.name)
            values = in_order(stage.name, parameters, arguments, takes=stage.takes)
            yield Link(
                flops=step.operation.flops * prepared.kept_share,
                source=source,
                options=options,
                stage=stage,
                parameters=parameters,
                arguments=values,
            )

    def _source(self, step: Chosen) -> str:
        if step.choice not in self.sources:
            self.sources[step.choice] = step.kernel.source(step.tile, step.operation)
        return self.sources[step.choice]

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


def _with_scratch(arguments: Mapping[str, Any], scratch: Sequence[Buffer]) -> dict[str, Any]:
    """Arguments with the first buffers of `scratch` in their places."""
    shared = iter(scratch)
    return {name: next(shared) if isinstance(value, Scratch) else value for name, value in arguments.items()}


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


def _build(session: Session, step: Chosen, source: str) -> _Built:
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
