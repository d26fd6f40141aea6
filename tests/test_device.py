"""Device facts: identity, JSON, and the guesses."""

from __future__ import annotations

import dataclasses
import json

import pytest

from clprune.device import architecture_of, device_key, guess_simd_width, is_software
from tests.imaginary import imaginary_device, imaginary_platform


def test_key_is_the_identity_that_drivers_report() -> None:
    assert device_key(imaginary_device()).split("\n") == [
        "Example Corporation",
        "Example Platform",
        "OpenCL 3.0",
        "Example Corporation",
        "Example GPU",
        "OpenCL 3.0",
        "1.2.3",
    ]


def test_key_changes_with_the_driver_and_not_with_the_slot() -> None:
    device = imaginary_device()
    assert device_key(dataclasses.replace(device, driver_version="1.2.4")) != device_key(device)
    assert device_key(dataclasses.replace(device, platform_index=3, device_index=1)) == device_key(device)


def test_info_is_a_value() -> None:
    device = imaginary_device()
    assert device == imaginary_device()
    assert hash(device) == hash(imaginary_device())
    with pytest.raises(dataclasses.FrozenInstanceError):
        device.compute_units = 3  # type: ignore[misc]


def test_dict_survives_json() -> None:
    platform = imaginary_platform(1, "Example", {"name": "Zweite Größe"})
    facts = json.loads(json.dumps(platform.to_dict()))
    assert facts["devices"][0]["selector"] == "1:0"
    assert facts["devices"][0]["guessed"] == ["simd_width"]
    assert facts["devices"][0]["max_work_item_sizes"] == [256, 256, 64]
    assert facts["devices"][0]["key"] == device_key(platform.devices[0])


@pytest.mark.parametrize(
    ("type_name", "vendor", "native", "expected"),
    [
        ("gpu", "NVIDIA Corporation", 1, 32),
        ("gpu", "Advanced Micro Devices, Inc.", 1, 64),
        ("gpu", "Intel(R) Corporation", 1, 16),
        ("gpu", "ARM", 4, 32),
        ("cpu", "GenuineIntel", 16, 16),
        ("cpu", "Mesa/X.org", 1, 8),
    ],
)
def test_simd_width_guess(type_name: str, vendor: str, native: int, expected: int) -> None:
    assert guess_simd_width(type=type_name, vendor=vendor, native_vector_width_float=native) == expected


@pytest.mark.parametrize(
    ("type_name", "vendor", "name", "capability", "expected"),
    [
        ("gpu", "NVIDIA Corporation", "NVIDIA A100", "8.0", "sm_80"),
        ("gpu", "Advanced Micro Devices, Inc.", "gfx90a:sramecc+:xnack-", None, "gfx90a"),
        ("gpu", "Intel(R) Corporation", "Intel(R) UHD Graphics", None, "intel-gpu"),
        ("gpu", "", "?", None, "unknown-gpu"),
        ("cpu", "GenuineIntel", "Xeon", None, "cpu-float16"),
    ],
)
def test_architecture(type_name: str, vendor: str, name: str, capability: str | None, expected: str) -> None:
    found = architecture_of(type=type_name, vendor=vendor, name=name, simd_width=16, compute_capability=capability)
    assert found == expected


def test_software_renderers_are_recognised() -> None:
    assert is_software(platform_name="rusticl", device_name="llvmpipe (LLVM 15.0.6, 256 bits)")
    assert is_software(platform_name="Oclgrind", device_name="Oclgrind Simulator")
    assert not is_software(platform_name="rusticl", device_name="AMD Radeon RX 6800")
