"""A data set of another package, found through its entry point as `clprune --data` finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.data import list_data, load_data
from clprune.errors import UsageError

MODULE = """
import numpy as np

from clprune.data import DataSet, DataSource

def load(request):
    images = np.full((request.count or 2, 3, request.height, request.width), int(request.path), np.uint8)
    return DataSet(name="grey", images=images, labels=np.zeros(len(images), np.int64), class_names=("grey",))

DATA_SET = DataSource(load=load, needs_path=True)
NO_DATA_SET = 7
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package of one module."""
    (tmp_path / "grey_data.py").write_text(MODULE)
    facts = tmp_path / "grey_data-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: grey-data\nVersion: 1.0\n")
    lines = ["grey = grey_data:DATA_SET", "wrong = grey_data:NO_DATA_SET", "broken = grey_data:ABSENT"]
    (facts / "entry_points.txt").write_text("\n".join(["[clprune.data_sets]", *lines]))
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("package")
def test_a_package_adds_a_data_set() -> None:
    data = load_data("grey:90", split="test", height=4, width=5, count=3)
    assert data.images[:].shape == (3, 3, 4, 5)
    assert data.images[:].min() == 90
    with pytest.raises(UsageError, match="expected grey:PATH"):
        load_data("grey", split="test", height=4, width=5)
    with pytest.raises(UsageError, match=r"7: expected a clprune\.data\.DataSource"):
        load_data("wrong", split="test", height=4, width=5)
    with pytest.raises(UsageError, match=r"broken in clprune\.data_sets: .*ABSENT of grey-data cannot be loaded"):
        load_data("broken", split="test", height=4, width=5)


def test_it_is_gone_with_the_package() -> None:
    assert "grey:PATH" not in list_data()
