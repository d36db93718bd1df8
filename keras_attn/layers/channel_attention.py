"""Channel attention: the squeeze-and-excitation gate, alone or in CBAM."""

import keras
from keras import ops

from keras_attn.layers import feature_maps


@keras.saving.register_keras_serializable(package="keras_attn")
class ChannelAttention2D(keras.layers.Layer):
    """Squeeze-and-excitation: one weight for each channel.

    `sigmoid(expand(relu(reduce(average))))` times the input, where `average`
    is the mean over all pixels. With `use_max=True` the maximum over all
    pixels goes through the same two dense layers and is added before the
    sigmoid: the channel gate of CBAM.

    Args:
        reduction: Integer, the channels over the hidden units, of which there
            are `max(1, channels // reduction)`.
        use_max: Boolean, whether the maximum over the pixels counts as well.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: Other keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`, or
            `(batch, channels, height, width)` for `"channels_first"`. Batch,
            height and width may be unknown.

    Returns:
        A tensor like `inputs`.

    Raises:
        ValueError: if `reduction` is no positive integer, `data_format` is
            unknown, or the inputs are not of rank 4 or of unknown channels.

    References:
        - [Hu et al., 2018](https://arxiv.org/abs/1709.01507)
        - [Woo et al., 2018](https://arxiv.org/abs/1807.06521)
    """

    def __init__(self, reduction=16, use_max=False, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.reduction = feature_maps.positive_integer("reduction", reduction)
        self.use_max = use_max
        self.data_format = feature_maps.standardize_data_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        channels = feature_maps.fix_channels(self, input_shape)
        hidden = max(1, channels // self.reduction)
        self.reduce = keras.layers.Dense(
            hidden,
            activation="relu",
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name="reduce",
        )
        self.reduce.build((None, channels))
        self.expand = keras.layers.Dense(
            channels,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name="expand",
        )
        self.expand.build((None, hidden))

    def call(self, inputs):
        inputs = feature_maps.as_float(inputs, self.compute_dtype)
        channels_last = self.data_format == "channels_last"
        gate = ops.cast(self._channel_weights(inputs), inputs.dtype)
        return inputs * ops.expand_dims(
            gate, (1, 2) if channels_last else (2, 3)
        )

    def channel_weights(self, inputs):
        """Return the weight of each channel.

        Args:
            inputs: Tensor as for a call.

        Returns:
            Float32 tensor `(batch, channels)` from 0 to 1.
        """
        feature_maps.check_map(self, inputs)
        return self._channel_weights(inputs)

    def _channel_weights(self, inputs):
        channels_last = self.data_format == "channels_last"
        pixels = (1, 2) if channels_last else (2, 3)
        logits = self.expand(self.reduce(ops.mean(inputs, axis=pixels)))
        if self.use_max:
            logits += self.expand(self.reduce(ops.max(inputs, axis=pixels)))
        return ops.sigmoid(ops.cast(logits, "float32"))

    def describe_attention(self, inputs, query):
        """See `keras_attn.maps`."""
        return {"channel_weights": self.channel_weights(inputs)}

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "use_max": self.use_max,
            "data_format": self.data_format,
        }
