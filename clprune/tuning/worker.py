"""The worker process: `python -c "from clprune.tuning.worker import main; main()"` serves requests on its pipes.

A request is a pickled tuple (method, arguments), an answer a pickled object, each with its length before it. The first
request is ("open", (DeviceInfo,)). The process ends when its input does, so it does not outlive its parent.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import signal
import struct
import sys
from typing import Any, BinaryIO

from clprune.errors import ClpruneError
from clprune.opencl import open_session
from clprune.tuning.trial import Evaluator

METHODS = ("set_task", "prepare", "time", "run", "keep_only")

#: Drivers that write every built kernel to a cache of their own would fill it with candidates.
ENVIRONMENT = {"POCL_KERNEL_CACHE": "0", "CUDA_CACHE_DISABLE": "1"}

_LENGTH = struct.Struct("<Q")

# The parent ends a worker that takes too long; these are for workers whose parent was killed while they hang. Linux
# ends them at once (`prctl(PR_SET_PDEATHSIG, SIGKILL)`), elsewhere they end after so many seconds.
_ORPHAN_SECONDS = 600
_SET_PARENT_DEATH_SIGNAL = 1


def send(pipe: BinaryIO, message: bytes) -> None:
    """Write a pickled message with its length. Raises OSError when nobody reads any more."""
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def receive(pipe: BinaryIO) -> Any:
    """The next message. Raises EOFError when the other side has gone."""
    length = _LENGTH.unpack(_read(pipe, _LENGTH.size))[0]
    return pickle.loads(_read(pipe, length))


def _read(pipe: BinaryIO, length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


def main() -> None:
    """Serve requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    answers = _own_stdout()
    requests = sys.stdin.buffer
    try:
        _, (info,) = receive(requests)
        try:
            evaluator = Evaluator(open_session(info))
        except ClpruneError as error:
            send(answers, pickle.dumps(error))
            return
        send(answers, pickle.dumps(None))
        while True:
            method, arguments = receive(requests)
            if method not in METHODS:
                raise ValueError(f"unknown request {method!r}")
            faulthandler.dump_traceback_later(_ORPHAN_SECONDS, exit=True)
            answer = getattr(evaluator, method)(*arguments)
            faulthandler.cancel_dump_traceback_later()
            send(answers, pickle.dumps(answer))
    except (EOFError, BrokenPipeError):
        pass
    os._exit(0)  # some drivers hang or crash in their clean-up


def _own_stdout() -> BinaryIO:
    """The pipe to the parent; whatever a driver prints goes to stderr from now on."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers
