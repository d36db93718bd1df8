"""Do the radii of ExpAtt matter, once it is trained?"""

import functools

import numpy as np

import keras_attn
from keras_attn.layers import ExplicitAttention2D
from zoo.study import changes

RADII = 0.5, 1.0, 2.0, 30.0  # those before training are 2


def measure(weight_id, data_dir):
    """Return a row for the network as it is, and for each other set of radii.

    Args:
        weight_id: Id of a published ExpAtt network.
        data_dir: Path of the data set that it was trained on.

    Returns:
        A list of dictionaries, see `zoo.study.changes`; the `change` is the
        radius of all layers, in pixels of their maps.

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
    trained = [float(np.mean(layer.radius)) for layer in layers]
    sets = {"in the reverse order": trained[::-1]}
    sets |= {radius: [radius] * len(layers) for radius in RADII}
    to_measure = {
        name: functools.partial(_set_all, layers, radii)
        for name, radii in sets.items()
    }
    return changes.measure(weight_id, model, to_measure, data_dir)


def _set_all(layers, radii):
    for layer, radius in zip(layers, radii):
        _set(layer, radius)


def _set(layer, radius):
    """Give a layer the radius of a new one that begins with it."""
    config = layer.get_config() | {"initial_radius": radius}
    new = ExplicitAttention2D.from_config(config)
    new.build(layer.input.shape)
    layer.radius_weight.assign(new.radius_weight)
