"""What all kernels share that compute convolutions: the answer, its error, seeded data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from clprune.darknet.activations import activate
from clprune.darknet.values import LayerWeights
from clprune.kernels.base import NO_WEIGHTS, Arrays, FloatArray, MatrixKernel, Sample, TileT, Workload
from clprune.kernels.conv_operation import ConvOperation, conv_reference, pool_problem
from clprune.kernels.pool import max_pool_reference
from clprune.kernels.samples import DrawMatrix, coded_weights, random_matrix
from clprune.kernels.storage import decoded_matrix
from clprune.winograd.transforms import winograd_convolution

ConvOperationT = TypeVar("ConvOperationT", bound=ConvOperation)


class ConvolutionKernel(MatrixKernel[TileT, ConvOperationT]):
    """A kernel that computes convolutions, with activation and pooling fused."""

    #: Makes the weights of samples: whole units removed, or single weights.
    draw_matrix: ClassVar[DrawMatrix] = staticmethod(random_matrix)

    def reference(
        self, operation: ConvOperationT, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS
    ) -> npt.NDArray[np.float64]:
        """float64 answer `[N, out_channels, height, width]`, pooled where the operation is, for one `[N, C, H, W]`."""
        answer = activate(operation.activation, self.sums(operation, inputs[0], weights))
        return max_pool_reference(answer, pool_problem(operation.problem)) if operation.pooled else answer

    def sums(self, operation: ConvOperationT, x: npt.NDArray[Any], weights: LayerWeights) -> npt.NDArray[np.float64]:
        """The answer before the activation. Weights that were pruned in the Winograd domain are no filters' transform:
        they are used there.
        """
        problem = operation.problem
        if weights.winograd is None:
            return conv_reference(x, decoded_matrix(weights, operation.storage), weights.biases, problem)
        y = winograd_convolution(x, weights.weights, output_tile=weights.winograd, padding=problem.padding)
        return y + weights.biases.astype(np.float64)[:, None, None]

    def error_terms(self, operation: ConvOperationT) -> int:
        return operation.problem.columns

    def sample(self, operation: ConvOperationT, workload: Workload) -> Sample:
        inputs = self.sample_inputs(operation, workload, np.random.default_rng(workload.seed))
        weights = self.sample_weights(operation, inputs)
        return Sample(inputs=inputs, answer=self.reference(operation, (inputs["x"],), weights))

    def sample_inputs(
        self, operation: ConvOperationT, workload: Workload, rng: np.random.Generator
    ) -> dict[str, FloatArray]:
        """x `[N, C, H, W]`, matrix and bias of a sample."""
        problem = operation.problem
        x = rng.standard_normal((problem.batch, problem.in_channels, problem.in_height, problem.in_width), np.float32)
        matrix = self.draw_matrix(rng, rows=problem.out_channels, columns=problem.columns, workload=workload)
        return {"x": x, "matrix": matrix, "bias": rng.standard_normal(problem.out_channels, np.float32)}

    def sample_weights(self, operation: ConvOperationT, inputs: Mapping[str, FloatArray]) -> LayerWeights:
        """The weights of a sample, rounded to what the operation's storage holds."""
        return coded_weights(inputs["matrix"], bias=inputs["bias"], storage=operation.storage)
