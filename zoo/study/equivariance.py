"""Do CRAM's rectangles move with the image?"""

import keras
import numpy as np

from keras_attn.weights import load_weights
from zoo import callbacks
from zoo import data
from zoo import equivariance
from zoo import network
from zoo import runs

IMAGES = 2000  # the first validation images
MOVES = {"rotation": 30.0, "scale": 1.25, "translation": 0.15}
TERMS = ("centers", "extents", "angles")


def measure(folders, data_dir):
    """Return a row for each training of a CRAM network.

    Args:
        folders: Paths, output folders of `zoo.train`.
        data_dir: Path, see `zoo.data.load`.

    Returns:
        A list of dictionaries: `name` of the folder, its `recipe`, how many
        `images`, the mean distances between the rectangles of moved images and
        the moved rectangles of the images (`centers`, `extents`, `angles`, see
        `zoo.equivariance`), and the same of rectangles that stay where they
        are (`still_centers`, ...).

    Raises:
        FileNotFoundError: if a training is not finished.
        ValueError: if a network has not one rectangle.
    """
    return [_row(folder, data_dir) for folder in folders]


def _row(folder, data_dir):
    record = runs.record_of(folder)
    recipe = record["recipe"]
    size = recipe["data"]["evaluation_size"]
    trained = network.build(recipe, size)
    load_weights(trained, folder / callbacks.LAST)
    split = data.load(recipe["data"]["name"], data_dir, "val")
    batches = data.evaluation_batches(split, size)
    images = np.concatenate([images for images, _ in batches])[:IMAGES]
    found, still = equivariance.errors(trained, images, **MOVES)
    keras.utils.clear_session()
    return {
        "name": folder.name,
        "recipe": record["started"]["recipe"].removesuffix(".toml"),
        "images": len(images),
        **_rounded(found, ""),
        **_rounded(still, "still_"),
    }


def _rounded(distances, prefix):
    return {
        prefix + term: round(distance, 6)
        for term, distance in zip(TERMS, distances)
    }
