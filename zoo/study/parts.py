"""Does GSA use what its content and its positions tell, once it is trained?"""

import functools

from keras import ops

import keras_attn
from keras_attn.layers import GlobalSelfAttention2D
from zoo.study import changes


def measure(weight_id, data_dir):
    """Return a row for the network as it is, for the network whose content
    part sees all pixels alike, and for the one whose position part is off.

    Args:
        weight_id: Id of a published GSA network.
        data_dir: Path of the data set that it was trained on.

    Returns:
        A list of dictionaries, see `zoo.study.changes`.

    Raises:
        ValueError: if the network has no GSA with both parts.
    """
    model = keras_attn.load(weight_id).model
    layers = [
        layer
        for layer in model.layers
        if isinstance(layer, GlobalSelfAttention2D)
        and layer.use_content
        and layer.use_position
    ]
    if not layers:
        raise ValueError(
            "`weight_id` must be of a GSA network. Received: "
            f"{weight_id!r}, which has no GlobalSelfAttention2D with both parts"
        )
    to_measure = {
        "content sees all pixels alike": (_make_content_even,),
        "no position": (_take_position_away,),
        "both": (_make_content_even, _take_position_away),
    }
    return changes.measure(
        weight_id,
        model,
        {
            name: functools.partial(_do_all, done, layers)
            for name, done in to_measure.items()
        },
        data_dir,
    )


def _do_all(done, layers):
    for layer in layers:
        for change in done:
            change(layer)


def _make_content_even(layer):
    """Make keys zero, of which the softmax is the same for all pixels."""
    query, key, value = ops.split(layer.kernel, 3, axis=1)
    kernel = ops.concatenate([query, ops.zeros_like(key), value], axis=1)
    layer.kernel.assign(kernel)


def _take_position_away(layer):
    for table in (layer.column_table, layer.row_table):
        table.assign(ops.zeros_like(table))
