"""What every kind of layer is: a frozen value that says what it computes, on which shapes, free of how.

A kind is one subclass of `Layer` (of `WeightedLayer` or `MatrixLayer` where it has weights). Its fields made by
`integer`, `number`, `boolean` or `activation_name` are keys of its section with darknet's defaults; `output_shape` is
its shape rule. Everything else has an answer in `Layer` that most kinds keep. Source of the rules: darknet's parser.c
and its `make_*_layer` functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from clprune.darknet.activations import ACTIVATIONS
from clprune.darknet.section import Section
from clprune.errors import UnsupportedLayerError, UsageError
from clprune.geometry import ConnectedProblem, ConvProblem, Shape
from clprune.unit import Unit

#: clprune's own keys; stock darknet reports them as unused and loads the file.
PRUNE_KEYS = ("prune_method", "prune_unit", "prune_sparsity")

#: A fourth, for convolutions that were pruned in the Winograd domain.
PRUNE_WINOGRAD_KEY = "prune_winograd"


class OptionError(UsageError):
    """Options of a layer that cannot be; `key` is the one to change in its section."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


#: The arrays of batch normalization beside the biases, and those of all arrays that are 1 where nothing is known.
STATISTICS = ("scales", "mean", "variance")
DEFAULT_ONES = ("scales", "variance")


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Keys of a section, as words: every other one earns a warning.

    `read` change what is computed, `silent` are known to darknet or its forks and change nothing at inference.
    `neutral` would change it in a way that is not computed here, so only the given value, which changes nothing, is
    accepted; `refused` always do.
    """

    read: str = ""
    silent: str = ""
    neutral: Mapping[str, float] = field(default_factory=dict)
    refused: str = ""


def _option(default: Any, read: Callable[[Section, str], Any], key: str | None = None) -> Any:
    """A field that is read from the key `key`, by default that of its own name."""
    return field(default=default, metadata={"read": read, "key": key})


def integer(default: int = 1, *, minimum: int = 1, key: str | None = None) -> Any:
    """A field that is a whole number in its section."""
    return _option(default, lambda section, name: section.integer(name, default, minimum=minimum), key)


def number(default: float) -> Any:
    """A field that is a decimal number in its section."""
    return _option(default, lambda section, name: section.number(name, default))


def boolean() -> Any:
    """A field that is a switch in its section, off by default."""
    return _option(False, lambda section, name: section.boolean(name))


def word(words: Collection[str], default: str) -> Any:
    """A field that is one of some words in its section."""

    def read(section: Section, name: str) -> str:
        found = section.text(name, default)
        if found not in words:
            raise section.error(f"unknown {name} {found[:60]!r}: expected one of {', '.join(words)}", key=name)
        return found

    return _option(default, read)


def activation_name(default: str) -> Any:
    """A field that names an activation of darknet."""
    return word(ACTIVATIONS, default)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a section stands: its layer's index, the layers before it, the shape of the network's input."""

    section: Section
    index: int
    before: Sequence[Layer]
    network_input: Shape

    def shape_of(self, source: int) -> Shape:
        """What layer `source` delivers; -1 is the network's input."""
        return self.network_input if source < 0 else self.before[source].output

    def earlier(self, number: int, *, key: str) -> int:
        """The index that `number` in `key` names: negative is relative to this layer. It must be an earlier layer."""
        index = self.index + number if number < 0 else number
        if not 0 <= index < self.index:
            allowed = f"0 to {self.index - 1} or -1 to {-self.index}" if self.index else "none: this is the first layer"
            message = f"{key} names layer {number}, which does not come before layer {self.index}: expected {allowed}"
            raise OptionError(message, key=key)
        return index


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What all layers have.

    `index` counts from 0, `line` is the section's line in the cfg. `sources` are the layers that feed it (-1: the
    network's input), `input` is the shape of one image that the first of them delivers, `output` the layer's own; a
    flat vector of n values is `n x 1 x 1`. `dontload` layers have no values in a weights file, `dontloadscales` layers
    no statistics: their normalization begins with scales and variances of 1.
    """

    #: The name of the section, then its aliases.
    names: ClassVar[tuple[str, ...]] = ()
    #: Keys beside those that fields read; a subclass adds its own to those of its base.
    keys: ClassVar[Keys] = Keys(
        silent="truth onlyforward stopbackward dontsave learning_rate smooth burnin_update train_only_bn clip "
        "dont_update",
    )
    #: Whether it may be the first layer of a network whose input is a vector: all others want an image.
    takes_vector: ClassVar[bool] = False
    #: Whether its output is one of the network's answers, of which there may be several.
    is_answer: ClassVar[bool] = False
    #: Whether that describes boxes.
    is_head: ClassVar[bool] = False
    #: Whether it belongs to training alone: its output is not the network's answer.
    is_loss: ClassVar[bool] = False
    #: Arrays of `arrays` that the original darknet does not store and forks do: zeros where a file lacks them.
    optional_arrays: ClassVar[tuple[str, ...]] = ()

    index: int
    line: int
    sources: tuple[int, ...]
    input: Shape
    output: Shape
    dontload: bool = boolean()
    dontloadscales: bool = boolean()

    def __str__(self) -> str:
        return f"layer {self.index} [{self.kind}]"

    @property
    def kind(self) -> str:
        """The full name of its section."""
        return self.names[0]

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing at inference."""
        return False

    @property
    def carries_channels(self) -> bool:
        """Whether channel c of its output comes of channel c of each source alone, so that it may go or move in all."""
        return False

    @property
    def concatenates_channels(self) -> bool:
        """Whether its output are the channels of its sources, one source after another."""
        return False

    @property
    def has_winograd_domain(self) -> bool:
        """Whether its weights may live in the Winograd domain of F(m x m, 3 x 3)."""
        return False

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Its float32 arrays: field of `LayerWeights` -> shape, in the order of darknet's weights file (parser.c)."""
        return {}

    @property
    def stored(self) -> dict[str, tuple[int, ...]]:
        """What of `arrays` a weights file holds, and how much of each: the rest is 0, of `DEFAULT_ONES` 1."""
        return {name: shape for name, shape in self.arrays.items() if not self.dontloadscales or name not in STATISTICS}

    @property
    def values_index(self) -> int:
        """The layer whose values it computes with: its own index unless it shares another's."""
        return self.index

    @property
    def owns_values(self) -> bool:
        """Whether it shares no other layer's values."""
        return self.values_index == self.index

    @property
    def has_values(self) -> bool:
        """Whether a file holds values of this layer."""
        return bool(self.arrays) and not self.dontload and self.owns_values

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        """The shape of the output, from the options and the `shapes` of all sources. Raises OptionError."""
        return shapes[0]

    def lower(self, site: Any) -> None:
        """Add the steps that compute this layer at a `clprune.plan.draft.Site`: for kinds of other packages."""
        raise UnsupportedLayerError(
            f"{site.network.path}:{self.line}: {self} has no kernel yet; "
            "expected a network without it (see the README's list of layers)"
        )

    def torch_module(self) -> Any:
        """A torch module that maps the sources' outputs to the layer's, for kinds of other packages."""
        raise UnsupportedLayerError(f"{self} (line {self.line}) cannot be trained: expected a network without it")

    def write_onnx(self, site: Any) -> str:
        """Add the ONNX operators that compute this layer at a `clprune.exchange.graph.Site`, and return their output:
        for kinds of other packages.
        """
        raise UnsupportedLayerError(f"{self} cannot be written as ONNX: expected a network without it")

    @classmethod
    def from_section(cls, place: Place) -> Layer:
        """The layer that a section describes. Raises CfgError."""
        section = place.section
        try:
            sources = cls.read_sources(place)
            shapes = [place.shape_of(source) for source in sources]
            layer = cls(
                index=place.index,
                line=section.line,
                sources=sources,
                input=shapes[0],
                output=shapes[0],
                **cls.read_options(section),
            )
            return replace(layer, output=layer.output_shape(shapes))
        except OptionError as error:
            raise section.error(str(error), key=error.key) from error

    @classmethod
    def read_sources(cls, place: Place) -> tuple[int, ...]:
        """The indices of the layers that feed it: by default the one before it. Raises OptionError."""
        return (place.index - 1,)

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        """The values of the fields that are keys of the section. Raises CfgError."""
        return {name: read(section, key) for name, (key, read) in cls._option_fields().items()}

    @classmethod
    def all_keys(cls) -> Keys:
        """The keys of its section, those that fields read among them."""
        parts = [vars(base)["keys"] for base in cls.__mro__ if "keys" in vars(base)]
        return Keys(
            read=" ".join([*(key for key, _ in cls._option_fields().values()), *(part.read for part in parts)]),
            silent=" ".join(part.silent for part in parts),
            neutral={key: value for part in parts for key, value in part.neutral.items()},
            refused=" ".join(part.refused for part in parts),
        )

    @classmethod
    def _option_fields(cls) -> dict[str, tuple[str, Callable[[Section, str], Any]]]:
        """(key, reader) of the fields that are keys of the section."""
        options = {item.name: item.metadata for item in fields(cls) if "read" in item.metadata}
        return {name: (option["key"] or name, option["read"]) for name, option in options.items()}


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
class WeightedLayer(Layer):
    """A layer of weights: sums of its input, weighted, then `activation`. `prune` is None where it was not pruned."""

    activation: str = activation_name("logistic")
    prune: PruneOptions | None = None

    def problem(self, batch: int) -> ConvProblem | ConnectedProblem:
        """The work of this layer on `batch` images."""
        raise NotImplementedError

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """Shape of the weights, output channels first."""
        return self.arrays["weights"]

    @property
    def columns(self) -> int:
        """K: weights of one output value."""
        return math.prod(self.weights_shape[1:])

    def domain_shape(self, winograd: int | None) -> tuple[int, ...]:
        """Shape of the weights; in the Winograd domain of F(m x m, 3 x 3) `[m + 2, m + 2, out, in]`, `winograd` m."""
        return self.weights_shape if winograd is None else (winograd + 2, winograd + 2, *self.weights_shape[:2])

    def matrix_shape(self, winograd: int | None) -> tuple[int, int]:
        """(rows, columns) of the matrix that units are cut from: rows are output channels, times places or matrices."""
        shape = self.domain_shape(winograd)
        columns = self.columns if winograd is None else shape[-1]
        return math.prod(shape) // columns, columns

    @property
    def group_rows(self) -> int:
        """Output channels of one group: the rows within which units are cut."""
        return self.output.channels


