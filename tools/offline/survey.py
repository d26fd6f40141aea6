"""Every kernel of the catalogue at its GPU configurations, compiled for every architecture: the figures of a table."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clprune.architecture import Architecture
from clprune.device import DeviceInfo
from clprune.geometry import ConnectedProblem, ConvProblem, PoolProblem, Shape
from clprune.kernels.arguments import Launch
from clprune.kernels.base import Kernel
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.connected import CONNECTED, ConnectedOperation, ConnectedTile, connected_operation
from clprune.kernels.connected_tiled import CONNECTED_TILED
from clprune.kernels.conv import CONV, ConvTile
from clprune.kernels.conv_matrix import CONV_MATRIX
from clprune.kernels.conv_operation import ConvOperation, conv_operation
from clprune.kernels.conv_tiled import CONV_TILED
from clprune.kernels.depthwise import DEPTHWISE
from clprune.kernels.matrix_operation import matrix_operation
from clprune.kernels.matrix_unit import best_precision
from clprune.kernels.pointwise import POINTWISE
from clprune.kernels.pool import AVERAGE_POOL, MAX_POOL, AveragePoolOperation, MaxPoolOperation, pool_operation
from clprune.kernels.softmax import SOFTMAX, SoftmaxOperation
from clprune.kernels.sparse_conv_tiled import SPARSE_CONV_TILED
from clprune.kernels.storage import FLOAT16, FLOAT32
from clprune.kernels.winograd_operation import OUTPUT_TILES, WinogradOperation, winograd_operation
from clprune.kernels.winograd_tiled import WINOGRAD_TILED
from clprune.layout import contiguous_layout, padded_layout
from clprune.offline.architectures import imaginary_device
from clprune.offline.compilers import Toolchain, compile_kernel
from clprune.offline.occupancy import Occupancy, occupancy
from clprune.offline.report import Report
from clprune.precision import PRECISIONS

#: Layers of VGG16 that differ most: (input channels, height and width, output channels).
VGG16_LAYERS = ((3, 224, 64), (64, 224, 64), (256, 56, 256), (512, 14, 512))
BATCHES = (1, 8)

#: Batches for the connected layers of many images.
LARGE_BATCHES = (16, 64, 256)

#: Depthwise layers of MobileNetV2 that differ most, and one of 5x5: (channels, height and width, size, stride).
DEPTHWISE_LAYERS = ((96, 112, 3, 2), (144, 56, 3, 1), (960, 7, 3, 1), (240, 28, 5, 1), (240, 28, 5, 2))

#: Tiles beyond the catalogue's own, to compare with: other shapes of register tile, and weights from global memory.
MORE_CONV_TILES = (
    ConvTile(tile_m=4, vector_width=1, vectors=4, group_m=4, group_n=32, tile_k=32),
    ConvTile(tile_m=8, vector_width=1, vectors=6, group_m=2, group_n=64, tile_k=32, k_unroll=2),
    ConvTile(tile_m=16, vector_width=1, vectors=4, group_m=2, group_n=64, tile_k=16),
    ConvTile(tile_m=8, vector_width=1, vectors=4, group_n=64, k_unroll=2),
    ConvTile(tile_m=8, vector_width=4, vectors=2, group_m=2, group_n=32, tile_k=32),
)
MORE_CONNECTED_TILES = (
    ConnectedTile(vector_width=1, vectors=1, group_m=64, group_k=4, k_unroll=4),
    ConnectedTile(vector_width=1, vectors=2, group_m=32, group_k=8, tile_n=8, k_unroll=2),
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One source to compile. `is_default`: the tile is one of the kernel's own GPU configurations.

    `operations` are those that render to this source.
    """

    kernel: Kernel[Any, Any]
    tile: Any
    is_default: bool
    source: str
    launch: Launch
    operations: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One source compiled for one architecture."""

    subject: Subject
    architecture: Architecture
    report: Report
    occupancy: Occupancy

    @property
    def fails(self) -> bool:
        """A default GPU configuration spills or uses private memory."""
        return self.subject.is_default and self.report.uses_private_memory


def representative_operations(kernel: Kernel[Any, Any]) -> Sequence[Any]:
    """Layers as VGG16 has them, depthwise as MobileNetV2; for other kernels the largest of their own samples."""
    return _REPRESENTATIVE.get(kernel.name, kernel.sample_operations)()


def _convolutions() -> list[ConvOperation]:
    problems = [
        ConvProblem.square(batch=n, in_channels=c, in_height=h, in_width=h, out_channels=m, size=3, padding=1)
        for c, h, m in VGG16_LAYERS
        for n in BATCHES
    ]
    plain = [conv_operation(problem, activation="relu") for problem in problems]
    pooled = [
        conv_operation(problem, activation="relu", pooled=True) for problem in problems if problem.in_channels > 3
    ]
    return [
        *plain,
        *pooled,
        *(operation for operation in CONV.sample_operations() if operation.problem.window.stride_x > 1),
    ]


def _winograd() -> list[WinogradOperation]:
    """Without pooling, which is a part of the output transform alone."""
    plain = [one for one in _convolutions() if one.problem.in_channels > 3 and one.can_be_flat]
    return [
        winograd_operation(operation, output_tile=output_tile) for operation in plain for output_tile in OUTPUT_TILES
    ]


def _depthwise() -> list[ConvOperation]:
    problems = [
        ConvProblem.square(
            batch=n, in_channels=c, in_height=h, in_width=h, out_channels=c, groups=c, size=s, stride=d, padding=s // 2
        )
        for c, h, s, d in DEPTHWISE_LAYERS
        for n in BATCHES
    ]
    return [conv_operation(problem, activation="relu6") for problem in problems]


def _sparse_convolutions() -> list[ConvOperation]:
    """Of VGG16 those whose inputs have enough channels for chunks."""
    return [operation for operation in _convolutions() if operation.problem.in_channels > 3]


def _fully_connected(batches: Sequence[int] = BATCHES) -> list[ConnectedOperation]:
    layers = [ConnectedProblem(batch=n, inputs=25088, outputs=4096) for n in batches]
    storages = (FLOAT32, FLOAT16)
    return [connected_operation(layer, activation="relu", storage=kind) for layer in layers for kind in storages]


def _max_pools() -> list[MaxPoolOperation]:
    problems = [
        PoolProblem.square(batch=n, channels=channels, in_height=size, in_width=size, size=2, stride=2)
        for channels, size in ((64, 224), (512, 14))
        for n in BATCHES
    ]
    return [pool_operation(MaxPoolOperation, problem, padding=1) for problem in problems]


def _average_pool(batch: int) -> AveragePoolOperation:
    shape = Shape(channels=512, height=7, width=7)
    return AveragePoolOperation(
        problem=PoolProblem.average(batch=batch, shape=shape),
        input=padded_layout(batch=batch, shape=shape, pitch=8, padding=1),
        output=contiguous_layout(batch=batch, shape=Shape(channels=512, height=1, width=1)),
    )


_REPRESENTATIVE: Mapping[str, Callable[[], Sequence[Any]]] = {
    **dict.fromkeys((CONV.name, CONV_TILED.name), _convolutions),
    CONV_MATRIX.name: lambda: [
        matrix_operation(operation, precision=precision) for operation in _convolutions() for precision in PRECISIONS
    ],
    CONNECTED.name: _fully_connected,
    CONNECTED_TILED.name: lambda: _fully_connected(LARGE_BATCHES),
    DEPTHWISE.name: _depthwise,
    MAX_POOL.name: _max_pools,
    AVERAGE_POOL.name: lambda: [_average_pool(n) for n in BATCHES],
    SPARSE_CONV_TILED.name: _sparse_convolutions,
    WINOGRAD_TILED.name: _winograd,
    SOFTMAX.name: lambda: [SoftmaxOperation(count=n, length=1000) for n in BATCHES],
}

#: Kernel -> values between what neighbouring work-items of dimension 0 read of input or weights; 1 is coalesced.
LANE_DISTANCES: Mapping[str, Callable[[Any, Any], int]] = {
    CONV.name: lambda tile, operation: tile.vector_width * operation.problem.window.stride_x,
    **dict.fromkeys((CONV_MATRIX.name, CONV_TILED.name), lambda tile, operation: operation.problem.window.stride_x),
    CONNECTED.name: lambda tile, operation: tile.vector_width,
    DEPTHWISE.name: lambda tile, operation: tile.vector_width * operation.problem.window.stride_x,
    MAX_POOL.name: lambda tile, operation: tile.vector_width * operation.problem.window.stride_x,
    **dict.fromkeys((AVERAGE_POOL.name, SOFTMAX.name, POINTWISE.name, WINOGRAD_TILED.name), lambda tile, operation: 1),
}


def lane_distance(kernel: Kernel[Any, Any], tile: Any, operation: Any) -> int | None:
    """What LANE_DISTANCES says; None for a kernel that is not described there."""
    return LANE_DISTANCES[kernel.name](tile, operation) if kernel.name in LANE_DISTANCES else None


def subjects(architecture: Architecture) -> list[Subject]:
    """Every source worth compiling for `architecture`: operations that render alike are one subject."""
    found: dict[tuple[str, str], Subject] = {}
    for kernel, tile, is_default, operation in combinations(architecture):
        new = subject(kernel, tile, [operation], is_default=is_default)
        known = found.get((kernel.name, new.source))
        operations = (*known.operations, operation) if known else (operation,)
        found[kernel.name, new.source] = dataclasses.replace(new, operations=operations)
    return list(found.values())


def subject(kernel: Kernel[Any, Any], tile: Any, operations: Sequence[Any], *, is_default: bool) -> Subject:
    """A tile with operations that render alike."""
    return Subject(
        kernel=kernel,
        tile=tile,
        is_default=is_default,
        source=kernel.source(tile, operations[0]),
        launch=kernel.launch(tile, operations[0]),
        operations=tuple(operations),
    )


def _is_offered(operation: Any, device: DeviceInfo) -> bool:
    """Not for a matrix unit what that cannot compute as exactly, and what would be compiled as an emulation."""
    precision = getattr(operation, "precision", None)
    return precision is None or not device.matrix_unit or best_precision(device, precision) == precision


def combinations(architecture: Architecture) -> Iterator[tuple[Kernel[Any, Any], Any, bool, Any]]:
    """(kernel, tile, whether it is a default, operation) wherever the kernel's constraints allow it."""
    device = imaginary_device(architecture)
    more: dict[str, Sequence[Any]] = {CONV.name: MORE_CONV_TILES, CONNECTED.name: MORE_CONNECTED_TILES}
    for kernel in built_in_kernels():
        own = kernel.own_tiles(device)
        operations = [one for one in representative_operations(kernel) if _is_offered(one, device)]
        # A default may be one of the kernel's own with something changed for the device, or, for layers of a few
        # values, the smallest tile of all.
        defaults = {operation: kernel.default_tile(operation, device) for operation in operations if own}
        named = dict.fromkeys([*own, *more.get(kernel.name, ())])
        for tile in dict.fromkeys([*named, *defaults.values()]):
            for operation in operations:
                is_default = tile in own or defaults.get(operation) == tile
                if (is_default or tile in named) and kernel.rejection(tile, operation, device) is None:
                    yield kernel, tile, is_default, operation


def survey(
    toolchain: Toolchain,
    architectures: Sequence[Architecture],
    *,
    of: Callable[[Architecture], Sequence[Subject]] = subjects,
    workers: int | None = None,
) -> Iterator[Row]:
    """Compile every subject `of` every architecture, several at a time.

    Raises MissingDependencyError naming what to install, BuildError with the compiler's log.
    """
    jobs = [(architecture, subject) for architecture in architectures for subject in of(architecture)]
    with concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        yield from pool.map(lambda job: _row(toolchain, *job), jobs)


def _row(toolchain: Toolchain, architecture: Architecture, subject: Subject) -> Row:
    options = subject.kernel.build_options(imaginary_device(architecture))
    report = compile_kernel(toolchain, architecture, source=subject.source, options=options)
    resident = occupancy(
        architecture,
        work_group_size=subject.launch.work_group_size,
        registers=report.registers,
        scalar_registers=report.scalar_registers,
        local_mem_bytes=report.local_mem_bytes,
    )
    return Row(subject=subject, architecture=architecture, report=report, occupancy=resident)
