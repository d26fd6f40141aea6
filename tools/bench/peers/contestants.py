"""Who takes part: clprune's own rows, the other engines' rows, and the models that they run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clprune.algorithms import ALGORITHMS
from clprune.precision import FLOAT32, TF32
from clprune.resources import models_folder
from tools.bench.agreement import FLOAT16_TOLERANCE, TOLERANCE
from tools.bench.contest import Contestant
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
#: Where a GPU has a matrix unit: the same, factors rounded to 11 bits.
TF32_VARIANTS = (
    Variant(name="clprune, dense, TF32", algorithms=("direct", "winograd"), precision=TF32),
    Variant(name="clprune, 75 % + 90 %, TF32", sparsity=0.75, fc_sparsity=0.9, precision=TF32),
)
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


def trained_pairs(model: str) -> dict[str, Path]:
    """The pruned and retrained model of the same shape, where there is one."""
    stem = TRAINED_STEMS.get(Path(model).stem)
    cfg = models_folder() / f"{stem}.cfg"
    return {TRAINED: cfg} if stem and cfg.is_file() else {}


def own_contestants(prepared: Prepared) -> list[Contestant]:
    """clprune's rows: its variants, and the pairs that are taken as they are. None without a device."""
    if prepared.device is None:
        return []
    variants = [*prepared.entry.variants, *(Variant(name=name, algorithms=ALGORITHMS) for name in prepared.entry.pairs)]
    names = [variant.weights_name for variant in prepared.entry.variants] + list(prepared.entry.pairs)
    return [
        clprune_row(
            variant.name,
            weights_name,
            prepared.files[weights_name],
            batch=prepared.entry.batch,
            device=prepared.device.selector,
            connected_storage=variant.connected_storage,
            algorithms=variant.algorithms,
            precision=variant.precision,
            tolerance=TOLERANCE if variant.connected_storage == variant.precision == "float32" else FLOAT16_TOLERANCE,
        )
        for variant, weights_name in zip(variants, names, strict=True)
    ]


def clprune_row(
    label: str,
    weights_name: str,
    cfg: Path,
    *,
    device: str,
    algorithms: Sequence[str],
    precision: str = FLOAT32,
    batch: int = 1,
    connected_storage: str = "float32",
    tolerance: float = TOLERANCE,
) -> Contestant:
    """A row of clprune itself."""
    options = {
        "model": str(cfg),
        "batch": batch,
        "device": device,
        "connected_storage": connected_storage,
        "algorithms": ",".join(algorithms),
        "precision": precision,
    }
    return Contestant(label=label, engine="clprune", weights_name=weights_name, options=options, tolerance=tolerance)


def peer_row(
    label: str,
    engine: str,
    cfg: Path,
    *,
    threads: int,
    options: Mapping[str, Any],
    interpreter: str = sys.executable,
    batch: int = 1,
    tolerance: float = TOLERANCE,
) -> Contestant:
    """A row of another engine on the dense weights beside `cfg`, with its further options; it may have a Python of its
    own. Its files go beside the cfg.
    """
    common = {"model": str(cfg), "batch": batch, "threads": threads}
    return Contestant(
        label=label,
        engine=engine,
        weights_name=DENSE.weights_name,
        interpreter=interpreter,
        options={**common, **options},
        tolerance=tolerance,
    )
