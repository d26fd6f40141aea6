"""What the heads of detectors read from their sections, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.darknet.cfg import CfgWarning
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
        ("[yolo]\nmask=0,2\nnum=2\nclasses=3\nanchors=1,2,3,4", 10, "names anchor 2: expected 0 to 1, as anchors= has"),
        ("[yolo]\nnum=1\nclasses=3\nanchors=1,x", 12, "expected a number, found 'x' between the commas"),
        ("[region]\nnum=1\nclasses=3\ncoords=3\nanchors=1,2", 12, "expected 4"),
        ("[detection]\nside=2\nclasses=3\nnum=2\ncoords=4", 11, "expected output=52 in the layer before"),
        ("[Gaussian_yolo]\nclasses=1\nnum=1\nanchors=1,2\nyolo_point=top", 13, "expected one of center"),
    ],
)
def test_what_does_not_fit_is_said_with_its_line(tmp_path: Path, head: str, line: int, words: str) -> None:
    with pytest.raises(CfgError, match=f"a\\.cfg:{line}: .*{words}"):
        load(tmp_path, head, filters=8)


def test_functions_of_channels(tmp_path: Path) -> None:
    """As the forward passes of yolo_layer.c, gaussian_yolo_layer.c, region_layer.c and detection_layer.c have them."""

    def functions(text: str, *, filters: int) -> str:
        """A letter per channel: activation and scaling of logistic, linear, and a group of softmax by its number."""
        letters = ""
        for number, run in enumerate(load(tmp_path, text, filters=filters).layers[-1].runs):  # type: ignore[attr-defined]
            letter = {"logistic": "l", "linear": "_", "softmax": str(number)}[run.function]
            letters += (letter.upper() if run.scale != 1 else letter) * run.count
        return letters

    yolo = "[yolo]\nnum=1\nclasses=2\nanchors=1,2\n"
    assert functions(yolo, filters=7) == "ll__lll"
    assert functions(yolo + "scale_x_y=1.1", filters=7) == "LL__lll"
    runs = load(tmp_path, yolo + "scale_x_y=2\nnew_coords=1", filters=7).layers[-1].runs  # type: ignore[attr-defined]
    assert [(run.count, run.function, run.scale) for run in runs] == [
        (2, "linear", 2.0),
        (2, "linear", 1.0),
        (3, "linear", 1.0),
    ]
    gaussian = "[Gaussian_yolo]\nnum=2\nclasses=1\nanchors=1,2,3,4\nscale_x_y=1.1"
    assert functions(gaussian, filters=20) == 2 * "LlLl_l_lll"
    region = "[region]\nnum=1\nclasses=3\ncoords=4\nanchors=1,2\n"
    assert functions(region, filters=8) == "ll__l___"
    assert functions(region + "softmax=1", filters=8) == "ll__l333"
    (tmp_path / "a.tree").write_text("animal -1\nplant\ncat 0\n")
    assert functions(region + "tree=a.tree", filters=8) == "ll__l334"
    detection = "[connected]\noutput=28\nactivation=linear\n[detection]\nside=2\nclasses=2\nnum=1\ncoords=4\n"
    assert load(tmp_path, detection, filters=1).layers[-1].is_identity
    assert functions(detection + "softmax=1", filters=1) == "00112233" + 20 * "_"


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (None, "a.tree: no such file"),
        ("one\ntwo\n", "holds 2 classes: expected 3"),
        ("one\ntwo 1\nthree", "a.tree:2: expected a name and the number of an earlier class or -1, found 'two 1'"),
        ("one\n\nthree", "a.tree:2: expected a name"),
    ],
)
def test_trees_that_do_not_fit(tmp_path: Path, tree: str | None, words: str) -> None:
    if tree is not None:
        (tmp_path / "a.tree").write_text(tree)
    region = "[region]\nnum=1\nclasses=3\ncoords=4\nanchors=1,2\ntree=a.tree\n"
    with pytest.raises(CfgError, match=f"a\\.cfg:14: .*{words}"):
        load(tmp_path, region, filters=8)


def test_anchors_with_a_blank_for_a_comma(tmp_path: Path) -> None:
    """As in cspx-p7-mish_hp.cfg."""
    with pytest.warns(CfgWarning, match=r"a\.cfg:13: numbers with a blank but no comma"):
        head = load(tmp_path, "[yolo]\nnum=2\nclasses=2\nmask=0,1\nanchors = 1,2  3, 4  # 5 6, 7", filters=14).layers[
            -1
        ]
    assert isinstance(head, Yolo)
    assert head.anchors == ((1.0, 2.0), (3.0, 4.0))


def test_softmax_of_cells_wants_a_vector(tmp_path: Path) -> None:
    text = "[maxpool]\nsize=4\nstride=4\n[detection]\nside=2\nclasses=3\nnum=1\ncoords=4\nsoftmax=1"
    with pytest.raises(CfgError, match=r"a\.cfg:17: .*softmax=1 takes a vector, found 8x2x2"):
        load(tmp_path, text, filters=8)
