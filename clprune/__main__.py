"""The command `clprune`, also as `python -m clprune`, and with it `torchrun -m clprune`."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # what `signal` wraps: that imports for as long as Python starts, and Ctrl-C may come then


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it as quietly as later.

    Before this is reached, Python itself says what ended it: `clprune/__init__.py` imports next to nothing.
    """
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else somebody wants them ignored
    if is_default:
        signal.signal(signal.SIGINT, _end)
    from clprune.cli import main as run

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end(number: int, frame: object) -> None:
    """An exception could be lost, or told, by whatever is being imported; nothing is there yet to be cleaned up."""
    os._exit(128 + number)


if __name__ == "__main__":
    main()
