"""What the heads of detectors read from their sections, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.darknet.kinds.heads import Detection, GaussianYolo, Region, Yolo
from clprune.darknet.network import Network, load_network
from clprune.errors import CfgError

NET = "[net]\nheight=8\nwidth=8\nchannels=3\n[convolutional]\nsize=1\nactivation=linear\nfilters="


def load(folder: Path, head: str, *, filters: int) -> Network:
    path = folder / "a.cfg"
    path.write_text(f"{NET}{filters}\n{head}\n")
    return load_network(path)


def test_yolo_takes_the_anchors_of_its_mask(tmp_path: Path) -> None:
    text = "[yolo]\nmask=1,2\nnum=3\nclasses=2\nanchors= 1,2, 3,4, 5.5,6\nscale_x_y=1.05\nnms_kind=greedynms\njitter=.3"
    head = load(tmp_path, text, filters=14).layers[-1]
    assert isinstance(head, Yolo)
    assert (head.boxes, head.entries, head.mask) == (2, 7, (1, 2))
    assert head.anchors == ((1.0, 2.0), (3.0, 4.0), (5.5, 6.0))
    assert (head.scale_x_y, head.nms_kind, head.is_head) == (1.05, "greedynms", True)


def test_other_heads(tmp_path: Path) -> None:
    gaussian = load(tmp_path, "[Gaussian_yolo]\nnum=1\nclasses=1\nanchors=1,2\nyolo_point=left_top", filters=10).layers[
        1
    ]
    assert isinstance(gaussian, GaussianYolo)
    assert (gaussian.yolo_point, gaussian.entries) == ("left_top", 10)
    region = load(tmp_path, "[region]\nnum=2\nclasses=3\ncoords=4\nsoftmax=1\nanchors=1,2,3,4", filters=16).layers[1]
    assert isinstance(region, Region)
    assert region.softmax
    text = "[connected]\noutput=52\nactivation=linear\n[detection]\nside=2\nclasses=3\nnum=2\ncoords=4\nsqrt=1"
    detection = load(tmp_path, text, filters=1).layers[2]
    assert isinstance(detection, Detection)
    assert detection.output.elements == 52


@pytest.mark.parametrize(
    ("head", "line", "words"),
    [
        ("[yolo]\nnum=1\nclasses=2\nanchors=1,2", 11, "filters=7 in the layer before"),
        ("[yolo]\nnum=2\nclasses=3\nanchors=1,2,3", 12, "3 numbers for num=2 anchors: expected 4"),
        ("[yolo]\nmask=0,2\nnum=2\nclasses=3\nanchors=1,2,3,4", 10, "names anchor 2: expected 0 to 1"),
        ("[yolo]\nnum=1\nclasses=3\nanchors=1,x", 12, "expected a number, found 'x' between the commas"),
        ("[region]\nnum=1\nclasses=3\ncoords=3\nanchors=1,2", 12, "expected 4"),
        ("[detection]\nside=2\nclasses=3\nnum=2\ncoords=4", 11, "expected output=52 in the layer before"),
        ("[Gaussian_yolo]\nclasses=1\nnum=1\nanchors=1,2\nyolo_point=top", 13, "expected one of center"),
    ],
)
def test_what_does_not_fit_is_said_with_its_line(tmp_path: Path, head: str, line: int, words: str) -> None:
    with pytest.raises(CfgError, match=f"a\\.cfg:{line}: .*{words}"):
        load(tmp_path, head, filters=8)
