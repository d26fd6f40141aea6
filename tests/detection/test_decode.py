"""Decoding and suppression against darknet's loops, written out box by box, and cases counted by hand."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clprune.darknet.kinds.heads import AnchorHead, Detection, GaussianYolo, Region, Yolo
from clprune.darknet.network import Network, load_network
from clprune.darknet.tree import Tree
from clprune.detection.decode import Candidates, FloatArray
from clprune.detection.objects import find_objects
from clprune.detection.options import DetectionOptions
from clprune.detection.suppression import overlap, suppress
from clprune.detection.tree import tree_probabilities
from clprune.errors import ClpruneError, UsageError

BODY = "[net]\nwidth=40\nheight=24\nchannels=3\n{net}[convolutional]\nfilters={filters}\nsize=1\nstride=8\n"
HEADS = {
    "yolo": (16, "[yolo]\nmask=0,2\nanchors=6,8, 9,9, 12,10\nnum=3\nclasses=3\n"),
    "greedy": (16, "[yolo]\nmask=2,1\nanchors=6,8, 9,9, 12,10\nnum=3\nclasses=3\nnms_kind=greedynms\n"),
    "diou": (16, "[yolo]\nmask=0,1\nanchors=6,8, 9,9\nnum=2\nclasses=3\nnms_kind=diounms\nbeta_nms=.3\n"),
    "new": (16, "[yolo]\nmask=0,1\nanchors=6,8, 9,9\nnum=2\nclasses=3\nnew_coords=1\n"),
    "gaussian": (24, "[Gaussian_yolo]\nmask=1,0\nanchors=6,8, 9,9\nnum=2\nclasses=3\n"),
    "corner": (12, "[Gaussian_yolo]\nmask=0\nanchors=6,8\nnum=1\nclasses=3\nyolo_point=right_bottom\n"),
    "region": (16, "[region]\nanchors=1,1.5, 2,1\nnum=2\nclasses=3\nsoftmax=1\n"),
    "v1": (13, "[connected]\noutput=52\n[detection]\nside=2\nnum=2\nclasses=3\ncoords=4\nsqrt=1\n"),
}


def network_of(tmp_path: Path, name: str, *, net: str = "") -> Network:
    filters, head = HEADS[name]
    path = tmp_path / "head.cfg"
    path.write_text(BODY.format(filters=filters, net=net) + head)
    return load_network(path)


def head_values(network: Network, seed: int) -> FloatArray:
    """What the head's layer could deliver: everything in 0..1."""
    shape = network.output_layers[0].output
    values = np.random.default_rng(seed).random((shape.channels, shape.height, shape.width))
    return values.astype(np.float32)


def darknets_boxes(network: Network, values: FloatArray) -> Iterator[tuple[list[float], list[float]]]:
    """(x, y, w, h) in shares of the network's input and probabilities of all boxes, in loops as darknet has them."""
    head = network.output_layers[0]
    if isinstance(head, Detection):
        flat, cells = values.ravel().tolist(), head.side**2
        for cell in range(cells):
            for n in range(head.num):
                scale = flat[cells * head.classes + cell * head.num + n]
                start = cells * (head.classes + head.num) + (cell * head.num + n) * 4
                x, y, w, h = flat[start : start + 4]
                row, column = divmod(cell, head.side)
                box = [(x + column) / head.side, (y + row) / head.side, w**2, h**2]
                yield box, [scale * flat[cell * head.classes + j] for j in range(head.classes)]
        return
    assert isinstance(head, AnchorHead)
    _, height, width = values.shape
    for row in range(height):
        for column in range(width):
            for n in range(head.boxes):
                v = values[n * head.entries : (n + 1) * head.entries, row, column].astype(float).tolist()
                yield one_box(network, head, v, n, row=row, column=column)


