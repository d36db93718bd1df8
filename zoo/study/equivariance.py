"""Do CRAM's rectangles move with the image?

A rectangle is made of the moments of a saliency map, in the frame of the image.
Even of a saliency that moves exactly with the image they do not move exactly:
what leaves the frame is lost, and what comes in from outside counts. So the
same is measured of the saliency itself, found in the image and then moved.
"""

import keras
import numpy as np
from keras import ops

import keras_attn
from keras_attn.weights import load_weights
from zoo import callbacks
from zoo import data
from zoo import equivariance
from zoo import network
from zoo import runs
from zoo.study.rectangles import rectangles_of_sum

IMAGES = 2000  # the first validation images
MOVES = 30.0, 1.25, 0.15  # degrees, scale, share of the side
SEED = 0
EDGES = {"mirrored": "reflect", "black": "constant"}
TERMS = ("centers", "extents", "angles")


def measure(folders, data_dir):
    """Return rows for each training of a CRAM network.

    Args:
        folders: Paths, output folders of `zoo.train`.
        data_dir: Path, see `zoo.data.load`.

    Returns:
        A list of dictionaries: `name` of the folder, its `recipe` and `commit`,
        how many `images`; of their rectangles the mean `area`, as a share of
        the image's, and `center_spread`, the standard deviation of the centre
        over the images (the root mean square of x and y), as a share of the
        image's side; what moves in from outside (`edges`); whether the
        `saliency` is found in the moved image or found first and then moved;
        how much of its `way` the centre goes, 1 if it moves with the image and
        0 if it stays (the slope of a regression); the mean distances from
        rectangles that move with the image (`centers`, `extents`, `angles`, see
        `zoo.equivariance`), and the same of rectangles that stay where they are
        (`still_centers`, ...).

    Raises:
        FileNotFoundError: if a training is not finished.
        ValueError: if a network has not one rectangle.
    """
    return [row for folder in folders for row in _rows(folder, data_dir)]


def _rows(folder, data_dir):
    record = runs.record_of(folder)
    recipe = record["recipe"]
    size = recipe["data"]["evaluation_size"]
    trained = network.build(recipe, size)
    load_weights(trained, folder / callbacks.LAST)
    split = data.load(recipe["data"]["name"], data_dir, "val")
    batches = data.evaluation_batches(split, size)
    images = np.concatenate([images for images, _ in batches])[:IMAGES]
    random = keras.random.SeedGenerator(SEED)
    moves = equivariance.draw_moves(len(images), *MOVES, random)
    before = find_rectangles(trained, images)
    common = {
        "name": folder.name,
        "recipe": record["started"]["recipe"].removesuffix(".toml"),
        "commit": record["started"]["commit"],
        "images": len(images),
        **_extent(before),
    }
    rows = []
    for edges, fill_mode in EDGES.items():
        moved = equivariance.moved(images, *moves, fill_mode)
        found = {
            "found": find_rectangles(trained, moved),
            "moved": moved_saliency(trained, images, moves, fill_mode),
        }
        rows += [
            common
            | {"edges": edges, "saliency": saliency}
            | errors(before, after, moves)
            for saliency, after in found.items()
        ]
    keras.utils.clear_session()
    return rows


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


def moved_saliency(trained, images, moves, fill_mode):
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
