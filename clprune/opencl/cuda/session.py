"""A session on a GPU that only the CUDA driver reaches: what `Session` does by OpenCL, done by that driver."""

from __future__ import annotations

import ctypes
import re
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from clprune.clang import clang_version, compile_to_ptx, find_clang, find_libclc, with_limits
from clprune.device import DeviceInfo
from clprune.errors import BuildError, NoDeviceError
from clprune.opencl import binary_cache
from clprune.opencl.cuda import driver
from clprune.opencl.cuda.driver import CudaError, ask
from clprune.opencl.cuda.launch import CudaBoundKernel
from clprune.opencl.kernels import Argument, BoundKernel, Buffer, Kernel, Program
from clprune.opencl.remembered import RememberedPrograms
from clprune.opencl.session import SMALLEST_BUFFER_BYTES, Session

_BYTES_OF_POINTER = 8
_ENTRY = re.compile(r"\.visible \.entry (\w+)\(([^)]*)\)")
_PARAMETER = re.compile(r"\.param(?: \.align \d+)? \.[usbf](\d+)")


@dataclass(frozen=True, kw_only=True)
class CudaProgram(Program):
    """A loaded module; `parameter_bytes`: of the parameters of each of its kernels."""

    parameter_bytes: Mapping[str, tuple[int, ...]]


