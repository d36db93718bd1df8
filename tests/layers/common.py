"""The layers under test in several configurations, and helpers."""

import keras
import numpy as np
from keras import ops

from keras_attn import layers

CHANNELS = 6
HEIGHT = 5
WIDTH = 7

# name: (class, configuration, strides, channels of the output)
CASES = {
    "rectangular": (
        layers.RectangularAttention2D,
        {"margin": 0.7},
        1,
        CHANNELS,
    ),
    "rectangular_penalized": (
        layers.RectangularAttention2D,
        {"margin": 1.0, "sharpness": 5.0, "area_penalty": 0.1},
        1,
        CHANNELS,
    ),
    "global": (
        layers.GlobalSelfAttention2D,
        {"filters": 8, "num_heads": 2, "max_size": 9},
        1,
        8,
    ),
    "global_strided": (
        layers.GlobalSelfAttention2D,
        {"filters": 6, "num_heads": 1, "strides": 2, "max_size": 7},
        2,
        6,
    ),
    "global_content": (
        layers.GlobalSelfAttention2D,
        {"filters": 8, "num_heads": 4, "use_position": False},
        1,
        8,
    ),
    "global_position": (
        layers.GlobalSelfAttention2D,
        {"filters": 8, "num_heads": 2, "max_size": 7, "use_content": False},
        1,
        8,
    ),
    "gaussian": (layers.ExplicitAttention2D, {"filters": 4}, 1, 4),
    "laplacian_strided": (
        layers.ExplicitAttention2D,
        {"filters": 4, "kernel": "laplacian", "num_heads": 2, "strides": 2},
        2,
        4,
    ),
    "epanechnikov": (
        layers.ExplicitAttention2D,
        {"filters": 8, "kernel": "epanechnikov", "initial_radius": 1.0},
        1,
        8,
    ),
    "cauchy": (
        layers.ExplicitAttention2D,
        {"filters": 4, "kernel": "cauchy", "num_heads": 2},
        1,
        4,
    ),
    "cauchy_strided": (
        layers.ExplicitAttention2D,
        {"filters": 4, "kernel": "cauchy", "strides": 2},
        2,
        4,
    ),
    "positionwise": (layers.PositionwiseAttention2D, {}, 1, CHANNELS),
    "positionwise_small": (
        layers.PositionwiseAttention2D,
        {"kernel_size": 3},
        1,
        CHANNELS,
    ),
    "channel": (layers.ChannelAttention2D, {"reduction": 2}, 1, CHANNELS),
    "channel_max": (
        layers.ChannelAttention2D,
        {"reduction": 1, "use_max": True},
        1,
        CHANNELS,
    ),
    "relative": (
        layers.RelativeSelfAttention2D,
        {"filters": 6, "key_filters": 4, "num_heads": 2, "max_size": 9},
        1,
        6,
    ),
    "relative_one_head": (
        layers.RelativeSelfAttention2D,
        {"filters": 4, "key_filters": 8, "num_heads": 1, "max_size": 7},
        1,
        4,
    ),
}


def make_layer(case, **overrides):
    layer_class, config, _, _ = CASES[case]
    return layer_class(**{**config, **overrides})


def make_inputs(height=HEIGHT, width=WIDTH, channels=CHANNELS, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, height, width, channels)).astype("float32")


def randomize(layer, seed=0, scale=0.3):
    """Give a built layer weights of which none is zero or symmetric."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        noise = rng.normal(size=weight.shape)
        if "variance" in weight.path:
            value = 0.5 + np.abs(noise)
        elif len(weight.shape) > 1:
            value = scale * noise
        else:
            value = to_numpy(weight) + scale * noise
        weight.assign(value.astype("float32"))
    return layer


def built(layer, shape, seed=0):
    layer.build(shape)
    return randomize(layer, seed)


def to_numpy(tensor):
    return np.asarray(tensor).astype("float32")


def to_channels_first(array):
    return np.moveaxis(array, -1, 1)


def assert_close(actual, expected, tolerance=1e-5):
    """Compare within `tolerance` times the largest expected value."""
    actual, expected = to_numpy(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    largest = max(1e-6, np.max(np.abs(expected)))
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * largest
    )


def gradients(function, layer, inputs):
    """Differentiate the scalar `function(inputs)`.

    Returns:
        A list of arrays: one for each trainable weight of `layer`, then the
        one for the inputs.
    """
    weights = layer.trainable_variables
    if keras.backend.backend() == "jax":
        import jax

        def loss(values, inputs):
            with keras.StatelessScope(state_mapping=zip(weights, values)):
                return function(inputs)

        values = [weight.value for weight in weights]
        grads = jax.grad(loss, argnums=(0, 1))(values, ops.array(inputs))
        grads = [*grads[0], grads[1]]
    else:
        import tensorflow as tf

        inputs = tf.constant(inputs)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = function(inputs)
        values = [weight.value for weight in weights]
        grads = tape.gradient(loss, [*values, inputs])
    return [None if grad is None else to_numpy(grad) for grad in grads]


def softmax(logits):
    weights = np.exp(logits - np.max(logits))
    return weights / np.sum(weights)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def batch_norm(values, norm):
    """Apply the inference mode of a layer, with its epsilon of 1e-5."""
    mean, variance = to_numpy(norm.moving_mean), to_numpy(norm.moving_variance)
    normal = (values - mean) / np.sqrt(variance + 1e-5)
    return normal * to_numpy(norm.gamma) + to_numpy(norm.beta)


def interpolated(table, rows):
    """Stretch a table over other rows, its ends and its middle fixed."""
    stored = len(table)
    result = np.zeros((rows, table.shape[1]))
    for row in range(rows):
        position = row * (stored - 1) / (rows - 1)
        lower = min(int(position), stored - 2)
        part = position - lower
        result[row] = (1 - part) * table[lower] + part * table[lower + 1]
    return result
