"""Rectangles of networks against the boxes of Tiny-ImageNet.

No network was told where an object is. What CRAM attends to is compared with
the annotated box of each validation image, beside what could explain it
without CRAM:

- *middle of the image*: the same rectangle, of the best size, for every image;
- *of other images*: the network's own rectangles, shuffled among the images;
- *sum of the features*: CRAM's moments of the sum over the channels, that is,
  of where the network is active. For CRAM the sum of what its layer is given,
  for a network without CRAM that of the features before the pooling.

Since a box also has a size that the attention need not have, rectangles of a
network are also scaled by the best common factor.
"""

import itertools

import keras
import numpy as np

import keras_attn
from keras_attn.layers import RectangularAttention2D
from zoo import data
from zoo.data.sources import tiny_imagenet_boxes

SIZE = 64  # of the images, in pixels
BATCH = 200
SEED = 0
FACTORS = np.arange(0.3, 2.51, 0.1)
HALF_EXTENTS = np.arange(0.3, 1.01, 0.1)


def measure(ids, data_dir):
    """Return rows for each kind of rectangle.

    Args:
        ids: Ids of published networks for Tiny-ImageNet at 64 pixels.
        data_dir: Path of Tiny-ImageNet.

    Returns:
        A list of dictionaries: whose `rectangle`, its `size` (how its extents
        were chosen), which `boxes`, how many `images`, the share of them
        whose box has the rectangle's `center_in_box`, and the `mean_iou`, the
        intersection over the union with the box.

    Raises:
        ValueError: for a network of another size.
    """
    boxes = tiny_imagenet_boxes(data_dir)
    images = data.load("tiny_imagenet", data_dir, "val").images
    sizes = {
        f"best: {a:.2f} x {b:.2f}": _repeated([0, 0, a, b, 0], len(boxes))
        for a, b in itertools.product(HALF_EXTENTS, repeat=2)
    }
    rows = _best("middle of the image", sizes, boxes)
    for weight_id in ids:
        model = load_for(images, weight_id)
        found = _rectangles(weight_id, model, images)
        if weight_id in found:
            as_trained = {"as trained": found[weight_id]}
            rows += _best(weight_id, as_trained, boxes)
        for name, rectangles in found.items():
            scaled = {
                f"best: {factor:.1f} x": rectangles * [1, 1, factor, factor, 1]
                for factor in FACTORS
            }
            rows += _best(name, scaled, boxes)
    return rows


def load_for(images, weight_id):
    """Return a published network.

    Raises:
        ValueError: if it is for images of another size.
    """
    model = keras_attn.load(weight_id).model
    size, own = images.shape[1], model.input_shape[1]
    if own != size:
        raise ValueError(
            f"`weight_id` must be of a network for images of {size} pixels. "
            f"Received: {weight_id!r}, for {own} pixels"
        )
    return model


def _rectangles(name, model, images):
    """Return the rectangles of images, by what they are of."""
    gates = [
        layer
        for layer in model.layers
        if isinstance(layer, RectangularAttention2D)
    ]
    of_sum = f"{name}, sum of the features"
    if not gates:
        features = model.get_layer("avg_pool").input
        return {of_sum: _of_sum(model, features, images)}
    [gate] = gates
    [attention] = keras_attn.attention_maps(model, images, batch_size=BATCH)
    others = np.random.default_rng(SEED).permutation(len(images))
    return {
        name: attention.rectangles,
        f"{name}, of other images": attention.rectangles[others],
        of_sum: _of_sum(model, gate.input, images),
    }


def _of_sum(model, features, images):
    features = keras.Model(model.input, features).predict(
        images, batch_size=BATCH, verbose=0
    )
    return keras.ops.convert_to_numpy(rectangles_of_sum(features, margin=1.0))


def rectangles_of_sum(features, margin):
    """Return CRAM's rectangles `(n, 5)` of the sum over the channels.

    Args:
        features: Array `(n, height, width, channels)`.
        margin: Float, that of `RectangularAttention2D`.
    """
    moments = RectangularAttention2D(margin=margin, saliency_initializer="ones")
    moments.build(features.shape)
    return moments.rectangles(features)


def _repeated(rectangle, count):
    return np.tile(np.float64(rectangle), (count, 1))


def _best(name, candidates, boxes):
    """Return a row for all boxes and one for the small ones, each with the
    size that has the highest mean IoU there."""
    scores = {
        size: (
            center_in_box(rectangles, boxes),
            intersection_over_union(rectangles, boxes),
        )
        for size, rectangles in candidates.items()
    }
    rows = []
    for subset, chosen in subsets(boxes).items():
        size, (inside, overlap) = max(
            scores.items(), key=lambda item: item[1][1][chosen].mean()
        )
        rows.append(
            {
                "rectangle": name,
                "size": size,
                "boxes": subset,
                "images": int(chosen.sum()),
                "center_in_box": round(float(inside[chosen].mean()), 4),
                "mean_iou": round(float(overlap[chosen].mean()), 4),
            }
        )
    return rows


def subsets(boxes, size=SIZE):
    """Return which boxes are in each subset, by its name.

    Args:
        boxes: Array `(n, 4)`: left, top, right, bottom edge in pixels.
        size: Integer, height and width of the images, in pixels.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return {
        "all": np.full(len(boxes), True),
        "up to half of the image": width * height <= size**2 / 2,
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
