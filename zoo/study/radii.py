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

    Raises:
        ValueError: for a network without ExpAtt.
    """
    rows = []
    for weight_id in ids:
        for layer in _layers(weight_id):
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


def _layers(weight_id):
    layers = [
        layer
        for layer in keras_attn.load(weight_id).model.layers
        if isinstance(layer, ExplicitAttention2D)
    ]
    if not layers:
        raise ValueError(f"{weight_id} has no layer of ExpAtt")
    return layers
