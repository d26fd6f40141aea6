"""The hash of a kernel's source moves with what decides about the source, and with nothing else."""

from __future__ import annotations

import cProfile
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import clprune
from clprune import rendering
from clprune import source_hash as hashing
from clprune.errors import RenderError
from clprune.kernels import base
from clprune.kernels.base import Kernel
from clprune.kernels.catalogue import built_in_kernels
from clprune.resources import templates_folder
from clprune.source_hash import source_hash
from tests.covering import roomy_device

PACKAGE = Path(clprune.__file__).parent
Edit = Callable[[str], str]

WINOGRAD = {"winograd", "winograd_fused", "winograd_tiled"}

PRINT_HASHES = """
import json
from clprune.kernels.catalogue import built_in_kernels
print(json.dumps({kernel.name: kernel.source_hash() for kernel in built_in_kernels()}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with its templates."""
    copied = tmp_path_factory.mktemp("copy") / "clprune"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(templates_folder(), copied / "templates", ignore=shutil.ignore_patterns("__pycache__"))
    hashes_of(copied, keeps_bytecode=True)  # all but what is edited is compiled once
    return copied


def hashes_of(copy: Path, *, keeps_bytecode: bool = False) -> dict[str, str]:
    """What a process that imports the copy says of its kernels."""
    options = [] if keeps_bytecode else ["-B"]
    command = [sys.executable, *options, "-c", PRINT_HASHES]
    result = subprocess.run(command, cwd=copy.parent, capture_output=True, text=True, check=True, timeout=120)
    hashes: dict[str, str] = json.loads(result.stdout)
    return hashes


def moved(copy: Path, *edits: tuple[str, Edit]) -> set[str]:
    """Names of the kernels whose hash moves when files of the package are edited."""
    texts: dict[Path, bytes] = {}
    try:
        for file, edit in edits:
            path = copy / file
            before = path.read_bytes()
            texts.setdefault(path, before)
            edited = edit(before.decode())
            assert edited != before.decode(), "the edit changes nothing"
            path.write_bytes(edited.encode())
        hashes = hashes_of(copy)
    finally:
        for path, text in texts.items():
            path.write_bytes(text)
    return {kernel.name for kernel in built_in_kernels() if hashes[kernel.name] != kernel.source_hash()}


def includes(file: str, name: str) -> bool:
    included = re.findall(r'file="([^"]+)"', (templates_folder() / file).read_text(encoding="utf-8"))
    return name in included or any(includes(other, name) for other in included)


def including(name: str) -> set[str]:
    return {kernel.name for kernel in built_in_kernels() if includes(f"{kernel.template}.cl.mako", name)}


def longer(text: str) -> str:
    return text + "\nint a;\n"


def test_a_shared_template_moves_those_that_include_it(copy: Path) -> None:
    assert moved(copy, ("templates/winograd.mako", longer)) == WINOGRAD
    assert moved(copy, ("templates/storage.mako", longer)) == including("storage.mako")
    assert moved(copy, ("templates/softmax.cl.mako", longer)) == {"softmax"}


def test_generators_move_those_that_use_them(copy: Path) -> None:
    def negated(text: str) -> str:
        return text.replace("'+' if factor > 0 else '-'", "'-' if factor < 0 else '+'")

    assert moved(copy, ("kernels/transform_source.py", negated)) == WINOGRAD
    points = lambda text: text.replace("points += [value, -value]", "points += [-value, value]")  # noqa: E731
    assert moved(copy, ("winograd/transforms.py", points)) == WINOGRAD
    distances = lambda text: text.replace("row * self.input.pitch,", "row * self.input.pitch + 0,")  # noqa: E731
    assert moved(copy, ("kernels/conv_operation.py", distances)) == {"conv"}
    every = {kernel.name for kernel in built_in_kernels()}
    offset = lambda text: text.replace("vload{width}(0, ", "vload{width}(0u, ")  # noqa: E731
    assert moved(copy, ("opencl_c.py", offset)) == every


