"""OpenCL C to assembly for GPUs that are not there: clang for AMD, clang and ptxas for NVIDIA.

clang comes from the distribution (Debian and Ubuntu: clang-15, libclc-15, rocm-device-libs), ptxas and nvdisasm
from PyPI (nvidia-cuda-nvcc-cu12, nvidia-cuda-nvdisasm, extra `offline`) or a CUDA toolkit. These are not the compilers
inside the vendors' drivers, but AMD's is built from the same LLVM and NVIDIA's driver ends in the same ptxas.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clprune.architecture import Architecture
from clprune.clang import (
    TIMEOUT_S,
    clang_version,
    compile_source,
    compile_to_ptx,
    defines,
    find_clang,
    find_libclc,
    first_file,
    linked,
    run_compiler,
    with_limits,
)
from clprune.errors import MissingDependencyError
from clprune.offline.report import Report, amd_report, nvidia_report

_MCAS = (*(f"llvm-mca-{version}" for version in range(15, 21)), "llvm-mca")
_ROCM_FOLDERS = ("/usr/lib/x86_64-linux-gnu/amdgcn/bitcode", "/usr/lib/aarch64-linux-gnu/amdgcn/bitcode",
                 "/usr/lib/amdgcn/bitcode", "/opt/rocm/amdgcn/bitcode")  # fmt: skip
_PACKAGES = "apt-get install clang-15 libclc-15 rocm-device-libs (Debian 12, Ubuntu 22.04 or 24.04)"
_PTXAS = "pip install 'clprune[offline]' (PyPI: nvidia-cuda-nvcc-cu12)"

#: Turns that llvm-mca looks at, the first of which has to fill the pipeline.
_TURNS = 4


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """Where the compilers and their libraries are; None where absent.

    Without `nvdisasm` the loops of NVIDIA's are read from PTX, from which its assembler still makes other instructions.
    """

    clang: Path | None
    libclc: Path | None
    rocm: Path | None
    ptxas: Path | None
    nvdisasm: Path | None = None
    mca: Path | None = None

    def missing(self, architecture: Architecture) -> str | None:
        """What to install before kernels can be compiled for `architecture`, or None."""
        is_nvidia = architecture.name.startswith("sm_")
        if self.clang is None:
            return f"clang: {_PACKAGES}"
        if is_nvidia and self.libclc is None:
            return f"libclc's nvptx64--nvidiacl.bc: {_PACKAGES}"
        if is_nvidia and self.ptxas is None:
            return f"ptxas: {_PTXAS}"
        if is_nvidia and self.ptxas is not None and not _knows(self.ptxas, architecture.name):
            return f"a ptxas that knows it ({self.ptxas} does not): {_PTXAS}"
        if not is_nvidia and self.rocm is None:
            return f"the ROCm device libraries (ocml.bc): {_PACKAGES}"
        return None

    def require(self, architecture: Architecture) -> None:
        """Raise MissingDependencyError naming what to install before kernels can be compiled for `architecture`."""
        missing = self.missing(architecture)
        if missing is not None:
            raise MissingDependencyError(f"cannot compile for {architecture.name} without {missing}")

    def versions(self) -> dict[str, str]:
        """First line of what each tool says of itself."""
        found = {}
        if self.clang is not None:
            found["clang"] = clang_version(self.clang)
        if self.ptxas is not None:
            match = re.search(r"release [\d.]+, V[\d.]+", _output([str(self.ptxas), "--version"]))
            found["ptxas"] = match[0] if match else "unknown version"
        if self.mca is not None:
            match = re.search(r"LLVM version [\d.]+", _output([str(self.mca), "--version"]))
            found["llvm-mca"] = match[0] if match else "unknown version"
        if self.nvdisasm is not None:
            match = re.search(r"V[\d.]+", _output([str(self.nvdisasm), "--version"]))
            found["nvdisasm"] = match[0] if match else "unknown version"
        return found


def find_toolchain() -> Toolchain:
    """Look in the usual places; a ptxas installed beside this package comes before a system's."""
    return Toolchain(
        clang=find_clang(),
        libclc=find_libclc(),
        rocm=next((path.parent for path in [first_file(_ROCM_FOLDERS, "ocml.bc")] if path is not None), None),
        ptxas=_find_nvidia("ptxas"),
        nvdisasm=_find_nvidia("nvdisasm"),
        mca=next((Path(path) for name in _MCAS if (path := shutil.which(name))), None),
    )


def compile_kernel(
    toolchain: Toolchain, architecture: Architecture, *, source: str, options: Sequence[str] = ()
) -> Report:
    """Compile OpenCL C `source` for `architecture` and read what came out.

    `options` are those that a driver would get. Raises MissingDependencyError naming what to install, BuildError with
    the compiler's log.
    """
    toolchain.require(architecture)
    if architecture.name.startswith("sm_"):
        return _compile_nvidia(toolchain, architecture, source, options)
    return _compile_amd(toolchain, architecture, source, options)


