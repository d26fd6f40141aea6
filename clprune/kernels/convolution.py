"""What all kernels share that compute convolutions, and those of them whose vectors are output positions."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from clprune import quirks
from clprune.darknet.activations import activate
from clprune.darknet.values import LayerWeights
from clprune.device import DeviceInfo
from clprune.kernels.arguments import NO_WEIGHTS, Answer, Arrays, Expected
from clprune.kernels.conv_operation import ConvOperation, PositionTile, conv_reference, pool_problem
from clprune.kernels.matrix import MatrixKernel
from clprune.kernels.pool import max_pool_reference
from clprune.kernels.storage import decoded_matrix
from clprune.kernels.tile import Tile
from clprune.kernels.workload import Workload
from clprune.layout import Layout
from clprune.winograd.transforms import winograd_convolution

ConvOperationT = TypeVar("ConvOperationT", bound=ConvOperation)


#: Vector registers that a multiplication needs for what it reads.
OPERAND_REGISTERS = 3

#: A tile that skips whole units is worth at least this share of the results in registers.
LEAST_HELD_SHARE = 0.6


class VectorTile(Tile, Protocol):
    """A tile whose work-items compute in vectors."""

    @property
    def vector_width(self) -> int: ...


VectorTileT = TypeVar("VectorTileT", bound=VectorTile)
PositionTileT = TypeVar("PositionTileT", bound=PositionTile)


class ConvolutionKernel(MatrixKernel[VectorTileT, ConvOperationT]):
    """A kernel that computes convolutions, with activation and pooling fused."""

    def reference(self, operation: ConvOperationT, inputs: Arrays, weights: LayerWeights = NO_WEIGHTS) -> Answer:
        """float64 answer `[N, out_channels, height, width]`, pooled where the operation is, for one `[N, C, H, W]`."""
        answer = super().reference(operation, inputs, weights)
        if operation.added:
            answer = activate(operation.added, answer + inputs[1].astype(np.float64))
        return max_pool_reference(answer, pool_problem(operation.problem)) if operation.pooled else answer

    def input_layouts(self, operation: Any) -> dict[str, Layout]:
        if not operation.added:
            return {"x": operation.input}
        output, shift = operation.output, operation.other_shift
        other = dataclasses.replace(output, origin=output.origin + shift, elements=output.elements + shift)
        return {"x": operation.input, "other": other}

    def sums(self, operation: ConvOperationT, x: npt.NDArray[Any], weights: LayerWeights) -> Answer:
        """The answer before the activation. Weights that were pruned in the Winograd domain are no filters' transform:
        they are used there.
        """
        problem = operation.problem
        if weights.winograd is None:
            return conv_reference(x, decoded_matrix(weights, operation.storage), weights.biases, problem)
        y = winograd_convolution(x, weights.weights, output_tile=weights.winograd, padding=problem.window.top)
        return y + weights.biases.astype(np.float64)[:, None, None]

    def is_worth_trying(self, tile: VectorTileT, operation: ConvOperationT, device: DeviceInfo) -> bool:
        """As everywhere; on CPUs vectors also fill at least half a register."""
        is_narrow = 2 * tile.vector_width < quirks.vector_width(device)
        return super().is_worth_trying(tile, operation, device) and not is_narrow

    def ranked_tiles(self, operation: ConvOperationT, device: DeviceInfo) -> list[VectorTileT]:
        """As everywhere; on CPUs those come last whose results do not stay in the device's registers."""
        return sorted(super().ranked_tiles(operation, device), key=lambda tile: self._spills(tile, operation, device))

    def _spills(self, tile: VectorTileT, operation: ConvOperationT, device: DeviceInfo) -> bool:
        most = quirks.vector_width(device) * (quirks.vector_registers(device) - OPERAND_REGISTERS)
        return quirks.wants_explicit_vectors(device) and self.held_values(tile, operation) > most

    def default_for(self, operation: ConvOperationT, workload: Workload, device: DeviceInfo) -> VectorTileT:
        """As everywhere; where its rows would cut units of removed weights in two, the next tile that holds nearly as
        many results and whose rows do not.
        """
        tile = self.default_tile(operation, device)
        if workload.is_dense or self._keeps_units(tile, workload):
            return tile
        least = LEAST_HELD_SHARE * self.held_values(tile, operation)
        for other in self.ranked_tiles(operation, device):
            is_full = self.held_values(other, operation) >= least and not self._spills(other, operation, device)
            if is_full and self._keeps_units(other, workload):
                return self.spread(other, operation, device)
        return tile

    def _keeps_units(self, tile: VectorTileT, workload: Workload) -> bool:
        """Whether the rows that share a list of kept columns are whole units, or a part of one."""
        rows, unit_rows = self.wavefront_rows(tile), workload.unit_rows
        return rows % unit_rows == 0 or unit_rows % rows == 0


class PositionKernel(ConvolutionKernel[PositionTileT, ConvOperation]):
    """A kernel whose vectors are runs of output positions (templates/convolution.mako)."""

    def writes_gaps(self, tile: PositionTileT) -> bool:
        """A run of positions goes over the ends of rows."""
        return tile.mapping == "flat"

    def expected(self, tile: PositionTileT, operation: Any, answer: Answer) -> Expected:
        """A flat run also writes zeros to the gaps between rows and images."""
        expected = super().expected(tile, operation, answer)
        layout = operation.output
        for channel in range(layout.shape.channels if self.writes_gaps(tile) else 0):
            start = layout.origin + channel * layout.channel_stride
            run = slice(start, start + operation.positions)
            expected.values[run][~expected.written[run]] = 0
            expected.written[run] = True
        return expected
