"""Where devices and drivers differ from what OpenCL lets one expect: the one place that knows, with evidence.

Each quirk says what happens, what clprune does about it, on which driver and version it was seen, and which test shows
it. Whoever must act on one asks `has(device, QUIRK)` or one of the questions at the end of this file. No OpenCL calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from clprune.device import TARGET_LANES, TARGET_VARIABLE, DeviceInfo, PlatformInfo


@dataclass(frozen=True, kw_only=True)
class Quirk:
    """`applies` tells from a device's facts; `evidence` names driver and version, `test` the file and function."""

    name: str
    what: str
    effect: str
    evidence: str
    test: str
    applies: Callable[[DeviceInfo], bool]

    def to_dict(self) -> dict[str, Any]:
        """What a bug report needs of it."""
        facts = asdict(self)
        del facts["applies"]
        return facts


def _is_mesa_22_rusticl(device: DeviceInfo) -> bool:
    return device.platform_name.lower() == "rusticl" and device.driver_version.startswith("22.")


def _language_version(device: DeviceInfo) -> tuple[int, int]:
    match = re.search(r"(\d+)\.(\d+)", device.opencl_c_version)
    return (int(match[1]), int(match[2])) if match else (1, 2)


NO_FP64 = Quirk(
    name="no_fp64",
    what="double is unknown to the compiler, and a literal without f, which is a double, is refused or slow",
    effect="kernels compute in float alone; every literal ends in f",
    evidence="rusticl/llvmpipe of Mesa 22.3.6 reports no cl_khr_fp64",
    test="tests/kernels/test_every_point.py::test_sources_are_pure_single_precision",
    applies=lambda device: not device.fp64,
)
EMULATED_LOCAL_MEMORY = Quirk(
    name="emulated_local_memory",
    what="local memory is a part of global memory: staging data there is a copy that gains nothing",
    effect="of a device's default tiles, those that share no local memory between work-items come first",
    evidence="Intel's CPU runtime 2026.22.10, PoCL 3.1 and rusticl/llvmpipe 22.3.6 report CL_GLOBAL",
    test="tests/test_quirks.py::test_default_tile_leaves_emulated_local_memory_alone",
    applies=lambda device: not device.local_mem_is_dedicated,
)
SINGLE_ITEM_WORK_GROUPS = Quirk(
    name="single_item_work_groups",
    what="a work-group has one work-item at most",
    effect="kernels run with their safe tiles: no local memory, no barrier",
    evidence="the least that OpenCL 1.2 allows; kernels with barriers on Apple's CPU driver 1.2 (CLBlast#139)",
    test="tests/plan/test_plan.py::test_smallest_device_gets_safe_tiles",
    applies=lambda device: device.max_work_group_size == 1 or max(device.max_work_item_sizes, default=1) == 1,
)
LANGUAGE_OPTION_REFUSED = Quirk(
    name="language_option_refused",
    what="-cl-std=CL1.2 is refused with CL_INVALID_BUILD_OPTIONS by a compiler that knows an older language only",
    effect="kernels are built without the option; one that is refused all the same is built again without it",
    evidence="drivers of OpenCL C 1.1 and before; -cl-std=CL2.0 is refused alike by many (pytorch_dlprim#51)",
    test="tests/test_quirks.py::test_language_option",
    applies=lambda device: _language_version(device) < (1, 2),
)
EVENT_TIMES_COUNT = Quirk(
    name="event_times_count",
    what="profiling events hold 0, 1, 2, 3 in place of times",
    effect="kernels are timed by the host's clock, launch included",
    evidence="rusticl/llvmpipe of Mesa 22.3.6; other versions have not been tried",
    test="tests/conformance/test_drivers.py::test_driver",
    applies=_is_mesa_22_rusticl,
)
KERNEL_LIMITS_UNTRUE = Quirk(
    name="kernel_limits_untrue",
    what="CL_KERNEL_WORK_GROUP_SIZE is 32 for every kernel, those that ran with 1024 items among them, and "
    "CL_KERNEL_LOCAL_MEM_SIZE is twice what the kernel declares",
    effect="the device's limits count, and the local memory that a kernel declares",
    evidence="rusticl/llvmpipe of Mesa 22.3.6; other versions have not been tried",
    test="tests/conformance/test_drivers.py::test_driver",
    applies=_is_mesa_22_rusticl,
)
WORK_ITEMS_ARE_LANES = Quirk(
    name="work_items_are_lanes",
    what="a software renderer maps work-items to the lanes of the processor's vectors and takes explicit vectors "
    "apart: a tile of 8 x 48 takes 5 s to compile and is slower than one of 64 work-items, which takes 0.2 s",
    effect="it is given a GPU's tiles, although it runs on the CPU",
    evidence="rusticl/llvmpipe of Mesa 22.3.6 (LLVM 15)",
    test="tests/test_quirks.py::test_renderers_get_the_tiles_of_a_gpu",
    applies=lambda device: "llvmpipe" in device.name.lower(),
)
PREFERRED_WIDTH_MISLEADS = Quirk(
    name="preferred_vector_width_misleads",
    what="CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT is 1 on a processor with wide vectors: the compiler means to fill "
    "them with work-items, which does not hold for kernels that have one work-item in a group",
    effect="tiles go by the native width alone",
    evidence="Intel's CPU runtime 2026.22.10: preferred 1, native 16; float16 tiles reach 90 % of the peak",
    test="tests/test_quirks.py::test_vector_width",
    applies=lambda device: device.preferred_vector_width_float < device.native_vector_width_float,
)
NATIVE_WIDTH_MISLEADS = Quirk(
    name="native_vector_width_misleads",
    what="CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT is 1 on a driver that computes on a CPU",
    effect="8 lanes are taken for granted where explicit vectors are wanted",
    evidence="Oclgrind 21.10 and rusticl/llvmpipe 22.3.6 report 1",
    test="tests/test_quirks.py::test_vector_width",
    applies=lambda device: device.type == "cpu" and device.native_vector_width_float <= 1,
)
TARGET_UNSAID = Quirk(
    name="target_unsaid",
    what=f"told by {TARGET_VARIABLE} to compile for another instruction set, the driver still reports the processor's "
    "own vectors, under the same name",
    effect="the instruction set is added to the device's name, and its lanes count: what was tuned and built for one "
    "is not taken for the other",
    evidence="Intel's CPU runtime 2026.22.10 under core-avx2 on a processor with AVX-512: native 16",
    test="tests/opencl/test_platforms.py::test_instruction_set_that_the_user_chose",
    applies=lambda device: device.name.endswith(tuple(f"({target})" for target in TARGET_LANES)),
)
SUBNORMALS_FLUSHED = Quirk(
    name="subnormals_flushed",
    what="values below 1.2e-38 may become zero: the device does not promise CL_FP_DENORM for float",
    effect="no kernel relies on them, and comparisons allow for a flush of each term",
    evidence="rusticl/llvmpipe of Mesa 22.3.6 does not promise it; most GPUs do not for fast arithmetic",
    test="tests/test_quirks.py::test_flushed_subnormals_are_no_error",
    applies=lambda device: not device.keeps_subnormals,
)

