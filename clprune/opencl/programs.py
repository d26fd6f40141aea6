"""Programs of one open device: built from source, many as one where that is faster, kept in memory and on disk."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyopencl as cl
from pyopencl._cl import _Program

from clprune import quirks
from clprune.device import DeviceInfo
from clprune.errors import BuildError
from clprune.opencl import binary_cache
from clprune.opencl.codes import DRIVER_ERRORS, INVALID_BUILD_OPTIONS
from clprune.opencl.kernels import Program
from clprune.opencl.merging import merge_sources, part_suffix
from clprune.opencl.remembered import Options, RememberedPrograms


class Programs:
    """Builds programs for `device` in `context`; with `keeps_binaries` what is built goes to the cache on disk too.

    Safe to use from several threads at once.
    """

    def __init__(
        self, info: DeviceInfo, *, device: cl.Device, context: cl.Context, keeps_binaries: bool = True
    ) -> None:
        self._info = info
        self._device = device
        self._context = context
        self._language = quirks.language_options(info)
        self._defines = quirks.defines(info)
        # A simulator's binary loses its line numbers, and renderers compile quickly.
        self._merges = not info.is_software
        self._keeps_binaries = keeps_binaries and self._merges
        self._remembered = RememberedPrograms[Program]()
        self._binaries: dict[Path, _Program] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget what is in memory."""
        self._remembered.clear()
        with self._lock:
            self._binaries.clear()

    def build(self, source: str, options: Options) -> Program:
        """Build a source that will be wanted again. Raises BuildError with the compiler's log."""
        found = self._find(source, options)
        return found or self._remembered.add(source, options, self._build_and_keep(source, options))

    def build_briefly(self, source: str, options: Options) -> Program:
        """Build one candidate of many: only the last of them are remembered, none on disk. Raises BuildError."""
        program = self._remembered.find_brief(source, options) or self.build_from_source(source, options)
        return self._remembered.add_brief(source, options, program)

    def build_together(self, sources: Iterable[tuple[str, Options]]) -> None:
        """Build those sources that are new as one program, so that `build` finds them.

        A driver takes tens of milliseconds for each program before it reads a line of it. Where it refuses the whole,
        nothing happens: `build` then tells which part it was.
        """
        if not self._merges:
            return
        new: dict[Options, list[str]] = {}
        for source, options in dict.fromkeys(sources):
            if self._find(source, options) is None:
                new.setdefault(options, []).append(source)
        for options, parts in new.items():
            if len(parts) > 1:
                self._build_parts(parts, options)

    def build_from_source(self, source: str, options: Options) -> Program:
        """Build without any memory of it. Raises BuildError with the compiler's log."""
        # pyopencl's public Program guards its disk cache with a lock that a killed process leaves behind, and writes
        # every refused source to a temporary file; this inner class is what it builds with.
        built = _Program(self._context, source)
        try:
            try:
                built._build(_joined((*self._language, *self._defines, *options)), [self._device])
            except DRIVER_ERRORS as error:
                if error.code != INVALID_BUILD_OPTIONS or not self._language:
                    raise
                built._build(_joined((*self._defines, *options)), [self._device])  # refuses the language
        except DRIVER_ERRORS as error:
            log = self._build_log(built) or str(error)
            raise BuildError(f"{self._info.name} refused a kernel:", log=log, source=source) from error
        return Program(built=built, source=source, log=self._build_log(built))

    def _build_parts(self, parts: Sequence[str], options: Options) -> None:
        try:
            whole = self._build_and_keep(merge_sources(parts), options)
        except BuildError:
            return
        path = self._path(whole.source, options)
        for number, source in enumerate(parts):
            suffix = part_suffix(number)
            if self._keeps_binaries:
                binary_cache.store_part(self._path(source, options), whole=path, suffix=suffix)
            part = Program(built=whole.built, source=source, log=whole.log, suffix=suffix)
            self._remembered.add(source, options, part)

    def _find(self, source: str, options: Options) -> Program | None:
        """What is in memory or, by itself or as part of another program, on disk."""
        known = self._remembered.find(source, options)
        if known is not None or not self._keeps_binaries:
            return known
        path, suffix = self._path(source, options), ""
        built = self._load(path, options)
        if built is None:
            part = binary_cache.load_part(path)
            if part is None:
                return None
            path, suffix = part
            built = self._load(path, options)
        if built is None:
            return None
        program = Program(built=built, source=source, log="", suffix=suffix)
        return self._remembered.add(source, options, program)

    def _path(self, source: str, options: Options) -> Path:
        return binary_cache.entry_path(self._info, source, options)

    def _load(self, path: Path, options: Options) -> _Program | None:
        with self._lock:
            known = self._binaries.get(path)
        if known is not None:
            return known
        binary = binary_cache.load(path)
        if binary is None:
            return None
        try:
            built = _Program(self._context, [self._device], [binary])
            built._build(_joined((*self._language, *self._defines, *options)), [self._device])
        except DRIVER_ERRORS:
            return None  # another build of the same driver wrote it: compile, and replace it
        with self._lock:
            return self._binaries.setdefault(path, built)

    def _build_and_keep(self, source: str, options: Options) -> Program:
        program = self.build_from_source(source, options)
        if self._keeps_binaries:
            try:
                binaries = program.built.get_info(cl.program_info.BINARIES)
            except DRIVER_ERRORS:
                return program
            if isinstance(binaries, list) and binaries and binaries[0]:
                binary_cache.store(self._path(source, options), bytes(binaries[0]))
        return program

    def _build_log(self, built: _Program) -> str:
        try:
            return str(built.get_build_info(self._device, cl.program_build_info.LOG)).strip("\0\n ")
        except DRIVER_ERRORS:
            return ""


def _joined(options: Options) -> bytes:
    return " ".join(options).encode()
