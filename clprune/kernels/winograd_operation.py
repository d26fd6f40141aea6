"""What the Winograd kernels share: the operation, how tiles are cut into strips, samples and cases."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.geometry import ConvProblem, ceil_div, round_up
from clprune.kernels import transform_source
from clprune.kernels.arguments import FloatArray, Launch, Scratch, Stage
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.conv_operation import ConvOperation, can_pool, conv_operation, conv_problems
from clprune.kernels.convolution import ConvolutionKernel, VectorTileT
from clprune.kernels.signature import places
from clprune.kernels.storage import FLOAT32
from clprune.kernels.tile import Constraint
from clprune.kernels.workload import WeightForm, Workload
from clprune.packing.winograd import PackedWinograd
from clprune.source_hash import Generator
from clprune.tolerance import amplified_terms
from clprune.winograd import transforms
from clprune.winograd.error import amplification, expected_error
from clprune.winograd.transforms import transform_filters, transform_matrices

#: Sides of the output tiles that the templates compute.
OUTPUT_TILES = (2, 4)


@dataclass(frozen=True, kw_only=True)
class WinogradOperation(ConvOperation):
    """A convolution computed as F(output_tile x output_tile, 3 x 3)."""

    output_tile: int = 4

    @property
    def key(self) -> str:
        return f"{super().key} F{self.output_tile}"

    @property
    def input_tile(self) -> int:
        """alpha: side of a tile in the Winograd domain."""
        return self.output_tile + 2

    @property
    def matrices(self) -> int:
        """How many matrices U_xi there are."""
        return self.input_tile**2

    @property
    def tile_rows(self) -> int:
        """Rows of tiles per image."""
        return ceil_div(self.problem.out_height, self.output_tile)

    def segments_per_row(self, columns: int) -> int:
        """Segments of `columns` tiles in one row of tiles."""
        return ceil_div(self.problem.out_width, self.output_tile * columns)

    def segments(self, columns: int) -> int:
        """Segments of `columns` tiles in the whole batch."""
        return self.problem.batch * self.tile_rows * self.segments_per_row(columns)


POOLS_WHOLE_WINDOWS: Constraint[Any, WinogradOperation] = Constraint(
    reason="fused pooling needs whole windows of 2x2 outputs",
    holds=lambda t, o: not o.pooled or can_pool(o.problem),
)

#: How tiles are cut into segments and vectors, and fused pooling's windows.
SEGMENT_CONSTRAINTS: tuple[Constraint[Any, WinogradOperation], ...] = (
    POOLS_WHOLE_WINDOWS,
    Constraint(
        reason="a segment is a part of a vector",
        holds=lambda t, o: t.vector_width % t.columns == 0,
    ),
    Constraint(
        reason="a segment is more than a third longer than a row of tiles",
        holds=lambda t, o: t.columns <= 2 or 3 * o.segments_per_row(t.columns) * t.columns <= 4 * o.segments_per_row(1),
    ),
)


def winograd_operation(operation: ConvOperation, *, output_tile: int) -> WinogradOperation:
    """The same convolution as F(m x m, 3 x 3). Raises UsageError where `winograd_obstacle` finds one."""
    obstacle = winograd_obstacle(operation.problem)
    if obstacle is not None:
        raise UsageError(f"Winograd convolution of {operation.problem.key}: {obstacle}")
    if output_tile not in OUTPUT_TILES:
        raise UsageError(f"Winograd output tile {output_tile}: expected one of {', '.join(map(str, OUTPUT_TILES))}")
    return WinogradOperation(
        problem=operation.problem,
        input=operation.input,
        output=operation.output,
        activation=operation.activation,
        pooled=operation.pooled,
        added=operation.added,
        other_shift=operation.other_shift,
        output_tile=output_tile,
    )


def winograd_obstacle(problem: ConvProblem) -> str | None:
    """Why a convolution cannot be computed by these kernels, or None."""
    window = problem.window
    if (window.size_y, window.size_x) != (3, 3):
        return f"filters are {window.size_y}x{window.size_x}, not 3x3"
    if not window.is_dense:
        return f"the stride is {max(window.stride_y, window.stride_x)}, not 1"
    if not window.is_plain:
        return "the filters are dilated, or padding is not the same on all sides"
    if problem.groups != 1:
        return f"channels are split into {problem.groups} groups"
    if window.top > 2:
        return f"the padding is {window.top}, more than 2"
    return None


def template_variables(operation: WinogradOperation, *, vector_width: int, columns: int) -> dict[str, Any]:
    """What `templates/winograd.mako` needs."""
    matrices = transform_matrices(operation.output_tile)
    return {
        "output_tile": operation.output_tile,
        "input_tile": operation.input_tile,
        "BT": matrices.BT,
        "AT": matrices.AT,
        "combine": transform_source.transform_statements,
        "columns": columns,
        "segments": vector_width // columns,
        "partial_rows": operation.problem.out_height % operation.output_tile != 0,
        "partial_columns": operation.problem.out_width % operation.output_tile != 0,
        "activation": operation.activation,
        "pooled": operation.pooled,
        "added": operation.added,
    }


#: What generates parts of their sources.
WINOGRAD_GENERATORS: tuple[Generator, ...] = (
    template_variables,
    WinogradOperation.input_tile,
    transform_source,
    transforms,
)


def shared_arguments(operation: WinogradOperation, packed: PackedWinograd, *, columns: int) -> dict[str, Any]:
    """What the functions of their templates take, but for x and y themselves."""
    problem, layout = operation.problem, operation.input
    return {
        **packed.arrays,
        "channels": problem.in_channels,
        "filters": problem.out_channels,
        "segment_count": operation.segments(columns),
        "segments_per_row": operation.segments_per_row(columns),
        "tile_rows": operation.tile_rows,
        "x_start": layout.origin - problem.window.top * (layout.pitch + 1),
        "last_row": problem.in_height + 2 * problem.window.top - 1,
        "padded_width": problem.in_width + 2 * problem.window.top,
        "out_width": problem.out_width // operation.row_step,
        "out_height": problem.out_height // operation.row_step,
        **places(x=layout, y=operation.output),
        **operation.sum_arguments,
    }


#: Elements behind each matrix of V and M: a cache line, so that equal places of the matrices fall into different sets.
GAP = 16


def three_stages(
    operation: WinogradOperation, *, multiply: Launch, strips: int, channels_per_item: int = 1
) -> tuple[Stage, ...]:
    """Input transform, multiplication, output transform; transforms of so many strips in work-groups as large."""

    def transform(channels: int) -> Launch:
        size = multiply.work_group_size
        return Launch(global_size=(round_up(ceil_div(channels, channels_per_item) * strips, size),), local_size=(size,))

    problem = operation.problem
    return (
        Stage(name="winograd_input", launch=transform(problem.in_channels)),
        Stage(name="winograd_multiply", launch=multiply),
        Stage(name="winograd_output", launch=transform(problem.out_channels)),
    )


def stage_scratch(operation: WinogradOperation, *, row_stride: int, rows: int) -> dict[str, Scratch]:
    """V, and M of so many `rows` with fill."""
    counts = operation.problem.in_channels, rows
    v, m = (Scratch(elements=operation.matrices * (count * row_stride + GAP)) for count in counts)
    return {"V": v, "M": m}


def transformed_weights(weights: LayerWeights, operation: WinogradOperation) -> npt.NDArray[Any]:
    """U `[alpha, alpha, filters, channels]`: as given in the Winograd domain, or transformed exactly (float64).

    Raises UsageError if the weights are another F's.
    """
    if weights.winograd is None:
        problem = operation.problem
        spatial = weights.weights.reshape(problem.out_channels, problem.in_channels, 3, 3)
        return transform_filters(spatial, operation.output_tile)
    if weights.winograd != operation.output_tile:
        raise UsageError(
            f"weights of F({weights.winograd}x{weights.winograd}, 3x3) cannot be computed as "
            f"F({operation.output_tile}x{operation.output_tile}, 3x3): they are no filters' transform"
        )
    return weights.weights


def remove_units(transformed: FloatArray, rng: np.random.Generator, workload: Workload) -> None:
    """Zero units of `unit_rows` x 1 of U `[alpha, alpha, rows, channels]` in place, as many in each block of rows."""
    alpha, _, rows, channels = transformed.shape
    removed = channels - round(channels * workload.kept_share)
    for first in range(0, rows, workload.unit_rows):
        order = rng.random((alpha, alpha, channels)).argsort(axis=2)
        block = transformed[:, :, first : first + workload.unit_rows]
        np.copyto(block, np.float32(0), where=(order < removed)[:, :, None, :])


@functools.cache
def winograd_sample_operations() -> tuple[WinogradOperation, ...]:
    """Small odd shapes that cover every branch of the templates."""
    shapes = (
        # F, channels, height, width, filters, padding, batch
        (4, 1, 1, 1, 1, 1, 1),
        (2, 3, 5, 7, 5, 1, 1),
        (4, 5, 7, 31, 17, 1, 2),
        (2, 17, 13, 13, 3, 0, 2),
        (4, 3, 13, 5, 16, 2, 1),
        (4, 17, 28, 28, 33, 1, 1),
        (2, 5, 31, 13, 8, 2, 1),
        (4, 3, 34, 66, 9, 0, 1),
        (4, 1, 3, 3, 17, 0, 3),
    )
    activations = ("leaky", "relu", "logistic", "linear")
    names = ("in_channels", "in_height", "in_width", "out_channels", "padding", "batch")
    problems = conv_problems(names, [shape[1:] for shape in shapes], size=3)
    plain = tuple(
        winograd_operation(conv_operation(problem, activation=activations[index % 4]), output_tile=shapes[index][0])
        for index, problem in enumerate(problems)
    )
    pooled = (
        (4, ConvProblem.square(batch=2, in_channels=3, in_height=14, in_width=38, out_channels=9, size=3, padding=1)),
        (2, ConvProblem.square(batch=1, in_channels=5, in_height=6, in_width=34, out_channels=17, size=3, padding=1)),
        (4, ConvProblem.square(batch=1, in_channels=3, in_height=64, in_width=64, out_channels=17, size=3, padding=1)),
    )
    in_one = tuple(
        winograd_operation(conv_operation(problem, activation="leaky", pooled=True), output_tile=output_tile)
        for output_tile, problem in pooled
    )
    summed = tuple(
        winograd_operation(conv_operation(problem, activation="leaky", added="linear"), output_tile=output_tile)
        for output_tile, problem in zip((4, 2, 4), (problems[2], problems[6], problems[7]), strict=True)
    )
    return (*plain, *in_one, *summed)


#: Input channels below which spatial weights stay there.
FEWEST_CHANNELS = 32

#: Kept share of spatial weights up to which direct convolution multiplies no more than F(4x4, 3x3) of all of them.
BEATEN_KEPT_SHARE = 0.3

#: Kept share of channels in the Winograd domain from which nothing worth skipping is gone.
NEARLY_ALL_KEPT = 0.9

#: Side of an output that is hardly more than one tile, most of which would be computed for nothing.
SMALL_SIDE = 4

#: Operations from which on a dense layer is settled on CPUs, where a large one has always been faster; with fewer,
#: launches and transforms count.
SETTLED_FLOPS = 10**8

#: Tiles of F(4x4, 3x3) up to which a layer may have, and surely has, too few of them to keep every core of a CPU busy
#: with tiles of its own.
FEW_TILES, VERY_FEW_TILES = 64, 32


def _tiles(problem: ConvProblem) -> int:
    """Tiles of F(4x4, 3x3)."""
    return problem.batch * ceil_div(problem.out_height, 4) * ceil_div(problem.out_width, 4)


def transformed_workload(workload: Workload) -> Workload:
    """What is left of spatial filters in the Winograd domain: a unit of rows loses a channel with all nine of its
    columns only, taken as removed at random.
    """
    kept_share = 1 - (1 - workload.kept_share) ** 9
    if kept_share >= NEARLY_ALL_KEPT:
        return Workload()
    return dataclasses.replace(workload, kept_share=round(kept_share, 2))


def _is_worth_transforming(operation: ConvOperation) -> bool:
    """Few channels do not make up for the transforms, and a coding would not survive them."""
    return operation.problem.in_channels >= FEWEST_CHANNELS and operation.storage == FLOAT32


class WinogradConvolutionKernel(ConvolutionKernel[VectorTileT, WinogradOperation]):
    """What the kernels share: when they are offered, seeded data in the Winograd domain, errors that the transforms
    amplify.
    """

    computes = ConvOperation
    algorithm = "winograd"
    most_registers = 128  # the transforms of one tile need them, and a quarter of the warps still fits
    least_share = 0.25  # inputs and outputs are transformed all the same
    #: Whether one stage does everything.
    is_fused: ClassVar[bool]

    def offers(self, request: Request) -> Sequence[Offer]:
        """Weights of the Winograd domain as they are, or spatial ones transformed, which leaves few zeros."""
        operation, form = request.operation, request.form
        problem, is_spatial = operation.problem, form.winograd is None
        obstacle = winograd_obstacle(problem)
        if obstacle is not None and not is_spatial:
            domain = f"F({form.winograd}x{form.winograd}, 3x3)"
            raise UnsupportedLayerError(f"convolution {problem.key} with weights of {domain}: {obstacle}")
        if obstacle is not None or (is_spatial and not _is_worth_transforming(operation)):
            return ()
        # One stage keeps a CPU's caches warm; three share a few tiles among all cores, and give GPUs enough to do.
        has_vectors, tiles = request.has_vectors, _tiles(problem)
        is_wanted = self.is_fused in (has_vectors, has_vectors and tiles > FEW_TILES)
        is_first = self.is_fused == (has_vectors and tiles > VERY_FEW_TILES)
        is_small = min(problem.out_height, problem.out_width) <= SMALL_SIDE
        is_beaten = is_spatial and (is_small or form.workload.kept_share <= BEATEN_KEPT_SHARE)
        is_settled = has_vectors and form.workload.is_dense and operation.flops >= SETTLED_FLOPS
        offers = []
        for output_tile in (form.winograd,) if form.winograd else (4, 2):
            if is_spatial and expected_error(output_tile, problem.in_channels) > request.max_error:
                continue
            is_likely = output_tile in (4, form.winograd) and is_wanted and not is_beaten
            # Before each there is a place for a kernel that does the same in a better way.
            place = 1 + 4 * (not is_likely) + 2 * (output_tile == 2) + (not is_first)
            offer = Offer(
                label=f"winograd F({output_tile}x{output_tile})" + " fused" * self.is_fused,
                kernel=self,
                operation=winograd_operation(operation, output_tile=output_tile),
                workload=transformed_workload(form.workload) if is_spatial else form.workload,
                rank=(Rank.SETTLED if is_settled else Rank.TRANSFORMED) + place,
                is_likely=is_likely,
            )
            offers.append(offer)
        return offers

    def covers_windows(self, problem: ConvProblem, form: WeightForm, device: DeviceInfo) -> bool:
        """Weights of the Winograd domain leave no other way."""
        return form.winograd is not None

    def error_terms(self, operation: WinogradOperation) -> int:
        return amplified_terms(operation.problem.in_channels, amplification=amplification(operation.output_tile))

    def sample_inputs(self, operation: Any, workload: Workload, rng: np.random.Generator) -> dict[str, FloatArray]:
        """Dense weights are filters, pruned ones lie in the Winograd domain, as many kept in each U_xi."""
        inputs = super().sample_inputs(operation, Workload(), rng)
        if workload.kept_share < 1:
            problem = operation.problem
            spatial = inputs["matrix"].reshape(problem.out_channels, problem.in_channels, 3, 3)
            inputs["matrix"] = transform_filters(spatial, operation.output_tile).astype(np.float32)
            remove_units(inputs["matrix"], rng, workload)
        return inputs

    def sample_weights(self, operation: WinogradOperation, inputs: Mapping[str, FloatArray]) -> LayerWeights:
        """The weights of a sample: a matrix of filters, or U."""
        domain = operation.output_tile if inputs["matrix"].ndim == 4 else None
        return LayerWeights(weights=inputs["matrix"], biases=inputs["bias"], winograd=domain)

    def sample_operations(self) -> tuple[WinogradOperation, ...]:
        return winograd_sample_operations()
