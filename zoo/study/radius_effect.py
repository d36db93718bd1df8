"""Do the radii of ExpAtt matter, once it is trained?"""

import functools

from keras_attn.layers import ExplicitAttention2D
from zoo.study import changes
from zoo.study.networks import opened
from zoo.study.radii import expatt_layers

RADII = 0.5, 1.0, 2.0, 30.0  # those before training are 2


def measure(source, data_dir):
    """Return a row for the network as it is, and for each other set of radii.

    Args:
        source: Id of a published network, or output folder of `zoo.train`.
        data_dir: Path of the data set that it was trained on.

    Returns:
        A list of dictionaries, see `zoo.study.changes`; the `change` is the
        radius of all layers, in pixels of their maps.

    Raises:
        FileNotFoundError: if a training is not finished.
        ValueError: if there is no such network, or it has no ExpAtt, or one
            with several radii in a layer.
    """
    name, model, recipe, _ = opened(source)
    layers = expatt_layers(model, name)
    if any(layer.num_heads > 1 for layer in layers):
        raise ValueError(
            f"{name} has a radius for each head, of which this study would "
            "lose the differences"
        )
    trained = [float(layer.radius[0]) for layer in layers]
    sets = {"in the reverse order": trained[::-1]}
    sets |= {radius: [radius] * len(layers) for radius in RADII}
    to_measure = {
        change: functools.partial(_set_all, layers, radii)
        for change, radii in sets.items()
    }
    return changes.measure(name, model, recipe, to_measure, data_dir)


def _set_all(layers, radii):
    for layer, radius in zip(layers, radii):
        _set(layer, radius)


def _set(layer, radius):
    """Give a layer the radius of a new one that begins with it."""
    config = layer.get_config() | {"initial_radius": radius}
    new = ExplicitAttention2D.from_config(config)
    new.build(layer.input.shape)
    layer.radius_weight.assign(new.radius_weight)
