"""The learned radii of ExpAtt, by depth."""

import keras
import numpy as np

import keras_attn
from keras_attn.layers import ExplicitAttention2D


def measure(ids):
    """Return a row for each layer of published ExpAtt networks.

    Args:
        ids: Ids of published weights.

    Returns:
        A list of dictionaries: `id`, `layer`, the size of the `map`, the radii
        `before` and `after` training, all in pixels of that map, and the last
        in pixels of the image (`image_pixels`).

    Raises:
        ValueError: for a network without ExpAtt.
    """
    rows = []
    for weight_id in ids:
        model = keras_attn.load(weight_id).model
        for layer in _layers(model, weight_id):
            size = layer.input.shape[1]
            radius = float(np.mean(keras.ops.convert_to_numpy(layer.radius)))
            rows.append(
                {
                    "id": weight_id,
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


def _layers(model, weight_id):
    layers = [x for x in model.layers if isinstance(x, ExplicitAttention2D)]
    if not layers:
        raise ValueError(f"{weight_id} has no layer of ExpAtt")
    return layers
