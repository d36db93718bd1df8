"""What is measured of trained networks."""

import numpy as np
import pytest

from zoo.data.sources import tiny_imagenet_boxes
from zoo.study import rectangles as study
from zoo.study import segmentation


def test_boxes_are_read_with_their_outer_edges(data_dir):
    boxes = tiny_imagenet_boxes(data_dir)
    np.testing.assert_array_equal(boxes, np.tile([0, 0, 10, 10], (6, 1)))


def test_the_overlap_is_that_of_the_areas():
    """Axis-parallel rectangles, whose overlap is known."""
    size = 64
    box = np.array([[16.0, 16.0, 48.0, 48.0]])
    same = np.array([[0, 0, 0.5, 0.5, 0]])
    turned = np.array([[0, 0, 0.5, 0.5, np.pi / 2]])
    half = np.array([[0, 0, 0.5, 0.25, 0]])
    upright = np.array([[0, 0, 0.5, 0.25, np.pi / 2]])
    right = np.array([[0.5, 0, 0.5, 0.5, 0]])
    apart = np.array([[0.9, 0, 0.1, 0.1, 0]])
    for rectangle, overlap in (
        (same, 1),
        (turned, 1),
        (half, 0.5),
        (upright, 0.5),
        (right, 1 / 3),
        (apart, 0),
    ):
        measured = study.intersection_over_union(rectangle, box, size)
        assert measured[0] == pytest.approx(overlap, abs=0.02)


def test_a_turned_square_overlaps_in_an_octagon():
    box = np.array([[16.0, 16.0, 48.0, 48.0]])
    diamond = np.array([[0, 0, 0.5, 0.5, np.pi / 4]])
    octagon = 8 * (np.sqrt(2) - 1) * 0.25  # of half extent 0.5
    expected = octagon / (2 - octagon)
    measured = study.intersection_over_union(diamond, box)
    assert measured[0] == pytest.approx(expected, abs=0.03)


def test_long_turned_rectangles_overlap_as_their_corners_say():
    """Against the sides of a polygon, tried on a finer grid."""
    box = np.array([[10.0, 20.0, 60.0, 34.0]])
    for angle in (np.pi / 4, -0.6, 2.0):
        rectangle = np.array([[0.1, -0.2, 0.7, 0.2, angle]])
        measured = study.intersection_over_union(rectangle, box)
        assert measured[0] == pytest.approx(
            _polygon_overlap(rectangle[0], box[0]), abs=0.02
        )


def _polygon_overlap(rectangle, box, size=64, points=256):
    x, y, long, short, angle = rectangle
    axis = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-axis[1], axis[0]])
    corners = [
        np.array([x, y]) + a * long * axis + b * short * across
        for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))
    ]
    left, top, right, bottom = box / size * 2 - 1
    inside = np.zeros((2, points, points), bool)
    ticks = (np.arange(points) + 0.5) / points * 2 - 1
    for row, high in enumerate(ticks):
        for column, wide in enumerate(ticks):
            sides = [
                (end[0] - start[0]) * (high - start[1])
                - (end[1] - start[1]) * (wide - start[0])
                for start, end in zip(corners, corners[1:] + corners[:1])
            ]
            inside[0, row, column] = min(sides) >= 0
            inside[1, row, column] = (
                left <= wide <= right and top <= high <= bottom
            )
    both, either = inside.all(0).sum(), inside.any(0).sum()
    return both / either


def test_centers_are_in_boxes_where_they_should_be():
    boxes = np.array([[0.0, 0, 32, 32]] * 3)
    rectangles = np.array(
        [[-0.5, -0.5, 1, 1, 0], [0.1, -0.5, 1, 1, 0], [-0.1, -0.1, 1, 1, 0]]
    )
    assert list(study.center_in_box(rectangles, boxes)) == [True, False, True]


def test_segmentation_is_measured_with_the_settings_of_its_row(monkeypatch):
    settings = {
        "SEEDS": [3],
        "SIZE": 64,
        "IMAGES": 2,
        "EPOCHS": 1,
        "HELD_OUT": 2,
    }
    for name, value in settings.items():
        monkeypatch.setattr(segmentation, name, value)
    [row] = segmentation.measure(["none"])
    assert row["attention"] == "none" and row["seed"] == 3
    assert row["size"] == 64 and row["images"] == row["held_out"] == 2
    assert row["epochs"] == 1 and row["parameters"] > 1e6
    assert 0 <= row["mean_iou"] <= 1 and 0 <= row["ring"] <= 1
