"""What every kernel declares: parameters, constraints with reasons, local memory, launch, FLOPs, reference.

A kernel is a stateless object. An *operation* (`ConvOperation`, ...) is one use of it in a network: the problem, the
layouts of its tensors and what is fused. A *tile* is a frozen dataclass whose fields are the kernel's parameters,
spelled alike in Python, in the template, in the database and on the command line.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np
import numpy.typing as npt

from clprune import quirks
from clprune.architecture import Architecture
from clprune.darknet.kinds.base import Layer
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.errors import ConfigurationRejected, RenderError, TileError, shown
from clprune.kernels.arguments import (
    INPUTS,
    NO_WEIGHTS,
    Answer,
    Arguments,
    Arrays,
    Case,
    Expected,
    FloatArray,
    Launch,
    Sample,
    Scratch,
    Stage,
)
from clprune.kernels.demand import Demand
from clprune.kernels.samples import SENTINEL, input_buffer
from clprune.kernels.tile import Constraint, OperationT, RegisterLimit, TileT, Values, values_before, values_of
from clprune.kernels.workload import WeightForm, Workload
from clprune.layout import Layout, view
from clprune.packing.arrays import PackedArrays
from clprune.precision import FLOAT32
from clprune.rendering import render
from clprune.source_hash import Generator, source_hash


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a plan asks kernels to compute: `operation` with weights of that form on a device. Where the weights leave a
    choice, relative errors of a result are at most `max_error`; factors may be rounded as `precision` says.
    """

    operation: Any
    form: WeightForm
    device: DeviceInfo
    max_error: float
    precision: str = FLOAT32

    @property
    def has_vectors(self) -> bool:
        """Whether one work-item computes with the device's vectors, rather than one lane of them."""
        return quirks.wants_explicit_vectors(self.device)


class Rank(enum.IntEnum):
    """How early an offer comes among those for the same layer of which none was measured; kernels add up to 9 to order
    their own.

    SETTLED: it has always been faster, by more than any tuning changes; all others become unlikely. PREFERRED: it skips
    most of the work. SPECIAL: it is made for such layers. USUAL: it computes all. ALTERNATIVE: it may win once tuned.
    TRANSFORMED: the same, at a larger error. DOUBTFUL: it seldom wins.
    """

    SETTLED = 0
    PREFERRED = 10
    SPECIAL = 20
    USUAL = 30
    ALTERNATIVE = 40
    TRANSFORMED = 50
    DOUBTFUL = 60


