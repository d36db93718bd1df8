"""CRAM's rectangles against the boxes of Tiny-ImageNet.

The network was never told where an object is. What it attends to is compared
with the annotated box of each validation image, beside the best that one can do
without looking: the same rectangle, of the best size, in the middle of every
image. Since a box also has a size that the attention need not have, one row
scales all rectangles of the network by the best common factor.
"""

import itertools

import numpy as np

import keras_attn
from keras_attn.explanation import attend
from zoo import data
from zoo.data.sources import tiny_imagenet_boxes

SIZE = 64  # of the images, in pixels
BATCH = 200
FACTORS = np.arange(0.5, 2.01, 0.1)
HALF_EXTENTS = np.arange(0.4, 1.01, 0.05)


def measure(ids, data_dir):
    """Return a row for each kind of rectangle.

    Args:
        ids: Ids of published CRAM networks.
        data_dir: Path of Tiny-ImageNet.

    Returns:
        A list of dictionaries: whose `rectangle`, its `size` (how its extents
        were chosen), the share of images whose box has the rectangle's
        `center_in_box`, and the `mean_iou`, the intersection over the union
        with the box.
    """
    boxes = tiny_imagenet_boxes(data_dir)
    images = data.load("tiny_imagenet", data_dir, "val").images
    sizes = {
        (a, b): _repeated([0, 0, a, b, 0], len(boxes))
        for a, b in itertools.product(HALF_EXTENTS, repeat=2)
    }
    rows = [
        _row("whole image", "", _repeated([0, 0, 1, 1, 0], len(boxes)), boxes),
        _best("middle of the image", sizes, boxes),
    ]
    for weight_id in ids:
        model = keras_attn.load(weight_id).model
        rectangles = np.concatenate(
            [
                attend(model, images[start : start + BATCH])[1]
                for start in range(0, len(images), BATCH)
            ]
        )
        scaled = {
            round(float(factor), 1): rectangles * [1, 1, factor, factor, 1]
            for factor in FACTORS
        }
        rows.append(_row(weight_id, "as trained", rectangles, boxes))
        rows.append(_best(weight_id, scaled, boxes))
    return rows


def _repeated(rectangle, count):
    return np.tile(np.float64(rectangle), (count, 1))


def _best(name, candidates, boxes):
    """Return the row of the size with the highest mean IoU."""
    rows = [
        _row(name, f"best: {np.round(size, 2).tolist()}", rectangles, boxes)
        for size, rectangles in candidates.items()
    ]
    return max(rows, key=lambda row: row["mean_iou"])


def _row(name, size, rectangles, boxes):
    inside = center_in_box(rectangles, boxes)
    overlap = intersection_over_union(rectangles, boxes)
    return {
        "rectangle": name,
        "size": size,
        "images": len(boxes),
        "center_in_box": round(float(inside.mean()), 4),
        "mean_iou": round(float(overlap.mean()), 4),
    }


def center_in_box(rectangles, boxes, size=SIZE):
    """Return whether each rectangle's centre lies in the box.

    Args:
        rectangles: Array `(n, 5)` as in `RectangularAttention2D.rectangles`.
        boxes: Array `(n, 4)`: left, top, right, bottom edge in pixels.
        size: Integer, height and width of the images, in pixels.
    """
    x, y = ((rectangles[:, :2] + 1) * size / 2).T
    left, top, right, bottom = boxes.T
    return (left <= x) & (x <= right) & (top <= y) & (y <= bottom)


def intersection_over_union(rectangles, boxes, size=SIZE):
    """Return the IoU of each rectangle with its box, counted in pixels.

    Arguments: see above. What lies outside of the image does not count.
    """
    centers = (2 * np.arange(size) + 1 - size) / size
    x, y = np.meshgrid(centers, centers)
    results = []
    for (center_x, center_y, long, short, angle), box in zip(rectangles, boxes):
        cos, sin = np.cos(angle), np.sin(angle)
        along = cos * (x - center_x) + sin * (y - center_y)
        across = cos * (y - center_y) - sin * (x - center_x)
        rectangle = (np.abs(along) <= long) & (np.abs(across) <= short)
        left, top, right, bottom = box * 2 / size - 1
        box = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
        results.append((rectangle & box).sum() / (rectangle | box).sum())
    return np.array(results)
