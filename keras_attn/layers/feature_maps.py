"""What the layers share: arguments, and maps in either data format."""

import numbers
import operator

import keras
from keras import ops


def standardize_data_format(data_format):
    """Return `data_format`, or Keras's configured one for `None`."""
    if data_format is None:
        return keras.config.image_data_format()
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            "`data_format` must be 'channels_last' or 'channels_first'. "
            f"Received: data_format={data_format!r}"
        )
    return data_format


def positive_integer(argument, value):
    """Return `value`, which may be NumPy's, as a Python integer.

    Raises:
        ValueError: if it is none, or not positive.
    """
    is_integer = isinstance(value, numbers.Integral)
    if not is_integer or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{argument}` must be a positive integer. "
            f"Received: {argument}={value!r}"
        )
    return int(value)


def check_divisible(argument, channels, num_heads):
    if channels % num_heads:
        raise ValueError(
            f"`{argument}` must be divisible by `num_heads`. "
            f"Received: {argument}={channels}, num_heads={num_heads}"
        )


def check_pixel(query, height, width):
    """Raise a `ValueError` unless `query` is `(row, column)` on a map."""
    try:
        row, column = map(operator.index, query)  # of any backend
        is_pixel = 0 <= row < height and 0 <= column < width
    except (TypeError, ValueError):
        is_pixel = False
    if not is_pixel:
        raise ValueError(
            "`query` must be two integers, the row and column of a pixel, of "
            f"which there are {height} rows and {width} columns. "
            f"Received: query={query!r}"
        )


def check_map(layer, inputs):
    """Raise a `ValueError` unless a layer can show what it does to `inputs`."""
    if isinstance(inputs, keras.KerasTensor):
        # A model made of it would not have the layer's weights.
        raise ValueError(
            f"This method of {type(layer).__name__} takes a tensor with "
            "values: for a model, use `keras_attn.attention_maps`. "
            f"Received: inputs={inputs}"
        )
    if not layer.built:
        raise ValueError(
            f"{type(layer).__name__} has no weights yet: call it first"
        )
    channel_axis = 1 if layer.data_format == "channels_first" else -1
    channels = (layer.input_spec.axes or {}).get(channel_axis)
    shape = tuple(inputs.shape)
    fits = len(shape) == 4 and (
        None in (channels, shape[channel_axis])
        or channels == shape[channel_axis]
    )
    if not fits:
        raise ValueError(
            f"`inputs` must be as for a call of {type(layer).__name__}, of "
            f"rank 4 and with {channels or 'any number of'} channels. "
            f"Received: inputs.shape={shape}"
        )


def map_shape(input_shape, data_format):
    """Return `(height, width, channels)` of a rank 4 shape."""
    if data_format == "channels_first":
        return (*input_shape[2:], input_shape[1])
    return tuple(input_shape[1:])


def known_channels(layer, input_shape):
    """Return the channels of `input_shape`, which weights need."""
    if len(input_shape) != 4:
        raise ValueError(
            f"{type(layer).__name__} takes feature maps of rank 4 (batch, "
            "height, width and channels). "
            f"Received: input_shape={tuple(input_shape)}"
        )
    channels = map_shape(input_shape, layer.data_format)[2]
    if channels is None:
        raise ValueError(
            f"{type(layer).__name__} needs a known number of channels to "
            f"create its weights. Received: input_shape={tuple(input_shape)} "
            f"with data_format={layer.data_format!r}"
        )
    return channels


def fix_channels(layer, input_shape):
    """Return the channels of `input_shape`, the only ones that `layer` takes
    from now on."""
    channels = known_channels(layer, input_shape)
    axis = 1 if layer.data_format == "channels_first" else -1
    layer.input_spec = keras.layers.InputSpec(ndim=4, axes={axis: channels})
    return channels


def as_float(inputs, dtype):
    """Return inputs, in `dtype` if they are integers: Keras casts only
    floats, and gates from 0 to 1 would be zeros among integers."""
    if keras.backend.is_float_dtype(inputs.dtype):
        return inputs
    return ops.cast(inputs, dtype)


def strided_shape(input_shape, channels, strides, data_format):
    """Return the shape after `strides` (rounded up), with other channels."""
    height, width, _ = map_shape(input_shape, data_format)
    height, width = (
        None if size is None else -(-size // strides)
        for size in (height, width)
    )
    if data_format == "channels_first":
        return (input_shape[0], channels, height, width)
    return (input_shape[0], height, width, channels)


def to_channels_last(inputs, data_format):
    if data_format == "channels_first":
        return ops.transpose(inputs, (0, 2, 3, 1))
    return inputs


def from_channels_last(inputs, data_format):
    if data_format == "channels_first":
        return ops.transpose(inputs, (0, 3, 1, 2))
    return inputs


def mean_magnitude(weights):
    """Average `(batch, heads, height, width)` over the heads, unsigned."""
    return ops.mean(ops.abs(weights), axis=1)