class Kernel(abc.ABC, Generic[TileT, OperationT]):
    """A tunable kernel: its template and everything that is known about it without a device."""

    name: ClassVar[str]
    template: ClassVar[str]
    #: Where `template` lies if not among clprune's own, which it may include all the same.
    template_folders: ClassVar[tuple[Path, ...]] = ()
    #: What beside `variables` generates parts of the source: its hash covers their text.
    generators: ClassVar[tuple[Generator, ...]] = ()
    #: Registers of a work-item, where a compiler's own guess would be too few; None: it is good.
    most_registers: ClassVar[int | None] = None
    tile_type: type[TileT]
    #: What the fields of `tile_type` may be, and the only values that are worth trying on CPUs and on GPUs.
    parameters: ClassVar[Values]
    cpu_values: ClassVar[Values]
    gpu_values: ClassVar[Values]
    constraints: Sequence[Constraint[TileT, OperationT]]
    #: The type of the operations for which a plan asks this kernel for offers; None: it names the kernel itself.
    computes: ClassVar[type[Any] | None] = None
    #: Whether it computes convolutions with a shortcut fused (`ConvOperation.added`), too.
    can_add: ClassVar[bool] = False
    #: One of `clprune.algorithms.ALGORITHMS`, by which users leave it out; None: it is always among the choices.
    algorithm: ClassVar[str | None] = None
    #: Tiles that suit CPU drivers (one work-item per register tile) and GPUs (work-groups of 64 to 256, or of a warp).
    cpu_tiles: Sequence[TileT]
    gpu_tiles: Sequence[TileT]
    #: The kind of layers that it computes in one step, by `operation_of`; else `clprune.plan.lowering` tells what does.
    layer_kind: ClassVar[type[Layer] | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "tile_type" in vars(cls):
            cls.parameters = values_of(cls.tile_type, "declared")
            cls.cpu_values, cls.gpu_values = values_of(cls.tile_type, "cpu"), values_of(cls.tile_type, "gpu")

    def operation_of(self, layer: Any, *, batch: int, input: Layout, output: Layout) -> OperationT:
        """The operation that computes a layer of `layer_kind` for `batch` images."""
        raise NotImplementedError

    def local_mem_bytes(self, tile: TileT, operation: OperationT) -> int:
        """Local memory that one work-group declares."""
        return 0

    @abc.abstractmethod
    def launch(self, tile: TileT, operation: OperationT) -> Launch:
        """Geometry of the launch; of several, that of the one that multiplies."""

    def scratch(self, tile: TileT, operation: OperationT) -> Mapping[str, Scratch]:
        """The `Scratch` among the arguments, by name."""
        return {}

    def stages(self, tile: TileT, operation: OperationT) -> tuple[Stage, ...]:
        """The launches of one run, in order: by default one, of the kernel function that is named like the kernel."""
        return (Stage(name=self.name, launch=self.launch(tile, operation)),)

    def variables(self, tile: TileT, operation: OperationT) -> dict[str, Any]:
        """Mako variables of the template beside the tile's fields."""
        return {}

    def pack(self, tile: TileT, operation: OperationT, *, weights: LayerWeights) -> PackedArrays:
        """`weights`, batch normalization folded, as this tile reads them: by default as they are."""
        return PackedArrays(values=weights.weights, bias=weights.biases, kept_share=1.0)

    @abc.abstractmethod
    def arguments(self, tile: TileT, operation: OperationT, packed: Any) -> Arguments:
        """All arguments but the tensors (`INPUTS` and `y`), from what `pack` gave.

        Numbers become the parameters' type, and NumPy arrays are still to be copied to the device.
        """

    @abc.abstractmethod
    def safe_tile(self, operation: OperationT) -> TileT:
        """A tile that runs on the smallest device: work-group of one, little local memory. It takes the place of any
        other at the last moment: where one writes gaps (see `writes_gaps`) it does, too.
        """

    def writes_gaps(self, tile: TileT) -> bool:
        """Whether it writes zeros between the rows of its padded output, so that nobody else has to."""
        return False

    def offers(self, request: Request) -> Sequence[Offer]:
        """The ways in which this kernel can compute the request's operation, of the type `computes`: by default one,
        whatever the weights. Raises UnsupportedLayerError where they leave nobody a way.
        """
        return (self.offer(request, label=self.name),)

    def offer(self, request: Request, *, label: str, rank: int = Rank.USUAL, is_likely: bool = True) -> Offer:
        """An offer to compute the request as it is."""
        operation, workload = request.operation, request.form.workload
        return Offer(kernel=self, operation=operation, workload=workload, label=label, rank=rank, is_likely=is_likely)

    def covers_windows(self, problem: Any, form: WeightForm, device: DeviceInfo) -> bool:
        """Whether such a convolution is left to this kernel, and in tiles of whole pooling windows, not in vectors that
        run along rows: pooling is then fused whatever the length of a row.
        """
        return False

    @abc.abstractmethod
    def reference(self, operation: OperationT, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        """float64 answer for inputs `[N, C, H, W]` and weights with batch normalization folded: the yardstick for every
        device. Raises UsageError for weights that this kernel cannot compute with.
        """

    def takes_weights(self, operation: OperationT) -> bool:
        """Whether it multiplies by a layer's weights."""
        return False

    def store_reference(self, operation: OperationT, answer: Answer, output: npt.NDArray[Any]) -> None:
        """Put the reference's answer where the kernel would in its output tensor `[N, C, H, W]`."""
        output[:] = answer.reshape(output.shape)

    def error_terms(self, operation: OperationT) -> int:
        """Products that a result sums up, as many times over as the kernel's way to compute amplifies their errors: the
        tolerance follows (clprune.tolerance). 1: nothing is summed.
        """
        return 1

    def rounding_error(self, operation: OperationT) -> float:
        """What inputs that stray a little may change a result by, relative to the largest, because it is computed from
        rounded ones: they may be rounded the other way.
        """
        return 0.0

    def sample(self, operation: OperationT, workload: Workload) -> Sample:
        """Seeded data for this operation and the float64 answer; costly for large layers, good for every tile."""
        inputs = self.sample_inputs(operation, workload, np.random.default_rng(workload.seed))
        weights = self.sample_weights(operation, inputs)
        tensors = [inputs[name] for name in INPUTS if name in inputs]
        return Sample(inputs=inputs, answer=self.reference(operation, tensors, weights))

    def input_layouts(self, operation: Any) -> dict[str, Layout]:
        """The layouts of the tensors that it reads, by those of `INPUTS` that it has."""
        return {"x": operation.input}

    def sample_inputs(self, operation: Any, workload: Workload, rng: np.random.Generator) -> dict[str, FloatArray]:
        """Data of a sample by name: its tensors `[N, C, H, W]`, and what `sample_weights` makes use of."""
        layouts = self.input_layouts(operation)
        return {name: rng.standard_normal(layout.dimensions, np.float32) for name, layout in layouts.items()}

    def sample_weights(self, operation: OperationT, inputs: Mapping[str, FloatArray]) -> LayerWeights:
        """The weights of a sample."""
        return NO_WEIGHTS

    def case(self, tile: TileT, operation: OperationT, sample: Sample) -> Case:
        """The arguments for this tile and sample, and what must come out."""
        packed = self.pack(tile, operation, weights=self.sample_weights(operation, sample.inputs))
        layouts = self.input_layouts(operation)
        inputs = {name: input_buffer(sample.inputs[name], layout) for name, layout in layouts.items()}
        expected = self.expected(tile, operation, sample.answer)
        arguments = {**inputs, "y": expected, **self.arguments(tile, operation, packed)}
        return Case(arguments=arguments, kept_share=packed.kept_share)

    def expected(self, tile: TileT, operation: Any, answer: Answer) -> Expected:
        """The answer in the output's buffer."""
        layout = operation.output
        values, written = np.full(layout.elements, float(SENTINEL)), np.zeros(layout.elements, np.bool_)
        self.store_reference(operation, answer, view(values, layout))
        self.store_reference(operation, np.ones_like(answer), view(written, layout))
        initial = np.full(layout.elements, SENTINEL)
        return Expected(values=values, written=written, initial=initial, terms=self.error_terms(operation))

    @abc.abstractmethod
    def sample_operations(self) -> Sequence[OperationT]:
        """Small odd shapes that cover every branch of the template: what the test suites run."""

    def probes(self, tile: TileT) -> Sequence[OperationT]:
        """Small operations, some of which allow `tile` however large it is: it is checked on them."""
        return self.sample_operations()

    def shortened(self, operation: OperationT, workload: Workload, device: DeviceInfo) -> OperationT:
        """The operation to measure tiles on in place of `operation`, whose time then follows from that of the work that
        is left; `operation` itself where measuring it whole takes no longer than it must. Its `key` says what it is.
        """
        return operation

    def demand(
        self, tile: TileT, operation: OperationT, workload: Workload, architecture: Architecture
    ) -> Demand | None:
        """What one launch asks of a GPU, by which tiles are ranked for GPUs that are not here; None: they are not."""
        return None

    def tile_of(self, values: Mapping[str, object]) -> TileT:
        """The tile with these parameters, as they come from outside: a database, a file, a table.

        Raises TileError unless there is one for each of `parameters` and nothing else (those that came later may be
        missing), each one of the declared values and exactly of their type (a bool is no int).
        """
        if isinstance(values, Mapping):
            values = {**values_before(self.tile_type), **values}
        if not isinstance(values, Mapping) or values.keys() != self.parameters.keys():
            found = shown(", ".join(map(str, values)) if isinstance(values, Mapping) else repr(values), 200)
            raise TileError(f"{self.name}: found the parameters {found}; expected {', '.join(self.parameters)}")
        for name, declared in self.parameters.items():
            if not any(type(values[name]) is type(value) and values[name] == value for value in declared):
                expected = ", ".join(map(str, declared))
                raise TileError(f"{self.name}: {name} is {shown(repr(values[name]))}; expected one of {expected}")
        return self.tile_type(**values)

    def source(self, tile: TileT, operation: OperationT) -> str:
        """OpenCL C of this tile for this operation. Raises RenderError, for undeclared text in a tile too."""
        parameters = dataclasses.asdict(tile)
        for name, value in parameters.items():
            if type(value) is not int and not (type(value) is str and value in self.parameters.get(name, ())):
                raise RenderError(f"{self.name}: {name} is {value!r}; expected a number or one of the declared words")
        variables = {**parameters, **self.variables(tile, operation)}
        return render(self.template, variables, folders=self.template_folders)

    def build_options(self, device: DeviceInfo) -> tuple[str, ...]:
        """Compiler options that this kernel's source needs on `device` beside those that all have."""
        return quirks.register_options(device, self.most_registers) if self.most_registers else ()

    def source_hash(self) -> str:
        """Changes whenever the kernel's source may have: old tuning results are then left alone."""
        generators = (type(self).variables, *self.generators)
        return source_hash(self.template, generators=generators, folders=self.template_folders)

    def check(self, tile: TileT, operation: OperationT, device: DeviceInfo) -> None:
        """Raise ConfigurationRejected with the first declared reason why `tile` cannot run `operation` on `device`."""
        reason = self.rejection(tile, operation, device)
        if reason is not None:
            raise ConfigurationRejected(f"{self.name} {tile}: {reason}")

    def rejection(self, tile: TileT, operation: OperationT, device: DeviceInfo) -> str | None:
        """The first reason against this tile, or None."""
        for constraint in self.constraints:
            if not constraint.holds(tile, operation):
                return constraint.reason
        for stage in self.stages(tile, operation):
            if stage.launch.work_group_size > device.max_work_group_size:
                return "the work-group is larger than the device allows"
            sides = zip(stage.launch.local_size, device.max_work_item_sizes, strict=False)
            if any(size > limit for size, limit in sides):
                return "one side of the work-group is larger than the device allows"
        if self.local_mem_bytes(tile, operation) > device.local_mem_bytes:
            return "the tile needs more local memory than the device has"
        return None

    def space(self, device: DeviceInfo | None = None, **fixed: int | str) -> Iterator[TileT]:
        """Every combination of parameter values, valid or not; with `device`, of the values worth trying there; with
        one value alone of each parameter in `fixed`, as far as the kernel has it.
        """
        parameters = dict(self.parameters)
        if device is not None:
            parameters |= self.cpu_values if quirks.wants_explicit_vectors(device) else self.gpu_values
        parameters |= {name: (value,) for name, value in fixed.items() if name in parameters}
        for values in itertools.product(*parameters.values()):
            yield self.tile_type(**dict(zip(parameters, values, strict=True)))

    def is_worth_trying(self, tile: TileT, operation: OperationT, device: DeviceInfo) -> bool:
        """Whether a search on this type of device should spend time on a valid tile.

        CPU drivers run a work-group on one core, item after item, and keep local memory in the same caches: there a
        work-group of one with wide vectors does the same work with less ado. GPUs want many items instead.
        """
        is_single = self.launch(tile, operation).work_group_size == 1
        return is_single if quirks.wants_explicit_vectors(device) else not is_single

    def candidates(self, operation: OperationT, device: DeviceInfo) -> list[TileT]:
        """The part of the space that a search on `device` goes through.

        What is not worth trying counts only where nothing else is valid. Raises ConfigurationRejected with a count per
        reason if the space is empty.
        """
        rejected: dict[str, int] = {}
        worthy: list[TileT] = []
        others: list[TileT] = []
        for tile in self.space():
            reason = self.rejection(tile, operation, device)
            if reason is None:
                (worthy if self.is_worth_trying(tile, operation, device) else others).append(tile)
            else:
                rejected[reason] = rejected.get(reason, 0) + 1
        if not worthy and not others:
            counts = "; ".join(f"{count} x {reason}" for reason, count in sorted(rejected.items()))
            raise ConfigurationRejected(f"{self.name}: no valid configuration for {operation.key}: {counts}")
        return worthy or others

    def own_tiles(self, device: DeviceInfo) -> Sequence[TileT]:
        """The named tiles that suit `device`, the best guess first; not all are valid for every operation."""
        return self.cpu_tiles if quirks.wants_explicit_vectors(device) else self.gpu_tiles

    def ranked_tiles(self, operation: OperationT, device: DeviceInfo) -> list[TileT]:
        """The device's own tiles that fit, the best guess first.

        Where local memory is emulated those come first that share none between work-items.
        """

        def is_staging(tile: TileT) -> bool:
            is_single = self.launch(tile, operation).work_group_size == 1
            return not is_single and self.local_mem_bytes(tile, operation) > 0

        valid = [tile for tile in self.own_tiles(device) if self.rejection(tile, operation, device) is None]
        if quirks.has(device, quirks.EMULATED_LOCAL_MEMORY):
            valid.sort(key=is_staging)
        return valid

    def spread(self, tile: TileT, operation: OperationT, device: DeviceInfo) -> TileT:
        """The tile from another device with as many work-groups as occupy this one, where tiles say how many."""
        return tile

    def held_values(self, tile: TileT, operation: OperationT) -> int:
        """float32 results that a work-item holds while it multiplies; 0 where the kernel does not say."""
        limits = (constraint for constraint in self.constraints if isinstance(constraint, RegisterLimit))
        return next((limit.results(tile, operation) for limit in limits), 0)

    def default_tile(self, operation: OperationT, device: DeviceInfo) -> TileT:
        """The first of `ranked_tiles`, else the safe one."""
        return next(iter(self.ranked_tiles(operation, device)), None) or self.safe_tile(operation)

    def default_for(self, operation: OperationT, workload: Workload, device: DeviceInfo) -> TileT:
        """The same for weights of which some were removed: by default whatever that was."""
        return self.default_tile(operation, device)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One way to compute a layer, and what a tuner is asked to find a tile for: a kernel, its operation with the
    network's layouts, and what is removed from the weights.

    `label` names it to people, `rank` says how early it comes where nothing was measured; `is_likely`: a short search
    should not leave it out. None of them makes it another offer.
    """

    kernel: Kernel[Any, Any]
    operation: Any
    workload: Workload = field(default_factory=Workload)
    label: str = field(default="", compare=False)
    rank: int = field(default=Rank.USUAL, compare=False)
    is_likely: bool = field(default=True, compare=False)

    def default_tile(self, device: DeviceInfo) -> Any:
        """The tile to take untuned."""
        return self.kernel.default_for(self.operation, self.workload, device)

    def rejection(self, tile: Any, device: DeviceInfo) -> str | None:
        """The first reason why `tile` cannot run this on `device`, or None."""
        return self.kernel.rejection(tile, self.operation, device)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An offer with the tile that it is computed with: what tuning, its database, packed weights and plans mean. Two
    are equal where the same kernel computes the same operation on the same workload with the same tile.
    """

    offer: Offer
    tile: Any

    @property
    def kernel(self) -> Kernel[Any, Any]:
        return self.offer.kernel

    @property
    def operation(self) -> Any:
        return self.offer.operation

    @property
    def at_origin(self) -> Choice:
        """The same wherever its tensors begin: equal for all images of a batch, which share packed weights."""
        layouts = {name: getattr(self.operation, name) for name in ("input", "output")}
        moved = {name: dataclasses.replace(layout, origin=0) for name, layout in layouts.items()}
        operation = dataclasses.replace(self.operation, **moved)
        return dataclasses.replace(self, offer=dataclasses.replace(self.offer, operation=operation))
