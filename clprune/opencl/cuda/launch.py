"""A kernel of a CUDA module with its arguments and sizes."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from typing import Any

from clprune.opencl.cuda.driver import CudaError, ask
from clprune.opencl.kernels import Argument, BoundKernel, Buffer


class CudaBoundKernel(BoundKernel):
    """To be launched again and again; made by `CudaSession.bind`. Arguments lie where the driver reads them."""

    __slots__ = ("_card", "_cuda", "_function", "_groups", "_pointers", "_stream", "_values")

    def __init__(
        self,
        *,
        name: str,
        function: Any,
        arguments: Sequence[Argument],
        global_size: tuple[int, ...],
        local_size: tuple[int, ...],
        cuda: Any,
        card: Any,
        stream: Any,
    ) -> None:
        self.name = name
        self._arguments = tuple(arguments)  # keeps the buffers alive as long as the kernel may read them
        self._global_size, self._local_size = global_size, local_size
        self._cuda, self._card, self._stream, self._function = cuda, card, stream, function
        groups = tuple(size // part for size, part in zip(global_size, local_size, strict=True))
        self._groups = (*_three(groups), *_three(local_size))
        self._values = [_in_memory(argument) for argument in arguments]
        self._pointers = (ctypes.c_void_p * len(self._values))(*map(ctypes.addressof, self._values))

    def enqueue(self) -> None:
        """As `BoundKernel.enqueue`."""
        try:
            ask(self._cuda.cuCtxSetCurrent, self._card)
            self._launch()
        except CudaError as error:
            raise self._refused(error) from error

    def _launch(self) -> None:
        pointers = ctypes.addressof(self._pointers)
        ask(self._cuda.cuLaunchKernel, self._function, *self._groups, 0, self._stream, pointers, 0)

    def _timed_last(self, kernels: Sequence[BoundKernel], before: Sequence[BoundKernel]) -> list[float]:
        """By events of the card between the kernels."""
        cuda, events = self._cuda, []
        try:
            ask(cuda.cuCtxSetCurrent, self._card)
            events = [ask(cuda.cuEventCreate, 0) for _ in range(len(kernels) + 1)]
            for kernel in before:
                kernel.enqueue()
            ask(cuda.cuEventRecord, events[0], self._stream)
            for kernel, event in zip(kernels, events[1:], strict=True):
                kernel.enqueue()
                ask(cuda.cuEventRecord, event, self._stream)
            ask(cuda.cuEventSynchronize, events[-1])
            return [1e-3 * ask(cuda.cuEventElapsedTime, *pair) for pair in itertools.pairwise(events)]
        except CudaError as error:
            raise self._refused(error) from error
        finally:
            for event in events:
                cuda.cuEventDestroy(event)


def _three(sizes: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


def _in_memory(argument: Argument) -> Any:
    """A place that holds what the kernel gets: a buffer's address, or a scalar's bytes."""
    if isinstance(argument, Buffer):
        return ctypes.c_uint64(int(argument.memory))
    return ctypes.create_string_buffer(argument.tobytes(), argument.nbytes)
