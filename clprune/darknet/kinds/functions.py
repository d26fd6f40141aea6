"""Layers that keep the shape: functions of single values, the softmax, and what only training knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clprune.darknet.kinds.base import Keys, Layer, OptionError, activation_name, boolean, flat, integer, number
from clprune.darknet.section import Section
from clprune.darknet.tree import Tree
from clprune.geometry import Shape


@dataclass(frozen=True, kw_only=True)
class Activation(Layer):
    """`activation` on every value."""

    names = ("activation",)
    takes_vector = True
    carries_channels = True

    activation: str = activation_name("linear")


@dataclass(frozen=True, kw_only=True)
class Logistic(Activation):
    """Logistic activation; darknet trains it by cross entropy."""

    names = ("logistic",)

    activation: str = "logistic"


@dataclass(frozen=True, kw_only=True)
class L2Norm(Layer):
    """Every value divided by the L2 norm of its place over all channels."""

    names = ("l2norm",)
    takes_vector = True


@dataclass(frozen=True, kw_only=True)
class Implicit(Layer):
    """Values of its own, `filters` x `atoms` x 1, whatever the input: they are in the weights file."""

    names = ("implicit",)
    keys = Keys(silent="mean std")

    filters: int = integer(128)
    atoms: int = integer(1)
    dontload: bool = boolean()

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        return {"weights": self.output.dimensions}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return Shape(channels=self.filters, height=self.atoms, width=1)


@dataclass(frozen=True, kw_only=True)
class Empty(Layer):
    """Nothing at all."""

    names = ("empty", "silence")
    takes_vector = True
    carries_channels = True
    is_identity = True


@dataclass(frozen=True, kw_only=True)
class Output(Layer):
    """clprune's own: the layer before it is one of the network's answers, of which there may be several."""

    names = ("output",)
    takes_vector = True
    carries_channels = True
    is_identity = True
    is_answer = True


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """Nothing at inference: darknet scales while it trains."""

    names = ("dropout",)
    keys = Keys(silent="dropblock dropblock_size_rel dropblock_size_abs")
    takes_vector = True
    carries_channels = True
    is_identity = True

    probability: float = number(0.5)

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise OptionError(f"probability={self.probability:g}: expected 0 to 1", key="probability")


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """Softmax over each of `groups` equal runs of the flattened input, each group of classes of the `tree` file, or,
    `spatial`, the channels of each place, of values divided by `temperature`.
    """

    names = ("softmax", "soft")
    keys = Keys(read="tree", silent="noloss")
    takes_vector = True

    groups: int = integer()
    temperature: float = number(1.0)
    spatial: bool = boolean()
    tree: Tree | None = None

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        return {**super().read_options(section), "tree": section.tree()}

    def __post_init__(self) -> None:
        if self.tree is not None and self.input != flat(len(self.tree.names)):
            raise OptionError(f"the tree holds {len(self.tree.names)} classes, found {self.input}", key="tree")
        if self.input.elements % self.groups:
            raise OptionError(f"groups={self.groups} does not divide the {self.input.elements} inputs", key="groups")
        if self.temperature <= 0:
            raise OptionError(f"temperature={self.temperature:g}: expected more than 0", key="temperature")
        if self.spatial and (self.tree is not None or self.groups > 1):
            raise OptionError("spatial=1 with groups or a tree: expected one of them", key="spatial")


@dataclass(frozen=True, kw_only=True)
class Cost(Layer):
    """A training loss; nothing at inference."""

    names = ("cost",)
    keys = Keys(silent="type scale ratio noobj thresh")
    takes_vector = True
    carries_channels = True
    is_identity = True
    is_loss = True


@dataclass(frozen=True, kw_only=True)
class Contrastive(Cost):
    """The loss of embeddings; nothing at inference."""

    names = ("contrastive",)
    keys = Keys(silent="classes temperature yolo_layer cls_normalizer max_delta contrastive_neg_max")
