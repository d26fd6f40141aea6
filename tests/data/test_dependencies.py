"""What happens where an optional package is missing, and what must not be imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clprune.data import load_data, scikit
from clprune.errors import MissingDependencyError


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    scikit.load_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingDependencyError, match=r"pip install clprune\[data\]"):
        load_data("digits", split="test", height=8, width=8)


def test_missing_torch_names_the_extra() -> None:
    output = run_python(
        "import sys; sys.modules['torch'] = None\n"
        "from clprune.errors import MissingDependencyError\n"
        "try:\n    import clprune.training\n"
        "except MissingDependencyError as error:\n    print(error)"
    )
    assert "pip install clprune[train]" in output


def test_data_and_masks_need_neither_torch_nor_scikit_learn() -> None:
    output = run_python(
        "import sys, clprune.pruning.network\n"
        "from clprune.data import load_data\n"
        "load_data('synthetic', split='test', height=4, width=4, count=3)\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'pyopencl'} & set(sys.modules)))"
    )
    assert output.strip() == "[]"
