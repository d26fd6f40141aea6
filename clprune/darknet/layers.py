"""The layers of a network as frozen values: what they compute and on which shapes, free of how.

Every layer knows the layers that feed it (`sources`, -1 is the network's input) and the shapes of one image before
and after it. Shapes are `channels x height x width`; a flat vector of n values is `n x 1 x 1`.
"""

from __future__ import annotations

from dataclasses import dataclass

from clprune.geometry import ConnectedProblem, ConvProblem, Shape
from clprune.unit import Unit


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """How a layer was pruned, kept in the cfg as `prune_method`, `prune_unit` and `prune_sparsity`.

    `sparsity` is the share of units removed, in [0, 1). `winograd` (`prune_winograd`) is the output tile m where that
    was done in the Winograd domain F(m x m, 3 x 3): the unit is then one of U's matrices `[out, in]`.
    """

    method: str
    unit: Unit
    sparsity: float
    winograd: int | None = None


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What all layers have.

    `index` counts from 0, `line` is the section's line in the cfg, `kind` its full name. `input` is the shape that
    the first of `sources` delivers.
    """

    index: int
    line: int
    kind: str
    sources: tuple[int, ...]
    input: Shape
    output: Shape

    def __str__(self) -> str:
        return f"layer {self.index} [{self.kind}]"


@dataclass(frozen=True, kw_only=True)
class Convolutional(Layer):
    """2-D convolution, then batch normalization or biases, then `activation`.

    `padding` is the zero border on each side in pixels. `dontload` layers have no values in a weights file.
    """

    filters: int
    size: int
    stride: int
    padding: int
    groups: int
    activation: str
    batch_normalize: bool
    dontload: bool
    prune: PruneOptions | None

    def problem(self, batch: int) -> ConvProblem:
        """The work of this layer on `batch` images."""
        return ConvProblem(
            batch=batch,
            in_channels=self.input.channels,
            in_height=self.input.height,
            in_width=self.input.width,
            out_channels=self.filters,
            size=self.size,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
        )

    @property
    def weights_shape(self) -> tuple[int, int, int, int]:
        """`[filters, channels / groups, size, size]`."""
        return (self.filters, self.input.channels // self.groups, self.size, self.size)


@dataclass(frozen=True, kw_only=True)
class Connected(Layer):
    """Fully connected layer on the flattened input, then batch normalization or biases, then `activation`."""

    outputs: int
    activation: str
    batch_normalize: bool
    dontload: bool
    prune: PruneOptions | None

    def problem(self, batch: int) -> ConnectedProblem:
        """The work of this layer on `batch` images."""
        return ConnectedProblem(batch=batch, inputs=self.input.elements, outputs=self.outputs)

    @property
    def weights_shape(self) -> tuple[int, int]:
        """`[outputs, inputs]`."""
        return (self.outputs, self.input.elements)


@dataclass(frozen=True, kw_only=True)
class Local(Layer):
    """Convolution whose filters differ at every place. `pad` on means a border of size / 2 on each side."""

    filters: int
    size: int
    stride: int
    pad: bool
    activation: str
    dontload: bool

    @property
    def locations(self) -> int:
        return self.output.height * self.output.width

    @property
    def weights_shape(self) -> tuple[int, int, int, int, int]:
        """`[locations, filters, channels, size, size]`; the biases are one per output value."""
        return (self.locations, self.filters, self.input.channels, self.size, self.size)


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Layer):
    """Batch normalization per channel with the statistics of the weights file."""

    dontload: bool


@dataclass(frozen=True, kw_only=True)
class MaxPool(Layer):
    """Maximum of `size` x `size` windows. `padding` is the *total* border: windows begin at i*stride - padding // 2.

    Places outside the image never win.
    """

    size: int
    stride: int
    padding: int


@dataclass(frozen=True, kw_only=True)
class AvgPool(Layer):
    """Mean of each channel: C x H x W to C x 1 x 1."""


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """Nothing at inference: darknet scales while it trains."""

    probability: float


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """Softmax over each of `groups` equal runs of the flattened input, of values divided by `temperature`."""

    groups: int
    temperature: float


@dataclass(frozen=True, kw_only=True)
class Cost(Layer):
    """A training loss; nothing at inference."""


@dataclass(frozen=True, kw_only=True)
class Crop(Layer):
    """Centre crop, from row (height - crop_height) // 2 on; values become 2x - 1 unless `noadjust`."""

    crop_height: int
    crop_width: int
    noadjust: bool


@dataclass(frozen=True, kw_only=True)
class Route(Layer):
    """The channels of all `sources`, one after another."""


@dataclass(frozen=True, kw_only=True)
class Shortcut(Layer):
    """`activation(alpha * previous + beta * other)`; `sources` are (previous, other), the output has previous' shape.

    Where the shapes differ, only what both have is combined: channels up to the smaller count, and the larger plane
    is visited with a stride of the ratio of the widths. Values of `previous` outside that are kept unscaled.
    """

    activation: str
    alpha: float
    beta: float


@dataclass(frozen=True, kw_only=True)
class Upsample(Layer):
    """Nearest neighbour: every value becomes `stride` x `stride` values, multiplied by `scale`."""

    stride: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class Activation(Layer):
    """`activation` on every value."""

    activation: str


@dataclass(frozen=True, kw_only=True)
class Reorg(Layer):
    """Darknet's space to depth (`reverse`: depth to space) in its own channel order, `reorg_cpu` in its blas.c."""

    stride: int
    reverse: bool


@dataclass(frozen=True, kw_only=True)
class Normalization(Layer):
    """Local response normalization across channels: x * (kappa + alpha * sum of squares) ** -beta.

    The sum covers channels k - (size - 1) // 2 to k + size // 2; `alpha` is not divided by `size`. Darknet starts
    channel 0 with the squares of channels 0 to size // 2 - 1 only, and channel k carries that sum on.
    """

    alpha: float
    beta: float
    kappa: float
    size: int
