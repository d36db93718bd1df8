"""Position-wise spatial attention: one weight for each pixel."""

import keras
from keras import ops

from keras_attn.layers import feature_maps


@keras.saving.register_keras_serializable(package="keras_attn")
class PositionwiseAttention2D(keras.layers.Layer):
    """Spatial attention with one free weight for each pixel.

    The spatial gate of CBAM, and what CRAM is compared with: the maximum and
    the mean over the channels, a convolution to one map, batch normalisation
    (momentum 0.9, epsilon 1e-5: ours) and a sigmoid give the weights that the
    input is multiplied by.

    Args:
        kernel_size: Integer, the side of the convolution.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: Other keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`, or
            `(batch, channels, height, width)` for `"channels_first"`. Batch,
            height and width may be unknown.
        training: Boolean, whether batch normalisation uses the batch's
            statistics.

    Returns:
        A tensor like `inputs`.

    Raises:
        ValueError: if `kernel_size` is no positive integer, `data_format` is
            unknown, or the inputs are not of rank 4 or of unknown channels.

    Reference:
        [Woo et al., 2018](https://arxiv.org/abs/1807.06521), section 3
    """

    def __init__(self, kernel_size=7, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = feature_maps.positive_integer(
            "kernel_size", kernel_size
        )
        self.data_format = feature_maps.standardize_data_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        feature_maps.known_channels(self, input_shape)
        self.convolution = keras.layers.Conv2D(
            1,
            self.kernel_size,
            padding="same",
            use_bias=False,
            data_format="channels_last",
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name="convolution",
        )
        self.convolution.build((None, None, None, 2))
        self.norm = keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name="norm",
        )
        self.norm.build((None, None, None, 1))

    def call(self, inputs, training=None):
        inputs = feature_maps.as_float(inputs, self.compute_dtype)
        features = feature_maps.to_channels_last(inputs, self.data_format)
        gate = ops.cast(self._gate(features, training), inputs.dtype)
        return inputs * feature_maps.from_channels_last(gate, self.data_format)

    def _gate(self, features, training):
        summary = ops.concatenate(
            [
                ops.max(features, axis=-1, keepdims=True),
                ops.mean(features, axis=-1, keepdims=True),
            ],
            axis=-1,
        )
        logits = self.norm(self.convolution(summary), training=training)
        return ops.sigmoid(ops.cast(logits, "float32"))

    def attention_map(self, inputs):
        """Return the weights, float32 `(batch, height, width)` from 0 to 1."""
        feature_maps.check_map(self, inputs)
        features = feature_maps.to_channels_last(inputs, self.data_format)
        return ops.squeeze(self._gate(features, training=False), -1)

    def describe_attention(self, inputs, query):
        """See `keras_attn.maps`."""
        return {"map": self.attention_map(inputs)}

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "data_format": self.data_format,
        }