def one_box(
    network: Network, head: AnchorHead, v: list[float], n: int, *, row: int, column: int
) -> tuple[list[float], list[float]]:
    grid, shape = head.output, network.input
    anchor_w, anchor_h = head.anchors[head.mask[n] if isinstance(head, Yolo) else n]
    certainty = 1.0
    if isinstance(head, GaussianYolo):
        certainty = 1 - (v[1] + v[3] + v[5] + v[7]) / 4
        v = [v[0], v[2], v[4], v[6], *v[8:]]
    w, h = math.exp(v[2]) * anchor_w, math.exp(v[3]) * anchor_h
    if isinstance(head, Yolo) and head.new_coords:
        w, h = 4 * v[2] ** 2 * anchor_w, 4 * v[3] ** 2 * anchor_h
    w, h = (w / grid.width, h / grid.height) if isinstance(head, Region) else (w / shape.width, h / shape.height)
    x, y = (column + v[0]) / grid.width, (row + v[1]) / grid.height
    if isinstance(head, GaussianYolo) and head.yolo_point == "right_bottom":
        x, y = x - w / 2, y - h / 2
    return [x, y, w, h], [v[4] * p * certainty if v[4] > 0.2 else 0.0 for p in v[5:]]


def darknets_overlap(a: list[float], b: list[float], power: float | None) -> float:
    (left, right), (top, bottom) = (
        (sorted(box[i] - box[i + 2] / 2 for box in (a, b)), sorted(box[i] + box[i + 2] / 2 for box in (a, b)))
        for i in (0, 1)
    )
    common = max(right[0] - left[1], 0) * max(bottom[0] - top[1], 0)
    share = common / (a[2] * a[3] + b[2] * b[3] - common)
    if power is None:
        return share
    distance = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
    return share - (distance / ((right[1] - left[0]) ** 2 + (bottom[1] - top[0]) ** 2)) ** power


@pytest.mark.parametrize("name", HEADS)
def test_objects_are_those_of_darknets_loops(tmp_path: Path, name: str) -> None:
    network = network_of(tmp_path, name)
    values = head_values(network, seed=3)
    power = {"greedy": 0.6, "diou": 0.3}.get(name)
    expected = []
    for number in range(3):
        boxes = [(p[number], box) for box, p in darknets_boxes(network, values) if p[number] > 0.2]
        boxes.sort(key=lambda item: -item[0])
        while boxes:
            surest, *boxes = boxes
            expected.append((number, *surest))
            boxes = [other for other in boxes if darknets_overlap(surest[1], other[1], power) <= 0.45]
    expected.sort(key=lambda item: -item[1])
    options = DetectionOptions(threshold=0.2)
    found = find_objects(network, [values], names=["a", "b", "c"], size=(50, 70), options=options)
    assert len(found) == len(expected) > 3
    for one, (number, confidence, box) in zip(found, expected, strict=True):
        assert (one.class_index, one.name) == (number, "abc"[number])
        assert one.confidence == pytest.approx(confidence, rel=1e-5)
        assert [one.center_x, one.center_y, one.width, one.height] == pytest.approx(box, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["yolo", "diou", "region"])
def test_objects_in_darknets_order(tmp_path: Path, name: str) -> None:
    """do_nms_sort, word for word: all boxes are sorted anew for each class, whatever was suppressed before."""
    network = network_of(tmp_path, name)
    values, power = head_values(network, seed=5), {"diou": 0.3}.get(name)
    boxes = [(box, [p if p > 0.2 else 0.0 for p in each]) for box, each in darknets_boxes(network, values)]
    for number in range(3):
        boxes.sort(key=lambda item: -item[1][number])
        for place, (box, each) in enumerate(boxes):
            for other, others in boxes[place + 1 :]:
                if each[number] and darknets_overlap(box, other, power) > 0.45:
                    others[number] = 0.0
    expected = [(number, p) for _, each in boxes for number, p in enumerate(each) if p]
    options = DetectionOptions(threshold=0.2, in_order=True)
    found = find_objects(network, [values], names=["a", "b", "c"], size=(50, 70), options=options)
    assert [one.class_index for one in found] == [number for number, _ in expected]
    assert [one.confidence for one in found] == pytest.approx([p for _, p in expected], rel=1e-5)
    assert [p for _, p in expected] != sorted((p for _, p in expected), reverse=True)


def test_other_dialects_take_the_plain_iou(tmp_path: Path) -> None:
    network = network_of(tmp_path, "greedy")
    values = head_values(network, seed=4)

    def count(dialect: str) -> int:
        options = DetectionOptions(threshold=0.1, dialect=dialect, resize="stretch")  # type: ignore[arg-type]
        return len(find_objects(network, [values], names="abc", size=(24, 40), options=options))

    assert count("alexeyab") > count("hank-ai") == count("pjreddie")


