"""Templates to OpenCL C: strict about names, exact literals, nothing that needs fp64 or more than OpenCL C 1.2."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from clprune import rendering
from clprune.errors import RenderError
from clprune.kernels.base import Kernel
from clprune.kernels.catalogue import built_in_kernels
from clprune.opencl_c import c_float, vector_load, vector_store, vector_type
from clprune.rendering import render
from clprune.resources import templates_folder

each_kernel = pytest.mark.parametrize("kernel", built_in_kernels(), ids=lambda kernel: kernel.name)


def test_literals() -> None:
    assert c_float(0.1) == "0.1f"
    assert c_float(1) == "1.0f"
    assert c_float(1e-7) == "1e-07f"
    assert c_float(-2.5) == "-2.5f"
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(RenderError, match="cannot be written as an OpenCL C literal"):
            c_float(value)


def test_vector_helpers() -> None:
    assert (vector_type("float", 1), vector_type("int", 8)) == ("float", "int8")
    assert (vector_load(1, "p + 3"), vector_load(4, "p + 3")) == ("*(p + 3)", "vload4(0, p + 3)")
    assert vector_store(1, "v", "p") == "*(p) = v;"
    assert vector_store(16, "v", "p") == "vstore16(v, 0, p);"


def folder_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **templates: str) -> None:
    for name, text in templates.items():
        (tmp_path / f"{name}.cl.mako").write_text(text, encoding="utf-8")
    monkeypatch.setattr(rendering, "templates_folder", lambda: tmp_path)


def test_what_mako_makes_of_a_template_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    folder_with(monkeypatch, tmp_path, answer="int a = ${a};\n")

    def rendered() -> str:
        rendering._lookup.cache_clear()
        return render("answer", {"a": 42})

    assert rendered() == "int a = 42;\n"
    (kept,) = (tmp_path / "cache" / "templates").glob("*.py")
    kept.write_text(kept.read_text(encoding="utf-8").replace("int a", "int another"), encoding="utf-8")
    assert rendered() == "int another = 42;\n"
    kept.parent.chmod(0o777)  # it could be a stranger's
    assert rendered() == "int a = 42;\n"
    kept.parent.chmod(0o700)
    kept.write_text("half a file (", encoding="utf-8")
    assert rendered() == "int a = 42;\n"


def test_undefined_name_is_an_error_with_template_and_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder_with(monkeypatch, tmp_path, broken="int a;\nint b = ${missing};\n")
    with pytest.raises(
        RenderError, match=r"template broken\.cl\.mako.*'missing' is not defined.*variables: {'known': 3}"
    ):
        render("broken", {"known": 3})


def test_unknown_template() -> None:
    with pytest.raises(RenderError, match=r"template absent\.cl\.mako"):
        render("absent", {})


@each_kernel
def test_same_input_same_source(kernel: Kernel[Any, Any]) -> None:
    operation = kernel.sample_operations()[-1]
    tile = kernel.safe_tile(operation)
    assert kernel.source(tile, operation) == kernel.source(tile, operation)


def test_every_template_says_what_it_computes() -> None:
    for path in templates_folder().glob("*.mako"):
        assert path.read_text(encoding="utf-8").startswith("## "), path.name
