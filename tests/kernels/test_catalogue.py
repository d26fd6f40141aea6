"""Every kernel of the catalogue: its spaces, tiles and limits. `make conformance` runs a covering sample on devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clprune.candidate import bind_case
from clprune.errors import ConfigurationRejected, UsageError
from clprune.kernels.arguments import Expected
from clprune.kernels.base import Kernel
from clprune.kernels.catalogue import built_in_kernels, kernel_by_name
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from tests.covering import has_weights, roomy_device
from tests.imaginary import imaginary_device

each_kernel = pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)
each_gpu_kernel = pytest.mark.parametrize(
    "kernel", [kernel for kernel in built_in_kernels() if kernel.gpu_tiles], ids=lambda kernel: kernel.name
)


def smallest_device(**facts: Any) -> Any:
    """The least that OpenCL 1.2's embedded profile allows: work-groups of one, 1 KiB of local memory."""
    limits = {"max_work_group_size": 1, "max_work_item_sizes": (1, 1, 1), "local_mem_bytes": 1024}
    return imaginary_device(**{**limits, "local_mem_is_dedicated": False, "fp64": False, "extensions": (), **facts})


@each_kernel
def test_same_tile_gives_the_same_bits_again(device_context: Session, kernel: Kernel[Any, Any]) -> None:
    operation = kernel.sample_operations()[-1]
    tile = kernel.default_tile(operation, device_context.info)
    case = kernel.case(tile, operation, kernel.sample(operation, Workload(kept_share=0.5)))
    candidate = bind_case(device_context, kernel, tile, operation, case)
    results = []
    for _ in range(3):
        candidate.bound.enqueue()
        results += [device_context.read(buffer, np.uint32, wanted.values.shape) for buffer, wanted in candidate.outputs]
    assert all(np.array_equal(result, results[0]) for result in results)


@each_kernel
def test_named_tiles_are_points_of_the_space(kernel: Kernel[Any, Any]) -> None:
    """A default that the search cannot name could never be a start of it."""
    safe = {kernel.safe_tile(operation) for operation in kernel.sample_operations()}
    spaces = (
        (safe, kernel.parameters),
        (kernel.cpu_tiles, {**kernel.parameters, **kernel.cpu_values}),
        (kernel.gpu_tiles, {**kernel.parameters, **kernel.gpu_values}),
    )
    for tiles, parameters in spaces:
        for tile in tiles:
            for name, values in parameters.items():
                assert getattr(tile, name) in values, (tile, name)
    for values_of_type in (kernel.cpu_values, kernel.gpu_values):
        assert all(set(values) <= set(kernel.parameters[name]) for name, values in values_of_type.items())


def test_kernels_for_cpus_alone() -> None:
    """What no GPU is offered has no tiles for one; everything else has."""
    assert [kernel.name for kernel in built_in_kernels() if not kernel.gpu_tiles] == ["sparse_conv_local"]


@each_gpu_kernel
def test_gpu_tiles_are_gpu_like(kernel: Kernel[Any, Any]) -> None:
    """At least two of them, valid on some sample operation, with work-groups of 16 to 256 items."""
    assert len(kernel.gpu_tiles) >= 2
    sizes = []
    for tile in kernel.gpu_tiles:
        fitting = [o for o in kernel.sample_operations() if kernel.rejection(tile, o, roomy_device()) is None]
        assert fitting, f"{tile} fits no sample operation"
        sizes.append(kernel.launch(tile, fitting[0]).work_group_size)
    assert all(16 <= size <= 256 for size in sizes)
    assert sum(size >= 64 for size in sizes) >= (2 if has_weights(kernel) else 1)


@pytest.mark.sweep
@each_kernel
def test_safe_tile_runs_on_the_smallest_device(kernel: Kernel[Any, Any]) -> None:
    for facts in ({}, {"type": "cpu"}, {"type": "accelerator"}):
        device = smallest_device(**facts)
        for operation in kernel.sample_operations():
            assert kernel.rejection(kernel.safe_tile(operation), operation, device) is None
            assert kernel.rejection(kernel.default_tile(operation, device), operation, device) is None
            safe = kernel.safe_tile(operation)  # which a search finds, too, where nothing else is valid
            assert all(getattr(safe, name) in values for name, values in kernel.parameters.items())


@pytest.mark.sweep
@each_kernel
def test_default_tile_is_valid_on_any_device(kernel: Kernel[Any, Any]) -> None:
    devices = [
        imaginary_device(max_work_group_size=size, max_work_item_sizes=(size, 1, 1), local_mem_bytes=local, type=kind)
        for size in (1, 8, 64, 256)
        for local in (1024, 16384, 65536)
        for kind in ("cpu", "gpu")
    ]
    for device in devices:
        for operation in kernel.sample_operations():
            tile = kernel.default_tile(operation, device)
            assert kernel.rejection(tile, operation, device) is None, (tile, operation.key, device.max_work_group_size)


@each_gpu_kernel
def test_limits_reject_with_a_reason(kernel: Kernel[Any, Any]) -> None:
    """A tile of a large device, asked of the smallest: a sentence that names the limit."""
    operation, tile = next(
        (o, t)
        for t in kernel.gpu_tiles
        for o in kernel.sample_operations()
        if not kernel.rejection(t, o, roomy_device())
    )
    with pytest.raises(ConfigurationRejected, match="the work-group is larger than the device allows"):
        kernel.check(tile, operation, smallest_device())
    flat = smallest_device(max_work_group_size=1024)
    with pytest.raises(ConfigurationRejected, match="one side of the work-group"):
        kernel.check(tile, operation, flat)


def test_no_valid_tile_counts_the_reasons() -> None:
    kernel = kernel_by_name("average_pool")
    nowhere = imaginary_device(max_work_group_size=0)
    with pytest.raises(
        ConfigurationRejected, match=r"average_pool: no valid configuration for .*: \d+ x the work-group"
    ):
        kernel.candidates(kernel.sample_operations()[0], nowhere)


def test_names_are_unique_and_found() -> None:
    names = [kernel.name for kernel in built_in_kernels()]
    assert len(set(names)) == len(names)
    assert [kernel_by_name(name) for name in names] == list(built_in_kernels())
    with pytest.raises(UsageError, match="kernel 'absent': expected one of clear_padding, "):
        kernel_by_name("absent")


@each_kernel
def test_cases_expect_as_many_terms_as_kernels_say(kernel: Kernel[Any, Any]) -> None:
    for operation in kernel.sample_operations():
        tile = kernel.safe_tile(operation)
        expected = [
            argument
            for argument in kernel.case(tile, operation, kernel.sample(operation, Workload())).arguments.values()
            if isinstance(argument, Expected)
        ]
        assert [output.terms for output in expected] == [kernel.error_terms(operation)]
    assert {*kernel.sample_operations()} <= {*kernel.probes(tile)}