def test_letterboxing_is_undone(tmp_path: Path) -> None:
    """A square image in a network of 40x24 is 24 pixels wide with 8 on either side."""
    network = network_of(tmp_path, "yolo", net="letter_box=1\n")
    values = head_values(network, seed=5)
    options = DetectionOptions(threshold=0.6)
    assert options.resize_for(network) == "letterbox"
    boxed = find_objects(network, [values], names="abc", size=(99, 99), options=options)
    plain = find_objects(network, [values], names="abc", size=(24, 40), options=options)
    assert boxed
    for one, other in zip(boxed, plain, strict=True):
        assert one.center_x == pytest.approx((other.center_x * 40 - 8) / 24, abs=1e-6)
        assert (one.center_y, one.width) == pytest.approx((other.center_y, other.width * 40 / 24), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "dialect", "expected"),
    [("yolo", "alexeyab", "stretch"), ("yolo", "pjreddie", "letterbox"), ("v1", "pjreddie", "stretch")],
)
def test_images_are_made_to_fit_as_each_darknet_does_it(tmp_path: Path, name: str, dialect: Any, expected: str) -> None:
    assert DetectionOptions(dialect=dialect).resize_for(network_of(tmp_path, name)) == expected


def test_suppression_by_hand() -> None:
    """Boxes of width 2 at 0, 1 and 2: neighbours share a third, the outer ones nothing."""
    boxes = np.array([[0, 0, 2, 1], [1, 0, 2, 1], [2, 0, 2, 1]], np.float32)
    assert overlap(boxes[1], boxes) == pytest.approx([1 / 3, 1, 1 / 3])
    assert overlap(boxes[0], boxes, distance_power=1.0) == pytest.approx([1, 1 / 3 - 1 / 10, -4 / 17])
    probabilities = np.array([[0.9, 0.5], [0.8, 0.6], [0.7, 0.0]], np.float32)
    candidates = Candidates(boxes=boxes, probabilities=probabilities)
    assert (suppress(candidates, threshold=0.3) > 0).tolist() == [[True, False], [False, True], [True, False]]
    assert (suppress(candidates, threshold=0.4) == probabilities).all()
    assert (suppress(candidates, threshold=0.0) == probabilities).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(overlap(boxes[0] * np.float32(1e30), boxes * np.float32(1e30), distance_power=0.6)).all()


def test_a_tree_by_hand() -> None:
    """Animal (with cat and dog) or thing: the dialects read it in two ways."""
    tree = Tree(names=("animal", "thing", "cat", "dog"), parents=(-1, -1, 0, 0))
    shares = np.array([[0.9, 0.1, 0.2, 0.8], [0.9, 0.1, 0.5, 0.5], [0.4, 0.6, 0.9, 0.1]], np.float32)
    objectness = np.array([0.8, 0.7, 0.6], np.float32)

    def found(**options: object) -> list[object]:
        rows = tree_probabilities(tree, shares, objectness, DetectionOptions(**options))  # type: ignore[arg-type]
        return [pytest.approx(row) for row in rows.tolist()]

    assert found() == [[0, 0, 0, 0.72], [0.9, 0, 0, 0], [0, 0.6, 0, 0]]
    assert found(dialect="pjreddie") == [[0, 0, 0, 0.8], [0.7, 0, 0, 0], [0, 0.6, 0, 0]]
    assert found(class_map=(3, 1)) == [[0.8 * 0.72, 0.08], [0.7 * 0.45, 0.07], [0.6 * 0.04, 0.36]]


def test_what_cannot_be(tmp_path: Path) -> None:
    network = network_of(tmp_path, "yolo")
    values = head_values(network, seed=6)
    values[0, 0, 0] = np.nan
    with pytest.raises(ClpruneError, match="not finite"):
        find_objects(network, [values], names="abc", size=(9, 9), options=DetectionOptions())
    with pytest.raises(UsageError, match=r"threshold 1.5: expected 0 to 1"):
        DetectionOptions(threshold=1.5)
    with pytest.raises(UsageError, match="dialect 'x': expected one of alexeyab, hank-ai, pjreddie"):
        DetectionOptions(dialect="x")  # type: ignore[arg-type]
