"""Modules of `tools/` for the tests: they lie beside the package, not in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clprune.darknet.network import Network, load_network

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(autouse=True)
def tools_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


@pytest.fixture
def network_of(tmp_path: Path) -> Callable[..., Network]:
    """The network of a cfg's text."""

    def load(text: str, *, batch: int = 1) -> Network:
        path = tmp_path / "network.cfg"
        path.write_text(text)
        return load_network(path, batch=batch)

    return load
