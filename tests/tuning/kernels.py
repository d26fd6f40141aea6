"""A kernel whose tiles misbehave on request: worker processes import it by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from clprune.candidate import Candidate
from clprune.darknet.values import LayerWeights
from clprune.errors import LaunchError
from clprune.kernels.arguments import NO_WEIGHTS, Arrays, Case, Expected, Launch, Sample
from clprune.kernels.base import Kernel
from clprune.kernels.tile import values
from clprune.kernels.workload import Workload
from clprune.tuning.trial import Evaluator

MOODS = ("fine", "crash", "hang", "exit", "bug", "wrong", "stray", "syntax", "slow", "unlucky", "tired")


@dataclass(frozen=True, kw_only=True)
class OddTile:
    """`mood` is what goes wrong: nothing, "crash", "hang", "exit", "bug", "wrong", "stray", "syntax" or "slow".

    Nothing is wrong with "unlucky" ones, but their processes are killed as often as the file $ODD_KILLS says. Drivers
    refuse to time "tired" ones, which they have run before.
    """

    mood: str = field(default="fine", metadata=values(*MOODS))
    repeats: int = field(default=1, metadata=values(1, 2, 4))


@dataclass(frozen=True, kw_only=True)
class OddOperation:
    """Doubles `length` numbers."""

    length: int = 7

    @property
    def key(self) -> str:
        return f"n{self.length}"

    @property
    def flops(self) -> int:
        return self.length

    @property
    def problem(self) -> OddOperation:
        return self

    @property
    def columns(self) -> int:
        return 1


class OddKernel(Kernel[OddTile, OddOperation]):
    name = "odd"
    template = "none"
    tile_type = OddTile
    constraints = ()
    cpu_tiles = gpu_tiles = (OddTile(),)

    def source_hash(self) -> str:
        return "0"

    def local_mem_bytes(self, tile: OddTile, operation: OddOperation) -> int:
        return 0

    def launch(self, tile: OddTile, operation: OddOperation) -> Launch:
        return Launch(global_size=(operation.length,), local_size=(1,))

    def variables(self, tile: OddTile, operation: OddOperation) -> dict[str, Any]:
        return {}

    def safe_tile(self, operation: OddOperation) -> OddTile:
        return OddTile()

    def is_worth_trying(self, tile: OddTile, operation: OddOperation, device: object) -> bool:
        return True

    def source(self, tile: OddTile, operation: OddOperation) -> str:
        """The source; this is where a driver would crash, hang or give up."""
        if tile.mood == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if tile.mood == "unlucky" and (left := int(Path(os.environ["ODD_KILLS"]).read_text())):
            Path(os.environ["ODD_KILLS"]).write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        if tile.mood == "tired":
            _refuse_to_time(tile)
        if tile.mood == "hang":
            time.sleep(1000)
        if tile.mood == "exit":
            sys.stderr.write("the driver says good-bye\n")
            sys.stderr.flush()
            os._exit(3)
        if tile.mood == "bug":
            raise ZeroDivisionError("a bug of ours")
        if tile.mood == "syntax":
            return "__kernel void odd(nonsense"
        factor = "3.0f" if tile.mood == "wrong" else "2.0f"
        repeats = 200_000 if tile.mood == "slow" else tile.repeats
        extra = "if (i == 0) y[get_global_size(0)] = 1.0f;" if tile.mood == "stray" else ""
        return f"""
            __kernel void {self.name}(__global const float *x, __global float *y) {{
                const int i = get_global_id(0);
                volatile float value = 0.0f;
                for (int t = 0; t < {repeats}; t++) value = {factor} * x[i];
                y[i] = value;
                {extra}
            }}"""

    def arguments(self, tile: OddTile, operation: OddOperation, packed: object) -> dict[str, Any]:
        return {}

    def reference(
        self, operation: OddOperation, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS
    ) -> npt.NDArray[np.float64]:
        return 2.0 * inputs[0].astype(np.float64)

    def sample(self, operation: OddOperation, workload: Workload) -> Sample:
        x = np.arange(operation.length, dtype=np.float32)
        return Sample(inputs={"x": x}, answer=self.reference(operation, (x,)))

    def case(self, tile: OddTile, operation: OddOperation, sample: Sample) -> Case:
        values = np.append(sample.answer, 0.0)
        written = np.append(np.ones(operation.length, np.bool_), False)
        initial = np.full(operation.length + 1, -777.25, np.float32)
        y = Expected(values=values, written=written, initial=initial, terms=1)
        return Case(arguments={"x": sample.inputs["x"], "y": y})

    def sample_operations(self) -> tuple[OddOperation, ...]:
        return (OddOperation(length=3), OddOperation(length=5))


def _refuse_to_time(tile: OddTile) -> None:
    """As a driver would, in this process from now on."""
    timed_ms = Evaluator._timed_ms

    def timed(self: Evaluator, candidate: Candidate) -> float:
        if tile in self._ready and candidate is self._ready[tile][0]:
            raise LaunchError("CL_OUT_OF_RESOURCES")
        return timed_ms(self, candidate)

    Evaluator._timed_ms = timed  # type: ignore[method-assign]


class FragileKernel(OddKernel):
    """A space of which most is unusable."""

    name = "fragile"
    parameters: ClassVar = {"mood": ("exit", "wrong", "syntax", "fine"), "repeats": (1, 4)}
    cpu_tiles = gpu_tiles = (OddTile(repeats=4),)


class UnluckyKernel(OddKernel):
    """Its default is killed by somebody else."""

    name = "unlucky"
    parameters: ClassVar = {"mood": ("unlucky",), "repeats": (1, 4)}
    cpu_tiles = gpu_tiles = (OddTile(mood="unlucky"),)


class HangingKernel(OddKernel):
    """Everything hangs but its default."""

    name = "hanging"
    parameters: ClassVar = {"mood": ("fine", "hang"), "repeats": (1,)}


class StuckKernel(OddKernel):
    """Its default hangs."""

    name = "stuck"
    parameters: ClassVar = {"mood": ("hang",), "repeats": (1,)}
    cpu_tiles = gpu_tiles = (OddTile(mood="hang"),)

    def safe_tile(self, operation: OddOperation) -> OddTile:
        return OddTile(mood="hang")


ODD = OddKernel()
FRAGILE = FragileKernel()
UNLUCKY = UnluckyKernel()
HANGING = HangingKernel()
STUCK = StuckKernel()
