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
        if np.array(variable).std() == 0:
            # GSA cubes what a norm lets through: the variances are high.
            low, high = (
                (5, 10) if variable.name == "moving_variance" else (0.2, 0.8)
            )
            variable.assign(generator.uniform(low, high, variable.shape))


def some_images(count=2, size=16):
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (count, size, size, 3), dtype="uint8")
