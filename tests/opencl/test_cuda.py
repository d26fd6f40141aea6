"""GPUs that only the CUDA driver reaches: found, opened, and the rest of the library does not notice."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clprune.clang import compile_to_ptx, find_clang, find_libclc, with_limits
from clprune.errors import BuildError, LaunchError, NoDeviceError
from clprune.kernels.catalogue import kernel_by_name
from clprune.kernels.signature import signature
from clprune.opencl import Session, cuda, open_session, platforms, remembered
from clprune.opencl.cuda import driver, platform
from clprune.opencl.cuda import session as session_module
from clprune.runner import Runner
from clprune.runner.verify import verify_network
from tests.imaginary import imaginary_platform
from tests.opencl.fake_cuda import FakeCuda, refusing, stand_in_for_ptx
from tests.random_networks import random_network
from tests.runner.conftest import images

ADD = """
__kernel void add(__global const float* x, __global float* y, const int count, const float factor) {
    const int i = get_global_id(0);
    if (i < count) y[i] += factor * x[i];
}
"""


@pytest.fixture
def fake(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    made = FakeCuda(device_context)
    monkeypatch.setattr(driver, "is_there", lambda: True)
    monkeypatch.setattr(driver, "bindings", lambda: made)
    monkeypatch.setattr(platform, "_lacking", lambda: "")
    monkeypatch.setattr(session_module, "find_clang", lambda: "clang")
    monkeypatch.setattr(session_module, "clang_version", lambda clang: f"{clang} of today")
    monkeypatch.setattr(
        session_module, "compile_to_ptx", lambda *_, source, card, options: stand_in_for_ptx(source, options)
    )
    return made


@pytest.fixture
def session(fake: FakeCuda) -> Iterator[Session]:
    found = cuda.find_platform(3)
    assert found is not None and not found.problem
    with open_session(found.devices[0]) as opened:
        assert isinstance(opened, cuda.CudaSession)
        yield opened


def test_facts_in_the_words_of_opencl(session: Session) -> None:
    info = session.info
    assert (info.selector, info.name, info.platform_name) == ("3:0", "Example GPU", "CUDA driver")
    assert (info.type, info.architecture, info.simd_width) == ("gpu", "sm_70", 32)
    assert (info.driver_version, info.compute_units, info.clock_mhz) == ("CUDA 12.4", 4, 1500)
    assert info.cache_bytes == (4 << 20,)


def test_only_where_opencl_has_no_such_gpu(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms._LOADER, "_platforms", [object()])
    for vendor, names in (("NVIDIA Corporation", ["one"]), ("Example Corporation", ["one", "CUDA driver"])):
        one = replace(imaginary_platform(0, "one", {}), vendor=vendor)
        monkeypatch.setattr(platforms, "_platform_info", lambda *_, one=one: one)
        assert [found.name for found in platforms.discover_platforms()] == names


def test_without_the_driver_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "is_there", lambda: False)
    assert cuda.find_platform(0) is None


@pytest.mark.parametrize(
    ("lacking", "error", "problem"),
    [
        ("install clang-15", None, "install clang-15"),
        ("", ImportError("cuda"), "to reach its GPUs through CUDA: pip install cuda-bindings"),
        ("", driver.CudaError("cuInit: no device"), "unusable: cuInit: no device"),
    ],
)
def test_what_is_missing_is_said(
    lacking: str, error: Exception | None, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bindings() -> Any:
        assert error is not None
        raise error

    monkeypatch.setattr(driver, "is_there", lambda: True)
    monkeypatch.setattr(driver, "bindings", bindings)
    monkeypatch.setattr(platform, "_lacking", lambda: lacking)
    found = cuda.find_platform(0)
    assert found is not None and not found.devices
    assert found.problem.endswith(problem)


def test_a_kernel_gets_its_arguments_and_groups(session: Session) -> None:
    x, y = np.arange(100, dtype=np.float32), np.ones(100, np.float32)
    buffers = session.buffer_from(x), session.buffer_from(y)
    kernel = session.kernel(session.build(ADD), "add")
    assert kernel.argument_count == 4
    bound = session.bind(
        kernel, global_size=(128,), local_size=(32,), arguments=[*buffers, np.int32(99), np.float32(0.5)]
    )
    bound.enqueue()
    expected = y + np.where(np.arange(100) < 99, 0.5 * x, 0).astype(np.float32)
    np.testing.assert_array_equal(session.read(buffers[1], np.float32, 100), expected)
    assert bound.timed() > 0
    assert len(type(bound).timed_in_a_row([bound, bound], before=[bound])) == 2
    np.testing.assert_array_equal(session.read(session.zeros(12), np.uint8, 12), np.zeros(12, np.uint8))


def test_an_argument_of_another_size_is_refused(session: Session) -> None:
    buffer, kernel = session.zeros(400), session.kernel(session.build(ADD), "add")
    with pytest.raises(LaunchError, match="argument 2 has 8 bytes, the kernel takes 4"):
        session.bind(
            kernel, global_size=(32,), local_size=(32,), arguments=[buffer, buffer, np.int64(1), np.float32(1)]
        )


def test_memory_and_modules_are_given_back(session: Session, fake: FakeCuda) -> None:
    buffer, program = session.zeros(400), session.build(ADD, keep=False)
    assert (len(fake.memory), len(fake.modules)) == (1, 1)
    del buffer, program
    session.close()
    gc.collect()
    assert (len(fake.memory), len(fake.modules)) == (0, 0)
    assert session.build(ADD) is session.build(ADD)


def test_the_last_candidates_are_remembered(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of OpenCL; a kept one serves a search as well."""
    monkeypatch.setattr(remembered, "MOST_BRIEF", 1)
    first, other = (session.build(ADD, options=(f"-D{name}",), keep=False) for name in ("FIRST", "OTHER"))
    assert session.build(ADD, options=("-DOTHER",), keep=False) is other
    assert session.build(ADD, options=("-DFIRST",), keep=False) is not first
    assert session.build(ADD) is session.build(ADD, keep=False)