@dataclass(frozen=True, kw_only=True)
class MatrixLayer(WeightedLayer):
    """A layer whose weights are a matrix `[output channels, K]`, which can be pruned and quantized.

    Batch normalization or biases follow, then `activation`.
    """

    keys = Keys(read=" ".join(PRUNE_KEYS))
    #: The key that says how many output channels it has.
    channels_key: ClassVar[str]

    batch_normalize: bool = boolean()

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        return {**super().read_options(section), "prune": _read_prune_options(section)}

    def with_channels(self, channels: int) -> MatrixLayer:
        """The same layer with other output channels."""
        raise NotImplementedError

    @property
    def has_own_matrix(self) -> bool:
        """Whether it multiplies by its weights as they are, and has them of its own: others may share them."""
        return self.owns_values

    @property
    def is_grouped(self) -> bool:
        """Whether its output channels read groups of its input's channels."""
        return self.group_rows < self.output.channels

    @property
    def _statistics(self) -> dict[str, tuple[int, ...]]:
        return statistics(self.output.channels) if self.batch_normalize else {}


def statistics(channels: int) -> dict[str, tuple[int, ...]]:
    """The arrays of batch normalization beside the biases."""
    return dict.fromkeys(STATISTICS, (channels,))


def flat(elements: int) -> Shape:
    """A vector as darknet sees it: one pixel of many channels."""
    return Shape(channels=elements, height=1, width=1)


def _read_prune_options(section: Section) -> PruneOptions | None:
    """The layer's `prune_*` keys: all three or none, and with them perhaps `prune_winograd`."""
    given = [key for key in (*PRUNE_KEYS, PRUNE_WINOGRAD_KEY) if key in section.options]
    if not given:
        return None
    for key in PRUNE_KEYS:
        if key not in given:
            raise section.error(f"has {given[0]}= but no {key}=: expected {', '.join(PRUNE_KEYS)}", key=given[0])
    sparsity = section.number("prune_sparsity", 0.0)
    if not 0 <= sparsity < 1:
        raise section.error(f"prune_sparsity={sparsity:g}: expected at least 0 and less than 1", key="prune_sparsity")
    try:
        unit = Unit.parse(section.text("prune_unit"))
    except UsageError as error:
        raise section.error(f"prune_unit: {error}", key="prune_unit") from error
    winograd = section.integer(PRUNE_WINOGRAD_KEY, minimum=1) if PRUNE_WINOGRAD_KEY in given else None
    return PruneOptions(method=section.text("prune_method"), unit=unit, sparsity=sparsity, winograd=winograd)
