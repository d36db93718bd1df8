"""The learned radii of ExpAtt, by depth."""

import keras
import numpy as np

from keras_attn.layers import ExplicitAttention2D
from zoo.study.networks import opened


def measure(sources):
    """Return a row for each layer of ExpAtt networks.

    Args:
        sources: Ids of published networks, or output folders of `zoo.train`.

    Returns:
        A list of dictionaries: id or name of the folder (`id`), `layer`, the
        size of the `map`, the radii `before` and `after` training, all in
        pixels of that map, and the last in pixels of the image
        (`image_pixels`). Where each head has a radius, these are means.

    Raises:
        FileNotFoundError: if a training is not finished.
        ValueError: if there is no such network, or it has no ExpAtt.
    """
    rows = []
    for source in sources:
        name, model, *_ = opened(source)
        for layer in expatt_layers(model, name):
            size = layer.input.shape[1]
            radius = float(np.mean(keras.ops.convert_to_numpy(layer.radius)))
            rows.append(
                {
                    "id": name,
                    "layer": layer.name,
                    "map": size,
                    "before": layer.initial_radius,
                    "after": round(radius, 3),
                    "image_pixels": round(
                        radius * model.input_shape[1] / size, 2
                    ),
                }
            )
    return rows


def expatt_layers(model, name):
    """Return the layers of ExpAtt of a network, by its name for the error."""
    layers = [x for x in model.layers if isinstance(x, ExplicitAttention2D)]
    if not layers:
        raise ValueError(f"{name} has no layer of ExpAtt")
    return layers
