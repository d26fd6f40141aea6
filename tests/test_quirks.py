"""Device quirks on devices that exist only here: each is recognised, and does what its entry says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clprune import quirks
from clprune.device import DeviceInfo
from clprune.kernels.arguments import Expected
from clprune.kernels.base import Kernel
from clprune.kernels.catalogue import built_in_kernels
from clprune.opencl_c import work_group_attributes
from clprune.quirks import QUIRKS, platform_advice, quirks_of, vector_registers, vector_width, wants_explicit_vectors
from clprune.tolerance import SMALLEST_NORMAL, absolute_tolerance, relative_tolerance
from tests.imaginary import imaginary_device, imaginary_platform

ROOT = Path(__file__).resolve().parent.parent
RUSTICL = {
    "platform_name": "rusticl",
    "name": "llvmpipe (LLVM 15.0.6, 256 bits)",
    "type": "cpu",
    "driver_version": "22.3.6",
    "fp64": False,
    "local_mem_is_dedicated": False,
    "keeps_subnormals": False,
    "max_work_group_size": 1024,
    "max_work_item_sizes": (1024, 1024, 1024),
}
INTEL = {"type": "cpu", "native_vector_width_float": 16, "preferred_vector_width_float": 1}


def names(**facts: Any) -> set[str]:
    return {quirk.name for quirk in quirks_of(imaginary_device(**facts))}


def test_plain_device_has_none() -> None:
    assert names() == set()


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"fp64": False}, "no_fp64"),
        ({"local_mem_is_dedicated": False}, "emulated_local_memory"),
        ({"max_work_group_size": 1}, "single_item_work_groups"),
        ({"max_work_item_sizes": (1, 1, 1)}, "single_item_work_groups"),
        ({"opencl_c_version": "OpenCL C 1.1 Mesa"}, "language_option_refused"),
        ({"platform_name": "rusticl", "driver_version": "22.3.6"}, "event_times_count"),
        ({"platform_name": "rusticl", "driver_version": "22.3.6"}, "kernel_limits_untrue"),
        ({"platform_name": "rusticl", "driver_version": "22.3.6"}, "smallest_fused_tiles_wrong"),
        ({"name": "llvmpipe (LLVM 15)"}, "work_items_are_lanes"),
        (INTEL, "preferred_vector_width_misleads"),
        ({"type": "cpu", "native_vector_width_float": 1}, "native_vector_width_misleads"),
        ({"type": "cpu", "name": "AMD EPYC (core-avx2)"}, "target_unsaid"),
        ({"platform_name": "Portable Computing Language"}, "binaries_built_again"),
        ({"keeps_subnormals": False}, "subnormals_flushed"),
        ({"platform_name": "Oclgrind"}, "fills_untracked"),
        ({"platform_name": "Oclgrind"}, "prefetch_fatal"),
        ({"name": "llvmpipe (LLVM 15)"}, "wide_shuffles"),
        ({"vendor": "NVIDIA Corporation"}, "spills_beyond_one_warp"),
        ({"extensions": ("cl_nv_compiler_options",)}, "registers_guessed"),
        ({"architecture": "gfx906"}, "few_registers"),
        ({"type": "cpu", "extensions": ("cl_intel_required_subgroup_size",)}, "single_items_vectorized"),
    ],
)
def test_recognised(facts: dict[str, Any], name: str) -> None:
    assert name in names(**facts)
    assert name in {quirk.name for quirk in QUIRKS}


def test_every_quirk_is_recognised_somewhere() -> None:
    """The list above is complete, so that nobody adds an entry without an example."""
    (mark,) = test_recognised.pytestmark  # type: ignore[attr-defined]
    assert {name for _, name in mark.args[1]} == {quirk.name for quirk in QUIRKS}


def test_mended_drivers_are_trusted() -> None:
    assert names(platform_name="rusticl", driver_version="24.0.1") == set()
    assert names(opencl_c_version="OpenCL C 3.0") == set()


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)
def test_entries_are_whole(quirk: quirks.Quirk) -> None:
    """What, effect and evidence say something, and the named test exists."""
    facts = quirk.to_dict()
    assert list(facts) == ["name", "what", "effect", "evidence", "test"]
    assert all(len(text) > 5 for text in facts.values())
    path, _, test = quirk.test.partition("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {test}\(", source, flags=re.MULTILINE), quirk.test


def test_language_option() -> None:
    assert quirks.language_options(imaginary_device()) == ("-cl-std=CL1.2",)
    assert quirks.language_options(imaginary_device(opencl_c_version="OpenCL C 1.1")) == ()
    assert quirks.language_options(imaginary_device(opencl_c_version="odd")) == ("-cl-std=CL1.2",)


def test_prefetch_is_for_real_cpus() -> None:
    assert quirks.defines(imaginary_device(type="cpu")) == ("-DHAS_CPU_PREFETCH",)
    for facts in ({"type": "gpu"}, {"type": "accelerator"}, RUSTICL, {"type": "cpu", "platform_name": "Oclgrind"}):
        assert quirks.defines(imaginary_device(**facts)) == ()


def test_sub_groups_of_one_are_for_cpus() -> None:
    """And for kernels whose work-groups have a single work-item."""
    asked = {"extensions": ("cl_intel_required_subgroup_size",)}
    assert "-DHAS_SUB_GROUPS_OF_ONE" in quirks.defines(imaginary_device(type="cpu", **asked))
    assert "-DHAS_SUB_GROUPS_OF_ONE" not in quirks.defines(imaginary_device(type="gpu", **asked))
    assert "HAS_SUB_GROUPS_OF_ONE" in work_group_attributes(1, 1, 1)
    assert work_group_attributes(8, 1, 1) == "__attribute__((reqd_work_group_size(8, 1, 1)))"


def test_registers_are_asked_for_where_the_compiler_guesses() -> None:
    """The size of work-groups becomes a hint: where it is required, the number of registers is ignored."""
    options = quirks.register_options(imaginary_device(extensions=("cl_nv_compiler_options",)), 128)
    assert options == ("-Dreqd_work_group_size=work_group_size_hint", "-cl-nv-maxrregcount=128")
    assert quirks.register_options(imaginary_device(), 128) == ()


def test_registers_are_few_on_amds_older_cards() -> None:
    assert "few_registers" in names(architecture="gfx803")
    for name in ("gfx90a", "gfx942", "gfx1030", "gfx1100", "sm_90"):
        assert "few_registers" not in names(architecture=name)


def test_vector_width() -> None:
    """The native width where it can be believed; preferred widths never."""
    assert vector_width(imaginary_device(**INTEL)) == 16
    assert vector_width(imaginary_device(type="cpu", native_vector_width_float=1, preferred_vector_width_float=4)) == 8
    assert vector_width(imaginary_device(type="gpu", native_vector_width_float=4)) == 1
    assert vector_width(imaginary_device(**RUSTICL)) == 1


def test_vector_registers() -> None:
    assert vector_registers(imaginary_device(**INTEL)) == 32
    assert vector_registers(imaginary_device(type="cpu", native_vector_width_float=8)) == 16
    assert vector_registers(imaginary_device(type="cpu", native_vector_width_float=4, vendor="ARM")) == 32


def group_sizes(device: DeviceInfo, kernel: Kernel[Any, Any]) -> set[int]:
    operations = kernel.sample_operations()
    return {kernel.launch(kernel.default_tile(o, device), o).work_group_size for o in operations}


@pytest.mark.parametrize(
    "kernel", [kernel for kernel in built_in_kernels() if kernel.gpu_tiles], ids=lambda kernel: kernel.name
)
def test_renderers_get_the_tiles_of_a_gpu(kernel: Kernel[Any, Any]) -> None:
    renderer, gpu = imaginary_device(**RUSTICL), imaginary_device(local_mem_is_dedicated=False)
    assert not wants_explicit_vectors(renderer)
    assert group_sizes(renderer, kernel) == group_sizes(gpu, kernel)
    for operation in kernel.sample_operations():
        assert kernel.is_worth_trying(kernel.gpu_tiles[0], operation, renderer)


@pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)
def test_default_tile_leaves_emulated_local_memory_alone(kernel: Kernel[Any, Any]) -> None:
    device = imaginary_device(local_mem_is_dedicated=False)
    for operation in kernel.sample_operations():
        valid = [tile for tile in kernel.gpu_tiles if kernel.rejection(tile, operation, device) is None]
        if any(kernel.local_mem_bytes(tile, operation) == 0 for tile in valid):
            assert kernel.local_mem_bytes(kernel.default_tile(operation, device), operation) == 0


def test_flushed_subnormals_are_no_error() -> None:
    """Results that are all subnormal may come back as zeros; anything larger may not."""
    assert absolute_tolerance(1, largest=1e-39) > 1e-39
    assert absolute_tolerance(9, largest=1.0) == pytest.approx(relative_tolerance(9), rel=1e-12)
    assert absolute_tolerance(1, largest=0.0) == SMALLEST_NORMAL == float(np.finfo(np.float32).smallest_normal)


def expected(values: list[float]) -> Expected:
    array = np.array(values)
    return Expected(
        values=array, written=np.ones(len(values), np.bool_), initial=np.zeros(len(values), np.float32), terms=1
    )


def test_comparison_allows_a_flush() -> None:
    from clprune.candidate import _compare
    from clprune.errors import WrongAnswer

    assert _compare(np.zeros(2, np.float32), expected([1e-39, -2e-40])) == 1.0
    assert _compare(np.zeros(2, np.float32), expected([0.0, 0.0])) == 0.0
    with pytest.raises(WrongAnswer, match="relative error"):
        _compare(np.zeros(2, np.float32), expected([1e-30, 0.0]))


def test_platforms_without_devices() -> None:
    """Debian installs Clover beside rusticl: a platform that has nothing without an AMD GPU."""
    assert platform_advice(imaginary_platform(0, "Clover", problem="no devices")) == "it serves AMD GPUs only"
    assert "RUSTICL_ENABLE" in platform_advice(imaginary_platform(0, "rusticl", problem="no devices"))
    assert platform_advice(imaginary_platform(0, "rusticl", {})) == ""
    assert platform_advice(imaginary_platform(0, "Other", problem="no devices")) == ""