def test_another_clang_writes_its_own_ptx(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.build(ADD, options=("-DCLANG",))
    monkeypatch.setattr(session_module, "clang_version", lambda clang: f"{clang} of tomorrow")
    monkeypatch.setattr(session_module, "compile_to_ptx", refusing)
    with open_session(session.info) as again, pytest.raises(BuildError, match="clang failed"):
        again.build(ADD, options=("-DCLANG",))


def test_ptx_is_kept_on_disk(session: Session, fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    session.build(ADD, options=("-DKEPT",))
    monkeypatch.setattr(session_module, "compile_to_ptx", refusing)
    with open_session(session.info) as again:
        assert again.kernel(again.build(ADD, options=("-DKEPT",)), "add").argument_count == 4
        with pytest.raises(BuildError, match="clang failed"):
            again.build(ADD, options=("-DNEW",))


def test_register_limits_become_directives(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(session, cuda.CudaSession)
    ptx = session._ptx(ADD, ("-cl-nv-maxrregcount=64",), keep=False)
    assert ".maxnreg 64" in ptx.partition("{")[0]
    assert ".maxnreg" not in session._ptx(ADD, (), keep=False)
    required = ADD.replace("__kernel", "__kernel __attribute__((reqd_work_group_size(32, 1, 1)))")
    assert ".reqntid 32, 1, 1\n{" in session._ptx(required, (), keep=False)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("cuModuleLoadData", BuildError),
        ("cuModuleGetFunction", BuildError),
        ("cuFuncGetAttribute", BuildError),
        ("cuMemAlloc", LaunchError),
        ("cuMemsetD8Async", LaunchError),
        ("cuMemcpyHtoDAsync", LaunchError),
        ("cuMemcpyDtoHAsync", LaunchError),
        ("cuLaunchKernel", LaunchError),
        ("cuEventRecord", LaunchError),
        ("cuStreamSynchronize", LaunchError),
        ("cuStreamCreate", NoDeviceError),
    ],
)
def test_every_refusal_is_one_of_ours(
    session: Session, fake: FakeCuda, function: str, expected: type[Exception]
) -> None:
    fake.fails.add(function)
    with pytest.raises(expected) as caught:
        if function == "cuStreamCreate":
            open_session(session.info)
        buffer = session.zeros(400)
        session.write(buffer, np.zeros(4))
        kernel = session.kernel(session.build(ADD, options=(f"-D{function}",)), "add")
        arguments = [buffer, buffer, np.int32(1), np.float32(1)]
        bound = session.bind(kernel, global_size=(32,), local_size=(32,), arguments=arguments)
        bound.enqueue()
        bound.timed()
        session.read(buffer, np.uint8, 1)
    fake.fails.clear()
    text = str(caught.value) + getattr(caught.value, "log", "")
    assert f"{function}: error illegal address" in text


@pytest.mark.parametrize("seed", range(3))
def test_networks_compute_what_they_should(session: Session, tmp_path: Path, seed: int) -> None:
    """With the tiles of a GPU, over several kernels."""
    network, weights = random_network(tmp_path, seed, batch=2)
    with Runner(network, weights, session=session, lookup=lambda *_: None, keep_tensors=True) as runner:
        errors = verify_network(runner, weights, images(network, 2))
    assert errors
    assert all(error.is_within for error in errors), errors


@pytest.mark.parametrize("name", ["conv_tiled", "connected", "winograd_fused", "softmax"])
def test_clang_gives_the_parameters_that_the_source_has(name: str) -> None:
    clang, libclc = find_clang(), find_libclc()
    if clang is None or libclc is None:
        pytest.skip("clang or libclc is not installed")
    kernel = kernel_by_name(name)
    operation = kernel.sample_operations()[0]
    source = kernel.source(kernel.safe_tile(operation), operation)
    ptx = compile_to_ptx(clang, libclc, source=source, card="sm_90", options=("-DX=1",))
    assert with_limits(ptx, source=source, options=()).count(".reqntid") == source.count("reqd_work_group_size")
    entries = dict(session_module._ENTRY.findall(ptx))
    assert entries
    for function, text in entries.items():
        found = [int(bits) // 8 for bits in session_module._PARAMETER.findall(text)]
        wide = ("long", "ulong", "double")
        assert found == [8 if each.is_pointer or each.type in wide else 4 for each in signature(source, function)]
