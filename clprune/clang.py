"""OpenCL C to assembly by clang: for GPUs that are not there, and for those whose driver has no compiler for it.

clang and libclc come from the distribution (Debian 12, Ubuntu 22.04 or 24.04: clang-15, libclc-15).
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clprune.errors import BuildError

_NAMES = ("clang-15", "clang-16", "clang-17", "clang-18", "clang-19", "clang-20", "clang")
_LIBCLC_FOLDERS = ("/usr/lib/clc", "/usr/share/clc", "/usr/libexec/clc")

#: The newest card that clang 15 can write PTX for; NVIDIA's assembler makes a newer card's code from it.
_NEWEST_PTX = 80

#: Kernels with the work-group size that they are launched with.
_REQUIRED = re.compile(r"reqd_work_group_size\(([^()]*)\)\)\)\s*void\s+(\w+)\s*\(")

#: NVIDIA's OpenCL hands the number on to its assembler.
REGISTERS = "-cl-nv-maxrregcount="

TIMEOUT_S = 120


def find_clang() -> Path | None:
    """The first of the usual names on the path."""
    return next((Path(path) for name in _NAMES if (path := shutil.which(name))), None)


@functools.cache
def clang_version(clang: Path) -> str:
    """First line of what the compiler says of itself; empty where it says nothing."""
    command = [str(clang), "--version"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False).stdout
    return next(iter(text.splitlines()), "")


def find_libclc() -> Path | None:
    """OpenCL's own functions for NVIDIA's GPUs, as bitcode: beside clang, where that was unpacked elsewhere."""
    clang = find_clang()
    beside = () if clang is None else (str(clang.parents[1] / "lib" / "clc"),)
    return first_file((*beside, *_LIBCLC_FOLDERS), "nvptx64--nvidiacl.bc")


def first_file(folders: Sequence[str], name: str) -> Path | None:
    """Where the file lies."""
    return next((file for folder in folders if (file := Path(folder) / name).is_file()), None)


def compile_source(clang: Path, source: str, flags: Sequence[str]) -> str:
    """Assembly of OpenCL C 1.2 `source`. Raises BuildError with the compiler's log."""
    common = ["-Xclang", "-finclude-default-header", "-cl-std=CL1.2", "-x", "cl", "-O3", "-S", "-w"]
    with tempfile.TemporaryDirectory(prefix="clprune-clang-") as folder:
        file, target = Path(folder) / "kernel.cl", Path(folder) / "kernel.s"
        file.write_text(source, encoding="utf-8")
        run_compiler([str(clang), *flags, *common, str(file), "-o", str(target)], source=source)
        return target.read_text(encoding="utf-8")


def compile_to_ptx(clang: Path, libclc: Path | None, *, source: str, card: str, options: Sequence[str]) -> str:
    """PTX of `source` for a card such as "sm_80" with what a driver's options define. Raises BuildError."""
    target = f"sm_{min(int(card.removeprefix('sm_')), _NEWEST_PTX)}"
    flags = ["-target", "nvptx64--nvidiacl", "-Xclang", "-target-cpu", "-Xclang", target]
    # NVIDIA's OpenCL defines the macro and knows the keyword asm.
    flags += ["-DFP_FAST_FMAF", "-fgnu-keywords", *linked(libclc), *defines(options)]
    return compile_source(clang, source, flags)


def with_limits(ptx: str, *, source: str, options: Sequence[str]) -> str:
    """PTX of `source` with what bounds its registers: as many as the options of NVIDIA's OpenCL allow, else as many as
    work-groups of the sizes have that its kernels require, which clang 15 leaves out.
    """
    limits = [option.removeprefix(REGISTERS) for option in options if option.startswith(REGISTERS)]
    if limits:
        return _with_directive(ptx, r"\w+", f".maxnreg {limits[-1]}")
    if ".reqntid" not in ptx:
        for sizes, name in _REQUIRED.findall(source):
            ptx = _with_directive(ptx, name, f".reqntid {sizes}")
    return ptx


def _with_directive(ptx: str, names: str, directive: str) -> str:
    """PTX whose kernels of such names have one more directive."""
    return re.sub(rf"(\.visible \.entry {names}\([^)]*\))", rf"\1\n{directive}", ptx)


def defines(options: Sequence[str]) -> list[str]:
    """Those that any compiler understands."""
    return [option for option in options if option.startswith("-D")]


def linked(*files: Path | None) -> list[str]:
    """Flags that link bitcode, keeping only what is called."""
    return [word for file in files for word in ("-Xclang", "-mlink-builtin-bitcode", "-Xclang", str(file))]


def run_compiler(command: Sequence[str], *, source: str) -> str:
    """stdout and stderr of a compiler. Raises BuildError."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    log = result.stdout + result.stderr
    if result.returncode:
        raise BuildError(f"{Path(command[0]).name} failed with status {result.returncode}", log=log, source=source)
    return log
