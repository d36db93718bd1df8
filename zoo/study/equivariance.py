"""Do CRAM's rectangles move with the image?

A rectangle is made of the moments of a saliency map, in the frame of the image.
Even of a saliency that moves exactly with the image they do not move exactly:
what leaves the frame is lost, and what comes in from outside counts. So the
same is measured of the saliency itself, found in the image and then moved. And
since a network can see what was done to an image by what comes in at its edges,
black or mirrored, the edges are moved alone, around an image that stays; and
one view is inside of the image, where nothing comes in.
"""

import keras
import numpy as np
from keras import ops

import keras_attn
from zoo import data
from zoo import equivariance
from zoo.study.networks import opened
from zoo.study.rectangles import rectangles_of_sum

IMAGES = 2000  # the first validation images
SEED = 0
MOVES = 30.0, 1.25, 0.15  # degrees, scale, share of the side
MOVES_INSIDE = 15.0, 1.1, 0.1
# What is at the edges: how images are filled and magnified, and how far moved.
# The last shows the middle of the image, as far in as its moves reach out.
VIEWS = {
    "mirrored": ("reflect", 1.0, MOVES),
    "black": ("constant", 1.0, MOVES),
    "of the image": ("constant", 1.65, MOVES_INSIDE),
}
TERMS = ("centers", "extents", "angles")


def measure(source, data_dir):
    """Return the rows of a CRAM network.

    Args:
        source: Id of a published network, or output folder of `zoo.train`.
        data_dir: Path, see `zoo.data.load`.

    Returns:
        A list of dictionaries: id or `name` of the folder, the `command` and
        `commit` of its training, how many `images`; what is at their `edges`;
        whether the `saliency` is found in the moved image, found first and then
        moved, or found in an image that stays while its edges alone are moved;
        of the rectangles before the move the mean `area`, as a share of the
        image's, which they may reach beyond, the mean `elongation`, 1 less the
        shorter side over the longer, and `center_spread`, the standard
        deviation of the centre over the images (the root mean square of x and
        y), as a share of its side;
        how much of its `way` the centre goes, 1 if it moves with the image and
        0 if it stays (the slope of a regression); the mean distances from
        rectangles that move with the image (`centers`, `extents`, `angles`, see
        `zoo.equivariance`), and the same of rectangles that stay where they are
        (`still_centers`, ...).

    Raises:
        FileNotFoundError: if a training is not finished.
        ValueError: if there is no such network, or not one rectangle in it.
    """
    name, trained, recipe, training = opened(source)
    split = data.load(recipe["data"]["name"], data_dir, "val")
    batches = data.evaluation_batches(split, recipe["data"]["evaluation_size"])
    images = np.concatenate([images for images, _ in batches])[:IMAGES]
    rows = []
    for edges, (fill_mode, zoom, most) in VIEWS.items():
        random = keras.random.SeedGenerator(SEED)
        moves = equivariance.draw_moves(len(images), *most, random)
        kinds = RECTANGLES if zoom > 1 else RECTANGLES | WITH_EDGES
        for saliency, of in kinds.items():
            before, after = (
                of(trained, images, magnified(move, zoom), fill_mode)
                for move in (no_moves(len(images)), moves)
            )
            rows.append(
                {
                    "name": name,
                    "command": training["command"],
                    "commit": training["commit"],
                    "images": len(images),
                    "edges": edges,
                    "saliency": saliency,
                    **_extent(before),
                    **errors(before, after, moves),
                }
            )
    keras.utils.clear_session()
    return rows


def no_moves(count):
    """Return moves that leave images as they are."""
    return np.zeros(count), np.ones(count), np.zeros((count, 2))


def magnified(moves, zoom):
    """Return moves of images that are magnified by `zoom` first."""
    angles, scales, shifts = moves
    return tuple(
        np.float32(values) for values in (angles, zoom * scales, shifts)
    )


def rectangles_of_moved_images(trained, images, moves, fill_mode):
    """Return the rectangles of moved images."""
    moved = equivariance.moved(images, *moves, fill_mode)
    return find_rectangles(trained, np.asarray(moved))


def find_rectangles(trained, images):
    """Return the rectangles of the only CRAM layer, `(count, 5)`."""
    gate = equivariance.rectangle_layer(trained)
    layers = keras_attn.attention_maps(trained, images, batch_size=200)
    [found] = [layer.rectangles for layer in layers if layer.name == gate.name]
    return found


def _extent(rectangles):
    x, y, long, short, _ = np.transpose(rectangles)
    return {
        # Of a half side, in both directions.
        "area": round(float(np.mean(long * short)), 4),
        "elongation": round(float(np.mean(1 - short / long)), 4),
        "center_spread": round(float(np.hypot(x.std(), y.std())) / 8**0.5, 4),
    }


def errors(before, after, moves):
    """Return how far rectangles are from moving with the images.

    Args:
        before: Array `(count, 5)`, the rectangles of images.
        after: The same of the moved images.
        moves: As from `zoo.equivariance.draw_moves`.

    Returns:
        A dictionary, see `measure`.
    """
    expected = equivariance.moved_rectangles(before, *moves)
    whole = np.asarray(expected)[:, :2] - np.asarray(before)[:, :2]
    gone = np.asarray(after)[:, :2] - np.asarray(before)[:, :2]
    return {
        "way": round(float((gone * whole).sum() / (whole * whole).sum()), 4),
        **_distances(after, expected, ""),
        **_distances(before, expected, "still_"),
    }


def _distances(rectangles, expected, prefix):
    distances = equivariance.rectangle_distances(rectangles, expected)
    return {
        prefix + term: round(float(ops.mean(distance)), 6)
        for term, distance in zip(TERMS, distances)
    }


def rectangles_of_moved_saliency(trained, images, moves, fill_mode):
    """Return the rectangles of a saliency that moves with the images.

    The saliency of the images is enlarged to their size, moved as they are,
    and made small again. Where black comes in, nothing is less salient.
    """
    gate = equivariance.rectangle_layer(trained)
    features = keras.Model(trained.input, gate.input)
    saliency = features.predict(images, verbose=0) @ gate.saliency_kernel
    saliency = saliency - ops.min(saliency, axis=(1, 2), keepdims=True)
    factor = images.shape[1] // saliency.shape[1]
    enlarged = ops.image.resize(saliency, images.shape[1:3], "bilinear")
    moved = equivariance.moved(enlarged, *moves, fill_mode)
    small = ops.average_pool(moved, factor, factor)
    return rectangles_of_sum(small, gate.margin)


def rectangles_in_moved_edges(trained, images, moves, fill_mode):
    """Return the rectangles of images in the edges of moved ones."""
    shown = with_moved_edges(images, moves, fill_mode)
    return find_rectangles(trained, shown)


def with_moved_edges(images, moves, fill_mode):
    """Return images that stay where they are, but for what comes in at the
    edges when they are moved."""
    inside = equivariance.moved(np.ones_like(images), *moves, "constant") > 0.5
    moved = equivariance.moved(images, *moves, fill_mode)
    return np.where(inside, images, moved)


RECTANGLES = {
    "found": rectangles_of_moved_images,
    "moved": rectangles_of_moved_saliency,
}
WITH_EDGES = {"edges alone": rectangles_in_moved_edges}
