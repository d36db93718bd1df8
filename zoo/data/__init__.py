"""Data sets, and the batches that trainings and evaluations see."""

import keras

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
    """
    if keras.backend.backend() == "tensorflow":
        from zoo.data import tensorflow_batches

        return tensorflow_batches.training_batches(split, recipe, first_epoch)
    from zoo.data import array_batches

    return array_batches.TrainingBatches(split, recipe, first_epoch, part)


def evaluation_batches(split, size, part=(0, 1)):
    """Return batches of the middle of each image, in order.

    Args:
        split: What `load` returns.
        size: Integer, the height and width of the images.
        part: As for `training_batches`.

    Returns:
        As `training_batches`, the last batch included.
    """
    if keras.backend.backend() == "tensorflow":
        from zoo.data import tensorflow_batches

        return tensorflow_batches.evaluation_batches(
            split, size, EVALUATION_BATCH
        )
    from zoo.data import array_batches

    return array_batches.EvaluationBatches(split, size, EVALUATION_BATCH, part)
