"""What tests of ranking share: searches of a whole space, which no compiler changes, are made once."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from clprune.offline import ranking


@pytest.fixture(scope="package", autouse=True)
def searched_once() -> Iterator[None]:
    """Equal questions to `preselect`, which reads tens of thousands of tiles, are answered from the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "preselect", functools.cache(ranking.preselect))
        yield
