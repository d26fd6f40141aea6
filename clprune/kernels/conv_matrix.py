"""Direct convolution by matrix instructions of GPUs (`templates/conv_matrix.cl.mako`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from clprune.darknet.values import LayerWeights
from clprune.device import MFMA, MMA, WMMA, XMX8, XMX16, DeviceInfo
from clprune.geometry import ConvProblem, ceil_div, round_up
from clprune.kernels import matrix_unit
from clprune.kernels.arguments import Answer, Arguments, Launch, Scratch, Stage
from clprune.kernels.base import Offer, Rank, Request
from clprune.kernels.conv_operation import (
    ConvOperation,
    can_pool,
    conv_operation,
    conv_problems,
    conv_reference,
)
from clprune.kernels.convolution import PositionKernel
from clprune.kernels.matrix_operation import (
    BUNDLES,
    ConvMatrixOperation,
    ConvMatrixTile,
    bundle_lists,
    bundled,
    bundles_fit,
    copy_elements,
    fits_registers,
    fragments_of,
    input_range,
    is_long_and_wide,
    issued,
    matrix_operation,
    per_word,
    rounded_weights,
    turn_steps,
)
from clprune.kernels.matrix_unit import FRAGMENTS, SINGLE, UNIT_ROWS, Spread, best_precision
from clprune.kernels.rounding import encoded, rounded
from clprune.kernels.signature import places
from clprune.kernels.storage import CODEBOOK4, INT8, decoded_matrix
from clprune.kernels.tile import Constraint
from clprune.kernels.windows import window_variables
from clprune.kernels.workload import Workload
from clprune.packing.columns import PackedColumns
from clprune.packing.fragments import FragmentOrder, pack_bundles, pack_fragments
from clprune.precision import BFLOAT16, FLOAT16, FLOAT32, PRECISION_ERRORS, TF32
from clprune.quirks import REGISTERS_GUESSED, has, wants_explicit_vectors
from clprune.tolerance import amplified_terms

#: Matrix instructions add with fewer guard bits than a float32 addition has, and cut off what is beyond.
SUM_AMPLIFICATION = 8.0


def _spread(spread: Spread) -> tuple[int, int, int]:
    """What a template needs of a spread beside its places."""
    return (spread.divisor, spread.modulus, spread.factor)


def _tiles(
    unit: str,
    *sides: tuple[int, int],
    bundles: tuple[int, ...],
    mappings: tuple[str, ...] = ("flat", "rows"),
) -> list[ConvMatrixTile]:
    """Tiles of (tile_m, tiles_n) in all combinations; bundles of inputs rounded before, 0: rounded when loaded."""
    return [
        ConvMatrixTile(
            unit=unit,
            tile_m=tile_m,
            tiles_n=tiles_n,
            group_n=4,
            mapping=mapping,
            rounding="before" if bundle else "loaded",
            bundle=max(bundle, 1),
        )
        for tile_m, tiles_n in sides
        for bundle in bundles
        for mapping in mappings
    ]


def _rounding_group(tile: ConvMatrixTile) -> int:
    """Work-items of a work-group that rounds inputs."""
    return 1 if tile.unit == SINGLE else 64


class ConvMatrixKernel(PositionKernel[ConvMatrixTile]):
    """See `templates/conv_matrix.cl.mako`."""

    name = "conv_matrix"
    can_add = True
    template = "conv_matrix"
    generators = (window_variables, matrix_unit, _spread, _rounding_group, per_word, turn_steps)
    tile_type = ConvMatrixTile
    computes = ConvOperation
    algorithm = "direct"
    constraints = (
        Constraint(
            reason="the matrix unit has no instruction of this precision",
            holds=lambda t, o: fragments_of(t, o) is not None,
        ),
        Constraint(reason="the sums of a lane exceed its registers", holds=fits_registers),
        Constraint(
            reason="the input's offsets in bytes exceed 32 bits",
            holds=lambda t, o: max(o.input.size_bytes, 4 * copy_elements(t, o)) < 2**32,
        ),
        Constraint(
            reason="float32 is not rounded",
            holds=lambda t, o: t.rounding == "loaded" or getattr(o, "precision", FLOAT32) != FLOAT32,
        ),
        Constraint(
            reason="bundles of rounded channels fill words and fragments, and straddle no groups of channels",
            holds=bundles_fit,
        ),
        Constraint(
            reason="mapping flat needs stride 1 and one pitch for input and output",
            holds=lambda t, o: t.mapping != "flat" or o.can_be_flat,
        ),
        Constraint(
            reason="fused pooling needs four instructions' positions and whole windows",
            holds=lambda t, o: not o.pooled or (t.tiles_n % 4 == 0 and can_pool(o.problem)),
        ),
        Constraint(
            reason="a work-item on its own shares nothing with others",
            holds=lambda t, o: t.unit != SINGLE or t.group_n == 1,
        ),
        Constraint(
            reason="the tile has more rows than the layer has output channels per group",
            holds=lambda t, o: t.tile_m < 2 * o.problem.group_out_channels or t.tile_m == UNIT_ROWS,
        ),
    )
    cpu_tiles = (ConvMatrixTile(unit=SINGLE, tile_m=16, tiles_n=4),)
    # Each input that a warp has loaded serves as many instructions as the tile has units of 16 rows, and each load
    # brings a bundle of them: the largest first, which suits dense weights (see `default_for`). What the loops hold,
    # compiled, is in docs/results/offline-gpu-prediction.md.
    gpu_tiles = (
        *_tiles(MMA, (32, 8), (64, 4), (16, 16), (16, 4), bundles=(4, 2, 1)),
        *_tiles(MMA, (32, 8), (64, 4), bundles=(0,), mappings=("flat",)),
        *_tiles(MFMA, (32, 4), (64, 4), (16, 8), bundles=(4, 2, 0)),
        *_tiles(WMMA, (64, 2), (32, 4), (16, 4), bundles=(8, 4, 2)),
        *_tiles(XMX16, (32, 4), (16, 4), bundles=(8, 2, 1, 0)),
        *_tiles(XMX8, (32, 4), (16, 4), bundles=(8, 2, 0)),
    )

    def offers(self, request: Request) -> Sequence[Offer]:
        """Where the device's matrix unit computes as exactly as is wanted, or the wish itself is less exact."""
        operation, form = request.operation, request.form
        precision = best_precision(request.device, request.precision)
        if precision is None or form.winograd is not None or form.quantizes_input:
            return ()
        if operation.problem.group_out_channels < UNIT_ROWS or PRECISION_ERRORS[precision] > request.max_error:
            return ()
        offer = self.offer(
            dataclasses.replace(request, operation=matrix_operation(operation, precision=precision)),
            label=f"matrix {precision}",
            rank=Rank.ALTERNATIVE if precision == FLOAT32 else Rank.SPECIAL,
        )
        return (offer,)

    def rejection(self, tile: ConvMatrixTile, operation: Any, device: DeviceInfo) -> str | None:
        """As everywhere; and what spilled where registers are guessed. A limit, which other kernels set, would make
        those tiles spill that hold most sums, and a search may want them.
        """
        reason = super().rejection(tile, operation, device)
        if reason is None and has(device, REGISTERS_GUESSED) and is_long_and_wide(tile, operation):
            return "bundles of several words that lie three apart and more are given too few registers"
        return reason

    def build_options(self, device: DeviceInfo) -> tuple[str, ...]:
        """The device's own instructions; all others are emulated."""
        return (f"-DHAS_MATRIX_{device.matrix_unit.upper()}",) if device.matrix_unit else ()

    def own_tiles(self, device: DeviceInfo) -> Sequence[ConvMatrixTile]:
        """Those of its matrix unit; a GPU without one has none."""
        return [tile for tile in super().own_tiles(device) if self._suits(tile, device)]

    def is_worth_trying(self, tile: ConvMatrixTile, operation: ConvOperation, device: DeviceInfo) -> bool:
        """An emulation never is where there is the instruction; elsewhere it is, as work-groups are."""
        is_single = tile.unit == SINGLE
        return self._suits(tile, device) if device.matrix_unit else is_single == wants_explicit_vectors(device)

    def _suits(self, tile: ConvMatrixTile, device: DeviceInfo) -> bool:
        return tile.unit == (device.matrix_unit or SINGLE)

    def default_tile(self, operation: ConvOperation, device: DeviceInfo) -> ConvMatrixTile:
        """The first of the unit's tiles that fits: what declares local memory uses it in emulations only."""
        fitting = (tile for tile in self.own_tiles(device) if self.rejection(tile, operation, device) is None)
        return next(fitting, self.safe_tile(operation))

    def default_for(self, operation: ConvOperation, workload: Workload, device: DeviceInfo) -> ConvMatrixTile:
        """As everywhere; of tiles that differ in their bundles alone the one that issues least: the larger a bundle,
        the fewer loads, and the more columns that only fill it.
        """
        tile = super().default_for(operation, workload, device)
        others = [dataclasses.replace(tile, bundle=bundle) for bundle in BUNDLES]
        fitting = [other for other in others if self.rejection(other, operation, device) is None]
        return min(fitting, key=lambda other: issued(other, operation, workload), default=tile)

    def local_mem_bytes(self, tile: ConvMatrixTile, operation: Any) -> int:
        """What an emulation exchanges fragments through."""
        fragments = fragments_of(tile, operation)
        if fragments is None or fragments.lanes == 1:
            return 0
        return 4 * tile.group_n * fragments.columns * (tile.tile_m + tile.tiles_n * fragments.positions)

    def launch(self, tile: ConvMatrixTile, operation: Any) -> Launch:
        fragments = FRAGMENTS[tile.unit, operation.precision]
        problem = operation.problem
        blocks = problem.groups * ceil_div(problem.group_out_channels, tile.tile_m)
        slots_per_warp = fragments.positions * (tile.tiles_n // 4 if operation.pooled else tile.tiles_n)
        groups = blocks * ceil_div(_slots(tile, operation), slots_per_warp * tile.group_n)
        size = fragments.lanes * tile.group_n
        return Launch(global_size=(groups * size,), local_size=(size,))

    def stages(self, tile: ConvMatrixTile, operation: Any) -> tuple[Stage, ...]:
        """Round the input where that is done before, multiply."""
        if tile.rounding == "loaded":
            return super().stages(tile, operation)
        size = _rounding_group(tile)
        _, count = input_range(tile, operation)
        rounding = Launch(global_size=(round_up(count, size),), local_size=(size,))
        takes = {"x": "q", "x_origin": "q_origin"}
        return (
            Stage(name="round_input", launch=rounding),
            Stage(name=self.name, launch=self.launch(tile, operation), takes=takes),
        )

    def scratch(self, tile: ConvMatrixTile, operation: Any) -> dict[str, Scratch]:
        """The rounded input, as far as it is read."""
        if tile.rounding == "loaded":
            return {}
        return {"q": Scratch(elements=copy_elements(tile, operation))}

    def variables(self, tile: ConvMatrixTile, operation: Any) -> dict[str, Any]:
        fragments = FRAGMENTS[tile.unit, operation.precision]
        spreads = {name: value for name, value in vars(fragments).items() if isinstance(value, Spread)}
        return {
            **window_variables(operation.problem.window),
            **{name: _spread(spread) for name, spread in spreads.items()},
            **{f"{name}_places": spread.places for name, spread in spreads.items()},
            "lanes": fragments.lanes,
            "columns": fragments.columns,
            "positions": fragments.positions,
            "rounding_group": _rounding_group(tile),
            "precision": operation.precision,
            "per_word": per_word(operation),
            "turn_steps": turn_steps(tile),
            "activation": operation.activation,
            "pooled": operation.pooled,
            "added": operation.added,
        }

    def safe_tile(self, operation: ConvOperation) -> ConvMatrixTile:
        mapping = "flat" if operation.can_be_flat else "rows"
        return ConvMatrixTile(unit=SINGLE, tile_m=UNIT_ROWS, tiles_n=4, mapping=mapping)

    def pack(self, tile: ConvMatrixTile, operation: Any, *, weights: LayerWeights) -> PackedColumns:
        """Kept columns of the weights `[out_channels, channels, size, size]` per row block, rounded, in fragments.

        Raises UsageError for weights that are not finite, which includes rounded ones, or not coded as the operation's
        storage.
        """
        fragments = FRAGMENTS[tile.unit, operation.precision]
        matrix = rounded_weights(decoded_matrix(weights, operation.storage), operation.precision)
        matrix, lists = bundled(matrix, tile, operation), bundle_lists(tile, operation)
        packed = pack_bundles(matrix, bundle=tile.bundle, bias=weights.biases, tile_m=tile.tile_m, **lists)
        order = FragmentOrder(
            columns=fragments.columns,
            rows=fragments.a_rows.of_lanes(fragments.lanes),
            columns_of=fragments.a_columns.of_lanes(fragments.lanes),
        )
        codes = dataclasses.replace(packed, values=encoded(packed.values, operation.precision))
        return pack_fragments(codes, order, bundle=tile.bundle, turn_steps=turn_steps(tile))

    def arguments(self, tile: ConvMatrixTile, operation: Any, packed: PackedColumns) -> Arguments:
        shape = operation.output.shape
        first, count = input_range(tile, operation)
        rounding = {
            "count": count,
            "before": operation.input.origin - first,
            "channels": operation.input.shape.channels,
            "q_origin": 0,
        }
        return {
            **(rounding | self.scratch(tile, operation) if tile.rounding == "before" else {}),
            **packed.arrays,
            "block_count": len(packed.blocks),
            "valid": operation.valid_positions(tile),
            "slot_count": _slots(tile, operation),
            "out_width": shape.width,
            "rows_per_image": shape.height,
            **places(x=operation.input, y=operation.output),
            "x_origin": first,
            **operation.sum_arguments,
        }

    def sums(self, operation: Any, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        """Exact sums of rounded factors."""
        matrix = rounded(decoded_matrix(weights, operation.storage), operation.precision)
        return conv_reference(rounded(x, operation.precision), matrix, weights.biases, operation.problem)

    def error_terms(self, operation: ConvOperation) -> int:
        return amplified_terms(super().error_terms(operation), amplification=SUM_AMPLIFICATION)

    def rounding_error(self, operation: Any) -> float:
        return PRECISION_ERRORS[operation.precision]

    def sample_operations(self) -> tuple[ConvMatrixOperation, ...]:
        """Small odd shapes, each in one or two precisions, which differ in little code, and each precision on many."""
        shapes = (
            # channels, height, width, filters, size, stride, padding, groups, batch
            (1, 1, 1, 1, 1, 1, 0, 1, 1),
            (3, 13, 13, 7, 3, 1, 1, 1, 1),
            (3, 3, 21, 33, 3, 1, 1, 1, 2),
            (4, 13, 7, 31, 3, 2, 1, 1, 2),
            (6, 5, 9, 34, 3, 1, 1, 2, 1),
            (17, 5, 9, 65, 1, 1, 0, 1, 2),
        )
        names = ("in_channels", "in_height", "in_width", "out_channels", "size", "stride", "padding", "groups", "batch")
        problems = conv_problems(names, shapes)
        pooled = ConvProblem.square(
            batch=2, in_channels=2, in_height=4, in_width=22, out_channels=35, size=3, padding=1
        )
        single, few, wide, strided, grouped, pointwise = (
            conv_operation(problem, activation="leaky") for problem in problems
        )
        with_pool = conv_operation(pooled, activation="relu", pooled=True)
        summed = conv_operation(problems[2], activation="linear", added="relu")
        by_precision = (
            (TF32, (wide, strided, grouped, with_pool)),
            (FLOAT16, (single, wide, pointwise, with_pool)),
            (BFLOAT16, (few, strided, summed)),
            (FLOAT32, (grouped, pointwise, summed)),
            (TF32, (conv_operation(problems[1], activation="relu", storage=INT8),)),
            (FLOAT16, (conv_operation(problems[4], activation="linear", storage=CODEBOOK4),)),
        )
        return tuple(
            matrix_operation(operation, precision=precision)
            for precision, operations in by_precision
            for operation in operations
        )

    def probes(self, tile: ConvMatrixTile) -> tuple[ConvMatrixOperation, ...]:
        """The samples, and as many channels as the tallest tiles have."""
        tall = ConvProblem.square(
            batch=1, in_channels=3, in_height=5, in_width=6, out_channels=tile.tile_m + 1, size=3, padding=1
        )
        operation = conv_operation(tall, activation="relu")
        return (*self.sample_operations(), *(matrix_operation(operation, precision=p) for p in PRECISION_ERRORS))


def _slots(tile: ConvMatrixTile, operation: ConvOperation) -> int:
    """Positions of the output, after pooling; mapping "flat": of the run through its padded rows."""
    if tile.mapping == "flat":
        return operation.positions
    shape = operation.output.shape
    return operation.problem.batch * shape.height * shape.width


CONV_MATRIX = ConvMatrixKernel()
