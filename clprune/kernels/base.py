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
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from clprune import quirks
from clprune.architecture import Architecture
from clprune.darknet.kinds.base import Layer
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.errors import ConfigurationRejected, RenderError, TileError
from clprune.kernels.demand import Demand
from clprune.layout import Layout
from clprune.rendering import render
from clprune.source_hash import Generator, source_hash

Value = int | str
FloatArray = npt.NDArray[np.float32]

#: What a reference computes.
Answer = npt.NDArray[np.float64]

#: An argument of a kernel: a device buffer, an array to be copied to one, a number, scratch memory, or (in a case) what
#: is expected.
DeviceArray = Any

#: Tensors `[N, C, H, W]` of any float.
Arrays = Sequence[npt.NDArray[Any]]

#: What a kernel without weights is given in their place.
NO_WEIGHTS = LayerWeights(weights=np.zeros(0, np.float32), biases=np.zeros(0, np.float32))


class Tile(Protocol):
    """A frozen dataclass of parameters."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Operation(Protocol):
    """One use of a kernel; `key` names its problem in the tuning database."""

    @property
    def key(self) -> str: ...

    @property
    def flops(self) -> int: ...


TileT = TypeVar("TileT", bound=Tile)
OperationT = TypeVar("OperationT", bound=Operation)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Global and local sizes in work-items; each global size is a multiple of its local size."""

    global_size: tuple[int, ...]
    local_size: tuple[int, ...]

    @property
    def work_group_size(self) -> int:
        """Work-items of one work-group."""
        return int(np.prod(self.local_size))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One kernel function of a template: its name and its launch.

    `takes`: parameter -> argument, for parameters that are not called like the argument that they are given.
    """

    name: str
    launch: Launch
    takes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """An argument: device memory for `elements` float32 values that only these stages use. Its contents are undefined
    before the first stage and may be gone after the last; steps of a plan share it.
    """

    elements: int

    @property
    def size_bytes(self) -> int:
        return 4 * self.elements


class Packed(Protocol):
    """A layer's weights as a tile reads them.

    `kept_share`: weights multiplied (without fill) over a dense layer's. `imbalance`: the longest of the parts that
    run at the same time over their mean.
    """

    @property
    def kept_share(self) -> float: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def imbalance(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Constraint(Generic[TileT, OperationT]):
    """A condition that a tile must meet; `reason` is what the user reads when it does not."""

    reason: str
    holds: Callable[[TileT, OperationT], bool]


WIDE_VECTORS: Constraint[Any, Any] = Constraint(
    reason="wide vectors are for work-groups of one",
    holds=lambda t, o: t.vector_width <= 4 or t.work_group_size == 1,
)

PREFETCHING: Constraint[Any, Any] = Constraint(
    reason="prefetching is for work-groups of one, whose caches are a CPU's",
    holds=lambda t, o: t.prefetch == 0 or t.work_group_size == 1,
)

STAGING: Constraint[Any, Any] = Constraint(
    reason="staging weights in local memory needs a work-group that shares them",
    holds=lambda t, o: t.tile_k == 0 or t.group_n > 1,
)

#: What holds for nearly every tile that has a work-group and vectors, whatever the kernel.
WORK_GROUP_CONSTRAINTS: tuple[Constraint[Any, Any], ...] = (
    Constraint(
        reason="work-groups of several items have 64 to 256 of them",
        holds=lambda t, o: t.work_group_size == 1 or 64 <= t.work_group_size <= 256,
    ),
    WIDE_VECTORS,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """An output argument: what must stand in it.

    `values` float64 over the whole buffer, `written` bool: where the kernel must write; elsewhere the buffer must keep
    what it held. `terms`: products summed up per value, from which the tolerance follows.
    """

    values: Answer
    written: npt.NDArray[np.bool_]
    initial: FloatArray
    terms: int


Argument = npt.NDArray[Any] | int | float | Scratch | Expected


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One concrete run with known answer: the arguments by name, the input first."""

    arguments: Mapping[str, Argument]
    kept_share: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Seeded data for an operation, free of any tile: inputs by name (float32) and the float64 answer."""

    inputs: Mapping[str, FloatArray]
    answer: Answer


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Seeded data for a case: how much of the weights is removed, in units of how many rows."""

    seed: int = 0
    kept_share: float = 1.0
    unit_rows: int = 8

    @property
    def key(self) -> str:
        """Stable text under which tuning results of this sparsity are kept."""
        if self.is_dense:
            return "dense"
        share = f"{self.kept_share:.3f}".removesuffix("0")
        return f"kept{share} unit{self.unit_rows}x1"

    @property
    def is_dense(self) -> bool:
        """Nothing worth skipping is removed."""
        return self.kept_share > 0.995

    def kept_columns(self, columns: int, *, tile_m: int) -> int:
        """Columns that a row block of `tile_m` keeps where every unit keeps its share of columns chosen at random."""
        units = (tile_m - math.gcd(tile_m, self.unit_rows)) / self.unit_rows + 1
        removed_share: float = (1 - self.kept_share) ** units
        return max(1, round(columns * (1 - removed_share)))