def clocks_of_one_warp(toolchain: Toolchain, architecture: Architecture, report: Report) -> float | None:
    """Clocks of a turn of the report's hot loop where a warp is alone on its scheduler, as llvm-mca says; None without
    it and for what it does not know: NVIDIA's code, and pairs of instructions (RDNA 3), which it issues one by one.
    """
    if toolchain.mca is None or not report.hot_lines or any("v_dual_" in line for line in report.hot_lines):
        return None
    code = "\n".join(line for line in report.hot_lines if "branch" not in line)
    command = [str(toolchain.mca), "-mtriple=amdgcn-amd-amdhsa", f"-mcpu={architecture.name}", f"-iterations={_TURNS}"]
    result = subprocess.run(
        [*command, "-instruction-info=false", "-resource-pressure=false"],
        input=code,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    match = re.search(r"Total Cycles:\s+(\d+)", result.stdout)
    return int(match[1]) / _TURNS if match else None


def _compile_nvidia(toolchain: Toolchain, architecture: Architecture, source: str, options: Sequence[str]) -> Report:
    assert toolchain.clang is not None
    ptx = compile_to_ptx(
        toolchain.clang, toolchain.libclc, source=source, card=architecture.name, options=options
    )  # fmt: skip
    ptx = with_limits(ptx, source=source, options=options)
    with tempfile.TemporaryDirectory(prefix="clprune-offline-") as folder:
        file, binary = Path(folder) / "kernel.ptx", Path(folder) / "kernel.o"
        file.write_text(ptx, encoding="utf-8")
        command = [str(toolchain.ptxas), "-v", f"-arch={architecture.name}", str(file), "-o", str(binary)]
        log = run_compiler(command, source=ptx)
        return nvidia_report(ptx=ptx, ptxas_log=log, sass=_disassembled(toolchain, binary))


def _disassembled(toolchain: Toolchain, binary: Path) -> str:
    """What NVIDIA's assembler made; empty without a disassembler that knows the card."""
    if toolchain.nvdisasm is None:
        return ""
    command = [str(toolchain.nvdisasm), "-c", str(binary)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False).stdout


def _compile_amd(toolchain: Toolchain, architecture: Architecture, source: str, options: Sequence[str]) -> Report:
    assert toolchain.clang is not None
    flags = ["-target", "amdgcn-amd-amdhsa", f"-mcpu={architecture.name}", "-nogpulib", *defines(options)]
    flags += _rocm_flags(toolchain.rocm or Path(), architecture)
    return amd_report(assembly=compile_source(toolchain.clang, source, flags))


def _rocm_flags(folder: Path, architecture: Architecture) -> list[str]:
    """The device libraries one by one: clang's own search fails for architectures newer than the libraries.

    The libraries ask `oclc_isa_version` only for instructions that all architectures here have alike, so the nearest
    older one stands in for a missing one.
    """
    number = architecture.name.removeprefix("gfx")
    versions = sorted(file.stem.removeprefix("oclc_isa_version_") for file in folder.glob("oclc_isa_version_*.bc"))
    same_length = [version for version in versions if len(version) == len(number) and version <= number]
    isa = number if number in versions else (same_length or versions)[-1]
    wave = "on" if architecture.warp_size == 64 else "off"
    names = ["opencl", "ocml", "ockl", "oclc_daz_opt_off", "oclc_unsafe_math_off", "oclc_finite_only_off"]
    names += ["oclc_correctly_rounded_sqrt_on", f"oclc_wavefrontsize64_{wave}", f"oclc_isa_version_{isa}"]
    abi = folder / "oclc_abi_version_400.bc"
    return linked(*(folder / f"{name}.bc" for name in names), *([abi] if abi.is_file() else []))


def _knows(ptxas: Path, target: str) -> bool:
    """Whether this ptxas makes code for `target`: each release drops the oldest cards. An absent file counts as one."""
    known = set(re.findall(r"'(sm_\d+\w?)'", _output([str(ptxas), "--help"]))) if ptxas.is_file() else set()
    return not known or target in known


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False).stdout or "unknown"


def _find_nvidia(name: str) -> Path | None:
    """A tool of PyPI's packages (nvidia/cuda_nvcc/bin, nvidia/cu13/bin: they share a namespace), else the PATH's."""
    namespace = importlib.util.find_spec("nvidia")
    folders = list(namespace.submodule_search_locations or ()) if namespace is not None else []
    bundled = sorted(file for folder in folders for file in Path(folder).glob(f"*/bin/{name}"))
    on_path = shutil.which(name)
    return bundled[-1] if bundled else (Path(on_path) if on_path else None)
