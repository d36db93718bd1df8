"""Tables of relative positions along the axes of a map, one row an offset."""

import keras
import numpy as np
from keras import ops

from keras_attn.layers import feature_maps


def add_tables(layer, sizes):
    """Add the variables that `layer.TABLES` names, the column's before the
    row's, for the `table_sizes` given."""
    for attribute, size in zip(layer.TABLES.values(), sizes):
        table = layer.add_weight(
            name=attribute,
            shape=(2 * size - 1, layer.key_dim),
            initializer=keras.initializers.RandomNormal(
                stddev=layer.key_dim**-0.5
            ),
        )
        setattr(layer, attribute, table)


def table_sizes(layer, input_shape):
    """Return the pixels of a column and of a row that tables must serve."""
    height, width, _ = feature_maps.map_shape(input_shape, layer.data_format)
    max_size = layer.max_size
    if max_size is None and None in (height, width):
        raise ValueError(
            f"{type(layer).__name__} learns tables of relative positions and "
            "must know their sizes: give the network an `input_shape` (or the "
            "layer an input) with a known height and width, or the layer a "
            "`max_size`. "
            f"Received: max_size=None, input_shape={tuple(input_shape)}"
        )
    if max_size is None:
        return height, width
    if max(height or 0, width or 0) > max_size:
        raise ValueError(
            "`max_size` must be at least the height and width of the feature "
            f"map. Received: max_size={max_size}, "
            f"input_shape={tuple(input_shape)}"
        )
    return max_size, max_size


def relative_positions(table, size):
    """Look up the offset of every pair of positions along an axis.

    Args:
        table: Tensor `(2 * largest - 1, key_dim)`; its middle row belongs to
            the offset 0.
        size: Integer, the positions on the axis, at most `largest`.

    Returns:
        Tensor `(size, size, key_dim)`, the entry `[query, key]` being the row
        of the offset `key - query`. NaN, or an error of the backend, if
        the axis turns out to be too long for the table.

    Raises:
        ValueError: if the axis is known to be too long for the table.
    """
    _check_length(table, size)
    middle = table.shape[0] // 2
    positions = ops.arange(size)
    offsets = positions[None, :] - positions[:, None]
    # TensorFlow's gradient for a variable itself would be a list of rows, each
    # many times, which optimisers would square and clip one by one.
    table = ops.multiply(table, 1)
    # Only the offsets that occur: a table for larger maps costs nothing.
    rows = ops.take(table, offsets + middle, axis=0)
    if isinstance(size, int):
        return rows
    # Not known before the layer runs. For a row that the table lacks, some
    # devices take another one and go on.
    return ops.where(size > middle + 1, float("nan"), rows)


def _check_length(table, size):
    largest = table.shape[0] // 2 + 1
    if isinstance(size, int) and size > largest:
        raise ValueError(
            "The feature map is larger than the table of relative positions: "
            f"expected at most {largest} pixels. Received: {size} pixels"
        )


def check_map_size(layer, input_shape):
    """Raise an error if a map is known to be too large for the tables that a
    layer has.

    Args:
        layer: A layer with `TABLES`, the column's before the row's.
        input_shape: Tuple, the shape of its inputs.
    """
    sizes = feature_maps.map_shape(input_shape, layer.data_format)[:2]
    for attribute, size in zip(layer.TABLES.values(), sizes):
        table = getattr(layer, attribute, None)
        if table is not None:
            _check_length(table, size)


def resize_table(table, rows):
    """Interpolate a table of relative positions for another map size.

    The outermost offsets stay the outermost ones: an offset of half the map
    keeps its meaning, not an offset of so many pixels. (With `max_size`, of
    half the largest map that the table serves.)

    Args:
        table: Array `(stored_rows, key_dim)`, its middle row the offset 0.
        rows: Integer, the rows of the result, odd like `stored_rows`.

    Returns:
        Float32 array `(rows, key_dim)`.
    """
    table = np.asarray(table, "float32")
    stored = np.linspace(-1, 1, len(table))
    wanted = np.linspace(-1, 1, rows) if rows > 1 else [0.0]
    columns = [np.interp(wanted, stored, column) for column in table.T]
    return np.stack(columns, axis=-1).astype("float32")


def fit_tables(layer, store):
    """Return the stored variables of a layer with tables that fit it.

    Args:
        layer: A built layer with `TABLES`, from variable index to attribute.
        store: Mapping from variable index (a string) to array, as
            `load_own_variables` receives it.

    Returns:
        A dictionary like `store`. Tables with other rows are interpolated,
        everything else is left for Keras to check.
    """
    fitted = {key: store[key] for key in list(store.keys())}
    for key, attribute in layer.TABLES.items():
        table, stored = getattr(layer, attribute, None), fitted.get(key)
        if table is None or stored is None:
            continue
        same_channels = stored.shape[1:] == tuple(table.shape[1:])
        if same_channels and len(stored) != table.shape[0]:
            fitted[key] = resize_table(stored, table.shape[0])
    return fitted
