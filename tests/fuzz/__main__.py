"""`python -m tests.fuzz`: try mutated files of every kind, keep those that lead somewhere new, report every fault.

    make fuzz                                          every target for five minutes
    make fuzz FUZZ="--seconds 30 --target cfg"         one for half a minute
    make fuzz FUZZ="--count 100000 --seed 7"           so many inputs of each, others than yesterday's
    make fuzz FUZZ="--driver oclgrind"                 what is accepted runs under a driver of `make conformance`
    make fuzz FUZZ=--record                            and the counts join docs/results/fuzz.md
    python -m tests.fuzz --target cfg --repeat FILE    one input again, with its traceback

Inputs that took a new way join `.cache/fuzz/TARGET/corpus`, from where later runs start; faults are in
`.cache/fuzz/TARGET/faults`. The status is 1 where there are any.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from clprune.errors import ClpruneError
from clprune.opencl import open_device
from tests.conformance.drivers import DRIVERS, find
from tests.fuzz.record import PATH, record
from tests.fuzz.session import DEVICE_EVERY, FOLDER, Bounds, fuzz
from tests.fuzz.targets import TARGETS

_DEFAULT_SECONDS = 300.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Read mutated files of every kind.")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="which; all without it")
    parser.add_argument("--seconds", type=float, help=f"for each target; default: {_DEFAULT_SECONDS:.0f}, or --count")
    parser.add_argument("--count", type=int, help="inputs of each target")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; default: 0")
    text = f"of networks that are accepted every N-th runs on a device, none with 0; default: {DEVICE_EVERY}"
    parser.add_argument("--device-every", type=int, default=DEVICE_EVERY, metavar="N", help=text)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of the corpus; default: {FOLDER}")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="read one input in this process, also on a device")
    parser.add_argument("--driver", choices=[driver.name for driver in DRIVERS], help="of the device")
    parser.add_argument("--record", action="store_true", help=f"add to {PATH.name} in docs/results")
    options = parser.parse_args(arguments)
    if options.driver is not None:
        _show_driver(options.driver, options.folder.resolve())
    if options.repeat is not None:
        if len(options.target or []) != 1:
            parser.error("--repeat needs the --target of the file")
        return _repeat(options.target[0], options.repeat, on_device=options.device_every > 0)
    seconds = _DEFAULT_SECONDS if options.seconds is None and options.count is None else options.seconds
    bounds = Bounds(seconds=seconds, count=options.count, device_every=options.device_every)
    faults = 0
    for name in options.target or TARGETS:
        result = fuzz(TARGETS[name], seed=options.seed, bounds=bounds, folder=options.folder, say=_print)
        _print(str(result))
        if options.record:
            with open_device(None) as session:
                record([result], seed=options.seed, device=session.info)
        faults += len(result.faults)
    return int(faults > 0)


def _show_driver(name: str, folder: Path) -> None:
    """Let processes see one driver only."""
    driver = next(driver for driver in DRIVERS if driver.name == name)
    place = find(driver, folder)
    if place.problem:
        sys.exit(f"{name}: {place.problem}; `make conformance` installs it")
    os.environ.update(place.environment)
    if driver.is_checker:
        os.environ["OCLGRIND_LOG"] = str(folder / "reports.txt")


def _repeat(name: str, path: Path, *, on_device: bool) -> int:
    try:
        with open_device(None) if on_device else nullcontext() as session:
            _print(TARGETS[name].handle(path, session))
    except ClpruneError as error:
        _print(f"refused, {type(error).__name__}: {error}")
    return 0


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
