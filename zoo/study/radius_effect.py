"""Do the radii of ExpAtt matter, once it is trained?"""

import itertools

import keras
import numpy as np

import keras_attn
from keras_attn.layers import ExplicitAttention2D
from keras_attn.weights import manifest
from zoo import data
from zoo import recipe as recipes
from zoo.study.faithfulness import means

RADII = 0.5, 1.0, 2.0, 30.0  # those before training are 2
BATCHES = 50  # of training images, for new statistics


def measure(weight_id, data_dir):
    """Return a row for the network as it is, and for each other set of radii.

    Every set is measured twice: with the network's statistics of batch
    normalisation, which other radii do not fit, and with those of augmented
    training images, anew, as a user of other radii would have them.

    Args:
        weight_id: Id of a published ExpAtt network.
        data_dir: Path of the data set that it was trained on.

    Returns:
        A list of dictionaries: `id`, `radii` (those of all layers, in pixels
        of their maps), how many `images`, `top1` on them, `top1_anew` with new
        statistics, and `top1_error` and `top1_anew_error`, the standard errors
        of the differences from the network with its own radii.

    Raises:
        ValueError: if the network has no ExpAtt.
    """
    model = keras_attn.load(weight_id).model
    layers = [x for x in model.layers if isinstance(x, ExplicitAttention2D)]
    if not layers:
        raise ValueError(
            "`weight_id` must be of an ExpAtt network. Received: "
            f"{weight_id!r}, which has no ExplicitAttention2D"
        )
    entry = manifest.entry(weight_id)
    [data_set] = entry.metrics
    split = data.load(data_set, data_dir, "val")
    batches = list(data.evaluation_batches(split, entry.input["size"]))
    training = _training_images(entry, data.load(data_set, data_dir, "train"))
    trained = [float(np.mean(layer.radius)) for layer in layers]
    sets = {"as trained": None, "in the reverse order": trained[::-1]}
    sets |= {radius: [radius] * len(layers) for radius in RADII}
    weights = model.get_weights()
    rows, reference = [], None
    for name, radii in sets.items():
        model.set_weights(weights)
        for layer, radius in zip(layers, radii or ()):
            _set(layer, radius)
        right = {"top1": _right(model, batches)}
        for images in training:
            model(images, training=True)
        right["top1_anew"] = _right(model, batches)
        reference = reference or right
        everything = np.full(len(split), True)
        row = means(right, reference, everything)
        rows.append({"id": weight_id, "radii": name, **row})
    keras.utils.clear_session()
    return rows


def _training_images(entry, split):
    """Return batches as the network was trained on them."""
    recipe = recipes.of_command(entry.training["command"])
    batches = data.training_batches(split, recipe)
    return [images for images, _ in itertools.islice(iter(batches), BATCHES)]


def _right(model, batches):
    """Return for each image 1 if the network gets it right, or else 0."""
    right = [
        model.predict_on_batch(images).argmax(1) == np.argmax(labels, 1)
        for images, labels in batches
    ]
    return np.concatenate(right).astype("float64")


def _set(layer, radius):
    """Give a layer the radius of a new one that begins with it."""
    config = layer.get_config() | {"initial_radius": radius}
    new = ExplicitAttention2D.from_config(config)
    new.build(layer.input.shape)
    layer.radius_weight.assign(new.radius_weight)
