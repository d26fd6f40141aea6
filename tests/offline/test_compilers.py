"""Finding compilers and running them; what needs one is skipped, visibly, where it is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from clprune.architecture import Architecture
from clprune.errors import BuildError, MissingDependencyError
from clprune.geometry import ConnectedProblem, ConvProblem
from clprune.kernels.base import Kernel, Offer
from clprune.kernels.catalogue import built_in_kernels, kernel_by_name
from clprune.kernels.connected import connected_operation
from clprune.kernels.connected_tiled import CONNECTED_TILED
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.conv_tiled import CONV_TILED
from clprune.kernels.sparse_conv_tiled import SPARSE_CONV_TILED
from clprune.kernels.storage import FLOAT16, INT8
from clprune.kernels.winograd_operation import OUTPUT_TILES, winograd_operation
from clprune.kernels.winograd_tiled import WINOGRAD_TILED
from clprune.offline.architectures import ARCHITECTURES, architecture_by_name, imaginary_device
from clprune.offline.compilers import Toolchain, clocks_of_one_warp, compile_kernel, find_toolchain
from clprune.offline.occupancy import occupancy
from clprune.offline.ranking import Compiler
from tests.offline.fakes import NOTHING
from tests.offline.test_report import recorded
from tools.offline.prediction import network_share, predictions
from tools.offline.survey import Subject, combinations, subject, survey

each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)


def toolchain_for(architecture: Architecture) -> Toolchain:
    toolchain = find_toolchain()
    missing = toolchain.missing(architecture)
    if missing:
        pytest.skip(f"cannot compile for {architecture.name} without {missing}")
    return toolchain


@pytest.mark.parametrize(
    ("absent", "name", "message"),
    [
        ("clang", "gfx906", "without clang: apt-get install clang-15"),
        ("libclc", "sm_80", "libclc"),
        ("ptxas", "sm_80", "nvidia-cuda-nvcc-cu12"),
        ("rocm", "gfx906", "rocm-device-libs"),
    ],
)
def test_missing_compiler_says_what_to_install(absent: str, name: str, message: str) -> None:
    everything = Toolchain(clang=Path("clang"), libclc=Path("a.bc"), rocm=Path(), ptxas=Path("ptxas"))
    toolchain = dataclasses.replace(everything, **{absent: None})
    with pytest.raises(MissingDependencyError, match=message):
        compile_kernel(toolchain, architecture_by_name(name), source="")


def test_ptxas_too_new_for_a_card_says_what_to_install(tmp_path: Path) -> None:
    script = tmp_path / "ptxas"
    script.write_text(
        "#!/bin/sh\necho \"--gpu-name  Allowed values: 'sm_75','sm_80','sm_90','sm_90a'.\"\n", encoding="utf-8"
    )
    script.chmod(0o755)
    toolchain = Toolchain(clang=Path("clang"), libclc=Path("a.bc"), rocm=Path(), ptxas=script)
    missing = toolchain.missing(architecture_by_name("sm_70"))
    assert missing is not None
    assert "a ptxas that knows it" in missing
    assert toolchain.missing(architecture_by_name("sm_80")) is None


def test_versions_of_nothing() -> None:
    assert NOTHING.versions() == {}


@each_architecture
def test_small_kernel(architecture: Architecture) -> None:
    """The kernel that the recorded outputs are of."""
    toolchain = toolchain_for(architecture)
    assert "clang" in toolchain.versions()["clang"]
    report = compile_kernel(toolchain, architecture, source=recorded("dot.cl"))
    assert report.local_mem_bytes == 256
    assert 0 < report.registers <= 64
    # Four, or all 64 that ptxas makes of them, where its machine code is looked at.
    assert report.loop.fmas in (4, 64)
    assert report.loop.local_bytes == 4 * report.loop.fmas
    assert not report.uses_private_memory


@pytest.mark.parametrize("name", ["sm_90", "gfx1100"])
def test_private_arrays_are_seen(name: str) -> None:
    architecture = architecture_by_name(name)
    report = compile_kernel(toolchain_for(architecture), architecture, source=recorded("scratch.cl"))
    assert report.scratch_bytes >= 96


@pytest.mark.parametrize("name", ["sm_80", "gfx90a"])
def test_source_that_does_not_compile(name: str) -> None:
    architecture = architecture_by_name(name)
    with pytest.raises(BuildError, match="undeclared") as caught:
        compile_kernel(toolchain_for(architecture), architecture, source="__kernel void f() { x = 1; }")
    assert "x = 1" in caught.value.source


@pytest.mark.parametrize("name", ["sm_80", "gfx1030"])
def test_equal_sources_are_compiled_once(name: str) -> None:
    architecture = architecture_by_name(name)
    kernel = kernel_by_name("conv")
    operation = kernel.sample_operations()[1]
    device = imaginary_device(architecture)
    tile = next(tile for tile in kernel.gpu_tiles if kernel.rejection(tile, operation, device) is None)
    offer = Offer(kernel=kernel, operation=operation)
    first, second = Compiler(toolchain_for(architecture), architecture).reports(offer, [tile, tile])
    assert first is second


each_share = pytest.mark.parametrize(
    ("name", "least"), [("sm_80", 0.88), ("sm_90", 0.88), ("gfx90a", 0.85), ("gfx1030", 0.85), ("gfx1100", 0.85)]
)


def check_hot_loop(
    kernel: Kernel[Any, Any],
    tile: Any,
    operation: Any,
    *,
    architecture: Architecture,
    toolchain: Toolchain,
    least: float,
) -> None:
    """Nothing spills, a quarter of the warps fit, and so much of the hot loop is multiply-adds."""
    source, launch = kernel.source(tile, operation), kernel.launch(tile, operation)
    options = kernel.build_options(imaginary_device(architecture))
    report = compile_kernel(toolchain, architecture, source=source, options=options)
    resident = occupancy(
        architecture,
        work_group_size=launch.work_group_size,
        registers=report.registers,
        scalar_registers=report.scalar_registers,
        local_mem_bytes=report.local_mem_bytes,
    )
    assert not report.uses_private_memory
    assert resident.share >= 0.25
    if architecture.name.startswith("gfx") or toolchain.nvdisasm is not None:
        assert report.loop.share >= least


@pytest.mark.slow
@each_share
@pytest.mark.parametrize("is_pooled", [False, True], ids=["flat", "pooled"])
@pytest.mark.parametrize(("channels", "size"), [(64, 224), (512, 14)], ids=["whole", "splits"])
def test_hot_loop_of_the_tiled_convolution(
    name: str, least: float, *, is_pooled: bool, channels: int, size: int
) -> None:
    """Nearly all of it is multiply-adds, where machine code can be looked at; and a quarter of the warps fit."""
    architecture = architecture_by_name(name)
    toolchain, device = toolchain_for(architecture), imaginary_device(architecture)
    problem = ConvProblem.square(
        batch=1, in_channels=channels, in_height=size, in_width=size, out_channels=channels, size=3, padding=1
    )
    operation = conv_operation(problem, activation="relu", pooled=is_pooled)
    tile = CONV_TILED.default_tile(operation, device)
    assert tile.splits > 1 or size > 20
    assert dataclasses.replace(tile, splits=1) == next(
        t for t in CONV_TILED.own_tiles(device) if CONV_TILED.rejection(t, operation, device) is None
    )
    check_hot_loop(CONV_TILED, tile, operation, architecture=architecture, toolchain=toolchain, least=least)


@pytest.mark.slow
@each_share
@pytest.mark.parametrize("output_tile", OUTPUT_TILES)
def test_hot_loop_of_the_tiled_winograd_convolution(name: str, least: float, *, output_tile: int) -> None:
    """As much of the product; the transforms neither spill nor take more registers."""
    architecture = architecture_by_name(name)
    toolchain, device = toolchain_for(architecture), imaginary_device(architecture)
    problem = ConvProblem.square(
        batch=8, in_channels=64, in_height=222, in_width=222, out_channels=64, size=3, padding=1
    )
    operation = winograd_operation(conv_operation(problem, activation="leaky"), output_tile=output_tile)
    tile = WINOGRAD_TILED.default_tile(operation, device)
    assert tile == WINOGRAD_TILED.gpu_tiles[0]
    check_hot_loop(WINOGRAD_TILED, tile, operation, architecture=architecture, toolchain=toolchain, least=least)


@pytest.mark.parametrize("images", [64, 256])
def test_connected_layers_where_registers_are_few(images: int) -> None:
    """As below."""
    architecture = architecture_by_name("gfx906")
    toolchain, device = toolchain_for(architecture), imaginary_device(architecture)
    operation = connected_operation(ConnectedProblem(batch=images, inputs=25088, outputs=4096), activation="relu")
    tile = CONNECTED_TILED.default_tile(operation, device)
    assert tile.results == 32
    check_hot_loop(CONNECTED_TILED, tile, operation, architecture=architecture, toolchain=toolchain, least=0.85)


@pytest.mark.parametrize("kernel", [CONV_TILED, WINOGRAD_TILED], ids=lambda kernel: kernel.name)
def test_hot_loop_where_registers_are_few(kernel: Kernel[Any, Any]) -> None:
    """Three of ten warps of gfx906 fit."""
    architecture = architecture_by_name("gfx906")
    toolchain, device = toolchain_for(architecture), imaginary_device(architecture)
    problem = ConvProblem.square(
        batch=8, in_channels=64, in_height=222, in_width=222, out_channels=64, size=3, padding=1
    )
    plain = conv_operation(problem, activation="leaky")
    operation = winograd_operation(plain, output_tile=4) if kernel is WINOGRAD_TILED else plain
    tile = kernel.default_tile(operation, device)
    assert (tile.rows, tile.results) == (64, 32)
    check_hot_loop(kernel, tile, operation, architecture=architecture, toolchain=toolchain, least=0.85)


@each_share
@pytest.mark.parametrize("images", [64, 256])
def test_hot_loop_of_connected_layers_of_many_images(name: str, least: float, images: int) -> None:
    """Nearly all of it is multiply-adds, too, though inputs of an image are fetched one by one."""
    architecture = architecture_by_name(name)
    toolchain, device = toolchain_for(architecture), imaginary_device(architecture)
    operation = connected_operation(ConnectedProblem(batch=images, inputs=25088, outputs=4096), activation="relu")
    tile = CONNECTED_TILED.default_tile(operation, device)
    check_hot_loop(CONNECTED_TILED, tile, operation, architecture=architecture, toolchain=toolchain, least=least)


@pytest.mark.parametrize("name", ["sm_70", "sm_80", "sm_90", "gfx1100"])
def test_halves_of_connected_layers_of_many_images_do_not_spill(name: str) -> None:
    """Beside 64 sums they wait as they lie in memory, half the registers of what they stand for."""
    architecture = architecture_by_name(name)
    toolchain, device = toolchain_for(architecture), imaginary_device(architecture)
    problem = ConnectedProblem(batch=64, inputs=25088, outputs=4096)
    operation = connected_operation(problem, activation="relu", storage=FLOAT16)
    tile = CONNECTED_TILED.default_tile(operation, device)
    assert tile.results == 64
    check_hot_loop(CONNECTED_TILED, tile, operation, architecture=architecture, toolchain=toolchain, least=0.85)


@pytest.mark.parametrize("name", ["sm_80", "gfx1100"])
def test_integers_of_the_tiled_convolution_do_not_spill(name: str) -> None:
    """What is added to the sums in the end takes no registers before."""
    architecture = architecture_by_name(name)
    toolchain, device = toolchain_for(architecture), imaginary_device(architecture)
    problem = ConvProblem.square(
        batch=1, in_channels=64, in_height=224, in_width=224, out_channels=64, size=3, padding=1
    )
    operation = conv_operation(problem, activation="leaky", storage=INT8)
    tile = CONV_TILED.default_tile(operation, device)
    check_hot_loop(CONV_TILED, tile, operation, architecture=architecture, toolchain=toolchain, least=0.85)


def test_sparse_convolutions_pack_their_products_without_copies() -> None:
    """On gfx90a: two multiply-adds each, and hardly more instructions than the loads of what they multiply."""
    architecture = architecture_by_name("gfx90a")
    toolchain, device = toolchain_for(architecture), imaginary_device(architecture)
    problem = ConvProblem.square(
        batch=8, in_channels=64, in_height=224, in_width=224, out_channels=64, size=3, padding=1
    )
    operation = conv_operation(problem, activation="relu")
    source = SPARSE_CONV_TILED.source(SPARSE_CONV_TILED.default_tile(operation, device), operation)
    loop = compile_kernel(toolchain, architecture, source=source).loop
    assert loop.fmas == 2 * loop.fma_instructions
    assert loop.other <= 0.3 * loop.fma_instructions


def test_clocks_of_one_warp() -> None:
    """Of a loop of LLVM's, where its llvm-mca is there; of NVIDIA's code it knows nothing."""
    architecture = architecture_by_name("gfx90a")
    toolchain = toolchain_for(architecture)
    report = compile_kernel(toolchain, architecture, source=recorded("dot.cl"))
    if toolchain.mca is not None:
        clocks = clocks_of_one_warp(toolchain, architecture, report)
        assert clocks is not None
        assert clocks >= report.loop.instructions
    assert clocks_of_one_warp(dataclasses.replace(toolchain, mca=None), architecture, report) is None
    assert clocks_of_one_warp(toolchain, architecture, dataclasses.replace(report, hot_lines=())) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sm_90", "gfx90a"])
def test_predicted_share_of_vgg16(name: str) -> None:
    """Batch 8, a quarter of the columns kept: a prediction, of which the page names what limits it."""
    architecture = architecture_by_name(name)
    found = list(predictions(Compiler(toolchain_for(architecture), architecture)))
    assert all(not prediction.report.uses_private_memory for prediction in found)
    assert all(prediction.estimate.occupancy.share >= 0.25 for prediction in found)
    assert network_share(found) >= 0.7


def a_layer_for_each_tile(architecture: Architecture) -> list[Subject]:
    """Of every kernel's default tiles, with layers in turn: the first's first, the second's second, and so on."""
    layers_of: dict[tuple[Kernel[Any, Any], Any], list[Any]] = {}
    for kernel, tile, is_default, operation in combinations(architecture):
        if is_default:
            layers_of.setdefault((kernel, tile), []).append(operation)
    return [
        subject(kernel, tile, [layers[number % len(layers)]], is_default=True)
        for number, ((kernel, tile), layers) in enumerate(layers_of.items())
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), [("sm_90", 0), ("gfx1030", 1)], ids=["sm_90", "gfx1030"])
def test_no_default_gpu_configuration_spills(name: str, part: int) -> None:
    """One architecture of each vendor, a layer for each tile, of which each takes every third one; `make offline-gpu`
    compiles all for all of them.
    """
    architecture = architecture_by_name(name)
    toolchain = dataclasses.replace(toolchain_for(architecture), nvdisasm=None)  # slow, and ptxas says what spills

    def every_third(of: Architecture) -> list[Subject]:
        own = a_layer_for_each_tile(of)
        by_kernel = {
            kernel: [one for one in own if one.kernel.name == kernel] for kernel in {s.kernel.name for s in own}
        }
        return [one for tiles in by_kernel.values() for one in (tiles[part::3] or tiles)]

    rows = list(survey(toolchain, [architecture], of=every_third))
    device = imaginary_device(architecture)
    kernels = [kernel for kernel in built_in_kernels() if kernel.gpu_tiles]
    fitting = [kernel for kernel in kernels if device.matrix_unit or kernel.own_tiles(device)]  # others need the unit
    assert {row.subject.kernel.name for row in rows} == {kernel.name for kernel in fitting}
    assert [row for row in rows if row.fails] == []
    poor = [row for row in rows if row.subject.is_default and row.occupancy.share < 0.25]
    assert poor == []