def test_variables_move_their_own_kernel(copy: Path) -> None:
    def edit(text: str) -> str:
        return text.replace('"inside": problem.all_inside', '"inside": False')

    assert moved(copy, ("kernels/pool.py", edit)) == {"max_pool", "window_average"}


def test_line_endings_comments_and_tiles_move_nothing(copy: Path) -> None:
    def with_remarks(text: str) -> str:
        return text.replace('"""Collects', '# why\n    """Gathers').replace("\n\n\n", "\n\n\n# a\n")

    def with_returns(text: str) -> str:
        return text.replace("\n", "\r\n")

    edits = (
        ("templates/winograd.mako", with_returns),
        ("templates/common.mako", lambda text: "## A remark.\n\n" + text + "## Another.\n"),
        ("kernels/transform_source.py", with_remarks),
        ("kernels/transform_source.py", with_returns),
        ("kernels/conv.py", lambda text: text.replace("tile_m=8", "tile_m=4")),
        ("rendering.py", lambda text: text + "\nNOTHING = 1\n"),
    )
    assert moved(copy, *edits) == set()


def test_includes_are_followed_and_may_lie_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    monkeypatch.setattr(rendering, "templates_folder", lambda: own)
    (other / "a.cl.mako").write_text('<%include file="b.mako"/>\n')
    (own / "b.mako").write_text('<%namespace name="c" file="/c.mako"/>\n<%inherit file="c.mako"/>\n')
    (own / "c.mako").write_text("int c;\n")

    def hash_of_a() -> str:
        source_hash.cache_clear()
        hashing._template.cache_clear()
        return source_hash("a", folders=(other,))

    before = hash_of_a()
    (own / "c.mako").write_text("int d;\n")
    assert hash_of_a() != before
    (own / "c.mako").unlink()
    with pytest.raises(RenderError, match=r"template c\.mako is in none of .*other, .*own"):
        hash_of_a()
    source_hash.cache_clear()


def functions_called(call: Callable[[], Any]) -> set[CodeType]:
    """What runs of kernels/ and winograd/ during `call`."""
    rooms = (str(PACKAGE / "kernels"), str(PACKAGE / "winograd"))
    profile = cProfile.Profile(subcalls=False, builtins=False)
    profile.runcall(call)
    codes = {entry.code for entry in profile.getstats() if isinstance(entry.code, CodeType)}
    return {code for code in codes if code.co_filename.startswith(rooms) and code.co_filename != base.__file__}


def is_covered(code: CodeType, kernel: Kernel[Any, Any]) -> bool:
    """Whether the text of `code` is a part of the kernel's hash."""
    for generator in (type(kernel).variables, *kernel.generators):
        declared: Any = generator.fget if isinstance(generator, property) else generator
        lines, first = inspect.getsourcelines(declared)
        is_inside = inspect.ismodule(declared) or first <= code.co_firstlineno < first + len(lines)
        if inspect.getsourcefile(declared) == code.co_filename and is_inside:
            return True
    return False


@pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)
def test_no_generator_is_forgotten(kernel: Kernel[Any, Any]) -> None:
    """Every function of ours that runs while a source is made is declared."""
    tiles = [*kernel.cpu_tiles, *kernel.gpu_tiles]
    points = [(o, t) for o in kernel.sample_operations() for t in tiles if not kernel.rejection(t, o, roomy_device())]
    called = functions_called(lambda: [kernel.source(tile, operation) for operation, tile in points])
    forgotten = {f"{Path(code.co_filename).stem}.{code.co_name}" for code in called if not is_covered(code, kernel)}
    assert forgotten == set()


@pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)
def test_the_text_of_a_function_is_all_of_it(kernel: Kernel[Any, Any]) -> None:
    for generator in (type(kernel).variables, *kernel.generators):
        function: Any = generator.fget if isinstance(generator, property) else generator
        if not inspect.ismodule(function):
            lines, first = inspect.getsourcelines(function)
            after = Path(inspect.getsourcefile(function) or "").read_text(encoding="utf-8").splitlines(keepends=True)
            assert "".join(hashing._block(after[first - 1 :])).rstrip() == "".join(lines).rstrip()
