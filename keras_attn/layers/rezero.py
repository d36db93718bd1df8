"""ReZero: any layer beside a shortcut, at first with no effect."""

import keras
from keras import ops

from keras_attn.layers import feature_maps


@keras.saving.register_keras_serializable(package="keras_attn")
class ReZero(keras.layers.Wrapper):
    """Adds what a layer gives to its inputs, scaled by a learned number.

    `outputs = inputs + scale * layer(inputs)`, where `scale` starts at zero:
    whatever the layer, this begins as the identity. A network that was
    trained without the layer can take it up without being disturbed. Around a
    gate, whose outputs are `gate * inputs`, this is `(1 + scale * gate) *
    inputs`, residual attention with a scale.

    In the first step only the scale has a gradient other than zero; from the
    second on the layer has one, too.

    Args:
        layer: A layer that keeps the shape of its inputs.
        **kwargs: Other keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor that the layer takes.

    Returns:
        A tensor like `inputs`.

    Raises:
        ValueError: if `layer` gives outputs of another shape.

    References:
        - [Bachlechner et al., 2020](https://arxiv.org/abs/2003.04887)
        - [Wang et al., 2017](https://arxiv.org/abs/1704.06904), section 3.1,
          for gates
    """

    starts_as_identity = True

    def build(self, input_shape):
        super().build(input_shape)
        inputs = keras.KerasTensor(input_shape, self.compute_dtype)
        outputs = self.layer.compute_output_spec(inputs)
        if tuple(outputs.shape) != tuple(input_shape):
            raise ValueError(
                "`layer` must keep the shape of its inputs. Received: "
                f"layer={self.layer}, which turns {tuple(input_shape)} into "
                f"{tuple(outputs.shape)}"
            )
        self.scale = self.add_weight(
            name="scale", shape=(), initializer="zeros", dtype="float32"
        )

    def call(self, inputs):
        inputs = feature_maps.as_float(inputs, self.compute_dtype)
        outputs = ops.cast(self.layer(inputs), inputs.dtype)
        return inputs + ops.cast(self.scale, inputs.dtype) * outputs

    def compute_output_shape(self, input_shape):
        return input_shape
