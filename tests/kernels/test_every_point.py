"""What holds for every kernel at all points that stand for its space: finding those takes most of the time, hence here
together.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any

import pytest

from clprune.errors import ConfigurationRejected
from clprune.kernels.base import Kernel
from clprune.kernels.catalogue import built_in_kernels
from clprune.kernels.signature import check_all_are_taken, in_order, signature
from tests.covering import WORKLOADS, Point, covering_points, has_weights, roomy_device, values_missed
from tests.imaginary import imaginary_device

pytestmark = pytest.mark.sweep

BARE_LITERAL = re.compile(r"(?<![\w.])(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?(?![\dfFeE.])")

each_kernel = pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)


@functools.cache
def source_of(kernel: Kernel[Any, Any], point: Point) -> str:
    """What several tests look at, made once."""
    return kernel.source(point.tile, point.operation)


def without_comments(source: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.DOTALL)


def test_bare_literals_are_found() -> None:
    assert BARE_LITERAL.findall("a = 0.1; b = .5 + 2. * 1e-3; c = 1.0e+2;") == ["0.1", ".5", "2.", "1e-3", "1.0e+2"]
    assert BARE_LITERAL.findall("a = 0.1f; v.s0 = x1 + 3; b = 1e-07f; c = 0x1f; d = -1.0F;") == []


@each_kernel
def test_every_value_of_every_parameter_can_occur(kernel: Kernel[Any, Any]) -> None:
    """A value that no sample operation allows would never be tested; nor is any operation or sparsity left out."""
    points = covering_points(kernel, roomy_device())
    assert values_missed(kernel, points) == []
    assert {point.operation_number for point in points} == {*range(len(kernel.sample_operations()))}
    assert {point.workload for point in points} == {*(WORKLOADS if has_weights(kernel) else WORKLOADS[:1])}


@each_kernel
def test_safe_tile_writes_gaps_where_any_does(kernel: Kernel[Any, Any]) -> None:
    """It takes another's place when the plan is made and no step clears those gaps."""
    for point in covering_points(kernel, roomy_device()):
        if kernel.writes_gaps(point.tile):
            assert kernel.writes_gaps(kernel.safe_tile(point.operation))


@each_kernel
def test_launch_is_whole_work_groups(kernel: Kernel[Any, Any]) -> None:
    for point in covering_points(kernel, roomy_device()):
        for stage in kernel.stages(point.tile, point.operation):
            launch = stage.launch
            assert len(launch.global_size) == len(launch.local_size) <= 3
            assert all(
                whole % part == 0 and whole > 0
                for whole, part in zip(launch.global_size, launch.local_size, strict=True)
            )
        assert kernel.local_mem_bytes(point.tile, point.operation) >= 0


@each_kernel
def test_local_memory_is_checked_before_the_build(kernel: Kernel[Any, Any]) -> None:
    for point in covering_points(kernel, roomy_device()):
        needed = kernel.local_mem_bytes(point.tile, point.operation)
        if needed:
            short = imaginary_device(
                max_work_group_size=1024, max_work_item_sizes=(1024,) * 3, local_mem_bytes=needed - 1
            )
            with pytest.raises(ConfigurationRejected, match="more local memory than the device has"):
                kernel.check(point.tile, point.operation, short)


@each_kernel
def test_sources_are_pure_single_precision(kernel: Kernel[Any, Any]) -> None:
    """No `double`, and no literal that would be one: it would need fp64, or cost a conversion where fp64 is slow."""
    for point in covering_points(kernel, roomy_device()):
        source = without_comments(source_of(kernel, point))
        assert "double" not in source
        assert BARE_LITERAL.findall(source) == [], point


@each_kernel
def test_sources_are_whole(kernel: Kernel[Any, Any]) -> None:
    """Nothing of Mako is left, braces match, and the kernel declares the work-group that its launch has."""
    for point in covering_points(kernel, roomy_device()):
        source = source_of(kernel, point)
        assert "${" not in source
        assert not re.search(r"^\s*(%|##)", source, flags=re.MULTILINE)
        assert source.count("{") == source.count("}")
        for stage in kernel.stages(point.tile, point.operation):
            declared = re.findall(rf"reqd_work_group_size\((\d+), (\d+), (\d+)\)\)\)\s+void {stage.name}\(", source)
            assert len(declared) == 1
            assert tuple(int(size) for size in declared[0]) == (*stage.launch.local_size, 1, 1)[:3]


@each_kernel
def test_declared_local_memory_is_what_the_source_has(kernel: Kernel[Any, Any]) -> None:
    sizes = {"float": 4, "int": 4, "uint": 4, "half": 2, "char": 1}
    for point in covering_points(kernel, roomy_device()):
        source = source_of(kernel, point)
        total = sum(
            sizes[base] * int(width or 1) * math.prod(int(side) for side in re.findall(r"\[(\d+)\]", sides))
            for base, width, sides in re.findall(
                r"__local (\w+?)(\d*) \w+((?:\[\d+\])+)(?: __attribute__\(\(\w+\(\d+\)\)\))?;", source
            )
        )
        assert total == kernel.local_mem_bytes(point.tile, point.operation), point


@each_kernel
def test_every_kernel_names_its_arguments_as_its_template_does(kernel: Kernel[Any, Any]) -> None:
    samples: dict[Any, Any] = {}
    for point in covering_points(kernel, roomy_device()):
        source = source_of(kernel, point)
        drawn = (point.operation_number, point.workload)
        if drawn not in samples:
            samples[drawn] = kernel.sample(point.operation, point.workload)
        case = kernel.case(point.tile, point.operation, samples[drawn])
        stages = kernel.stages(point.tile, point.operation)
        functions = {stage.name: (signature(source, stage.name), stage.takes) for stage in stages}
        check_all_are_taken(case.arguments, functions)
        for name, (parameters, takes) in functions.items():
            assert len(in_order(name, parameters, case.arguments, takes=takes)) == len(parameters)
