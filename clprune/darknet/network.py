"""A cfg as a `Network`: layers with their shapes. Source of the rules: darknet's parser.c."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from clprune.darknet.cfg import CfgWarning, parse_cfg
from clprune.darknet.dialect import ToldDialect, tell_dialect
from clprune.darknet.kinds.base import Keys, Layer, MatrixLayer, Place
from clprune.darknet.kinds.heads import Head
from clprune.darknet.registry import RECURRENT, find_kind, kind_names
from clprune.darknet.section import Section
from clprune.dataset import DataSet
from clprune.errors import UnsupportedLayerError, UsageError, shown
from clprune.geometry import Shape

#: Keys of the first section; what training was done with is silent.
NET_KEYS = Keys(
    read="height width channels inputs dialect",
    silent="""
    batch subdivisions time_steps notruth random adam B1 B2 eps max_crop min_crop max_ratio min_ratio center clip
    angle aspect saturation exposure hue policy burn_in power step scale steps scales gamma max_batches learning_rate
    momentum decay flip blur gaussian_noise mixup cutmix mosaic mosaic_bound letter_box label_smooth_eps
    attention adversarial_lr max_chart_loss loss_scale dynamic_minibatch optimized_memory workspace_size_limit_MB
    track augment_speed sequential_subdivisions init_sequential_subdivisions try_fix_nan max_delta weights_reject_freq
    equidistant_point ema_alpha use_cuda_graph contrastive contrastive_jit_flip unsupervised badlabels_reject_threshold
    badlabels_rejection_percentage num_sigmas_reject_badlabels burnin_update train_only_bn seq_scales
    seen learning_rate_min sgdr_cycle sgdr_mult resize show_receptive_field max_epochs
    contrastive_color
    """,
)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network with all shapes known.

    `input` is the shape of one image, `batch` the images of one run, `net_options` the `[net]` section's values as
    text (what training was done with, unchecked). `is_cut`: the last layer alone is the answer (see `until`).
    `dialect` is the fork of darknet whose rules hold.
    """

    path: Path
    input: Shape
    batch: int
    layers: tuple[Layer, ...]
    net_options: Mapping[str, str]
    is_cut: bool = False
    dialect: ToldDialect = field(default_factory=ToldDialect)

    @property
    def output_layers(self) -> tuple[Layer, ...]:
        """The layers whose values are the network's answer: all heads and each [output], or else the last layer that is
        not a [cost].
        """
        if self.is_cut:
            return self.layers[-1:]
        answers = tuple(layer for layer in self.layers if layer.is_answer)
        return answers or (next(layer for layer in reversed(self.layers) if not layer.is_loss),)

    @property
    def matrix_layers(self) -> tuple[MatrixLayer, ...]:
        """The layers with a matrix of weights that is their own: what can be pruned and quantized."""
        return tuple(layer for layer in self.layers if isinstance(layer, MatrixLayer) and layer.has_own_matrix)

    @property
    def outputs(self) -> int:
        """Values of the answer for one image: those of all output layers, one layer after another."""
        return sum(layer.output.elements for layer in self.output_layers)

    @property
    def classes(self) -> int:
        """Classes that it tells apart: those of its heads, else one per output. UsageError for unlike heads."""
        counts = {layer.classes for layer in self.output_layers if isinstance(layer, Head)}
        if len(counts) > 1:
            raise UsageError(
                f"{self.path}: heads of {' and '.join(map(str, sorted(counts)))} classes: expected as many"
            )
        return counts.pop() if counts else self.outputs

    def until(self, index: int) -> Network:
        """The network cut after layer `index` (negative: from the end), whose output alone is the answer then.

        Weights of the whole network fit it. Raises UsageError for a layer that is not there.
        """
        count = len(self.layers)
        if not -count <= index < count:
            raise UsageError(f"{self.path}: no layer {index}: expected 0 to {count - 1}, or -1 to {-count}")
        return replace(self, layers=self.layers[: index % count + 1], is_cut=True)


