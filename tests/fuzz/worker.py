"""The process that reads the inputs: within its memory, watched by the one that makes them."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import tempfile
import traceback
import warnings
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clprune
from clprune.errors import BuildError, ClpruneError

if TYPE_CHECKING:
    from clprune.opencl import Session
    from tests.fuzz.targets import Target

#: Address space that reading one input may add.
MEMORY_BYTES = 2 << 30
#: Seconds that reading one input may take; running one on a device compiles its kernels first.
LIMIT_S, DEVICE_LIMIT_S = 20.0, 180.0
#: Characters of an error, which is one line: a path and a message.
MAX_ERROR_CHARACTERS = 2100

_PACKAGE = str(Path(clprune.__file__).parent)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an input: `fault` is empty where all is well, `signature` tells one way through the code."""

    signature: str
    is_accepted: bool = False
    fault: str = ""


class Worker:
    """A process that handles inputs of one target, `on_device` or not; one that hangs or ends is replaced."""

    def __init__(self, target: Target, *, on_device: bool = False) -> None:
        self._target, self._on_device = target, on_device
        self._scratch = tempfile.TemporaryDirectory(prefix="clprune-fuzz-", dir=scratch_folder())
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, self._target, self._scratch.name, self._on_device)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()  # imported: no input pays for that

    def handle(self, path: Path, *, limit_s: float = LIMIT_S) -> Outcome:
        """What came of the input. A hang, and the end of the process, are faults."""
        if self._process is None:  # the last input ended it
            self._start()
        self._connection.send(str(path))
        limit_s = max(limit_s, DEVICE_LIMIT_S) if self._on_device else limit_s
        try:
            if self._connection.poll(limit_s):
                outcome: Outcome = self._connection.recv()
                return outcome
            fault = f"hangs: no answer for {limit_s:.0f} s"
        except (EOFError, ConnectionError):
            self._process.join()
            fault = f"ends the process: exit code {self._process.exitcode}"
        self._end()
        return Outcome(signature=fault, fault=fault)

    def close(self) -> None:
        """End the process, and remove what it left."""
        self._end()
        self._scratch.cleanup()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


def scratch_folder() -> str | None:
    """Where files live for a moment: in memory where Linux has that, else where temporary files go."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _serve(connection: Any, target: Target, scratch: str, on_device: bool) -> None:
    tempfile.tempdir = scratch
    with contextlib.suppress(AttributeError):
        os.nice(5)
    session, log = None, None
    if on_device:  # no bound of address space: drivers reserve what they never use
        from clprune.opencl import open_device
        from tests.conformance.suite import Log

        session, log = open_device(None), Log()
    else:
        used = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, resource.RLIM_INFINITY))
    before = _peak_bytes()
    connection.send("ready")
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            outcome = judge(target, Path(connection.recv()), session)
            if not outcome.fault and log is not None and (reports := log.new()):
                outcome = replace(outcome, signature=reports, fault=f"the driver reports: {reports}")
            if not outcome.fault and _peak_bytes() > before + MEMORY_BYTES:
                outcome = replace(outcome, fault=f"takes more than {MEMORY_BYTES >> 30} GiB")
            connection.send(outcome)


def _peak_bytes() -> int:
    """The most memory that this process has held at once."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def judge(target: Target, path: Path, session: Session | None = None) -> Outcome:
    """Handle an input here. Anything but an answer or a ClpruneError of one printable line is a fault, also what is
    printed besides.
    """
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stderr(printed):
            warnings.simplefilter("always")
            word = target.handle(path, session)
    except ClpruneError as error:
        where, chain = _where(error), _chain(error)
        text = str(error)
        if any(isinstance(item, MemoryError) for item in chain):
            return Outcome(signature=where, fault=f"takes more than {MEMORY_BYTES >> 30} GiB, then: {text}")
        if not isinstance(error, BuildError) and not _is_line(text):
            return Outcome(signature=where, fault=f"{type(error).__name__} is no printable line: {text!r:.300}")
        if printed.getvalue():
            return Outcome(signature=f"prints {where}", fault=f"prints besides: {printed.getvalue()!r:.300}")
        return Outcome(signature=f"{type(error).__name__} {where}")
    except BaseException as error:  # a MemoryError and an AssertionError of a target's own among them
        last = traceback.format_exception_only(error)[-1].strip()
        return Outcome(signature=_where(error), fault=f"{last:.300} at {_where(error, with_all=True)}")
    if printed.getvalue():
        return Outcome(signature="prints", fault=f"prints: {printed.getvalue()!r:.300}", is_accepted=True)
    for item in caught:
        is_ours = issubclass(item.category, UserWarning)
        if not is_ours or not _is_line(str(item.message)):
            where = f"{item.category.__name__} at {Path(item.filename).name}:{item.lineno}"
            fault = f"warns: {where}: {str(item.message)!r:.300}"
            return Outcome(signature=f"warns: {where}", fault=fault, is_accepted=True)
    said = sorted({item.category.__name__ for item in caught})
    return Outcome(signature=f"{word} {said}", is_accepted=True)


def _is_line(text: str) -> bool:
    """Printable but for bytes of a path that are no text, and not too long."""
    return len(text) <= MAX_ERROR_CHARACTERS and all(c.isprintable() or "\udc80" <= c <= "\udcff" for c in text)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _where(error: BaseException, *, with_all: bool = False) -> str:
    """The lines of the package, or all, through which an error went: the way that an input took."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in reversed(frames)
        if with_all or frame.filename.startswith(_PACKAGE)
    )
