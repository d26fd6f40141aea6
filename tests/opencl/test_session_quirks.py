"""What an open device does about its driver's quirks: an odd driver is played by the machine's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl
import pytest
from pyopencl._cl import _Program

from clprune.errors import BuildError
from clprune.opencl import Kernel, Session, programs

SOURCE = """
kernel void twice(global float *values)
{
#ifdef HAS_CPU_PREFETCH
    values[1] = 7.0f;
#endif
    values[0] *= 2.0f;
}
"""


def opened(real: Session, **facts: Any) -> Session:
    """The same device once more, as if the driver had said other things of it."""
    return Session(dataclasses.replace(real.info, **facts))


def run_twice(on: Session) -> list[float]:
    values = on.buffer_from(np.array([1.5, 0.0], np.float32))
    kernel = on.kernel(on.build(SOURCE, keep=False), "twice")
    on.bind(kernel, global_size=(1,), local_size=(1,), arguments=(values,)).enqueue()
    result: list[float] = on.read(values, np.float32, 2).tolist()
    return result


class Refusing(_Program):  # type: ignore[misc]
    """A program of a compiler that knows one version of the language and wants no option for it."""

    refused: int

    def _build(self, options: bytes, devices: Any) -> Any:
        if b"-cl-std" in options:
            Refusing.refused += 1
            raise cl.LogicError(cl._cl._ErrorRecord(msg="imaginary", code=-43, routine="clBuildProgram"))
        return super()._build(options, devices)


def test_refused_language_option_is_left_out(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out by trying, or known from the version: then it is not tried."""
    monkeypatch.setattr(programs, "_Program", Refusing)
    Refusing.refused = 0
    with opened(device_context) as silent:
        assert run_twice(silent)[0] == 3.0
    assert Refusing.refused == 1
    with opened(device_context, opencl_c_version="OpenCL C 1.1") as honest:
        assert run_twice(honest)[0] == 3.0
    assert Refusing.refused == 1


def test_other_refusals_are_errors(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(_Program):  # type: ignore[misc]
        def _build(self, options: bytes, devices: Any) -> Any:
            raise cl.RuntimeError(cl._cl._ErrorRecord(msg="imaginary", code=-11, routine="clBuildProgram"))

    monkeypatch.setattr(programs, "_Program", Broken)
    with pytest.raises(BuildError, match="refused a kernel"):
        run_twice(device_context)


def test_prefetching_is_for_real_cpus(device_context: Session) -> None:
    for facts, wanted in (({"type": "cpu", "platform_name": "Real"}, 7.0), ({"type": "gpu"}, 0.0)):
        with opened(device_context, **facts) as on:
            assert run_twice(on)[1] == (0.0 if on.info.is_software else wanted)


def test_events_that_only_count_are_not_used(device_context: Session) -> None:
    with opened(device_context, platform_name="rusticl", driver_version="22.3.6") as on:
        assert on._profiling_queue is None
        bound = on.bind(
            on.kernel(on.build(SOURCE, keep=False), "twice"),
            global_size=(1,),
            local_size=(1,),
            arguments=(on.zeros(8),),
        )
        assert 0 < bound.timed() < 10


def test_untrue_limits_of_kernels_are_not_used(device_context: Session) -> None:
    with opened(device_context, platform_name="rusticl", driver_version="22.3.6", max_work_group_size=77) as on:
        kernel = on.kernel(on.build(SOURCE, keep=False), "twice")
    assert (kernel.work_group_limit, kernel.local_mem_bytes) == (77, 0)


def test_untracked_fills_are_writes(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*arguments: Any, **options: Any) -> None:
        raise AssertionError("filled")

    monkeypatch.setattr(cl, "enqueue_fill_buffer", fill)
    with opened(device_context, platform_name="Oclgrind") as on:
        for count in (0, 1, 3, 1000):
            buffer = on.zeros(4 * count)
            assert on.read(buffer, np.float32, count).tolist() == [0.0] * count


def test_obstacles_that_only_a_built_kernel_tells(device_context: Session) -> None:
    kernel = device_context.kernel(device_context.build(SOURCE, keep=False), "twice")
    limited: Kernel = dataclasses.replace(kernel, work_group_limit=32, local_mem_bytes=0)
    assert limited.obstacle(device_context.info, work_group_size=32) is None
    assert limited.obstacle(device_context.info, work_group_size=33) == (
        "the built kernel allows work-groups of 32, not 33"
    )
    greedy = dataclasses.replace(kernel, local_mem_bytes=2**40)
    assert "needs 1099511627776 bytes of local memory" in str(greedy.obstacle(device_context.info, work_group_size=1))


class Asked(_Program):  # type: ignore[misc]
    """A program that counts who wants its binary."""

    count: int

    def get_info(self, what: Any) -> Any:
        Asked.count += what == cl.program_info.BINARIES
        return super().get_info(what)


def test_a_driver_with_a_cache_of_its_own_is_not_asked_for_binaries(
    device_context: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(programs, "_Program", Asked)
    for platform_name, count in (("Another", 1), ("Portable Computing Language", 0)):
        Asked.count = 0
        with opened(device_context, platform_name=platform_name) as session:
            session.kernel(session.build(SOURCE), "twice")
        assert Asked.count == count