def load_network(path: str | Path, *, batch: int = 1, dialect: str | None = None, text: str | None = None) -> Network:
    """Read a darknet cfg, or the `text` of one that is called `path`, and work out every shape.

    `batch` is the number of images of one run; the cfg's own `batch` belongs to training. `dialect` is the fork of
    darknet whose rules hold where they differ, by default told from the cfg's keys. Unknown keys earn one `CfgWarning`
    each. Raises CfgError naming file and line, and UnsupportedLayerError for layer kinds that darknet
    has and clprune does not run.
    """
    if batch < 1:
        raise UsageError(f"batch {batch}: expected at least 1")
    net, *sections = parse_cfg(path, text=text)
    _check_keys(net, NET_KEYS)
    first, told = _input_shape(net), tell_dialect([net, *sections], dialect)
    layers: list[Layer] = []
    for index, section in enumerate(replace(each, dialect=told.name) for each in sections):
        kind = _kind(section)
        if index == 0 and "height" not in net.options and not kind.takes_vector:
            raise section.error("wants an image: expected height, width and channels in [net], found inputs only")
        _check_keys(section, kind.all_keys())
        layers.append(kind.from_section(Place(section=section, index=index, before=layers, network_input=first)))
    if all(layer.is_loss for layer in layers):
        raise net.error("no layer follows: expected at least one")
    options = {key: option.value for key, option in net.options.items()}
    return Network(path=Path(path), input=first, batch=batch, layers=tuple(layers), net_options=options, dialect=told)


def check_data(network: Network, data: DataSet) -> None:
    """Raise UsageError unless `network` takes the images of `data` and has a value for each of its classes.

    Nor does a detector take labelled images: they have no boxes.
    """
    if len(data) == 0:
        raise UsageError(f"{data.name} has no images")
    if data.class_names and network.output_layers[0].is_head:
        raise UsageError(f"{network.path} detects objects; {data.name} labels whole images: expected images:PATH")
    shape = network.input
    found = data.batch([0]).shape[1:]
    if found != shape.dimensions:
        raise UsageError(f"{data.name} has images of {'x'.join(map(str, found))}, {network.path} takes {shape}")
    if len(data.class_names) > network.classes:
        raise UsageError(
            f"{data.name} has {len(data.class_names)} classes, {network.path} has only {network.classes} outputs"
        )


def _input_shape(net: Section) -> Shape:
    """The `[net]` section's height, width and channels, or a vector of `inputs` values."""
    sides = ("height", "width", "channels")
    given = [key for key in sides if key in net.options]
    if not given and "inputs" in net.options:
        return Shape(channels=net.integer("inputs", minimum=1), height=1, width=1)
    missing = [key for key in sides if key not in given]
    if missing:
        raise net.error(f"has no {missing[0]}=: expected height, width and channels (or inputs alone)")
    height, width, channels = (net.integer(key, minimum=1) for key in sides)
    shape = Shape(channels=channels, height=height, width=width)
    if net.integer("inputs", shape.elements) != shape.elements:
        raise net.error(f"inputs={net.text('inputs')}: expected {shape.elements} for {shape}", key="inputs")
    return shape


def _kind(section: Section) -> type[Layer]:
    kind = find_kind(section.name)
    if kind is None:
        where = f"{section.path}:{section.line}"
        expected = "a network without memory" if section.name in RECURRENT else f"one of {kind_names()}"
        raise UnsupportedLayerError(f"{where}: [{section.name}] is not supported: expected {expected}")
    return kind


def _check_keys(section: Section, keys: Keys) -> None:
    """Refuse keys that change inference in ways not computed here, warn of unknown ones."""
    refused, neutral, silent = keys.refused.split(), keys.neutral, keys.silent.split()
    known = {*keys.read.split(), *silent, *neutral}
    for key, option in section.options.items():
        if key in refused:
            raise section.error(f"{key} changes what the layer computes and is not supported: remove it", key=key)
        if key in known and key not in silent and not option.value:
            raise section.error(f"{key}= has no value", key=key)
        if key in neutral and section.number(key, neutral[key]) != neutral[key]:
            message = f"{key}={option.value} changes what the layer computes and is not supported"
            raise section.error(f"{message}: expected {neutral[key]:g}", key=key)
        if key not in known or not option.value:
            what = f"{key}= without a value" if key in known else f"unknown key {shown(key)!r}"
            message = f"{section.path}:{option.line}: {what} in [{section.name}] is ignored"
            warnings.warn(CfgWarning(message), stacklevel=3)
