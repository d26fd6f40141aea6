"""Build, copy, launch and time on the machine's device."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clprune.errors import BuildError, LaunchError, NoDeviceError
from clprune.opencl import BoundKernel, Kernel, Session, binary_cache, open_device
from clprune.opencl.programs import Programs

SOURCE = """
kernel void scale(global float* values, const float factor, const int count)
{
    int i = get_global_id(0);
    if (i < count) values[i] *= factor;
}
"""


@pytest.fixture
def scale(device_context: Session) -> Kernel:
    return device_context.kernel(device_context.build(SOURCE), "scale")


def bind_scale(session: Session, kernel: Kernel, values: np.ndarray, factor: float) -> tuple[BoundKernel, object]:
    buffer = session.buffer_from(values)
    bound = session.bind(
        kernel, global_size=(40,), local_size=(8,), arguments=(buffer, np.float32(factor), np.int32(values.size))
    )
    return bound, buffer


def test_launch_with_scalars(device_context: Session, scale: Kernel) -> None:
    values = np.arange(37, dtype=np.float32)
    buffer = device_context.buffer_from(values)
    arguments = (buffer, np.float32(0.5), np.int32(37))
    device_context.bind(scale, global_size=(40,), local_size=(8,), arguments=arguments).enqueue()
    device_context.bind(scale, global_size=(37,), local_size=(1,), arguments=arguments).enqueue()
    assert np.array_equal(device_context.read(buffer, np.float32, 37), values * 0.25)


def test_bound_kernels_of_one_kernel_keep_their_own_arguments(device_context: Session, scale: Kernel) -> None:
    first, first_buffer = bind_scale(device_context, scale, np.ones(3, np.float32), 2.0)
    second, second_buffer = bind_scale(device_context, scale, np.ones(5, np.float32), 3.0)
    for _ in range(3):
        first.enqueue()
        second.enqueue()
    assert device_context.read(first_buffer, np.float32, 3).tolist() == [8.0] * 3
    assert device_context.read(second_buffer, np.float32, 5).tolist() == [27.0] * 5


def test_a_timed_run_takes_time(device_context: Session, scale: Kernel) -> None:
    bound, buffer = bind_scale(device_context, scale, np.ones(7, np.float32), 2.0)
    assert 0.0 < bound.timed() < 10.0
    assert device_context.read(buffer, np.float32, 7).tolist() == [2.0] * 7
    seconds = device_context.bind(
        scale, global_size=(40,), local_size=(8,), arguments=(buffer, np.float32(2.0), np.int32(7))
    ).timed()
    assert seconds > 0.0
    assert device_context.read(buffer, np.float32, 7).tolist() == [4.0] * 7


def test_same_source_is_built_once(device_context: Session) -> None:
    assert device_context.build(SOURCE) is device_context.build(SOURCE)


def test_options_reach_the_compiler(device_context: Session) -> None:
    program = device_context.build("kernel void f(global int* out) { out[0] = VALUE; }", options=("-DVALUE=41",))
    out = device_context.zeros(4)
    device_context.bind(
        device_context.kernel(program, "f"), global_size=(1,), local_size=(1,), arguments=(out,)
    ).enqueue()
    assert device_context.read(out, np.int32, 1).tolist() == [41]


def test_second_session_builds_from_the_cache(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    if device_context.info.is_software:
        pytest.skip("software renderers are not cached")
    device_context.build(SOURCE)
    assert binary_cache.load(binary_cache.entry_path(device_context.info, SOURCE, ())) is not None

    def forbidden(*_: object) -> None:
        raise AssertionError("built from source")

    monkeypatch.setattr(Programs, "build_from_source", forbidden)
    with Session(device_context.info) as session:
        kernel = session.kernel(session.build(SOURCE), "scale")
        bound, buffer = bind_scale(session, kernel, np.ones(3, np.float32), 2.0)
        bound.enqueue()
        assert session.read(buffer, np.float32, 3).tolist() == [2.0] * 3


def test_unusable_cache_entry_is_replaced(
    device_context: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if device_context.info.is_software:
        pytest.skip("software renderers are not cached")
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path))
    path = binary_cache.entry_path(device_context.info, SOURCE, ())
    binary_cache.store(path, b"not a program of any driver")
    with Session(device_context.info) as session:
        assert session.kernel(session.build(SOURCE), "scale").argument_count == 3
    assert binary_cache.load(path) != b"not a program of any driver"


def test_build_error_carries_log_and_source(device_context: Session) -> None:
    source = "kernel void f(global float* a) { a[0] = undeclared_name; }"
    with pytest.raises(BuildError) as caught:
        device_context.build(source)
    assert "undeclared_name" in caught.value.log
    assert caught.value.source == source
    assert device_context.info.name in str(caught.value)


def test_unknown_kernel_name(device_context: Session) -> None:
    with pytest.raises(BuildError, match="no kernel 'absent'"):
        device_context.kernel(device_context.build(SOURCE), "absent")


def test_kernel_reports_its_limits(device_context: Session, scale: Kernel) -> None:
    assert scale.argument_count == 3
    assert 1 <= scale.work_group_limit <= device_context.info.max_work_group_size
    assert scale.preferred_multiple >= 1


@pytest.mark.parametrize("size", [0, 1, 3, 15, 16, 17, 1000])
def test_buffers_of_any_size(device_context: Session, size: int) -> None:
    values = np.arange(size, dtype=np.uint8)
    buffer = device_context.buffer_from(values)
    assert buffer.nbytes == size
    assert np.array_equal(device_context.read(buffer, np.uint8, size), values)
    zeros = device_context.zeros(size)
    assert not device_context.read(zeros, np.uint8, size).any()
    device_context.write(zeros, values)
    assert np.array_equal(device_context.read(zeros, np.uint8, (size,)), values)


def test_strided_arrays_are_copied_in_c_order(device_context: Session) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4).T
    buffer = device_context.buffer_from(values)
    assert np.array_equal(device_context.read(buffer, np.float32, (4, 3)), values)


def test_copies_beyond_a_buffer_are_refused(device_context: Session) -> None:
    buffer = device_context.empty_buffer(8)
    with pytest.raises(LaunchError, match="cannot write 12 bytes into a buffer of 8"):
        device_context.write(buffer, np.zeros(3, np.float32))
    with pytest.raises(LaunchError, match="cannot read 12 bytes from a buffer of 8"):
        device_context.read(buffer, np.float32, 3)


def test_buffer_larger_than_the_device_allows(device_context: Session) -> None:
    limit = device_context.info.max_alloc_bytes
    with pytest.raises(LaunchError, match=f"allows: {limit}"):
        device_context.empty_buffer(limit + 1)


@pytest.mark.parametrize(
    ("global_size", "local_size", "text"),
    [
        ((10,), (4,), r"local size \(4,\) does not divide global size \(10,\)"),
        ((8, 8), (8,), "does not match the dimensions"),
        ((8,), (0,), "does not match the dimensions"),
        ((0,), (1,), "must be 1 to 3 positive numbers"),
        ((1, 1, 1, 1), (1,), "must be 1 to 3 positive numbers"),
        ((2**20,), (2**20,), "exceeds the device's limit per dimension"),
    ],
)
def test_bad_sizes(
    device_context: Session, scale: Kernel, global_size: tuple[int, ...], local_size: tuple[int, ...], text: str
) -> None:
    arguments = (device_context.zeros(4), np.float32(1.0), np.int32(1))
    with pytest.raises(LaunchError, match=f"kernel 'scale'.*{text}"):
        device_context.bind(scale, global_size=global_size, local_size=local_size, arguments=arguments).enqueue()


def test_limit_of_the_built_kernel(device_context: Session, scale: Kernel) -> None:
    arguments = (device_context.zeros(4), np.float32(1.0), np.int32(1))
    narrow = dataclasses.replace(scale, work_group_limit=4)
    with pytest.raises(LaunchError, match="has 8 work-items, this kernel's limit is 4"):
        device_context.bind(narrow, global_size=(2, 8), local_size=(2, 4), arguments=arguments).enqueue()


def test_bad_arguments(device_context: Session, scale: Kernel) -> None:
    buffer = device_context.zeros(4)
    with pytest.raises(LaunchError, match="takes 3 arguments, 1 were given"):
        device_context.bind(scale, global_size=(1,), local_size=(1,), arguments=(buffer,)).enqueue()
    with pytest.raises(LaunchError, match=r"argument 1 is float; expected .* NumPy scalar"):
        device_context.bind(scale, global_size=(1,), local_size=(1,), arguments=(buffer, 1.0, np.int32(1))).enqueue()  # type: ignore[arg-type]
    with pytest.raises(LaunchError, match="the driver refused an argument"):
        device_context.bind(
            scale, global_size=(1,), local_size=(1,), arguments=(buffer, np.float64(1.0), np.int32(1))
        ).enqueue()


def test_too_much_local_memory(device_context: Session, scale: Kernel) -> None:
    limit = device_context.info.local_mem_bytes
    kernel = dataclasses.replace(scale, local_mem_bytes=limit + 4)
    arguments = (device_context.zeros(4), np.float32(1.0), np.int32(1))
    with pytest.raises(LaunchError, match=rf"needs \d+ bytes of local memory, .* has {limit}"):
        device_context.bind(kernel, global_size=(1,), local_size=(1,), arguments=arguments).enqueue()


def test_threads_share_a_session(device_context: Session) -> None:
    """Each thread builds, binds and launches for itself."""
    if device_context.info.platform_name == "Oclgrind":
        pytest.skip("Oclgrind crashes when two threads build")
    answers: dict[int, float] = {}

    def work(number: int) -> None:
        kernel = device_context.kernel(device_context.build(SOURCE + f"// {number % 2}\n"), "scale")
        bound, buffer = bind_scale(device_context, kernel, np.ones(3, np.float32), float(number))
        bound.enqueue()
        answers[number] = float(device_context.read(buffer, np.float32, 3)[1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: float(number) for number in range(6)}


def test_device_that_is_gone(device_context: Session) -> None:
    gone = dataclasses.replace(device_context.info, device_index=99)
    with pytest.raises(NoDeviceError, match="is not there any more"):
        Session(gone)


@pytest.fixture
def no_driver(tmp_path: Path) -> Iterator[dict[str, str]]:
    yield {"OCL_ICD_VENDORS": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path)}


@pytest.mark.skipif(sys.platform != "linux", reason="hides the drivers in Linux's way")
def test_without_any_driver(no_driver: dict[str, str]) -> None:
    script = "from clprune.opencl import devices, open_device; print(devices()); open_device()"
    result = subprocess.run(
        [sys.executable, "-c", script], env=no_driver, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.stdout == "[]\n"
    assert "NoDeviceError: no OpenCL driver was found" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="makes folders unwritable in POSIX's way")
def test_without_a_writable_home(device_context: Session, tmp_path: Path) -> None:
    """A file stands where the home should be, which stops even the superuser."""
    (tmp_path / "home").write_text("")
    home = str(tmp_path / "home")
    script = f"""
import numpy as np
from clprune.opencl import devices, Session
info = next(iter(d for d in devices() if d.name == {device_context.info.name!r}), None)
if info is None:
    print("the driver itself needs a home")
else:
    with Session(info) as session:
        kernel = session.kernel(session.build("kernel void f(global float* a) {{ a[0] = 7.0f; }}"), "f")
        out = session.zeros(4)
        session.bind(kernel, global_size=(1,), local_size=(1,), arguments=(out,)).enqueue()
        print(session.read(out, np.float32, 1)[0])
"""
    environment = {**os.environ, "HOME": home, "XDG_CACHE_HOME": home, "CLPRUNE_CACHE_DIR": home}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    if "needs a home" in result.stdout:
        pytest.skip("the driver itself needs a writable home")
    assert result.stdout == "7.0\n"


def test_open_device_by_selector(device_context: Session) -> None:
    with open_device(device_context.info.selector) as session:
        assert session.info == device_context.info
