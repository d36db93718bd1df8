"""Do the radii of ExpAtt matter, once it is trained?"""

import keras
import numpy as np

import keras_attn
from keras_attn.layers import ExplicitAttention2D
from keras_attn.weights import manifest
from zoo import data
from zoo.study.faithfulness import means

RADII = 2.0, 30.0  # the first is that before training


def measure(weight_id, data_dir):
    """Return a row for the network as it is, and for each other radius.

    Args:
        weight_id: Id of a published ExpAtt network.
        data_dir: Path of the data set that it was trained on.

    Returns:
        A list of dictionaries: `id`, `radii` (those of all layers, in pixels
        of their maps), how many `images`, `top1` on them, and
        `top1_error`, the standard error of the difference from the network as
        it is.

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
    as_trained = _right(model, batches)
    rows = [_row(weight_id, "as trained", as_trained, as_trained)]
    for radius in RADII:
        for layer in layers:
            _set(layer, radius)
        rows.append(_row(weight_id, radius, _right(model, batches), as_trained))
    keras.utils.clear_session()
    return rows


def _row(weight_id, radii, right, reference):
    everything = np.full(len(right), True)
    measured = means({"top1": right}, {"top1": reference}, everything)
    return {"id": weight_id, "radii": radii, **measured}


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
