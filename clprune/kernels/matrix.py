"""What all kernels share that multiply a layer's weights: the answer, seeded data, and cases made of both."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from clprune.darknet.activations import activate
from clprune.darknet.values import LayerWeights
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arrays, FloatArray
from clprune.kernels.base import Kernel
from clprune.kernels.samples import DrawMatrix, coded_weights, random_matrix
from clprune.kernels.tile import Operation, TileT
from clprune.kernels.workload import Workload
from clprune.layout import Layout


class MatrixOperation(Operation, Protocol):
    """One use of such a kernel."""

    @property
    def input(self) -> Layout: ...

    @property
    def output(self) -> Layout: ...

    @property
    def activation(self) -> str: ...

    @property
    def storage(self) -> str: ...

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns of the weights, which are also the products that a result sums up."""
        ...


MatrixOperationT = TypeVar("MatrixOperationT", bound=MatrixOperation)


class MatrixKernel(Kernel[TileT, MatrixOperationT]):
    """A kernel that computes a layer with a weight matrix and its activation: what pruning is for, and worth tuning."""

    #: Makes the weights of samples: whole units removed, or single weights.
    draw_matrix: ClassVar[DrawMatrix] = staticmethod(random_matrix)
    #: Rows that must lose the same columns for it to be worth choosing among kernels for pruned weights.
    fewest_unit_rows: ClassVar[int] = 1
    #: The least share of columns that an estimate counts as left (`clprune.plan.chooser`): inputs, results and launches
    #: take their time whatever was removed.
    least_share: ClassVar[float] = 0.05

    def takes_weights(self, operation: MatrixOperationT) -> bool:
        return True

    def wavefront_rows(self, tile: TileT) -> int:
        """Rows of the weight matrix that one lock-step SIMD group computes together, from one list of kept columns.

        A multiply can be skipped for all of them or for none: the finest unit that pruning may remove.
        """
        rows: int = tile.tile_m  # type: ignore[attr-defined]  # what every matrix kernel's tile has
        return rows

    def workgroup_rows(self, tile: TileT) -> int:
        """Rows that one work-group computes; a column that none of them needs is not even loaded into local memory."""
        return self.wavefront_rows(tile)

    @abc.abstractmethod
    def sums(self, operation: MatrixOperationT, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        """The float64 answer before the activation, for x `[N, C, H, W]`."""

    def reference(self, operation: MatrixOperationT, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        """float64 answer for one input `[N, C, H, W]`."""
        return activate(operation.activation, self.sums(operation, inputs[0], weights))

    def error_terms(self, operation: MatrixOperationT) -> int:
        return operation.matrix_shape[1]

    def sample_inputs(self, operation: Any, workload: Workload, rng: np.random.Generator) -> dict[str, FloatArray]:
        """x `[N, C, H, W]`, matrix `[rows, columns]` and bias `[rows]` of a sample."""
        rows, columns = operation.matrix_shape
        inputs = super().sample_inputs(operation, workload, rng)
        matrix = self.draw_matrix(rng, rows=rows, columns=columns, workload=workload)
        return {**inputs, "matrix": matrix, "bias": rng.standard_normal(rows, np.float32)}

    def sample_weights(self, operation: MatrixOperationT, inputs: Mapping[str, FloatArray]) -> LayerWeights:
        """The weights of a sample, rounded to what the operation's storage holds."""
        return coded_weights(inputs["matrix"], bias=inputs["bias"], storage=operation.storage)
