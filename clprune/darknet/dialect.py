"""Which fork of darknet a model is meant for, where the forks compute differently.

pjreddie's letterboxes images and knows plain IoU; its `[shortcut]` has alpha and beta, and its `[region]` without
softmax has logistic classes. AlexeyAB's stretches images and has `nms_kind`; it ignores alpha and beta, and leaves
those classes as they are. hank-ai's is AlexeyAB's with plain IoU: no cfg tells it, only a user can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from clprune.darknet.section import Section
from clprune.errors import UsageError

Dialect = Literal["alexeyab", "hank-ai", "pjreddie"]
#: The forks of darknet whose answers can be had.
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

#: The key of [net] by which a cfg that clprune writes says it: darknet ignores it.
DIALECT_KEY = "dialect"

#: Sections and keys, as words `section.key`, that only one fork knows.
_SIGNS: tuple[tuple[Dialect, str], ...] = (
    ("pjreddie", "logistic l2norm iseg shortcut.alpha shortcut.beta reorg.extra reorg.flatten region.background"),
    (
        "alexeyab",
        """
        Gaussian_yolo scale_channels sam reorg3d implicit local_avgpool contrastive empty net.letter_box net.mosaic
        net.mixup net.cutmix net.optimized_memory net.max_chart_loss net.ema_alpha net.adversarial_lr
        yolo.scale_x_y yolo.new_coords yolo.nms_kind yolo.beta_nms yolo.iou_loss yolo.iou_normalizer yolo.iou_thresh
        yolo.cls_normalizer yolo.obj_normalizer yolo.max_delta yolo.counters_per_class yolo.track_history_size
        route.groups route.group_id shortcut.weights_type maxpool.stride_x maxpool.maxpool_depth maxpool.antialiasing
        convolutional.stride_x convolutional.dilation convolutional.antialiasing convolutional.share_index
        convolutional.stopbackward dropout.dropblock
        """,
    ),
)


@dataclass(frozen=True, kw_only=True)
class ToldDialect:
    """A dialect and why; `is_told`: somebody or something says so, else it is the default. `is_wanted`: it is a user's
    choice, which a cfg that is written keeps.
    """

    name: Dialect = "alexeyab"
    reason: str = "the default: no key tells"
    is_told: bool = False
    is_wanted: bool = False

    def with_header(self, words: tuple[int, int, int]) -> ToldDialect:
        """The same, or what the version words of a weights file tell where nothing did."""
        if self.is_told or words[0] != 0:
            return self
        name: Dialect = "alexeyab" if words >= (0, 2, 5) else "pjreddie"
        return ToldDialect(name=name, reason=f"weights of version {'.'.join(map(str, words))}", is_told=True)


def tell_dialect(sections: Sequence[Section], wanted: str | None) -> ToldDialect:
    """The dialect that is `wanted`, else what `dialect=` in `[net]` says, else the one that has the first section or
    key which only one knows.

    Raises UsageError for one that is none, CfgError where that is the key's.
    """
    for known in DIALECTS:
        if wanted == known:
            return ToldDialect(name=known, reason="as wanted", is_told=True, is_wanted=True)
    if wanted is not None:
        raise UsageError(f"dialect {wanted!r}: expected one of {', '.join(DIALECTS)}")
    net = sections[0]
    for known in DIALECTS if DIALECT_KEY in net.options else ():
        if net.text(DIALECT_KEY) == known:
            line = net.options[DIALECT_KEY].line
            return ToldDialect(name=known, reason=f"{DIALECT_KEY}= in [net], line {line}", is_told=True)
    if DIALECT_KEY in net.options:
        message = f"{DIALECT_KEY}={net.text(DIALECT_KEY)}: expected one of {', '.join(DIALECTS)}"
        raise net.error(message, key=DIALECT_KEY)
    signs = {sign: name for name, words in _SIGNS for sign in words.split()}
    for section in sections:
        found = {section.name: (section.line, f"[{section.name}]")}
        found |= {
            f"{section.name}.{key}": (o.line, f"{key}= in [{section.name}]") for key, o in section.options.items()
        }
        for sign, (line, text) in found.items():
            if sign in signs:
                return ToldDialect(name=signs[sign], reason=f"{text}, line {line}", is_told=True)
    return ToldDialect()
