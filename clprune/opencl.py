"""The one door to OpenCL: discover devices, build, hold buffers, launch, time. Nothing else imports pyopencl.

Driver limits are checked when a kernel is bound and every driver error becomes one of ours, naming kernel and limit.
pyopencl kernels are not safe to share between threads, so each `BoundKernel` owns its kernel object.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyopencl as cl
from pyopencl._cl import _Program

from clprune import pip_driver
from clprune.device import DeviceInfo, PlatformInfo, architecture_of, guess_simd_width, is_software
from clprune.errors import BuildError, LaunchError, NoDeviceError
from clprune.selection import select_device

if TYPE_CHECKING:
    from typing_extensions import Self  # in `typing` from Python 3.11 on

_SMALLEST_BUFFER_BYTES = 16  # OpenCL refuses empty buffers; a fully pruned layer has empty lists
# "no platform" and "no device" are answers, not failures
_NOTHING_FOUND = (-1, -1001)
_INVALID_BUILD_OPTIONS = -43
# extension queries that pyopencl's Device has no attribute for
_SUB_GROUP_SIZES_INTEL = 0x4108
_CL_ERRORS = (cl.LogicError, cl.RuntimeError, cl.MemoryError)


# --- discovery ---------------------------------------------------------------------------------------------------


class _Loader:
    """The platforms of this process, asked for once: the loader itself reads its settings only the first time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._platforms: list[cl.Platform] | None = None
        self.shows_pip_driver = False

    def platforms(self) -> list[cl.Platform]:
        with self._lock:
            if self._platforms is None:
                with pip_driver.visible() as self.shows_pip_driver:
                    try:
                        self._platforms = list(cl.get_platforms())
                    except _CL_ERRORS as error:
                        if error.code not in _NOTHING_FOUND:
                            raise NoDeviceError(f"the OpenCL loader failed: {error}") from error
                        self._platforms = []
            return self._platforms


_LOADER = _Loader()


def discover_platforms() -> list[PlatformInfo]:
    """Return every platform with its devices; one that fails or has none keeps the reason in `problem`."""
    return [_platform_info(index, platform) for index, platform in enumerate(_LOADER.platforms())]


def discovery() -> list[DeviceInfo]:
    """Return every usable device of every platform."""
    return [device for platform in discover_platforms() for device in platform.devices]


def choose(selection: str | None = None) -> DeviceInfo:
    """Return the device to use: `selection` > CLPRUNE_DEVICE > PYOPENCL_CTX > GPU > CPU. Raises NoDeviceError."""
    return select_device(discover_platforms(), selection=selection, environment=os.environ)


def open_device(selection: str | None = None) -> Session:
    """Open the device that `choose(selection)` names. Raises NoDeviceError."""
    return Session(choose(selection))


def _platform_info(index: int, platform: cl.Platform) -> PlatformInfo:
    devices: list[DeviceInfo] = []
    problem = ""
    try:
        for device_index, device in enumerate(platform.get_devices()):
            devices.append(_device_info(platform, device, platform_index=index, device_index=device_index))
    except _CL_ERRORS as error:
        problem = "no devices" if error.code in _NOTHING_FOUND else f"unusable: {error}"
    if not devices and not problem:
        problem = "no devices"
    return PlatformInfo(
        index=index,
        name=_text(platform.name),
        vendor=_text(platform.vendor),
        version=_text(platform.version),
        devices=tuple(devices),
        problem=problem,
    )


