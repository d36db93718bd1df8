"""Small networks for the tests."""

import numpy as np

from keras_attn import applications


def small_network(attention, bottleneck=True, **arguments):
    return applications.AttnResNet(
        **{
            "blocks_per_stage": (1, 1, 1, 1),
            "bottleneck": bottleneck,
            "width": 16,
            "stem_strides": 1,
            "attention": attention,
            "input_shape": (16, 16, 3),
            "classes": 7,
            **arguments,
        }
    )


def randomize(model):
    """Change every weight that starts as a constant, zero mostly."""
    generator = np.random.default_rng(0)
    for variable in model.weights:
        values = np.array(variable)
        if values.std() == 0:
            change = generator.uniform(0.1, 0.5, variable.shape)
            variable.assign(values + change)


def some_images(count=2, size=16):
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (count, size, size, 3), dtype="uint8")
