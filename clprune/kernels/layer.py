"""What all kernels share that multiply a layer's weights: the answer, seeded data, and cases made of both."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from clprune.darknet.activations import activate
from clprune.darknet.values import LayerWeights
from clprune.kernels.base import (
    NO_WEIGHTS,
    Answer,
    Arrays,
    Case,
    Expected,
    FloatArray,
    MatrixKernel,
    Operation,
    Sample,
    TileT,
    Workload,
)
from clprune.kernels.samples import DrawMatrix, coded_weights, expected_output, input_buffer, random_matrix
from clprune.layout import Layout


class LayerOperation(Operation, Protocol):
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


LayerOperationT = TypeVar("LayerOperationT", bound=LayerOperation)


class LayerKernel(MatrixKernel[TileT, LayerOperationT]):
    """A kernel that computes one layer, with its activation fused."""

    #: Makes the weights of samples: whole units removed, or single weights.
    draw_matrix: ClassVar[DrawMatrix] = staticmethod(random_matrix)

    @abc.abstractmethod
    def sums(self, operation: LayerOperationT, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        """The float64 answer before the activation, for x `[N, C, H, W]`."""

    def reference(self, operation: LayerOperationT, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        """float64 answer for one input `[N, C, H, W]`."""
        return activate(operation.activation, self.sums(operation, inputs[0], weights))

    def error_terms(self, operation: LayerOperationT) -> int:
        return operation.matrix_shape[1]

    def sample(self, operation: LayerOperationT, workload: Workload) -> Sample:
        inputs = self.sample_inputs(operation, workload, np.random.default_rng(workload.seed))
        weights = self.sample_weights(operation, inputs)
        return Sample(inputs=inputs, answer=self.reference(operation, (inputs["x"],), weights))

    def sample_inputs(
        self, operation: LayerOperationT, workload: Workload, rng: np.random.Generator
    ) -> dict[str, FloatArray]:
        """x `[N, C, H, W]`, matrix `[rows, columns]` and bias `[rows]` of a sample."""
        rows, columns = operation.matrix_shape
        x = rng.standard_normal(operation.input.dimensions, np.float32)
        matrix = self.draw_matrix(rng, rows=rows, columns=columns, workload=workload)
        return {"x": x, "matrix": matrix, "bias": rng.standard_normal(rows, np.float32)}

    def sample_weights(self, operation: LayerOperationT, inputs: Mapping[str, FloatArray]) -> LayerWeights:
        """The weights of a sample, rounded to what the operation's storage holds."""
        return coded_weights(inputs["matrix"], bias=inputs["bias"], storage=operation.storage)

    def case(self, tile: TileT, operation: LayerOperationT, sample: Sample) -> Case:
        packed = self.pack(tile, operation, weights=self.sample_weights(operation, sample.inputs))
        x = input_buffer(sample.inputs["x"].reshape(operation.input.dimensions), operation.input)
        y = self.expected(tile, operation, sample.answer.reshape(operation.output.dimensions))
        return Case(arguments=self.arguments(tile, operation, packed, x=x, y=y), kept_share=packed.kept_share)

    def expected(self, tile: TileT, operation: LayerOperationT, answer: Answer) -> Expected:
        """The answer `[N, C, H, W]` in the output's buffer."""
        return expected_output(answer, operation.output, terms=self.error_terms(operation))
