"""Programs built as one: every kernel keeps its functions, on disk and in memory, and what is refused is told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clprune.errors import BuildError
from clprune.kernels.catalogue import built_in_kernels
from clprune.opencl import Session, binary_cache, remembered
from clprune.opencl.merging import merge_sources, part_suffix
from clprune.opencl.programs import Programs

FILL = """
#define VALUE {value}
inline int twice(const int x) {{ return 2 * x; }}
typedef int number;
kernel void fill(global int* out) {{ number x = twice(VALUE); out[0] = x; }}
"""
PARTS = [(FILL.format(value=value), ()) for value in (1, 2, 3)]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def session(device_context: Session) -> Session:
    """A session that has built nothing yet, on a device whose programs are worth keeping."""
    if device_context.info.is_software:
        pytest.skip("programs of software renderers are built one by one")
    return Session(device_context.info)


def answers(session: Session) -> list[int]:
    """What `fill` of each part writes."""
    found = []
    for source, options in PARTS:
        kernel = session.kernel(session.build(source, options=options), "fill")
        out = session.zeros(4)
        session.bind(kernel, global_size=(1,), local_size=(1,), arguments=(out,)).enqueue()
        found.append(int(session.read(out, np.int32, 1)[0]))
    return found


def test_names_become_a_part_s_own() -> None:
    merged = merge_sources([source for source, _ in PARTS])
    assert merged.startswith(("#define fill fill__0\n", "#define twice twice__0\n"))
    for name in ("fill", "twice", "number", "VALUE"):
        assert merged.count(f"#undef {name}\n") == 3
    assert part_suffix(2) == "__2"


def test_parts_run_as_they_do_alone(session: Session) -> None:
    session.build_together(PARTS)
    built = {session.build(source, options=options).built for source, options in PARTS}
    assert len(built) == 1
    assert answers(session) == [2, 4, 6]


def test_new_session_finds_the_parts_on_disk(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.build_together(PARTS)

    def forbidden(*_: object) -> None:
        raise AssertionError("built from source")

    monkeypatch.setattr(Programs, "build_from_source", forbidden)
    with Session(session.info) as second:
        second.build_together(PARTS[:2])
        assert answers(second) == [2, 4, 6]


def test_the_last_candidates_are_remembered(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_BRIEF", 2)
    sources = [f"kernel void f(global int *y) {{ y[0] = {number}; }}" for number in range(3)]
    first, second, third = (session.build(source, keep=False) for source in sources)
    assert session.build(sources[2], keep=False) is third
    assert session.build(sources[1], keep=False) is second
    assert session.build(sources[0], keep=False) is not first


def test_only_what_is_new_is_built(session: Session) -> None:
    first = session.build(*PARTS[0][:1], options=PARTS[0][1])
    session.build_together(PARTS)
    assert session.build(PARTS[0][0]) is first
    assert first.suffix == ""
    assert answers(session) == [2, 4, 6]


def test_parts_of_a_lost_program_are_built_again(session: Session, cache: Path) -> None:
    session.build_together(PARTS)
    for path in (cache / "kernels").glob("*.bin"):
        path.unlink()
    with Session(session.info) as second:
        assert answers(second) == [2, 4, 6]


def test_unusable_program_is_no_program(session: Session, cache: Path) -> None:
    session.build_together(PARTS)
    for path in (cache / "kernels").glob("*.bin"):
        binary_cache.store(path, b"not a program of any driver")
    with Session(session.info) as second:
        assert answers(second) == [2, 4, 6]


def test_a_refused_part_is_told_by_itself(session: Session) -> None:
    refused = ("kernel void broken(global int* out) { out[0] = nothing; }", ())
    session.build_together([*PARTS, refused])
    assert answers(session) == [2, 4, 6]
    with pytest.raises(BuildError, match="nothing"):
        session.build(*refused[:1])


def test_options_differ_between_programs(session: Session) -> None:
    sources = [("kernel void f(global int* out) { out[0] = VALUE; }", (f"-DVALUE={value}",)) for value in (1, 1, 2)]
    session.build_together([*PARTS, *sources])
    assert session.build(sources[0][0], options=("-DVALUE=1",)) is not session.build(
        sources[0][0], options=("-DVALUE=2",)
    )


@pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)
def test_every_kernel_can_be_a_part(kernel: object, session: Session) -> None:
    operation = kernel.sample_operations()[0]  # type: ignore[attr-defined]
    tile = kernel.default_tile(operation, session.info)  # type: ignore[attr-defined]
    source = kernel.source(tile, operation)  # type: ignore[attr-defined]
    options = kernel.build_options(session.info)  # type: ignore[attr-defined]
    merged = merge_sources([source, source])
    program = session.build(merged, options=options, keep=False)
    for stage in kernel.stages(tile, operation):  # type: ignore[attr-defined]
        for number in range(2):
            assert session.kernel(program, stage.name + part_suffix(number)).argument_count > 0
