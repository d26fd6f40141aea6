"""Heads of detectors: layers whose output describes boxes. What the values mean is said here, decoding elsewhere.

All of them but `[detection]` see a grid of cells, each with `num` anchors; entry e of anchor a is channel
a * entries + e. Source: yolo_layer.c, gaussian_yolo_layer.c, region_layer.c, detection_layer.c of AlexeyAB/darknet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from clprune.darknet.kinds.base import Keys, Layer, OptionError, boolean, flat, integer, number
from clprune.darknet.section import Section
from clprune.darknet.tree import Tree
from clprune.geometry import Shape

#: Keys of heads that only training reads.
TRAINING = """
max jitter resize random ignore_thresh truth_thresh iou_thresh iou_normalizer obj_normalizer cls_normalizer
delta_normalizer uc_normalizer iou_loss iou_thresh_kind max_delta counters_per_class label_smooth_eps
objectness_smooth focal_loss show_details track_history_size sim_thresh dets_for_track dets_for_show track_ciou_norm
embedding_layer bias_match rescore thresh absolute classfix object_scale noobject_scale class_scale coord_scale
mask_scale log forced
"""


@dataclass(frozen=True, kw_only=True)
class ChannelRun:
    """`count` channels from `first` on. Each value becomes `scale * function(value) - (scale - 1) / 2`, `function`
    being `linear` or `logistic`; or it is `softmax` or `l2norm` over the channels.
    """

    first: int
    count: int
    function: str
    scale: float = 1.0

    @property
    def single_channels(self) -> tuple[ChannelRun, ...]:
        """The same channel by channel."""
        return tuple(replace(self, first=self.first + index, count=1) for index in range(self.count))


def runs_of(functions: Sequence[tuple[int, str, float]]) -> tuple[ChannelRun, ...]:
    """Runs one after another from (count, function, scale), empty ones left out."""
    runs: list[ChannelRun] = []
    first = 0
    for count, function, scale in functions:
        if count:
            runs.append(ChannelRun(first=first, count=count, function=function, scale=scale))
        first += count
    return tuple(runs)


@dataclass(frozen=True, kw_only=True)
class Head(Layer):
    """What all heads have: `classes`, and `num` boxes of each cell."""

    keys = Keys(silent=TRAINING)
    is_answer = True
    is_head = True

    classes: int = integer(20)
    num: int = integer()

    @property
    def boxes(self) -> int:
        """Boxes of each cell that this head gives."""
        return self.num

    @property
    def runs(self) -> tuple[ChannelRun, ...]:
        """What is done with each channel; see `ChannelRun`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class AnchorHead(Head):
    """A head of a grid: `anchors` are (width, height), all of them."""

    keys = Keys(read="anchors", silent="map")
    #: Values of a box beside those of its classes, in the order of their channels.
    values: ClassVar[tuple[str, ...]] = ("x", "y", "w", "h", "objectness")

    anchors: tuple[tuple[float, float], ...] = ()

    @property
    def entries(self) -> int:
        """Channels of one anchor."""
        return len(self.values) + self.classes

    @property
    def entry_functions(self) -> tuple[tuple[int, str, float], ...]:
        """(channels, function, scale) of the runs of one anchor."""
        raise NotImplementedError

    @property
    def runs(self) -> tuple[ChannelRun, ...]:
        return runs_of(self.boxes * self.entry_functions)

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        options = super().read_options(section)
        numbers = section.numbers("anchors") if "anchors" in section.options else (0.5,) * (2 * options["num"])
        if len(numbers) < 2 * options["num"]:
            found = f"{len(numbers)} numbers for num={options['num']} anchors"
            raise section.error(f"anchors= has {found}: expected {2 * options['num']}", key="anchors")
        return {**options, "anchors": tuple(zip(numbers[::2], numbers[1::2], strict=False))}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        expected = self.boxes * self.entries
        if self.input.channels != expected:
            message = (
                f"takes {self.boxes} anchors x ({len(self.values)} + {self.classes} classes) = {expected} channels, "
                f"found {self.input}: expected filters={expected} in the layer before, or other classes"
            )
            raise OptionError(message, key="classes")
        return self.input


@dataclass(frozen=True, kw_only=True)
class Yolo(AnchorHead):
    """YOLOv3, v4: logistic on x, y, objectness and classes, then x, y become `scale_x_y * v - (scale_x_y - 1) / 2`.

    w and h stay as they come. With `new_coords` logistic was the activation before, and only the scaling is left.
    `mask` are the indices of its anchors, which are in pixels of the network. `nms_kind` and `beta_nms` say how boxes
    are suppressed.
    """

    names = ("yolo",)
    keys = Keys(read="mask nms_kind")

    mask: tuple[int, ...] = ()
    scale_x_y: float = number(1.0)
    new_coords: bool = boolean()
    nms_kind: str = "default"
    beta_nms: float = number(0.6)

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        options = super().read_options(section)
        mask = section.integers("mask") if "mask" in section.options else tuple(range(options["num"]))
        given = len(options["anchors"])  # official files give more than num, and use them
        for index in mask:
            if not 0 <= index < given:
                raise section.error(
                    f"mask= names anchor {index}: expected 0 to {given - 1}, as anchors= has", key="mask"
                )
        return {**options, "mask": mask, "nms_kind": section.text("nms_kind", "default")}

    @property
    def boxes(self) -> int:
        return len(self.mask)

    @property
    def entry_functions(self) -> tuple[tuple[int, str, float], ...]:
        logistic = "linear" if self.new_coords else "logistic"
        return ((2, logistic, self.scale_x_y), (2, "linear", 1.0), (1 + self.classes, logistic, 1.0))


