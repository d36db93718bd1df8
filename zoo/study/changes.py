"""What becomes of a trained network when something in it is changed."""

import itertools

import keras
import numpy as np

from zoo import data
from zoo.study.faithfulness import means

BATCHES = 50  # of training images, for new statistics


def measure(name, model, recipe, changes, data_dir):
    """Return a row for the network as it is, and for each change.

    All are measured twice: with the network's statistics of batch
    normalisation, which what was changed does not fit, and with new ones: the
    averages over batches of augmented training images.

    Args:
        name: String, for the rows.
        model: The network.
        recipe: The recipe that it was trained with.
        changes: Dictionary of functions without arguments, by name, each of
            which changes weights of the network as it was trained.
        data_dir: Path of the data set that it was trained on.

    Returns:
        A list of dictionaries: the name (`id`), the `change`, how many
        `images`, `top1` on them, `top1_anew` with new statistics, and
        `top1_error` and `top1_anew_error`, the standard errors of the
        differences from the network as trained.
    """
    about = recipe["data"]
    split = data.load(about["name"], data_dir, "val")
    batches = list(data.evaluation_batches(split, about["evaluation_size"]))
    training = data.load(about["name"], data_dir, "train")
    seen = _images(data.training_batches(training, recipe))
    weights = model.get_weights()
    rows, reference = [], None
    for made, change in {"as trained": lambda: None, **changes}.items():
        model.set_weights(weights)
        change()
        right = {"top1": _right(model, batches)}
        _find_statistics(model, seen)
        right["top1_anew"] = _right(model, batches)
        reference = reference or right
        everything = np.full(len(split), True)
        row = means(right, reference, everything)
        rows.append({"id": name, "change": made, **row})
    keras.utils.clear_session()
    return rows


def _images(batches):
    return [images for images, _ in itertools.islice(iter(batches), BATCHES)]


def _find_statistics(model, batches):
    """Make the statistics of batch normalisation the averages over batches."""
    norms = {
        layer: layer.momentum
        for layer in model._flatten_layers()  # no public name reaches them all
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    for count, images in enumerate(batches):
        for layer in norms:
            layer.momentum = count / (count + 1)  # nothing of the old ones
        model(images, training=True)
    for layer, momentum in norms.items():
        layer.momentum = momentum


def _right(model, batches):
    """Return for each image 1 if the network gets it right, or else 0."""
    right = [
        model.predict_on_batch(images).argmax(1) == np.argmax(labels, 1)
        for images, labels in batches
    ]
    return np.concatenate(right).astype("float64")
