"""`prune` as a function: a typed result, files only where they are asked for, progress told to a callback."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from clprune.container.model import load_model
from clprune.darknet.kinds.convolutional import Convolutional
from clprune.errors import UsageError
from clprune.opencl import Session
from clprune.progress import Progress
from clprune.pruning.registry import get_method

pytest.importorskip("torch", reason="training needs PyTorch")
# what follows needs it

from clprune.workflow.prune import prune


def test_a_typed_result_without_files(device_context: Session, model: Path) -> None:
    events: list[Progress] = []
    before = sorted(path.name for path in model.parent.iterdir())
    result = prune(
        load_model(model), data="synthetic", sparsity=0.5, method="bcbp", options=get_method("bcbp").options(),
        count=32, epochs=1, steps=2, device=device_context, progress=events.append,
    )  # fmt: skip
    assert sorted(path.name for path in model.parent.iterdir()) == before
    assert result.written is None and result.report is not None and result.device == device_context.info
    assert len(result.losses) == 2
    layer = result.model.network.layers[2]
    assert isinstance(layer, Convolutional) and layer.prune is not None and layer.prune.method == "bcbp"
    assert {event.stage for event in events} >= {"training", "evaluation"}
    facts = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert facts["method"] == "bcbp" and facts["before"]["best_ms"] > 0 and facts["speed_up"] > 0
    with pytest.raises(FrozenInstanceError):
        result.losses = ()  # type: ignore[misc]


def test_the_result_can_be_saved(device_context: Session, model: Path, tmp_path: Path) -> None:
    result = prune(
        model, data="synthetic", sparsity=0.5, method="bwsp", count=32, device=device_context, out=tmp_path / "pruned"
    )
    assert result.written == (tmp_path / "pruned.cfg", tmp_path / "pruned.safetensors")
    again = load_model(tmp_path / "pruned.cfg")
    assert [layer.prune for layer in again.network.layers if isinstance(layer, Convolutional)] == [
        layer.prune for layer in result.model.network.layers if isinstance(layer, Convolutional)
    ]


def test_wrong_settings_stop_before_a_device_is_opened(model: Path) -> None:
    for wrong in ({"sparsity": 1.0}, {"sparsity": 0.5, "method": "magic"}):
        with pytest.raises(UsageError, match="expected"):
            prune(model, data="synthetic", device="no such device", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="would replace"):
        prune(model, data="synthetic", sparsity=0.5, device="no such device", out=model)
