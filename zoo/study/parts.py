"""Does GSA use what its content and its positions tell, once it is trained?"""

import functools

from keras import ops

from keras_attn.layers import GlobalSelfAttention2D
from zoo.study import changes
from zoo.study.networks import opened


def measure(source, data_dir):
    """Return a row for the network as it is, for the network whose content
    part sees all pixels alike, and for the one whose position part is off.

    Args:
        source: Id of a published network, or output folder of `zoo.train`.
        data_dir: Path of the data set that it was trained on.

    Returns:
        A list of dictionaries, see `zoo.study.changes`.

    Raises:
        FileNotFoundError: if a training is not finished.
        ValueError: if there is no such network, or it has no GSA with both
            parts.
    """
    name, model, recipe, _ = opened(source)
    layers = [
        layer
        for layer in model.layers
        if isinstance(layer, GlobalSelfAttention2D)
        and layer.use_content
        and layer.use_position
    ]
    if not layers:
        raise ValueError(f"{name} has no layer of GSA with both parts")
    functions = {
        "content sees all pixels alike": (_make_content_even,),
        "no position": (_take_position_away,),
        "both": (_make_content_even, _take_position_away),
    }
    to_measure = {
        change: functools.partial(_do_all, done, layers)
        for change, done in functions.items()
    }
    return changes.measure(name, model, recipe, to_measure, data_dir)


def _do_all(functions, layers):
    for layer in layers:
        for function in functions:
            function(layer)


def _make_content_even(layer):
    """Make keys zero, of which the softmax is the same for all pixels."""
    query, key, value = ops.split(layer.kernel, 3, axis=1)
    kernel = ops.concatenate([query, ops.zeros_like(key), value], axis=1)
    layer.kernel.assign(kernel)


def _take_position_away(layer):
    for table in (layer.column_table, layer.row_table):
        table.assign(ops.zeros_like(table))