@dataclass(frozen=True, kw_only=True)
class GaussianYolo(Yolo):
    """As `[yolo]`, with a mean and a deviation for each of x, y, w and h; logistic on all of them but the means of w
    and h. `yolo_point` says which point of a box x and y are: `center`, `left_top` or `right_bottom`.
    """

    names = ("Gaussian_yolo",)
    keys = Keys(read="yolo_point")
    values = ("x", "x_deviation", "y", "y_deviation", "w", "w_deviation", "h", "h_deviation", "objectness")

    yolo_point: str = "center"

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        options = super().read_options(section)
        point, points = section.text("yolo_point", "center"), ("center", "left_top", "right_bottom")
        if point not in points:
            raise section.error(f"yolo_point={point}: expected one of {', '.join(points)}", key="yolo_point")
        return {**options, "yolo_point": point}

    @property
    def entry_functions(self) -> tuple[tuple[int, str, float], ...]:
        center = ((1, "logistic", self.scale_x_y), (1, "logistic", 1.0))
        side = ((1, "linear", 1.0), (1, "logistic", 1.0))
        return (*2 * center, *2 * side, (1 + self.classes, "logistic", 1.0))


@dataclass(frozen=True, kw_only=True)
class Region(AnchorHead):
    """YOLOv2: logistic on x, y and objectness, `softmax` over the classes, or over each group of the `tree` file.

    w and h stay as they come; anchors are in cells. `map` is a file of class indices (yolo9000), `hierarchy` what the
    file `tree` holds. `class_function` is what is applied to classes without softmax: forks differ.
    """

    names = ("region",)
    keys = Keys(read="coords tree map", neutral={"background": 0})

    softmax: bool = boolean()
    tree: str = ""
    map: str = ""
    hierarchy: Tree | None = None
    class_function: str = "logistic"

    @classmethod
    def read_options(cls, section: Section) -> dict[str, Any]:
        if section.integer("coords", 4) != 4:
            raise section.error(f"coords={section.text('coords')}: expected 4", key="coords")
        files = {key: section.text(key, "") for key in ("tree", "map")}
        function = "logistic" if section.dialect == "pjreddie" else "linear"
        options = super().read_options(section)
        return {**options, **files, "hierarchy": section.tree(), "class_function": function}

    @property
    def entry_functions(self) -> tuple[tuple[int, str, float], ...]:
        sizes = self.hierarchy.group_sizes if self.hierarchy is not None else (self.classes,)
        has_softmax = self.softmax or self.hierarchy is not None
        classes = [(size, "softmax" if has_softmax else self.class_function, 1.0) for size in sizes]
        return ((2, "logistic", 1.0), (2, "linear", 1.0), (1, "logistic", 1.0), *classes)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        if self.hierarchy is not None and len(self.hierarchy.names) != self.classes:
            found = f"{len(self.hierarchy.names)} classes"
            raise OptionError(f"tree={self.tree} holds {found}: expected {self.classes} as classes= says", key="tree")
        return super().output_shape(shapes)


@dataclass(frozen=True, kw_only=True)
class Detection(Head):
    """YOLOv1: a vector of the classes of all `side` x `side` cells, then `num` confidences, then `num` boxes a cell.

    `softmax` is over the classes of a cell; with `sqrt` w and h are square roots.
    """

    names = ("detection",)
    keys = Keys(silent="reorg")
    takes_vector = True

    classes: int = integer(1)
    coords: int = integer(1)
    side: int = integer(7)
    softmax: bool = boolean()
    sqrt: bool = boolean()

    @property
    def is_identity(self) -> bool:
        return not self.softmax

    @property
    def runs(self) -> tuple[ChannelRun, ...]:
        cells = self.side**2
        rest = self.output.elements - cells * self.classes
        return runs_of((*cells * ((self.classes, "softmax", 1.0),), (rest, "linear", 1.0)))

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        expected = self.side**2 * (self.classes + self.num * (1 + self.coords))
        if self.coords != 4:
            raise OptionError(f"coords={self.coords}: expected 4", key="coords")
        if self.input.elements != expected:
            message = (
                f"takes {self.side} x {self.side} x ({self.classes} classes + {self.num} x (1 + {self.coords})) = "
                f"{expected} values, found {self.input.elements}: expected output={expected} in the layer before"
            )
            raise OptionError(message, key="classes")
        if self.softmax and self.input != flat(expected):
            message = f"softmax=1 takes a vector, found {self.input}: expected a [connected] layer before"
            raise OptionError(message, key="softmax")
        return self.input