FILLS_UNTRACKED = Quirk(
    name="fills_untracked",
    what="a buffer that clEnqueueFillBuffer has filled counts as uninitialised: reading its zeros earns reports",
    effect="zeros are copied from the host",
    evidence="Oclgrind 21.10 with --uninitialized",
    test="tests/conformance/test_drivers.py::test_driver",
    applies=lambda device: "oclgrind" in device.platform_name.lower(),
)

PREFETCH_FATAL = Quirk(
    name="prefetch_fatal",
    what="clang's __builtin_prefetch, which speeds kernels up on CPU drivers, ends the process or hides the kernel",
    effect="HAS_CPU_PREFETCH stays undefined and kernels are built without the hint, as for everything but real CPUs",
    evidence="rusticl of Mesa 22.3.6 aborts in its SPIR-V translator; Oclgrind 21.10: CL_INVALID_KERNEL_NAME",
    test="tests/conformance/test_drivers.py::test_driver",
    applies=lambda device: device.is_software,
)

WIDE_SHUFFLES = Quirk(
    name="wide_shuffles",
    what="a vector of 32 elements, which clang knows beyond OpenCL's 16, ends the process; or what .even makes of a "
    "vector counts as uninitialised",
    effect="integer products are written without them, as for everything but real CPUs",
    evidence="rusticl of Mesa 22.3.6: LLVM ERROR: Unsupported vector type with 32 elements; Oclgrind 21.10",
    test="tests/kernels/test_conv_int8.py::test_pair_products_are_for_cpu_drivers",
    applies=lambda device: device.is_software,
)