def _device_info(platform: cl.Platform, device: cl.Device, *, platform_index: int, device_index: int) -> DeviceInfo:
    """Read a device's facts; raises pyopencl's errors when the driver refuses a core question."""
    extensions = tuple(sorted(device.extensions.split()))
    name, vendor = _text(device.name), _text(device.vendor)
    type_name = _type_name(device.type, software=is_software(platform_name=platform.name, device_name=name))
    native_width = device.native_vector_width_float
    simd_width = _known_simd_width(device, extensions)
    guessed = frozenset() if simd_width else frozenset({"simd_width"})
    simd_width = simd_width or guess_simd_width(type=type_name, vendor=vendor, native_vector_width_float=native_width)
    is_pip = _LOADER.shows_pip_driver and _text(platform.name) == pip_driver.PLATFORM_NAME and type_name == "cpu"
    return DeviceInfo(
        platform_index=platform_index,
        device_index=device_index,
        platform_name=_text(platform.name),
        platform_vendor=_text(platform.vendor),
        platform_version=_text(platform.version),
        name=name,
        vendor=vendor,
        version=_text(device.version),
        driver_version=_text(device.driver_version),
        opencl_c_version=_text(device.opencl_c_version),
        type=type_name,
        origin="pip" if is_pip else "system",
        architecture=architecture_of(
            type=type_name,
            vendor=vendor,
            name=name,
            simd_width=simd_width,
            compute_capability=_compute_capability(device, extensions),
        ),
        compute_units=device.max_compute_units,
        max_work_group_size=device.max_work_group_size,
        max_work_item_sizes=tuple(device.max_work_item_sizes),
        local_mem_bytes=device.local_mem_size,
        local_mem_is_dedicated=device.local_mem_type == cl.device_local_mem_type.LOCAL,
        global_mem_bytes=device.global_mem_size,
        max_alloc_bytes=device.max_mem_alloc_size,
        simd_width=simd_width,
        native_vector_width_float=native_width,
        preferred_vector_width_float=device.preferred_vector_width_float,
        fp16="cl_khr_fp16" in extensions,
        fp64="cl_khr_fp64" in extensions,
        extensions=extensions,
        mem_base_align_bytes=device.mem_base_addr_align // 8,
        clock_mhz=device.max_clock_frequency,
        guessed=guessed,
    )


def _type_name(bits: int, *, software: bool) -> str:
    """Name a device's type; a simulator sets every bit and a software renderer may claim to be a GPU."""
    if software:
        return "cpu"
    if bits & cl.device_type.GPU:
        return "gpu"
    return "cpu" if bits & cl.device_type.CPU else "accelerator"


def _known_simd_width(device: cl.Device, extensions: tuple[str, ...]) -> int:
    """Return the width that a vendor's extension reports, or 0."""
    try:
        if "cl_nv_device_attribute_query" in extensions:
            return int(device.warp_size_nv)
        if "cl_amd_device_attribute_query" in extensions:
            return int(device.wavefront_width_amd)
    except _CL_ERRORS:
        return 0  # announced but not answered
    return 0


def _compute_capability(device: cl.Device, extensions: tuple[str, ...]) -> str | None:
    if "cl_nv_device_attribute_query" not in extensions:
        return None
    try:
        return f"{device.compute_capability_major_nv}.{device.compute_capability_minor_nv}"
    except _CL_ERRORS:
        return None


def _text(value: str) -> str:
    """Drivers pad names with blanks and, some, a NUL."""
    return " ".join(value.replace("\0", " ").split())


# --- memory ------------------------------------------------------------------------------------------------------


class Buffer:
    """`nbytes` of device memory, freed when nothing refers to it."""

    __slots__ = ("memory", "nbytes")

    def __init__(self, memory: cl.Buffer, nbytes: int) -> None:
        self.memory = memory
        self.nbytes = nbytes


@dataclass(frozen=True, kw_only=True)
class LocalMemory:
    """A kernel argument: `nbytes` of local memory for each work-group."""

    nbytes: int


Argument: TypeAlias = Buffer | LocalMemory | np.generic


