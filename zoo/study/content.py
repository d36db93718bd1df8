"""How sharply do layers of GSA attend by content?

The content part takes the softmax of each key channel over all pixels: flat
keys average the whole map, whatever is on it.
"""

import keras
import numpy as np

from keras_attn.layers import GlobalSelfAttention2D
from zoo import data
from zoo.study.networks import opened

IMAGES = 500  # the first validation images


def measure(source, data_dir):
    """Return a row for each layer of a GSA network.

    Args:
        source: Id of a published network, or output folder of `zoo.train`.
        data_dir: Path, see `zoo.data.load`.

    Returns:
        A list of dictionaries: id or `name` of the folder, the `command` and
        `commit` of its training, the `layer`, the size of its `map`, how many
        `images`; the median over key channels and images of the
        `effective_pixels`, the exponential of the softmax's entropy, divided by
        the number of pixels (1 where all weigh the same); and the standard
        deviations of the weights of keys and values over those before training
        (`key_scale`, `value_scale`).

    Raises:
        FileNotFoundError: if a training is not finished.
        ValueError: if there is no such network, or it has no GSA by content.
    """
    name, trained, recipe, training = opened(source)
    layers = [
        layer
        for layer in trained.layers
        if isinstance(layer, GlobalSelfAttention2D) and layer.use_content
    ]
    if not layers:
        raise ValueError(f"{name} has no layer of GSA that attends by content")
    split = data.load(recipe["data"]["name"], data_dir, "val")
    batches = data.evaluation_batches(split, recipe["data"]["evaluation_size"])
    images = np.concatenate([images for images, _ in batches])[:IMAGES]
    features = keras.Model(trained.input, [layer.input for layer in layers])
    inputs = keras.tree.flatten(features.predict(images, verbose=0))
    rows = [
        {
            "name": name,
            "command": training["command"],
            "commit": training["commit"],
            "layer": layer.name,
            "map": layer.input.shape[1],
            "images": len(images),
            "effective_pixels": round(_effective_pixels(layer, maps), 4),
            **_scales(layer),
        }
        for layer, maps in zip(layers, inputs)
    ]
    keras.utils.clear_session()
    return rows


def _effective_pixels(layer, maps):
    _, keys, _ = layer._query_key_value(keras.ops.convert_to_tensor(maps))
    keys = keras.ops.cast(keys, "float32")
    weights = keras.ops.softmax(keys, axis=2)
    weights = keras.ops.convert_to_numpy(weights)
    entropy = -np.sum(weights * np.log(weights + 1e-30), axis=2)
    return float(np.median(np.exp(entropy) / keys.shape[2]))


def _scales(layer):
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    begun = np.sqrt(2 / sum(kernel.shape))  # Glorot's
    _, keys, values = np.split(kernel, 3, axis=1)
    return {
        "key_scale": round(float(keys.std() / begun), 3),
        "value_scale": round(float(values.std() / begun), 3),
    }
