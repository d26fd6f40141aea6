"""Does a driver still behave as `clprune.quirks` says? Asked of the driver itself, past clprune's own door."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl

from clprune import quirks
from clprune.opencl import Session
from clprune.quirks import Quirk, quirks_of

REVERSE = """
kernel __attribute__((reqd_work_group_size({items}, 1, 1)))
void reverse(global const int *x, global int *y)
{{
    local int scratch[{items}];
    const int i = get_local_id(0);
    scratch[i] = x[get_global_id(0)];
    barrier(CLK_LOCAL_MEM_FENCE);
    y[get_global_id(0)] = scratch[{items} - 1 - i];
}}
"""
HALVE = (
    "kernel void halve(global const float *x, global float *y) { y[get_global_id(0)] = x[get_global_id(0)] * 0.5f; }"
)
#: Kernels with one mistake each, which a simulator with checks must report.
MISTAKES = {
    "data race": "kernel void wrong(global int *y) { y[0] = get_global_id(0); }",
    "race in local memory": "kernel void wrong(global int *y) { local int s[8]; const int i = get_local_id(0);"
    " s[i] = i; y[get_global_id(0)] = s[7 - i]; }",
    "write outside": "kernel void wrong(global int *y) { y[get_global_id(0) + 1000] = 1; }",
    "uninitialised read": "kernel void wrong(global int *y) { if (y[get_global_id(0)] > 3) y[0] = 1; }",
}


@dataclass(kw_only=True)
class Evidence:
    """`quirks` are the names of those that the device has; `failures` what does not agree with them."""

    quirks: list[str] = field(default_factory=list)
    checks: int = 0
    failures: list[str] = field(default_factory=list)

    def expect(self, quirk: Quirk, *, flagged: bool, seen: bool, detail: str) -> None:
        """A quirk must be flagged exactly where it is seen."""
        self.checks += 1
        if flagged != seen:
            known = "is listed and was not seen" if flagged else "was seen and is not listed"
            self.failures.append(f"{quirk.name} {known}: {detail}")


class Bare:
    """The device without clprune around it."""

    def __init__(self, session: Session) -> None:
        self.device = session._device
        self.context = cl.Context([self.device])
        self.queue = cl.CommandQueue(self.context)

    def kernel(self, source: str, name: str, *options: str) -> cl.Kernel:
        program = cl.Program(self.context, source)
        return cl.Kernel(program.build(list(options)), name)

    def run(self, kernel: cl.Kernel, x: np.ndarray, *, items: int, queue: cl.CommandQueue | None = None) -> Any:
        """(result, event) of a kernel of (x, y)."""
        source = cl.Buffer(self.context, cl.mem_flags.COPY_HOST_PTR, hostbuf=x)
        target = cl.Buffer(self.context, cl.mem_flags.READ_WRITE, x.nbytes)
        event = kernel(queue or self.queue, (len(x),), (items,), source, target)
        event.wait()
        y = np.empty_like(x)
        cl.enqueue_copy(self.queue, y, target)
        return y, event


def check_quirks(session: Session) -> Evidence:
    """Compare what is listed for the device with what it does."""
    found = quirks_of(session.info)
    evidence = Evidence(quirks=[quirk.name for quirk in found])
    bare = Bare(session)
    flags = {quirk.name: quirk in found for quirk in quirks.QUIRKS}
    _kernel_limits(bare, evidence, flags[quirks.KERNEL_LIMITS_UNTRUE.name])
    _event_times(bare, evidence, flags[quirks.EVENT_TIMES_COUNT.name])
    _language(bare, evidence, flags[quirks.LANGUAGE_OPTION_REFUSED.name])
    _fp64(bare, evidence, flags[quirks.NO_FP64.name])
    _subnormals(bare, evidence, flags[quirks.SUBNORMALS_FLUSHED.name])
    if "OCLGRIND_LOG" in os.environ:
        _mistakes(bare, evidence, Path(os.environ["OCLGRIND_LOG"]))
    return evidence


def _kernel_limits(bare: Bare, evidence: Evidence, flagged: bool) -> None:
    items = min(256, bare.device.max_work_group_size)
    kernel = bare.kernel(REVERSE.format(items=items), "reverse")
    limit = kernel.get_work_group_info(cl.kernel_work_group_info.WORK_GROUP_SIZE, bare.device)
    local = kernel.get_work_group_info(cl.kernel_work_group_info.LOCAL_MEM_SIZE, bare.device)
    x = np.arange(4 * items, dtype=np.int32)
    y, _ = bare.run(kernel, x, items=items)
    runs = np.array_equal(y, x.reshape(4, items)[:, ::-1].reshape(-1))
    if not runs:
        evidence.failures.append(f"a work-group of {items} items with a barrier gave wrong results")
    detail = f"limit {limit}, {local} bytes of local memory for a kernel that ran with {items} items of 4 bytes each"
    evidence.expect(
        quirks.KERNEL_LIMITS_UNTRUE, flagged=flagged, seen=limit < items or local > 6 * items, detail=detail
    )


def _event_times(bare: Bare, evidence: Evidence, flagged: bool) -> None:
    queue = cl.CommandQueue(bare.context, properties=cl.command_queue_properties.PROFILING_ENABLE)
    kernel = bare.kernel(HALVE, "halve")
    _, event = bare.run(kernel, np.ones(2**16, np.float32), items=1, queue=queue)
    nanoseconds = event.profile.end - event.profile.start
    evidence.expect(quirks.EVENT_TIMES_COUNT, flagged=flagged, seen=nanoseconds < 100, detail=f"{nanoseconds} ns")


def _language(bare: Bare, evidence: Evidence, flagged: bool) -> None:
    try:
        bare.kernel(HALVE, "halve", "-cl-std=CL1.2")
        refusal = ""
    except cl.Error as error:
        refusal = str(error)
    evidence.expect(quirks.LANGUAGE_OPTION_REFUSED, flagged=flagged, seen=bool(refusal), detail=refusal)


def _fp64(bare: Bare, evidence: Evidence, flagged: bool) -> None:
    is_announced = "cl_khr_fp64" in bare.device.extensions.split()
    evidence.expect(quirks.NO_FP64, flagged=flagged, seen=not is_announced, detail=bare.device.extensions)


def _subnormals(bare: Bare, evidence: Evidence, flagged: bool) -> None:
    """A device that promises to keep them must; one that does not may."""
    x = np.array([1.5e-38, 1e-40, 3e-39, 1.0], np.float32)
    y, _ = bare.run(bare.kernel(HALVE, "halve"), x, items=1)
    evidence.checks += 1
    if not flagged and not np.array_equal(y, x * np.float32(0.5)):
        evidence.failures.append(f"{quirks.SUBNORMALS_FLUSHED.name} was seen and is not listed: {y}")


def _mistakes(bare: Bare, evidence: Evidence, log: Path) -> None:
    """The simulator's own checks are on: each mistake earns a report."""
    for name, source in MISTAKES.items():
        before = log.stat().st_size if log.exists() else 0
        target = cl.Buffer(bare.context, cl.mem_flags.READ_WRITE, 4 * 16)
        bare.kernel(source, "wrong")(bare.queue, (16,), (8,), target)
        bare.queue.finish()
        evidence.checks += 1
        if not log.exists() or log.stat().st_size == before:
            evidence.failures.append(f"a kernel with a {name} earned no report")
