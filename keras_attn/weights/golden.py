"""A picture made by a formula, and what a weight must answer to it."""

import numpy as np

# Probabilities may differ by this much between backends and machines.
TOLERANCE = 2e-3


def golden_image(size):
    """Return a coloured test picture, the same everywhere.

    Args:
        size: Integer, height and width in pixels.

    Returns:
        uint8 array `(1, size, size, 3)`.
    """
    y, x = np.mgrid[0:size, 0:size] / size
    disc = (x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.08
    channels = [255 * x, 255 * y, np.where(disc, 220, 60)]
    return np.stack(channels, axis=-1).round().astype("uint8")[None]


def most_probable(probabilities, count=5):
    """Return `[class index, probability]` pairs, the most probable first."""
    order = np.argsort(-probabilities)[:count]
    return [[int(i), round(float(probabilities[i]), 6)] for i in order]


def check(model, entry):
    """Raise unless a freshly loaded network gives its golden output.

    Args:
        model: A `keras.Model` with class probabilities as output.
        entry: The `keras_attn.weights.Entry` it was loaded from.

    Raises:
        ValueError: if a probability differs by more than 0.002, as it may
            in half precision.
    """
    image = golden_image(entry.input["size"])
    probabilities = np.asarray(model(image, training=False), "float32")[0]
    for index, expected in entry.golden_output["top"]:
        difference = abs(probabilities[index] - expected)
        if not difference <= TOLERANCE:  # NaN is no match.
            raise ValueError(
                f"{entry.id} does not give its golden output (in "
                f"{model.dtype_policy.name}): class {index} "
                f"({entry.class_names[index]}) has the probability "
                f"{probabilities[index]:.4f}, expected {expected:.4f}"
            )
