"""What every layer of a network gave: read from the device, or from one of darknet's own libraries."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.errors import MissingDependencyError, UsageError
from clprune.layout import view
from clprune.runner import Runner
from tools.bench.serve import Engine, FloatArray, serve

#: Headers differ from fork to fork, and structs with them: a C compiler reads the library's own.
_SHIM = """
#include "darknet.h"
int layer_count(network *net) { return net->n; }
int layer_outputs(network *net, int index) { return net->layers[index].outputs; }
float *layer_output(network *net, int index) { return net->layers[index].output; }
"""


def device_outputs(runner: Runner, x: FloatArray) -> dict[int, FloatArray]:
    """Layer index -> float32 values of a run on one image x `[1, C, H, W]`; `runner` keeps its tensors.

    Layers that are a part of another's step have none.
    """
    if runner.network.batch != 1:
        raise UsageError(f"batch {runner.network.batch}: expected 1")
    runner(x)
    bound, results = runner.bound, {}
    written = {step.step.output for step in bound.steps}
    written |= {view.tensor for tensor, view in bound.plan.views.items() if tensor in written}
    for layer in runner.network.layers:
        layout = bound.plan.layouts.get(layer.index)
        if layout is not None and (layer.index in written or layer.index in bound.plan.views):
            flat = runner.session.read(bound.tensors[layer.index], np.float32, layout.elements)
            results[layer.index] = view(flat, layout).reshape(-1).copy()
    return results


class Darknet:
    """A network in one of darknet's libraries: `folder` has `libdarknet.so` and `include/darknet.h`.

    Raises MissingDependencyError where they or a C compiler are absent.
    """

    def __init__(self, folder: Path, *, cfg: Path, weights: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="clprune-darknet-") as work:
            self._shim = ctypes.CDLL(str(_compiled(folder, Path(work))))
        library = ctypes.CDLL(str(folder / "libdarknet.so"))
        # Built with -Ofast: loading it makes this process take subnormal numbers for zero. Back to FE_DFL_ENV.
        ctypes.CDLL("libm.so.6").fesetenv(ctypes.c_void_p(-1))
        library.load_network.restype = self._shim.layer_output.restype = ctypes.c_void_p
        self._net = ctypes.c_void_p(library.load_network(str(cfg).encode(), str(weights).encode(), 0))
        library.set_batch_network(self._net, 1)  # else it computes, and reads, the batch that the cfg trains with
        self._predict = getattr(library, "network_predict_ptr", None) or library.network_predict
        self._predict.restype = ctypes.c_void_p

    def run(self, x: FloatArray) -> list[FloatArray]:
        """Values of every layer for one image x `[1, C, H, W]`; they are the library's own and change with the next."""
        self.predict(x)
        return [self._output(index) for index in range(self._shim.layer_count(self._net))]

    def predict(self, x: FloatArray) -> FloatArray:
        """Run it; the values of its last layer."""
        images = np.ascontiguousarray(x, np.float32)
        self._predict(self._net, images.ctypes.data_as(ctypes.c_void_p))
        return self._output(self._shim.layer_count(self._net) - 1)

    def _output(self, index: int) -> FloatArray:
        count, place = self._shim.layer_outputs(self._net, index), self._shim.layer_output(self._net, index)
        if not place:
            return np.zeros(0, np.float32)
        values: npt.NDArray[np.float32] = np.ctypeslib.as_array((ctypes.c_float * count).from_address(place))
        return values


def _compiled(folder: Path, work: Path) -> Path:
    library, header = folder / "libdarknet.so", folder / "include" / "darknet.h"
    if not library.exists() or not header.exists():
        raise MissingDependencyError(f"{folder}: expected libdarknet.so and include/darknet.h (Debian: darknet)")
    (work / "shim.c").write_text(_SHIM, encoding="utf-8")
    shim = work / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-o", shim, work / "shim.c", f"-I{header.parent}"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingDependencyError(f"cc did not compile against {header}: {error}") from error
    return shim


def load(name: str, options: Mapping[str, Any]) -> Engine:
    """The library in the folder `name` as an engine; its first run writes all layers to `options["outputs"]`."""
    darknet = Darknet(Path(name), cfg=Path(options["cfg"]), weights=Path(options["weights"]))
    pending = [Path(options["outputs"])]

    def run(x: FloatArray) -> FloatArray:
        if pending:
            np.savez(pending.pop(), **{str(index): values for index, values in enumerate(darknet.run(x))})
        return darknet.predict(x)

    return Engine(description={"library": name}, run=run)


def errors_of(ours: Mapping[int, FloatArray], theirs: Callable[[int], FloatArray]) -> dict[int, float]:
    """Layer index -> largest difference over the largest of their values; infinite where sizes differ or NaN is in."""
    errors = {}
    for index, values in ours.items():
        other = theirs(index)
        fits = other.size == values.size and bool(np.isfinite(values).all() and np.isfinite(other).all())
        scale = float(np.abs(other).max(initial=0)) or 1.0
        errors[index] = float(np.abs(values - other).max(initial=0)) / scale if fits else float("inf")
    return errors


if __name__ == "__main__":
    serve(load)
