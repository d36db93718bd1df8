"""Data sets, and the batches that trainings and evaluations see."""

import math

import keras

from zoo.data.sources import ArraySplit
from zoo.data.sources import load as load

EVALUATION_BATCH = 200


def training_batches(split, recipe, first_epoch=0, part=(0, 1)):
    """Return augmented batches of all epochs, one after the other.

    Args:
        split: What `load` returns.
        recipe: A recipe, see `zoo.recipe`.
        first_epoch: Integer, the epoch to start at.
        part: Pair of integers: which part of each batch, and of how many, for
            trainings in several processes (JAX).

    Returns:
        A `tf.data.Dataset` on TensorFlow, else a `keras.utils.PyDataset`, of
        `(images, one_hot_labels)`: float32 `(n, size, size, 3)` from 0 to
        255, and `(n, classes)`. The last, incomplete batch of each epoch is
        left out.

    Raises:
        ValueError: for `crop_padding` and images that are not squares of one
            size in memory, or not larger than it, or images that the backend
            cannot read.
    """
    if "crop_padding" in recipe["data"]:
        _check_padding(recipe["data"]["crop_padding"], split)
    if keras.backend.backend() == "tensorflow":
        from zoo.data import tensorflow_batches

        return tensorflow_batches.training_batches(split, recipe, first_epoch)
    from zoo.data import array_batches

    return array_batches.TrainingBatches(split, recipe, first_epoch, part)


def evaluation_batches(split, size, part=(0, 1), devices=1):
    """Return batches of the middle of each image, in order.

    Args:
        split: What `load` returns.
        size: Integer, the height and width of the images.
        part: As for `training_batches`.
        devices: Integer, how many will share each batch.

    Returns:
        As `training_batches`, the last batch included.

    Raises:
        ValueError: if there are too few images for so many devices.
    """
    batch_size = _evaluation_batch_size(len(split), devices)
    if keras.backend.backend() == "tensorflow":
        from zoo.data import tensorflow_batches

        return tensorflow_batches.evaluation_batches(split, size, batch_size)
    from zoo.data import array_batches

    return array_batches.EvaluationBatches(split, size, batch_size, part)


def _check_padding(padding, split):
    shape = split.images.shape[1:3] if isinstance(split, ArraySplit) else ()
    if len(set(shape)) != 1:
        raise ValueError(
            "`data.crop_padding` is for square images of one size that fit "
            "into memory: use `data.crop_area` and `data.crop_aspect_ratio`. "
            f"Received: {shape or 'images that are not in memory'}"
        )
    if padding >= shape[0]:
        raise ValueError(
            "`data.crop_padding` must be less than the side of the images, "
            f"{shape[0]} pixels. Received: {padding}"
        )


def _evaluation_batch_size(count, devices):
    """Return a number of images that devices share equally, and that leaves
    some of the last, incomplete batch to each of them."""
    most = min(EVALUATION_BATCH, count) // devices * devices
    for size in range(most, 0, -devices):
        rest = count % size
        # The first ones get an equal share, rounded up.
        if rest == 0 or math.ceil(rest / devices) * (devices - 1) < rest:
            return size
    raise ValueError(
        f"{devices} devices cannot share {count} validation images: take fewer "
        "devices"
    )
