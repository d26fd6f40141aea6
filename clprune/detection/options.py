"""What decides which objects are found, beside the model and the image."""

from __future__ import annotations

from dataclasses import dataclass

from clprune.darknet.dialect import DIALECTS, Dialect
from clprune.darknet.kinds import heads
from clprune.darknet.network import Network
from clprune.errors import UsageError
from clprune.image import RESIZE_MODES, Resize


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """How boxes are chosen.

    A class of a box counts where its confidence exceeds `threshold`, and is suppressed where a surer box of that class
    overlaps by more than `nms` (0: never). `resize` makes images fit; None takes what the cfg and the dialect say:
    letterbox with `letter_box=1` and for pjreddie's darknet (but for YOLOv1, `[detection]`), else stretch. `dialect` is
    the fork whose rules hold: `nms_kind` is AlexeyAB's alone, and a tree of classes is read in two ways, down to
    `hierarchy`. `class_map` are the classes to report of such a tree, in their order. `in_pixels` measures overlaps
    there, as darknet's `detector valid` does, and not in shares of the image: distances are others in an image that is
    no square. `in_order` leaves objects as darknet's functions leave boxes, not best first.
    """

    threshold: float = 0.25
    nms: float = 0.45
    resize: Resize | None = None
    dialect: Dialect = "alexeyab"
    hierarchy: float = 0.5
    class_map: tuple[int, ...] = ()
    in_pixels: bool = False
    in_order: bool = False

    def __post_init__(self) -> None:
        for name in ("threshold", "nms", "hierarchy"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} {getattr(self, name)}: expected 0 to 1")
        if self.dialect not in DIALECTS:
            raise UsageError(f"dialect {self.dialect!r}: expected one of {', '.join(DIALECTS)}")
        if self.resize not in (None, *RESIZE_MODES):
            raise UsageError(f"resize {self.resize!r}: expected one of {', '.join(RESIZE_MODES)}")

    def resize_for(self, network: Network) -> Resize:
        """How images are made to fit `network`."""
        if self.resize is not None:
            return self.resize
        if network.net_options.get("letter_box", "0") not in ("", "0"):
            return "letterbox"
        is_first_yolo = isinstance(network.output_layers[-1], heads.Detection)
        return "letterbox" if self.dialect == "pjreddie" and not is_first_yolo else "stretch"
