"""How far a detector finds what another one does: its average precision with the other's detections as the truth."""

from __future__ import annotations

from collections.abc import Sequence

from clprune.darknet.network import Network
from clprune.dataset import Truth
from clprune.detection.average_precision import score
from clprune.detection.decode import FloatArray
from clprune.detection.objects import Detection, find_objects
from clprune.detection.options import DetectionOptions

#: Least confidence of what is taken for the truth, and of what is compared with it.
SURE, LEAST = 0.25, 0.005


def detections_of(network: Network, outputs: Sequence[FloatArray], *, least: float) -> list[list[Detection]]:
    """What is found in images of the network's own size; `outputs` float32 `[N, C, H, W]` of each output layer."""
    names = [str(number) for number in range(network.classes)]
    options = DetectionOptions(threshold=least, resize="stretch", dialect=network.dialect.name)
    size = network.input.height, network.input.width
    return [
        find_objects(network, [values[image] for values in outputs], names=names, size=size, options=options)
        for image in range(len(outputs[0]))
    ]


def as_truth(detections: Sequence[Detection]) -> Truth:
    """Detections taken for what is in an image."""
    return Truth.of([(one.class_index, (one.center_x, one.center_y, one.width, one.height)) for one in detections])


def agreement(network: Network, truths: Sequence[Truth], found: Sequence[Sequence[Detection]]) -> float:
    """Mean average precision at an IoU of 0.5, 0 to 1, of what was found from `LEAST` on in images of these truths."""
    names = [str(number) for number in range(network.classes)]
    return score(zip(truths, found, strict=True), names=names, threshold=SURE).mean_average_precision
