"""How a kernel is run: its launches, what they are given, and what must come out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clprune.darknet.values import LayerWeights

FloatArray = npt.NDArray[np.float32]

#: What a reference computes.
Answer = npt.NDArray[np.float64]

#: Tensors `[N, C, H, W]` of any float.
Arrays = Sequence[npt.NDArray[Any]]

#: What a kernel is given, by the names of its template's parameters.
Arguments = dict[str, Any]

#: The tensors that a kernel reads, in the order of a step's inputs; it writes `y`.
INPUTS = ("x", "other")

#: What a kernel without weights is given in their place.
NO_WEIGHTS = LayerWeights(weights=np.zeros(0, np.float32), biases=np.zeros(0, np.float32))


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Global and local sizes in work-items; each global size is a multiple of its local size."""

    global_size: tuple[int, ...]
    local_size: tuple[int, ...]

    @property
    def work_group_size(self) -> int:
        """Work-items of one work-group."""
        return math.prod(self.local_size)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One kernel function of a template: its name and its launch.

    `takes`: parameter -> argument, for parameters that are not called like the argument that they are given.
    """

    name: str
    launch: Launch
    takes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """An argument: device memory for `elements` float32 values that only these stages use. Its contents are undefined
    before the first stage and may be gone after the last; steps of a plan share it.
    """

    elements: int

    @property
    def size_bytes(self) -> int:
        return 4 * self.elements


@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """An output argument: what must stand in it.

    `values` float64 over the whole buffer, `written` bool: where the kernel must write; elsewhere the buffer must keep
    what it held. `terms`: products summed up per value, from which the tolerance follows.
    """

    values: Answer
    written: npt.NDArray[np.bool_]
    initial: FloatArray
    terms: int


Argument = npt.NDArray[Any] | int | float | Scratch | Expected


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One concrete run with known answer: the arguments by name, the input first."""

    arguments: Mapping[str, Argument]
    kept_share: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Seeded data for an operation, free of any tile: inputs by name (float32) and the float64 answer."""

    inputs: Mapping[str, FloatArray]
    answer: Answer