class CudaSession(Session):
    """An open GPU: its context, its in-order stream, and the modules loaded so far.

    The driver's context belongs to a thread while it calls: each call makes it current.
    """

    _errors = (CudaError,)

    def __init__(self, info: DeviceInfo, *, keeps_binaries: bool = True) -> None:
        """Open the GPU that `info` addresses; without `keeps_binaries` no PTX goes to the cache on disk.

        Raises NoDeviceError.
        """
        self.info = info
        self._keeps_binaries = keeps_binaries
        self._remembered = RememberedPrograms[CudaProgram]()
        try:
            self._cuda = driver.bindings()
            handle = ask(self._cuda.cuDeviceGet, info.device_index)
            self._card = ask(self._cuda.cuDevicePrimaryCtxRetain, handle)
            weakref.finalize(self, self._cuda.cuDevicePrimaryCtxRelease, handle)
            self._make_current()
            self._stream = ask(self._cuda.cuStreamCreate, 1)  # waits for no other library's stream
        except (CudaError, ImportError) as error:
            raise NoDeviceError(
                f"device {info.selector} ({info.name}) cannot be opened: {error}; `clprune devices` lists the others"
            ) from error

    def close(self) -> None:
        """Wait for what runs and forget the loaded modules. Raises LaunchError when something enqueued failed."""
        self._remembered.clear()
        self.finish()

    def _make_current(self) -> None:
        ask(self._cuda.cuCtxSetCurrent, self._card)

    # --- building ---

    def build(self, source: str, *, options: tuple[str, ...] = (), keep: bool = True) -> Program:
        """As `Session.build`; what is kept on disk is PTX, of which the driver keeps the card's code itself."""
        if keep:
            known = self._remembered.find(source, options)
            return known or self._remembered.add(source, options, self._built(source, options, keep=True))
        known = self._remembered.find_brief(source, options)
        return self._remembered.add_brief(source, options, known or self._built(source, options, keep=False))

    def _built(self, source: str, options: tuple[str, ...], *, keep: bool) -> CudaProgram:
        return self._load(self._ptx(source, options, keep=keep), source)

    def build_together(self, sources: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Nothing: clang has no cost of starting that many sources could share."""

    def _ptx(self, source: str, options: tuple[str, ...], *, keep: bool) -> str:
        clang = find_clang()
        if clang is None:
            raise BuildError("clang, which compiles kernels for CUDA, is not on the path", log="", source=source)
        path = binary_cache.entry_path(self.info, source, (clang_version(clang), *options))
        keep = keep and self._keeps_binaries
        if keep and (found := binary_cache.load(path)) is not None:
            return found.decode()
        ptx = compile_to_ptx(clang, find_libclc(), source=source, card=self.info.architecture, options=options)
        ptx = with_limits(ptx, source=source, options=options)
        if keep:
            binary_cache.store(path, ptx.encode())
        return ptx

    def _load(self, ptx: str, source: str) -> CudaProgram:
        image = ctypes.create_string_buffer(ptx.encode())
        try:
            self._make_current()
            module = ask(self._cuda.cuModuleLoadData, ctypes.addressof(image))
        except CudaError as error:
            raise BuildError(f"{self.info.name} refused a kernel:", log=str(error), source=source) from error
        sizes = {name: tuple(int(bits) // 8 for bits in _PARAMETER.findall(text)) for name, text in _ENTRY.findall(ptx)}
        program = CudaProgram(built=module, source=source, log="", parameter_bytes=sizes)
        weakref.finalize(program, _release, self._cuda, self._card, self._cuda.cuModuleUnload, module)
        return program

    def _kernel(self, program: Program, name: str) -> Kernel:
        function, attributes = self._function(program, name), self._cuda.CUfunction_attribute
        work_items, local_bytes, private_bytes = (
            int(ask(self._cuda.cuFuncGetAttribute, getattr(attributes, f"CU_FUNC_ATTRIBUTE_{each}"), function))
            for each in ("MAX_THREADS_PER_BLOCK", "SHARED_SIZE_BYTES", "LOCAL_SIZE_BYTES")
        )
        return Kernel(
            name=name,
            program=program,
            argument_count=len(_parameter_bytes(program, name)),
            work_group_limit=work_items,
            preferred_multiple=self.info.simd_width,
            local_mem_bytes=local_bytes,
            private_mem_bytes=private_bytes,
        )

    def _function(self, program: Program, name: str) -> Any:
        self._make_current()
        return ask(self._cuda.cuModuleGetFunction, program.built, name.encode())

    # --- memory ---

    def _allocate(self, nbytes: int) -> Buffer:
        self._make_current()
        memory = ask(self._cuda.cuMemAlloc, max(nbytes, SMALLEST_BUFFER_BYTES))
        buffer = Buffer(memory, nbytes=nbytes)
        weakref.finalize(buffer, _release, self._cuda, self._card, self._cuda.cuMemFree, memory)
        return buffer

    def _fill(self, buffer: Buffer, nbytes: int) -> None:
        self._make_current()
        ask(self._cuda.cuMemsetD8Async, buffer.memory, 0, nbytes, self._stream)

    def _copy_in(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        self._make_current()
        ask(self._cuda.cuMemcpyHtoDAsync, buffer.memory, array.ctypes.data, array.nbytes, self._stream)
        self._wait()

    def _copy_out(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        self._make_current()
        ask(self._cuda.cuMemcpyDtoHAsync, array.ctypes.data, buffer.memory, array.nbytes, self._stream)
        self._wait()

    # --- launching ---

    def _bound(
        self, kernel: Kernel, global_size: tuple[int, ...], local_size: tuple[int, ...], arguments: Sequence[Argument]
    ) -> BoundKernel:
        sizes = _parameter_bytes(kernel.program, kernel.name)
        for index, (argument, size) in enumerate(zip(arguments, sizes, strict=True)):
            found = _BYTES_OF_POINTER if isinstance(argument, Buffer) else argument.nbytes
            if found != size:
                raise CudaError(f"argument {index} has {found} bytes, the kernel takes {size}")
        return CudaBoundKernel(
            name=kernel.name,
            function=self._function(kernel.program, kernel.name),
            arguments=arguments,
            global_size=global_size,
            local_size=local_size,
            cuda=self._cuda,
            card=self._card,
            stream=self._stream,
        )

    def _wait(self) -> None:
        self._make_current()
        ask(self._cuda.cuStreamSynchronize, self._stream)


def _parameter_bytes(program: Program, name: str) -> tuple[int, ...]:
    assert isinstance(program, CudaProgram)
    return program.parameter_bytes[name]


def _release(cuda: Any, card: Any, function: Any, thing: Any) -> None:
    """The driver waits for what uses the thing; at an interpreter's end it may have gone first: no error matters."""
    cuda.cuCtxSetCurrent(card)
    function(thing)
