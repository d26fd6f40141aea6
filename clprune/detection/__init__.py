"""From the outputs of a detector's heads to objects in an image: decoding, suppression, drawing, average precision."""

from __future__ import annotations

from clprune.darknet.dialect import DIALECTS, Dialect
from clprune.detection.detector import Detector, Found
from clprune.detection.objects import Detection
from clprune.detection.options import DetectionOptions

__all__ = ["DIALECTS", "Detection", "DetectionOptions", "Detector", "Dialect", "Found"]
