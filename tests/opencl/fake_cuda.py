"""A CUDA driver whose one GPU is the CPU of the tests: memory and kernels are those of an OpenCL session.

What stands for PTX is OpenCL C behind the entries that PTX would have, so that everything but the compilers is tried:
which function gets which bytes, how many groups start, what waits for what, what is freed.
"""

# ruff: noqa: N802 -- the functions have the names of the driver's

from __future__ import annotations

import ctypes
import re
import time
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from clprune.errors import BuildError
from clprune.kernels.signature import Parameter, signature
from clprune.opencl import Session

_SCALARS = {"int": np.int32, "uint": np.uint32, "long": np.int64, "ulong": np.uint64, "float": np.float32}
_PTX_TYPES = {"int": "u32", "uint": "u32", "long": "u64", "ulong": "u64", "float": "f32"}
_SOURCE = "// source\n"


def stand_in_for_ptx(source: str, options: Sequence[str]) -> str:
    """The entries of `source` as PTX has them, then itself."""
    names = re.findall(r"__kernel\b[^;{}]*?\bvoid\s+(\w+)\s*\(", source)
    entries = [f".visible .entry {name}(\n{_ptx_parameters(signature(source, name))}\n)\n{{}}\n" for name in names]
    return "".join(entries) + f"// options: {' '.join(options)}\n" + _SOURCE + source


def _ptx_parameters(parameters: Sequence[Parameter]) -> str:
    kinds = ["u64" if each.is_pointer else _PTX_TYPES[each.type] for each in parameters]
    return ",\n".join(f"\t.param .{kind} parameter_{number}" for number, kind in enumerate(kinds))


class Status(int):
    """What each function answers first."""

    name = "CUDA_ERROR_ILLEGAL_ADDRESS"


