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
        A list of dictionaries: `id`, `layer`, the size of the `map` and the
        radii `before` and `after` training, all in pixels of that map.
    """
    rows = []
    for weight_id in ids:
        model = keras_attn.load(weight_id).model
        for layer in model.layers:
            if not isinstance(layer, ExplicitAttention2D):
                continue
            radius = keras.ops.convert_to_numpy(layer.radius)
            rows.append(
                {
                    "id": weight_id,
                    "layer": layer.name,
                    "map": layer.input.shape[1],
                    "before": layer.initial_radius,
                    "after": round(float(np.mean(radius)), 3),
                }
            )
    return rows
