"""Who takes part: clprune's own rows, the other engines' rows, and the models that they run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clprune.benchmark.agreement import FLOAT16_TOLERANCE, TOLERANCE
from clprune.benchmark.contest import Contestant
from clprune.benchmark.models import ModelFiles
from clprune.benchmark.prepare import Prepared
from clprune.benchmark.units import Variant
from clprune.resources import models_folder

DENSE = Variant(name="clprune, dense")
PRUNED = Variant(name="clprune, 75 % + 90 %", sparsity=0.75, fc_sparsity=0.9)
HALF = Variant(
    name="clprune, 75 % + 90 %, fully connected stored as float16",
    sparsity=0.75,
    fc_sparsity=0.9,
    connected_storage="float16",
)
SPARSER = Variant(name="clprune, 87.5 % + 90 %", sparsity=0.875, fc_sparsity=0.9)
VARIANTS = (DENSE, PRUNED, HALF, SPARSER)
TRAINED = "clprune, trained at 75 %"

#: Models that came of training and pruning, beside the dense model of the same shape.
TRAINED_STEMS = {"vgg16-digits": "vgg16-digits-pruned75"}

#: Rows of each engine beside clprune's: label -> further options.
PEER_ROWS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "pytorch": {
        "PyTorch, eager": {"memory_format": "contiguous", "device": "cpu", "tf32": False},
        "PyTorch, channels_last": {"memory_format": "channels_last", "device": "cpu", "tf32": False},
    },
    "onnxruntime": {"ONNX Runtime": {}},
    "openvino": {"OpenVINO": {}},
    "ncnn": {"ncnn": {}},
    "deepsparse": {"DeepSparse": {}},
}
#: Those whose fastest the goals are set against.
RIVALS = ("pytorch", "onnxruntime", "openvino", "ncnn")


def trained_pairs(model: str) -> dict[str, ModelFiles]:
    """The pruned and retrained model of the same shape, where there is one."""
    stem = TRAINED_STEMS.get(Path(model).stem)
    cfg = models_folder() / f"{stem}.cfg"
    return {TRAINED: ModelFiles(cfg=cfg, weights=cfg.with_suffix(".weights"))} if stem and cfg.is_file() else {}


def own_contestants(prepared: Prepared, *, device: str | None, batch: int) -> list[Contestant]:
    """clprune's rows."""
    rows = [(variant.name, variant.weights_name, variant.connected_storage) for variant in VARIANTS]
    if TRAINED in prepared.files:
        rows.append((TRAINED, TRAINED, "float32"))
    contestants = []
    for label, weights_name, storage in rows:
        files = prepared.files[weights_name]
        options = {
            "model": str(files.cfg),
            "weights": str(files.weights),
            "batch": batch,
            "device": device,
            "connected_storage": storage,
        }
        contestants.append(
            Contestant(
                label=label,
                engine="clprune",
                weights_name=weights_name,
                command=worker_command(sys.executable),
                options=options,
                tolerance=TOLERANCE if storage == "float32" else FLOAT16_TOLERANCE,
            )
        )
    return contestants


@dataclass(frozen=True, kw_only=True)
class PeerRow:
    """One row of another engine, the interpreter that has it, and its further options."""

    label: str
    engine: str
    interpreter: str
    options: Mapping[str, Any]


def peer_rows(engines: Sequence[str], *, interpreters: Mapping[str, str]) -> list[PeerRow]:
    """The rows of the given engines; `interpreters` names those that have a Python of their own."""
    return [
        PeerRow(label=label, engine=engine, interpreter=interpreters.get(engine, sys.executable), options=options)
        for engine in engines
        for label, options in PEER_ROWS[engine].items()
    ]


def peer_contestants(
    prepared: Prepared, rows: Sequence[PeerRow], *, batch: int, threads: int, folder: Path
) -> list[Contestant]:
    """The other engines' rows, all on the dense weights."""
    files = prepared.files[DENSE.weights_name]
    common = {
        "model": str(files.cfg),
        "weights": str(files.weights),
        "batch": batch,
        "threads": threads,
        "folder": str(folder),
    }
    return [
        Contestant(
            label=row.label,
            engine=row.engine,
            weights_name=DENSE.weights_name,
            command=worker_command(row.interpreter),
            options=common | dict(row.options),
        )
        for row in rows
    ]


def worker_command(interpreter: str) -> tuple[str, str]:
    """What starts an engine's process."""
    return interpreter, str(Path(__file__).resolve().parent.parent / "bench_worker.py")