SPILLS_BEYOND_ONE_WARP = Quirk(
    name="spills_beyond_one_warp",
    what="long kernels are given as few as 40 registers where a work-group has more than one warp, and spill the rest",
    effect="fused Winograd convolution has work-groups of one warp, with one strip of tiles per work-item",
    evidence="ptxas 12.9 for sm_90: up to 104 bytes of spills with 64 items, none with 32; some are left on sm_80",
    test="tests/offline/test_compilers.py::test_no_default_gpu_configuration_spills",
    applies=lambda device: device.type == "gpu" and "nvidia" in device.vendor.lower(),
)

REGISTERS_GUESSED = Quirk(
    name="registers_guessed",
    what="where a kernel says its work-group's size, the compiler guesses how many registers it may take: so few that "
    "long kernels spill, or too many for a quarter of the warps; the option that says how many is then ignored",
    effect="kernels that need it say the size as a hint only, and how many registers they take, by an option; matrix "
    "tiles load no more than a word at once where windows move by three inputs and more",
    evidence="ptxas 12.9 and 13.0 for sm_80 and sm_90: 72 registers and spills, or 129 to 141, in place of 128; "
    "13.0 for sm_90: 48 and 16 bytes of spills for a matrix tile of 16x32 and a 7x7 window of stride 3, 56 and none "
    "with the option",
    test="tests/offline/test_compilers.py::test_no_default_gpu_configuration_spills",
    applies=lambda device: device.type == "gpu" and "cl_nv_compiler_options" in device.extensions,
)

FEW_REGISTERS = Quirk(
    name="few_registers",
    what="a quarter of the warps leaves a work-item 84 registers: three of ten share 256",
    effect="the default tiles of tiled kernels hold 32 results per work-item in place of 64",
    evidence="LLVM 15 for gfx906: 103 to 118 registers for 8x8 results, and spills where 84 are all; 65 to 84 for 4x8",
    test="tests/offline/test_compilers.py::test_hot_loop_where_registers_are_few",
    applies=lambda device: (
        device.type == "gpu" and re.fullmatch(r"gfx(?:[78][0-9a-f]{2}|90[0-9c])", device.architecture) is not None
    ),
)

SINGLE_ITEMS_VECTORIZED = Quirk(
    name="single_items_vectorized",
    what="the compiler also tries to compute many work-items at once where every work-group has a single one",
    effect="such kernels ask for sub-groups of one (HAS_SUB_GROUPS_OF_ONE): a tenth less time to build, equally fast",
    evidence="Intel's CPU runtime 2026.22.10; its GPUs have no sub-groups of one and are not asked",
    test="tests/test_quirks.py::test_sub_groups_of_one_are_for_cpus",
    applies=lambda device: device.type == "cpu" and "cl_intel_required_subgroup_size" in device.extensions,
)

SMALLEST_FUSED_TILES_WRONG = Quirk(
    name="smallest_fused_tiles_wrong",
    what="fused Winograd convolution in tiles of one row, one lane and one column gives wrong results, however the "
    "driver optimises",
    effect="a search finds so and takes another tile; conformance leaves the three tiles out",
    evidence="rusticl/llvmpipe of Mesa 22.3.6; right on Intel's CPU runtime 2026.22.10, PoCL 3.1 and Oclgrind 21.10",
    test="tests/conformance/test_drivers.py::test_driver",
    applies=_is_mesa_22_rusticl,
)

BINARIES_BUILT_AGAIN = Quirk(
    name="binaries_built_again",
    what="the driver keeps what it builds on disk itself, and who asks for a program's binary waits until all kernels "
    "are compiled once more, for every size of work-group",
    effect="clprune keeps no binaries there: a first start takes 0.6 of the time, later ones no longer than before",
    evidence="PoCL 3.1: 4.5 s of processor time with binaries, 2.8 s without (vgg16-digits); 0.7 s warm, either way",
    test="tests/opencl/test_session_quirks.py::test_a_driver_with_a_cache_of_its_own_is_not_asked_for_binaries",
    applies=lambda device: device.platform_name == "Portable Computing Language",
)

QUIRKS: tuple[Quirk, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Quirk))


def has(device: DeviceInfo, quirk: Quirk) -> bool:
    """Whether `device` has `quirk`."""
    return quirk.applies(device)


def quirks_of(device: DeviceInfo) -> tuple[Quirk, ...]:
    """Every known quirk of `device`."""
    return tuple(quirk for quirk in QUIRKS if quirk.applies(device))


# --- questions that other rooms ask ---


def language_options(device: DeviceInfo) -> tuple[str, ...]:
    """The compiler option that fixes the language, where the compiler takes it."""
    return () if has(device, LANGUAGE_OPTION_REFUSED) else ("-cl-std=CL1.2",)


