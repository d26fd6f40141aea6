"""The command `clprune`, also as `python -m clprune`, and with it `torchrun -m clprune`."""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it as quietly as later.

    Before this is reached, Python itself says what ended it.
    """
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else somebody wants them ignored
    if is_default:
        signal.signal(signal.SIGINT, _end)
    from clprune.cli import main as run

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end(number: int, frame: FrameType | None) -> None:
    """An exception could be lost, or told, by whatever is being imported; nothing is there yet to be cleaned up."""
    os._exit(128 + number)


if __name__ == "__main__":
    main()