# --- programs and kernels ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Program:
    """A built program. `log` is what the compiler said, often nothing."""

    built: _Program
    source: str
    log: str


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel of a built program with the limits that only a build can tell.

    `work_group_limit`: most work-items in a work-group (CL_KERNEL_WORK_GROUP_SIZE), often below the device's.
    `local_mem_bytes`, `private_mem_bytes`: per work-group and per work-item, as far as the driver tells.
    """

    name: str
    program: Program
    argument_count: int
    work_group_limit: int
    preferred_multiple: int
    local_mem_bytes: int
    private_mem_bytes: int


class BoundKernel:
    """A kernel with its arguments and sizes, to be launched again and again; made by `Session.bind`."""

    __slots__ = ("_arguments", "_event_queue", "_global_size", "_kernel", "_local_size", "_queue", "name")

    def __init__(
        self,
        *,
        session: Session,
        name: str,
        kernel: cl.Kernel,
        arguments: tuple[Argument, ...],
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None,
    ) -> None:
        self.name = name
        self._kernel = kernel
        self._arguments = arguments  # keeps the buffers alive as long as the kernel may read them
        self._global_size = global_size
        self._local_size = local_size
        self._queue = session.queue
        self._event_queue = session.profiling_queue

    def enqueue(self) -> None:
        """Start the kernel after everything enqueued before, and return at once. Raises LaunchError."""
        try:
            cl.enqueue_nd_range_kernel(self._queue, self._kernel, self._global_size, self._local_size)
        except _CL_ERRORS as error:
            raise self._refused(error) from error

    def timed(self) -> float:
        """Run the kernel once, alone, and return its seconds on the device. Raises LaunchError.

        By the device's profiling events where it has them, else by the host's clock, launch included.
        """
        try:
            self._queue.finish()
            queue = self._event_queue or self._queue
            start = time.perf_counter()
            event = cl.enqueue_nd_range_kernel(queue, self._kernel, self._global_size, self._local_size)
            event.wait()
            host_seconds = time.perf_counter() - start
            if self._event_queue is None:
                return host_seconds
            device_seconds = 1e-9 * (event.profile.end - event.profile.start)
        except _CL_ERRORS as error:
            raise self._refused(error) from error
        # some drivers answer zeros, or count in another unit
        return device_seconds if 0.0 < device_seconds <= host_seconds else host_seconds

    def _refused(self, error: cl.Error) -> LaunchError:
        return LaunchError(
            f"kernel {self.name!r}, global size {self._global_size}, local size {self._local_size}: "
            f"the driver refused the launch: {error}"
        )


class Session:
    """An open device: its context, its in-order queue, and the programs built so far.

    Use it as a context manager, or call `close()`. Launches run in the order in which they were enqueued; `finish()`
    and every read wait for them.
    """

    def __init__(self, info: DeviceInfo) -> None:
        """Open the device that `info` addresses. Raises NoDeviceError."""
        self.info = info
        self._programs: dict[tuple[str, tuple[str, ...]], Program] = {}
        self._build_lock = threading.Lock()
        try:
            self._device = _LOADER.platforms()[info.platform_index].get_devices()[info.device_index]
            self._context = cl.Context([self._device])
            self.queue = cl.CommandQueue(self._context)
        except _CL_ERRORS as error:
            raise NoDeviceError(f"device {info.selector} ({info.name}) cannot be opened: {error}") from error
        self.profiling_queue = self._make_profiling_queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what runs and forget the built programs."""
        self._programs.clear()
        try:
            self.queue.finish()
        except _CL_ERRORS as error:
            raise LaunchError(f"device {self.info.name}: work that was enqueued failed: {error}") from error

    # --- building ---

    def build(self, source: str, *, options: tuple[str, ...] = ()) -> Program:
        """Build OpenCL C 1.2 `source`, or return the same program built before. Raises BuildError with the log."""
        with self._build_lock:
            key = (source, options)
            if key not in self._programs:
                self._programs[key] = self._build(source, options)
            return self._programs[key]

    def _build(self, source: str, options: tuple[str, ...]) -> Program:
        try:
            return self._compile(source, ("-cl-std=CL1.2", *options))
        except _CL_ERRORS as error:
            if error.code != _INVALID_BUILD_OPTIONS:
                raise BuildError(_first_line(error), log=str(error), source=source) from error
        try:
            return self._compile(source, options)  # old drivers know one language version and no flag for it
        except _CL_ERRORS as error:
            raise BuildError(_first_line(error), log=str(error), source=source) from error

    def _compile(self, source: str, options: tuple[str, ...]) -> Program:
        # pyopencl's public Program guards its disk cache with a lock that a killed process leaves behind and writes
        # every refused source to a temporary file; this inner class is what it builds with.
        built = _Program(self._context, source)
        try:
            built._build(" ".join(options).encode(), [self._device])
        except _CL_ERRORS as error:
            if error.code == _INVALID_BUILD_OPTIONS:
                raise
            log = self._build_log(built)
            raise BuildError(f"{self.info.name} refused a kernel", log=log or str(error), source=source) from error
        return Program(built=built, source=source, log=self._build_log(built))

    def _build_log(self, built: _Program) -> str:
        try:
            return str(built.get_build_info(self._device, cl.program_build_info.LOG)).strip("\0\n ")
        except _CL_ERRORS:
            return ""

    def kernel(self, program: Program, name: str) -> Kernel:
        """Return the kernel `name` with its limits on this device. Raises BuildError when there is none."""
        try:
            kernel = cl.Kernel(program.built, name)
            query = cl.kernel_work_group_info
            ask = kernel.get_work_group_info
            return Kernel(
                name=name,
                program=program,
                argument_count=kernel.num_args,
                work_group_limit=ask(query.WORK_GROUP_SIZE, self._device),
                preferred_multiple=ask(query.PREFERRED_WORK_GROUP_SIZE_MULTIPLE, self._device),
                local_mem_bytes=ask(query.LOCAL_MEM_SIZE, self._device),
                private_mem_bytes=ask(query.PRIVATE_MEM_SIZE, self._device),
            )
        except _CL_ERRORS as error:
            raise BuildError(f"no kernel {name!r} in the program: {error}", log="", source=program.source) from error

    # --- memory ---

    def empty_buffer(self, nbytes: int) -> Buffer:
        """Allocate `nbytes` with undefined contents. Raises LaunchError."""
        return self._allocate(nbytes, cl.mem_flags.READ_WRITE, None)

    def buffer_from(self, array: npt.NDArray[Any]) -> Buffer:
        """Allocate and fill with the bytes of `array`, in C order. Raises LaunchError."""
        contiguous = np.ascontiguousarray(array)
        if contiguous.nbytes < _SMALLEST_BUFFER_BYTES:
            buffer = self.zeros(contiguous.nbytes)
            self.write(buffer, contiguous)
            return buffer
        return self._allocate(contiguous.nbytes, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, contiguous)

    def zeros(self, nbytes: int) -> Buffer:
        """Allocate `nbytes` of zeros. Raises LaunchError."""
        buffer = self.empty_buffer(nbytes)
        self.fill_zeros(buffer)
        return buffer

    def fill_zeros(self, buffer: Buffer) -> None:
        """Overwrite the whole buffer with zeros, in queue order. Raises LaunchError."""
        size = max(buffer.nbytes, _SMALLEST_BUFFER_BYTES)
        try:
            cl.enqueue_fill_buffer(self.queue, buffer.memory, np.zeros(1, np.uint8), 0, size)
        except _CL_ERRORS as error:
            raise LaunchError(f"cannot clear {buffer.nbytes} bytes: {error}") from error

    def write(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        """Copy `array`'s bytes to the buffer's start; the array may be changed afterwards. Raises LaunchError."""
        contiguous = np.ascontiguousarray(array)
        if contiguous.nbytes > buffer.nbytes:
            raise LaunchError(f"cannot write {contiguous.nbytes} bytes into a buffer of {buffer.nbytes}")
        if contiguous.nbytes == 0:
            return
        try:
            cl.enqueue_copy(self.queue, buffer.memory, contiguous, is_blocking=True)
        except _CL_ERRORS as error:
            raise LaunchError(f"cannot write {contiguous.nbytes} bytes: {error}") from error

    def read(self, buffer: Buffer, dtype: npt.DTypeLike, shape: int | Sequence[int]) -> npt.NDArray[Any]:
        """Wait for all launches and return the buffer's start as a new array. Raises LaunchError."""
        array = np.empty(shape, dtype)
        if array.nbytes > buffer.nbytes:
            raise LaunchError(f"cannot read {array.nbytes} bytes from a buffer of {buffer.nbytes}")
        if array.nbytes == 0:
            return array
        try:
            cl.enqueue_copy(self.queue, array, buffer.memory, is_blocking=True)
        except _CL_ERRORS as error:
            raise LaunchError(f"cannot read {array.nbytes} bytes: {error}") from error
        return array

    def _allocate(self, nbytes: int, flags: int, source: npt.NDArray[Any] | None) -> Buffer:
        if nbytes > self.info.max_alloc_bytes:
            raise LaunchError(
                f"a buffer of {nbytes} bytes is larger than {self.info.name} allows: {self.info.max_alloc_bytes}"
            )
        try:
            if source is None:
                memory = cl.Buffer(self._context, flags, size=max(nbytes, _SMALLEST_BUFFER_BYTES))
            else:
                memory = cl.Buffer(self._context, flags, hostbuf=source)
        except _CL_ERRORS as error:
            raise LaunchError(f"{self.info.name} cannot allocate {nbytes} bytes: {error}") from error
        return Buffer(memory, nbytes)

    # --- launching ---

    def bind(
        self,
        kernel: Kernel,
        *,
        global_size: Sequence[int],
        local_size: Sequence[int] | None,
        arguments: Sequence[Argument],
    ) -> BoundKernel:
        """Set the kernel's arguments and sizes once, to launch it often. Raises LaunchError naming kernel and limit.

        `global_size` counts work-items per dimension; `local_size` divides it, or is None to let the driver choose.
        Scalars are NumPy scalars of the kernel's own types (`np.int32(3)`, `np.float32(0.1)`).
        """
        sizes = tuple(int(size) for size in global_size)
        group = None if local_size is None else tuple(int(size) for size in local_size)
        self._check(kernel, global_size=sizes, local_size=group, arguments=arguments)
        try:
            own = cl.Kernel(kernel.program.built, kernel.name)
            for index, argument in enumerate(arguments):
                own.set_arg(index, _native(argument))
        except _CL_ERRORS as error:
            raise LaunchError(f"kernel {kernel.name!r}: the driver refused an argument: {error}") from error
        return BoundKernel(
            session=self,
            name=kernel.name,
            kernel=own,
            arguments=tuple(arguments),
            global_size=sizes,
            local_size=group,
        )

    def launch(
        self,
        kernel: Kernel,
        *,
        global_size: Sequence[int],
        local_size: Sequence[int] | None,
        arguments: Sequence[Argument],
    ) -> None:
        """Bind and enqueue once; returns before the kernel has run. Raises LaunchError."""
        self.bind(kernel, global_size=global_size, local_size=local_size, arguments=arguments).enqueue()

    def timed_launch(
        self,
        kernel: Kernel,
        *,
        global_size: Sequence[int],
        local_size: Sequence[int] | None,
        arguments: Sequence[Argument],
    ) -> float:
        """Bind, run once and return the seconds on the device (see `BoundKernel.timed`). Raises LaunchError."""
        return self.bind(kernel, global_size=global_size, local_size=local_size, arguments=arguments).timed()

    def finish(self) -> None:
        """Wait until everything enqueued has run. Raises LaunchError when some of it failed."""
        try:
            self.queue.finish()
        except _CL_ERRORS as error:
            raise LaunchError(f"device {self.info.name}: work that was enqueued failed: {error}") from error

    def _check(
        self,
        kernel: Kernel,
        *,
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None,
        arguments: Sequence[Argument],
    ) -> None:
        """Raise LaunchError for a launch that the driver would refuse, or worse, accept."""
        if len(arguments) != kernel.argument_count:
            raise LaunchError(
                f"kernel {kernel.name!r} takes {kernel.argument_count} arguments, {len(arguments)} were given"
            )
        if not 1 <= len(global_size) <= 3 or min(global_size) < 1:
            raise LaunchError(f"kernel {kernel.name!r}: global size {global_size} needs 1 to 3 positive sizes")
        if local_size is not None:
            self._check_local_size(kernel, global_size=global_size, local_size=local_size)
        local_bytes = kernel.local_mem_bytes + sum(
            argument.nbytes for argument in arguments if isinstance(argument, LocalMemory)
        )
        if local_bytes > self.info.local_mem_bytes:
            raise LaunchError(
                f"kernel {kernel.name!r} needs {local_bytes} bytes of local memory, "
                f"{self.info.name} has {self.info.local_mem_bytes}"
            )

    def _check_local_size(self, kernel: Kernel, *, global_size: tuple[int, ...], local_size: tuple[int, ...]) -> None:
        where = f"kernel {kernel.name!r}: local size {local_size}"
        if len(local_size) != len(global_size) or min(local_size) < 1:
            raise LaunchError(f"{where} does not match the dimensions of global size {global_size}")
        if any(size % part for size, part in zip(global_size, local_size, strict=True)):
            raise LaunchError(f"{where} does not divide global size {global_size}")
        if any(part > limit for part, limit in zip(local_size, self.info.max_work_item_sizes, strict=False)):
            raise LaunchError(f"{where} exceeds the device's limit per dimension {self.info.max_work_item_sizes}")
        items = int(np.prod(local_size))
        if items > kernel.work_group_limit:
            raise LaunchError(f"{where} has {items} work-items, this kernel's limit is {kernel.work_group_limit}")

    def _make_profiling_queue(self) -> cl.CommandQueue | None:
        """Return a second queue that records times, or None where the device cannot."""
        profiling = cl.command_queue_properties.PROFILING_ENABLE
        if not self._device.queue_properties & profiling:
            return None
        try:
            return cl.CommandQueue(self._context, properties=profiling)
        except _CL_ERRORS:
            return None


def _native(argument: Argument) -> Any:  # pyopencl's own type for arguments leaves LocalMemory out
    if isinstance(argument, Buffer):
        return argument.memory
    if isinstance(argument, LocalMemory):
        return cl.LocalMemory(argument.nbytes)
    return argument


def _first_line(error: cl.Error) -> str:
    return str(error).partition("\n")[0]
