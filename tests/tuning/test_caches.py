"""What is in caches before a candidate is timed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from clprune.bandwidth import Reader
from clprune.candidate import bind_case, verify
from clprune.geometry import ConvProblem
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.winograd import WINOGRAD
from clprune.kernels.winograd_operation import winograd_operation
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from clprune.tuning.caches import EVICTED_BYTES, Caches, evicted_bytes
from tests.imaginary import imaginary_device

PROBLEM = ConvProblem.square(batch=1, in_channels=5, in_height=9, in_width=9, out_channels=7, size=3, padding=1)


def test_input_and_scratch_are_warm(device_context: Session) -> None:
    direct = conv_operation(PROBLEM)
    for kernel, operation, scratch in ((CONV, direct, 0), (WINOGRAD, winograd_operation(direct, output_tile=2), 2)):
        tile = kernel.safe_tile(operation)  # type: ignore[attr-defined]
        case = kernel.case(tile, operation, kernel.sample(operation, Workload()))  # type: ignore[attr-defined]
        candidate = bind_case(device_context, kernel, tile, operation, case)  # type: ignore[arg-type]
        assert len(candidate.warm) == scratch + 1
        assert candidate.warm[-1].nbytes == np.asarray(case.arguments["x"]).nbytes
        launches = Caches(device_context).launches(candidate.warm)
        assert len(launches) == (0 if device_context.info.is_software else scratch + 2)
        candidate.bound.timed(before=launches)
        verify(device_context, candidate)  # preparing changes nothing


def test_simulators_have_no_caches(device_context: Session) -> None:
    asked: list[str] = []

    class Simulator:
        info = dataclasses.replace(device_context.info, platform_name="Oclgrind")

        def __getattr__(self, name: str) -> None:
            asked.append(name)

    assert Caches(Simulator()).launches(()) == []  # type: ignore[arg-type]
    assert asked == []


def test_reading_counts_what_it_reads(device_context: Session) -> None:
    reader = Reader(device_context)
    assert 0 < reader.whole_bytes(2**24) <= 2**24
    buffer = device_context.zeros(2**20 + 4)
    reading = reader.reading(buffer)
    assert reading.read_bytes == reader.whole_bytes(buffer.nbytes) <= buffer.nbytes
    assert reading.run.timed() > 0
    assert reader.reading(device_context.zeros(16)).read_bytes == 0


def test_small_devices_keep_most_of_their_memory() -> None:
    small = {"global_mem_bytes": 2**26, "max_alloc_bytes": 2**26}
    assert evicted_bytes(imaginary_device(**small)) == 2**22
    assert evicted_bytes(imaginary_device(global_mem_bytes=2**34, max_alloc_bytes=2**32)) == EVICTED_BYTES
    assert evicted_bytes(imaginary_device(global_mem_bytes=2**34, max_alloc_bytes=2**20)) == 2**20


def test_small_buffers_are_read_by_fewer_work_groups(device_context: Session) -> None:
    class ManyUnits:
        info = dataclasses.replace(device_context.info, compute_units=1024)

        def __getattr__(self, name: str) -> Any:
            return getattr(device_context, name)

    reader = Reader(ManyUnits())  # type: ignore[arg-type]
    reading = reader.reading(device_context.zeros(2**16))
    assert reading.read_bytes == 2**16
    assert reading.run.timed() > 0