@dataclass(frozen=True, kw_only=True)
class WeightForm:
    """What was removed from a layer, and how the rest lies.

    `winograd`: output tile m of a layer that lives in the Winograd domain of F(m x m, 3 x 3), else None. `storage`: how
    the values lie in device memory, one of `clprune.kernels.storage.STORAGES`; empty where nobody has said.
    `quantizes_input`: the layer's input may be multiplied as codes of 8 bits.
    """

    workload: Workload = field(default_factory=Workload)
    winograd: int | None = None
    storage: str = ""
    quantizes_input: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a plan asks kernels to compute: `operation` with weights of that form on a device. Where the weights leave a
    choice, relative errors of a result are at most `max_error`.
    """

    operation: Any
    form: WeightForm
    device: DeviceInfo
    max_error: float

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
    tile_type: type[TileT]
    parameters: ClassVar[Mapping[str, Sequence[Value]]]
    constraints: Sequence[Constraint[TileT, OperationT]]
    #: The type of the operations for which a plan asks this kernel for offers; None: it names the kernel itself.
    computes: ClassVar[type[Any] | None] = None
    #: One of `clprune.algorithms.ALGORITHMS`, by which users leave it out; None: it is always among the choices.
    algorithm: ClassVar[str | None] = None
    #: Tiles that suit CPU drivers (one work-item per register tile) and GPUs (work-groups of 64 to 256, or of a warp).
    cpu_tiles: Sequence[TileT]
    gpu_tiles: Sequence[TileT]
    #: The only values of some parameters that are worth trying there, so that a search need not enumerate the rest.
    cpu_values: ClassVar[Mapping[str, Sequence[Value]]] = {}
    gpu_values: ClassVar[Mapping[str, Sequence[Value]]] = {}

    #: The kind of layers that it computes in one step, by `operation_of`; else `clprune.plan.lowering` tells what does.
    layer_kind: ClassVar[type[Layer] | None] = None

    def operation_of(self, layer: Any, *, batch: int, input: Layout, output: Layout) -> OperationT:
        """The operation that computes a layer of `layer_kind` for `batch` images."""
        raise NotImplementedError

    def local_mem_bytes(self, tile: TileT, operation: OperationT) -> int:
        """Local memory that one work-group declares."""
        return 0

    @abc.abstractmethod
    def launch(self, tile: TileT, operation: OperationT) -> Launch:
        """Geometry of the launch; of several, that of the one that multiplies."""

    def scratch_bytes(self, tile: TileT, operation: OperationT) -> int:
        """Device memory of the `Scratch` among the arguments."""
        return 0

    def stages(self, tile: TileT, operation: OperationT) -> tuple[Stage, ...]:
        """The launches of one run, in order: by default one, of the kernel function that is named like the kernel."""
        return (Stage(name=self.name, launch=self.launch(tile, operation)),)

    def variables(self, tile: TileT, operation: OperationT) -> dict[str, Any]:
        """Mako variables of the template beside the tile's fields."""
        return {}

    @abc.abstractmethod
    def safe_tile(self, operation: OperationT) -> TileT:
        """A tile that runs on the smallest device: work-group of one, no local memory. It takes the place of any other
        at the last moment: where one writes gaps (see `writes_gaps`) it does, too.
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

    def store_reference(self, operation: OperationT, answer: Answer, output: Answer) -> None:
        """Put the reference's answer where the kernel would in its output tensor `[N, C, H, W]`."""
        output[:] = answer.reshape(output.shape)

    def error_terms(self, operation: OperationT) -> int:
        """Products that a result sums up, as many times over as the kernel's way to compute amplifies their errors: the
        tolerance follows (clprune.tolerance). 1: nothing is summed.
        """
        return 1

    @abc.abstractmethod
    def sample(self, operation: OperationT, workload: Workload) -> Sample:
        """Seeded data for this operation and the float64 answer; costly for large layers, good for every tile."""

    @abc.abstractmethod
    def case(self, tile: TileT, operation: OperationT, sample: Sample) -> Case:
        """The arguments for this tile and sample, and what must come out."""

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

        Raises TileError unless there is one for each of `parameters` and nothing else, each one of the declared values
        and exactly of their type (a bool is no int).
        """
        if not isinstance(values, Mapping) or values.keys() != self.parameters.keys():
            found = ", ".join(map(str, values)) if isinstance(values, Mapping) else repr(values)
            raise TileError(f"{self.name}: found the parameters {found}; expected {', '.join(self.parameters)}")
        for name, declared in self.parameters.items():
            if not any(type(values[name]) is type(value) and values[name] == value for value in declared):
                expected = ", ".join(map(str, declared))
                raise TileError(f"{self.name}: {name} is {values[name]!r}; expected one of {expected}")
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
        return ()

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

    def space(self, device: DeviceInfo | None = None) -> Iterator[TileT]:
        """Every combination of parameter values, valid or not; with `device`, of the values worth trying there."""
        parameters = dict(self.parameters)
        if device is not None:
            parameters |= self.cpu_values if quirks.wants_explicit_vectors(device) else self.gpu_values
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

    def default_tile(self, operation: OperationT, device: DeviceInfo) -> TileT:
        """The first of the device's own tiles that fits, else the safe one.

        Where local memory is emulated those that use none come first.
        """
        valid = [tile for tile in self.own_tiles(device) if self.rejection(tile, operation, device) is None]
        if quirks.has(device, quirks.EMULATED_LOCAL_MEMORY):
            valid.sort(key=lambda tile: self.local_mem_bytes(tile, operation) > 0)
        return valid[0] if valid else self.safe_tile(operation)


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

    def rejection(self, tile: Any, device: DeviceInfo) -> str | None:
        """The first reason why `tile` cannot run this on `device`, or None."""
        return self.kernel.rejection(tile, self.operation, device)


class TensorKernel(Kernel[TileT, OperationT]):
    """A kernel whose arguments are tensors and scalars."""

    @abc.abstractmethod
    def arguments(
        self, tile: TileT, operation: OperationT, *, x: DeviceArray, y: DeviceArray, **extras: DeviceArray
    ) -> dict[str, DeviceArray]:
        """Arguments by the names of the template's parameters, the input first; numbers become the parameters' type,
        and NumPy arrays are still to be copied to the device.
        """


class MatrixKernel(Kernel[TileT, OperationT]):
    """A kernel with a weight matrix, whose packed form depends on the tile: what pruning is for, and worth tuning."""

    def takes_weights(self, operation: OperationT) -> bool:
        return True

    @abc.abstractmethod
    def pack(self, tile: TileT, operation: OperationT, *, weights: LayerWeights) -> Packed:
        """`weights`, batch normalization folded, as this tile reads them."""

    def wavefront_rows(self, tile: TileT) -> int:
        """Rows of the weight matrix that one lock-step SIMD group computes together, from one list of kept columns.

        A multiply can be skipped for all of them or for none: the finest unit that pruning may remove.
        """
        rows: int = tile.tile_m  # type: ignore[attr-defined]  # what every matrix kernel's tile has
        return rows

    def workgroup_rows(self, tile: TileT) -> int:
        """Rows that one work-group computes; a column that none of them needs is not even loaded into local memory."""
        return self.wavefront_rows(tile)

    @abc.abstractmethod
    def arguments(
        self, tile: TileT, operation: OperationT, packed: Any, *, x: DeviceArray, y: DeviceArray
    ) -> dict[str, DeviceArray]:
        """Arguments by the names of the template's parameters, the input first; numbers become the parameters' type,
        and NumPy arrays are still to be copied to the device.
        """


def ceil_div(dividend: int, divisor: int) -> int:
    """Quotient rounded up."""
    return -(-dividend // divisor)


def round_up(value: int, multiple: int) -> int:
    """The next multiple."""
    return ceil_div(value, multiple) * multiple
