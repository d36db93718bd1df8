"""What every layer here shares: reading feature maps in either data format."""

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


def map_shape(input_shape, data_format):
    """Return `(height, width, channels)` of a rank 4 shape."""
    if data_format == "channels_first":
        return (*input_shape[2:], input_shape[1])
    return tuple(input_shape[1:])


def with_map_shape(input_shape, height, width, channels, data_format):
    """Return `input_shape` with other spatial sizes and channels."""
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


def known_channels(layer_name, input_shape, data_format):
    """Return the channels of `input_shape`, which weights need."""
    channels = map_shape(input_shape, data_format)[2]
    if channels is None:
        raise ValueError(
            f"{layer_name} needs a known number of channels to create its "
            f"weights. Received: input_shape={tuple(input_shape)} with "
            f"data_format={data_format!r}"
        )
    return channels
