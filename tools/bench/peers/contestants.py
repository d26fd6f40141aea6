"""Who takes part: clprune's own rows, the other engines' rows, and the models that they run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clprune.algorithms import ALGORITHMS
from clprune.resources import models_folder
from tools.bench.agreement import FLOAT16_TOLERANCE, TOLERANCE
from tools.bench.contest import Contestant
from tools.bench.models import ModelFiles
from tools.bench.prepare import Prepared
from tools.bench.units import Variant

DENSE = Variant(name="clprune, dense, direct")
FASTEST_DENSE = Variant(name="clprune, dense", algorithms=("direct", "winograd"))
PRUNED = Variant(name="clprune, 75 % + 90 %, direct", sparsity=0.75, fc_sparsity=0.9)
#: What a row's name says of how the fully connected layers' weights are stored.
IN_STORAGE = {"float32": "", "float16": ", fully connected stored as float16"}
HALF = Variant(
    name="clprune, 75 % + 90 %, direct" + IN_STORAGE["float16"],
    sparsity=0.75,
    fc_sparsity=0.9,
    connected_storage="float16",
)
BEST_DOMAINS = tuple(
    Variant(
        name=f"clprune, {100 * sparsity:g} % + 90 %, best domain" + IN_STORAGE[storage],
        sparsity=sparsity,
        fc_sparsity=0.9,
        connected_storage=storage,
        algorithms=("direct", "winograd"),
    )
    for storage in IN_STORAGE
    for sparsity in (0.75, 0.875, 0.95)
)
VARIANTS = (DENSE, FASTEST_DENSE, PRUNED, HALF, *BEST_DOMAINS)
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


def own_contestants(prepared: Prepared) -> list[Contestant]:
    """clprune's rows: its variants, and the pairs that are taken as they are. None without a device."""
    if prepared.device is None:
        return []
    rows = [
        (variant.name, variant.weights_name, variant.connected_storage, variant.algorithms)
        for variant in prepared.entry.variants
    ]
    rows += [(name, name, "float32", ALGORITHMS) for name in prepared.entry.pairs]
    return [
        Contestant(
            label=label,
            engine="clprune",
            weights_name=weights_name,
            command=worker_command(sys.executable),
            options={
                "model": str(prepared.files[weights_name].cfg),
                "weights": str(prepared.files[weights_name].weights),
                "batch": prepared.entry.batch,
                "device": prepared.device.selector,
                "connected_storage": storage,
                "algorithms": ",".join(algorithms),
            },
            tolerance=TOLERANCE if storage == "float32" else FLOAT16_TOLERANCE,
        )
        for label, weights_name, storage, algorithms in rows
    ]


@dataclass(frozen=True, kw_only=True)
class PeerRow:
    """One row of another engine, the interpreter that has it, and its further options."""

    label: str
    engine: str
    interpreter: str
    options: Mapping[str, Any]
    tolerance: float = TOLERANCE


def peer_rows(engines: Sequence[str], *, interpreters: Mapping[str, str]) -> list[PeerRow]:
    """The rows of the given engines; `interpreters` names those that have a Python of their own."""
    return [
        PeerRow(label=label, engine=engine, interpreter=interpreters.get(engine, sys.executable), options=options)
        for engine in engines
        for label, options in PEER_ROWS[engine].items()
    ]


def peer_contestants(prepared: Prepared, rows: Sequence[PeerRow], *, threads: int, folder: Path) -> list[Contestant]:
    """The other engines' rows, all on the dense weights."""
    files = prepared.files[DENSE.weights_name]
    common = {
        "model": str(files.cfg),
        "weights": str(files.weights),
        "batch": prepared.entry.batch,
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
            tolerance=row.tolerance,
        )
        for row in rows
    ]


def worker_command(interpreter: str) -> tuple[str, ...]:
    """What starts an engine's process."""
    return interpreter, "-m", "tools.bench.worker"
