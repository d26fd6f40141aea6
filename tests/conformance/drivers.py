"""The OpenCL drivers that a plain Linux machine can have: where they are, how to get them, how to run under each.

Debian's packages are installed by root and unpacked into a folder of `.venv` by everybody else. Each driver is shown to
its processes alone, by a folder with one `.icd` file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clprune.opencl import pip_driver
from tests.covering import HANDS

ROOT = Path(__file__).resolve().parents[2]
UNPACKED = ROOT / ".venv" / "conformance-drivers"
INSTALL_TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True, eq=False)
class Driver:
    """One row of the matrix.

    `packages` are Debian's, `pattern` finds its library under a root folder; neither for the driver that pip installs.
    `pairs`: every pair of parameter values. `hands`: which of the named tiles run (`tests.covering.HANDS`): drivers
    for CPUs have two each, so that every tile runs under one of the two compilers that vectorize, and most under one of
    the two simulators of GPUs too. `longest_source`: see `covering_points`.
    `networks`: how many whole ones. `selector`: a device of the machine's own drivers, in place of a library. `wrong`:
    by kernel, the tiles that it computes wrongly or wrongly reports, as values that come together; they are left out.
    """

    name: str
    title: str
    packages: tuple[str, ...] = ()
    pattern: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    is_checker: bool = False
    pairs: bool = False
    hands: tuple[int, ...] = HANDS
    longest_source: int | None = None
    networks: int = 12
    selector: str = ""
    needs_root: str = ""
    wrong: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)


#: See clprune.quirks.SMALLEST_FUSED_TILES_WRONG.
SMALLEST_FUSED_TILES = tuple(
    {"tile_m": 1, "vector_width": 1, "columns": 1, "group_n": 1, "groups": groups, "vectors": vectors}
    for groups, vectors in ((1, 1), (1, 2), (2, 1))
)

#: Pooling whole rows in vectors of 16 takes .even of a vector, whose lanes count as uninitialised under Oclgrind (see
#: clprune.quirks). Seen where rows have two columns: the values are right, and those of vectors of 8 earn no report. It
#: was not traced in Oclgrind; tiles are told apart by their own values alone, so that other layers lose them as well.
WIDEST_PACKED_TILES = ({"mapping": "packed", "vector_width": 16},)

DRIVERS = (
    Driver(name="intel", title="Intel CPU runtime", pairs=True, hands=(0, 1)),
    Driver(
        name="pocl",
        title="PoCL",
        packages=("pocl-opencl-icd",),
        pattern="usr/lib/*/libpocl.so.*",
        hands=(2, 3),
    ),
    Driver(
        name="rusticl",
        title="rusticl/llvmpipe",
        packages=("mesa-opencl-icd",),
        pattern="usr/lib/*/libRusticlOpenCL.so.1",
        # Without LLVM's optional passes it builds in two thirds of the time, and is as right or wrong as with them.
        environment={"RUSTICL_ENABLE": "llvmpipe", "GALLIVM_PERF": "nopt"},
        hands=(1, 2),
        longest_source=20_000,
        needs_root="it reads libclc from /usr/lib/clc only",
        wrong={"winograd_fused": SMALLEST_FUSED_TILES},
    ),
    Driver(
        name="oclgrind",
        title="Oclgrind",
        packages=("oclgrind",),
        pattern="usr/lib/**/liboclgrind-rt-icd.so",
        environment={"OCLGRIND_DATA_RACES": "1", "OCLGRIND_UNINITIALIZED": "1"},
        is_checker=True,
        hands=(3, 0),
        networks=6,
        wrong={"conv": WIDEST_PACKED_TILES},
    ),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a driver is: `environment` shows it to a process. `problem` says why it is absent, else it is empty."""

    environment: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


#: Names one device of the machine's own drivers by its selector, whatever its type: it is the row "chosen" then.
DEVICE_VARIABLE = "CONFORMANCE_DEVICE"


def gpus() -> list[Driver]:
    """A row for every GPU that the machine's own drivers show, or for the device that is named."""
    command = [sys.executable, "-c", "from clprune.cli import main; main(['devices', '--json'])"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    try:
        platforms = json.loads(result.stdout)["platforms"]
    except ValueError:
        return []
    devices = [device for platform in platforms for device in platform["devices"]]
    wanted = os.environ.get(DEVICE_VARIABLE)
    found = [device for device in devices if (device["selector"] == wanted if wanted else device["type"] == "gpu")]
    return [
        Driver(
            name="chosen" if wanted else f"gpu{number}",
            title=device["name"],
            selector=device["selector"],
            pairs=not wanted,  # a first look
            networks=12 if wanted else 48,
        )
        for number, device in enumerate(found)
    ]


def find(driver: Driver, folder: Path) -> Place:
    """Where `driver` is; its `.icd` file is written into `folder`. Installs nothing."""
    if driver.selector:
        return Place(environment={"CLPRUNE_DEVICE": driver.selector})
    if not driver.packages:
        library = pip_driver.find_library()
        return _shown(driver, folder, library) if library else Place(problem="intel-opencl-rt is not installed by pip")
    library = _newest(Path("/"), driver.pattern)
    if library is not None:
        return _shown(driver, folder, library)
    unpacked = _newest(UNPACKED, driver.pattern)
    if unpacked is None:
        return Place(problem=f"{driver.packages[0]} is not installed")
    if driver.needs_root:
        return Place(problem=f"{driver.packages[0]} must be installed by root: {driver.needs_root}")
    folders = {str(path.parent) for path in UNPACKED.glob("usr/lib/**/lib*.so*") if "clang" not in path.parent.name}
    before = os.environ.get("LD_LIBRARY_PATH", "")
    return _shown(driver, folder, unpacked, LD_LIBRARY_PATH=":".join([*sorted(folders), *filter(None, [before])]))


def install_missing(drivers: list[Driver], folder: Path) -> str:
    """Install what `drivers` lack; returns why some could not be, or an empty text."""
    missing = [package for driver in drivers if find(driver, folder).problem for package in driver.packages]
    if not missing:
        return ""
    if shutil.which("apt-get") is None:
        return "no apt-get to install it with"
    try:
        if os.geteuid() == 0:
            _apt("update")
            _apt("install", "-y", "--no-install-recommends", *missing)
        else:
            _unpack(missing)
    except (subprocess.SubprocessError, OSError) as error:
        output = getattr(error, "stderr", None) or str(error)
        return f"apt-get failed: {output.strip().splitlines()[-1] if output.strip() else error}"
    return ""


def _unpack(packages: list[str]) -> None:
    """Download packages and what they need, and unpack them where nobody else is disturbed."""
    lines = _apt("--simulate", "--no-install-recommends", "install", *packages).splitlines()
    names = [line.split()[1] for line in lines if line.startswith("Inst ")]
    archives = UNPACKED / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    _apt("download", *names, folder=archives)
    for archive in archives.glob("*.deb"):
        subprocess.run(["dpkg", "-x", archive, UNPACKED], check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
        archive.unlink()


def _apt(*arguments: str, folder: Path = ROOT) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        env=environment,
        cwd=folder,
    )
    return result.stdout


def _newest(root: Path, pattern: str) -> Path | None:
    return max((path for path in root.glob(pattern) if path.is_file()), default=None)


def _shown(driver: Driver, folder: Path, library: Path, **environment: str) -> Place:
    vendors = folder / driver.name
    vendors.mkdir(parents=True, exist_ok=True)
    (vendors / f"{driver.name}.icd").write_text(f"{library}\n", encoding="utf-8")
    return Place(environment={"OCL_ICD_VENDORS": str(vendors), **driver.environment, **environment})