class FakeCuda:
    """The functions of `cuda.bindings.driver` that are called, on `session`; `fails` answers with an error."""

    def __init__(self, session: Session, **facts: int) -> None:
        self.session = session
        self.calls: Counter[str] = Counter()
        self.fails: set[str] = set()
        self.memory: dict[int, Any] = {}
        self.modules: dict[int, Any] = {}
        info = session.info
        self.facts = {
            "WARP_SIZE": 32,
            "COMPUTE_CAPABILITY_MAJOR": 7,
            "COMPUTE_CAPABILITY_MINOR": 0,
            "MULTIPROCESSOR_COUNT": 4,
            "MAX_THREADS_PER_BLOCK": min(1024, info.max_work_group_size),
            "MAX_BLOCK_DIM_X": 1024,
            "MAX_BLOCK_DIM_Y": 1024,
            "MAX_BLOCK_DIM_Z": 64,
            "MAX_SHARED_MEMORY_PER_BLOCK": min(49152, info.local_mem_bytes),
            "CLOCK_RATE": 1_500_000,
            "L2_CACHE_SIZE": 4 << 20,
        } | facts
        self.CUdevice_attribute = SimpleNamespace(**{f"CU_DEVICE_ATTRIBUTE_{name}": name for name in self.facts})
        names = ("MAX_THREADS_PER_BLOCK", "SHARED_SIZE_BYTES", "LOCAL_SIZE_BYTES")
        self.CUfunction_attribute = SimpleNamespace(**{f"CU_FUNC_ATTRIBUTE_{name}": name for name in names})

    def __getattribute__(self, name: str) -> Any:
        """Every function counts its calls, and fails where it shall."""
        found = super().__getattribute__(name)
        if not name.startswith("cu"):
            return found

        def function(*arguments: Any) -> tuple[Any, ...]:
            self.calls[name] += 1
            if name in self.fails:
                return (Status(700),)
            answer = found(*arguments)
            return (Status(0),) if answer is None else (Status(0), answer)

        function.__name__ = name
        return function

    def cuInit(self, flags: int) -> None: ...
    def cuDriverGetVersion(self) -> int:
        return 12040

    def cuDeviceGetCount(self) -> int:
        return 1

    def cuDeviceGet(self, number: int) -> int:
        return number

    def cuDeviceGetName(self, length: int, device: int) -> bytes:
        return b"Example GPU".ljust(length, b"\0")

    def cuDeviceTotalMem(self, device: int) -> int:
        return self.session.info.global_mem_bytes

    def cuDeviceGetAttribute(self, name: str, device: int) -> int:
        return self.facts[name]

    def cuDevicePrimaryCtxRetain(self, device: int) -> str:
        return "context"

    def cuDevicePrimaryCtxRelease(self, device: int) -> None: ...
    def cuCtxSetCurrent(self, context: str) -> None: ...
    def cuStreamCreate(self, flags: int) -> str:
        return "stream"

    def cuStreamSynchronize(self, stream: str) -> None:
        self.session.finish()

    def cuModuleLoadData(self, address: int) -> int:
        text = ctypes.string_at(address).decode()
        options = [each for each in text.partition("// options: ")[2].splitlines()[0].split() if each.startswith("-D")]
        source = text.partition(_SOURCE)[2]
        self.modules[number := len(self.modules) + 1] = self.session.build(source, options=tuple(options)), source
        return number

    def cuModuleUnload(self, module: int) -> None:
        del self.modules[module]

    def cuModuleGetFunction(self, module: int, name: bytes) -> tuple[Any, tuple[Parameter, ...]]:
        program, source = self.modules[module]
        return self.session.kernel(program, name.decode()), signature(source, name.decode())

    def cuFuncGetAttribute(self, name: str, function: Any) -> int:
        kernel, _ = function
        values = {
            "MAX_THREADS_PER_BLOCK": kernel.work_group_limit,
            "SHARED_SIZE_BYTES": kernel.local_mem_bytes,
            "LOCAL_SIZE_BYTES": kernel.private_mem_bytes,
        }
        return int(values[name])

    def cuMemAlloc(self, nbytes: int) -> int:
        self.memory[address := 1000 * (len(self.memory) + self.calls["cuMemFree"] + 1)] = self.session.empty_buffer(
            nbytes
        )
        return address

    def cuMemFree(self, address: int) -> None:
        del self.memory[address]

    def cuMemsetD8Async(self, address: int, value: int, nbytes: int, stream: str) -> None:
        assert nbytes == self.memory[address].nbytes
        self.session.fill_zeros(self.memory[address])

    def cuMemcpyHtoDAsync(self, address: int, host: int, nbytes: int, stream: str) -> None:
        self.session.write(self.memory[address], np.frombuffer(ctypes.string_at(host, nbytes), np.uint8))

    def cuMemcpyDtoHAsync(self, host: int, address: int, nbytes: int, stream: str) -> None:
        array = self.session.read(self.memory[address], np.uint8, nbytes)
        ctypes.memmove(host, array.ctypes.data, nbytes)

    def cuLaunchKernel(self, function: Any, *rest: Any) -> None:
        sizes, (shared_bytes, stream, pointers, extra) = rest[:6], rest[6:]
        assert (shared_bytes, stream, extra) == (0, "stream", 0)
        kernel, parameters = function
        places = (ctypes.c_void_p * len(parameters)).from_address(pointers)
        arguments = [self._argument(each, place) for each, place in zip(parameters, places, strict=True)]
        groups, local_size = sizes[:3], sizes[3:]
        global_size = [count * size for count, size in zip(groups, local_size, strict=True)]
        bound = self.session.bind(kernel, global_size=global_size, local_size=local_size, arguments=arguments)
        bound.enqueue()

    def _argument(self, parameter: Parameter, place: Any) -> Any:
        if parameter.is_pointer:
            return self.memory[ctypes.c_uint64.from_address(place).value]
        dtype = np.dtype(_SCALARS[parameter.type])
        return np.frombuffer(ctypes.string_at(place, dtype.itemsize), dtype)[0]

    def cuEventCreate(self, flags: int) -> list[float]:
        return []

    def cuEventRecord(self, event: list[float], stream: str) -> None:
        self.session.finish()
        event.append(time.perf_counter())

    def cuEventSynchronize(self, event: list[float]) -> None:
        assert event

    def cuEventElapsedTime(self, start: list[float], end: list[float]) -> float:
        return 1e3 * (end[0] - start[0])

    def cuEventDestroy(self, event: list[float]) -> None: ...


def refusing(*_: Any, source: str, **__: Any) -> str:
    raise BuildError("clang failed with status 1", log="error: what is this", source=source)