def defines(device: DeviceInfo) -> tuple[str, ...]:
    """Macros that kernels may ask for, as compiler options."""
    is_real_cpu = device.type == "cpu" and not has(device, PREFETCH_FATAL)
    prefetch = ("-DHAS_CPU_PREFETCH",) if is_real_cpu else ()
    return (*prefetch, "-DHAS_SUB_GROUPS_OF_ONE") if has(device, SINGLE_ITEMS_VECTORIZED) else prefetch


def register_options(device: DeviceInfo, registers: int) -> tuple[str, ...]:
    """Compiler options by which a kernel takes up to `registers` per work-item, where the compiler would guess."""
    if not has(device, REGISTERS_GUESSED):
        return ()
    return ("-Dreqd_work_group_size=work_group_size_hint", f"-cl-nv-maxrregcount={registers}")


def uses_host_memory(device: DeviceInfo) -> bool:
    """Whether buffers made of the host's memory are used in place and never copied: seen with PoCL 3.1 and Intel's CPU
    runtime 2026.22.10. Renderers and simulators keep a copy of their own.
    """
    return device.type == "cpu" and not device.is_software


def gains_by_chains(device: DeviceInfo) -> bool:
    """Whether small launches should be one (`clprune.chaining`). On Intel's CPU runtime 2026.22.10 a launch takes as
    long as a small layer, and a thread runs every work-group that has begun to its end. PoCL 3.1 runs chains, too, but
    MobileNetV2 no faster; renderers and simulators take turns among work-groups.
    """
    return device.type == "cpu" and device.platform_name == "Intel(R) OpenCL"


def takes_wide_shuffles(device: DeviceInfo) -> bool:
    """Whether halves of vectors of 32 elements may be summed up: drivers of other devices have not been tried."""
    return device.type == "cpu" and not has(device, WIDE_SHUFFLES)


def loads_vectors_of_any_place(device: DeviceInfo) -> bool:
    """Whether four float32 values at any multiple of four bytes are one load: NVIDIA's GPUs want 16 bytes' alignment,
    and compilers make four loads of them there.
    """
    return "nvidia" not in device.vendor.lower()


def takes_vector_subscripts(device: DeviceInfo) -> bool:
    """Whether lanes of a vector are to be chosen by clang's subscripts, v[i.s0], rather than shuffle(): of 16 floats
    Intel's CPU runtime 2026.22.10 makes one instruction of subscripts and 14 of shuffle(), which it takes apart into
    bytes. PoCL 3.1 knows them, too; what other devices do has not been tried.
    """
    return device.type == "cpu" and not device.is_software


def has_integer_dot_product(device: DeviceInfo) -> bool:
    """Whether kernels may call the dot products of cl_khr_integer_dot_product, which OpenCL C 3.0 declares.

    Intel's CPU runtime 2026.22.10 reports the extension and compiles the calls under -cl-std=CL3.0 only.
    """
    return "cl_khr_integer_dot_product" in device.extensions and _language_version(device) >= (3, 0)


def wants_explicit_vectors(device: DeviceInfo) -> bool:
    """Whether one work-item should compute with wide vectors (CPU drivers) rather than many side by side (GPUs)."""
    return device.type == "cpu" and not has(device, WORK_ITEMS_ARE_LANES)


def vector_width(device: DeviceInfo) -> int:
    """float32 lanes of the vectors that one work-item should compute with; 1 where work-items are the lanes."""
    if not wants_explicit_vectors(device):
        return 1
    return 8 if has(device, NATIVE_WIDTH_MISLEADS) else device.native_vector_width_float


def vector_registers(device: DeviceInfo) -> int:
    """Vector registers that one work-item may fill: 32 of AVX-512 and ARM's NEON, 16 of what x86 had before."""
    is_arm = "arm" in device.vendor.lower() or "aarch64" in device.name.lower() or "cortex" in device.name.lower()
    return 32 if is_arm or vector_width(device) >= 16 else 16


def platform_advice(platform: PlatformInfo) -> str:
    """Why a platform shows no device and what may help, or empty.

    Seen: Clover of Mesa 22.3.6 without an AMD GPU (Debian installs it beside rusticl); rusticl without its variable.
    """
    if platform.devices:
        return ""
    if platform.name.lower() == "rusticl":
        return "RUSTICL_ENABLE names the drivers that it may use"
    if platform.name.lower() == "clover":
        return "it serves AMD GPUs only"
    return ""
