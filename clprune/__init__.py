"""clprune: tune, prune and run darknet networks with OpenCL.

Importing the package is quick: what it offers, and NumPy, OpenCL and PyTorch behind it, load on first use.

>>> model = clprune.load_model("model.cfg", "model.weights")
>>> with clprune.Runner(model, device="cpu") as runner:
...     image = clprune.load_image("digit-3.png")
...     int(runner(image[None]).argmax())
3
"""

from clprune.version import __version__

# nothing else is imported, not even `__future__`: the command line takes Ctrl-C into its hands after this only
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from clprune.container.model import Model, load_model
    from clprune.detection import Detection, Detector
    from clprune.errors import (
        BuildError,
        CfgError,
        ClpruneError,
        ConfigurationRejected,
        DamagedStoreError,
        DataError,
        ExchangeError,
        FileError,
        ImageError,
        LaunchError,
        MissingDependencyError,
        NoDeviceError,
        RenderError,
        StoreError,
        TileError,
        UnsupportedLayerError,
        UsageError,
        WeightsError,
        WorkerError,
        WrongAnswer,
    )
    from clprune.image import load_image
    from clprune.opencl import devices
    from clprune.runner import Runner
    from clprune.workflow.bench import bench
    from clprune.workflow.convert import convert, from_torch
    from clprune.workflow.evaluate import evaluate
    from clprune.workflow.export import export, to_torch
    from clprune.workflow.fit import fit
    from clprune.workflow.prune import prune
    from clprune.workflow.quantize import quantize
    from clprune.workflow.train import train
    from clprune.workflow.tune import tune
    from clprune.workflow.verify import verify

#: Where each public name is, but for the errors.
_MODULES = {
    "Detection": "clprune.detection",
    "Detector": "clprune.detection",
    "Model": "clprune.container.model",
    "Runner": "clprune.runner",
    "devices": "clprune.opencl",
    "from_torch": "clprune.workflow.convert",
    "load_image": "clprune.image",
    "load_model": "clprune.container.model",
    "to_torch": "clprune.workflow.export",
    **{
        name: f"clprune.workflow.{name}"
        for name in ("bench", "convert", "evaluate", "export", "fit", "prune", "quantize", "train", "tune", "verify")
    },
}

__all__ = [
    "BuildError",
    "CfgError",
    "ClpruneError",
    "ConfigurationRejected",
    "DamagedStoreError",
    "DataError",
    "Detection",
    "Detector",
    "ExchangeError",
    "FileError",
    "ImageError",
    "LaunchError",
    "MissingDependencyError",
    "Model",
    "NoDeviceError",
    "RenderError",
    "Runner",
    "StoreError",
    "TileError",
    "UnsupportedLayerError",
    "UsageError",
    "WeightsError",
    "WorkerError",
    "WrongAnswer",
    "__version__",
    "bench",
    "convert",
    "devices",
    "evaluate",
    "export",
    "fit",
    "from_torch",
    "load_image",
    "load_model",
    "prune",
    "quantize",
    "to_torch",
    "train",
    "tune",
    "verify",
]


def __getattr__(name: str) -> "Any":
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(_MODULES.get(name, "clprune.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
