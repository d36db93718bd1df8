"""CRAM: attention to one oriented rectangle of the feature map."""

import math

import keras
from keras import ops

from keras_attn.layers import feature_maps

# Variance below which the difference of the two principal axes counts as
# none. It makes the mask smooth where a square has no direction of its own.
ROUNDING = 0.02


@keras.saving.register_keras_serializable(package="keras_attn")
class RectangularAttention2D(keras.layers.Layer):
    """Convolutional rectangular attention module (CRAM).

    Multiplies the feature map by a soft mask that is close to one inside a
    single oriented rectangle and close to zero outside. The rectangle has
    five parameters, found from the input itself: its centre, its two
    half-extents and its angle.

    With `u` and `v` the offsets of a pixel from the centre along the two
    sides of the rectangle, and `a` and `b` the half-extents, the mask is

    `sigmoid(s * (1 - (u / a)**2)) * sigmoid(s * (1 - (v / b)**2))`

    Where the paper is not specific, this layer chooses:

    - *The five parameters are moments.* A 1x1 convolution and a softmax over
      all pixels give a saliency map. The centre is its mean, the angle is the
      direction of its principal axis, and the half-extents are those of the
      uniform rectangle that has the same variances, times `margin`. So the
      layer has one weight for each channel, and the rectangle follows what is
      salient: not all the way, since the rest of the map, which stays where
      it is, counts a little, too.
    - *The saliency is standardised over the pixels.* Its logits have zero
      mean and a standard deviation of at most 1, whatever the size of the
      weights: the sharpness of the saliency is bounded, and training chooses
      what is salient, not how much.
    - *The soft edge.* The formula above, its `sharpness`, and a plain product
      with the mask, without a shortcut beside it.
    - *It starts as (almost) the identity.* The weights start at zero, the
      saliency is uniform, and the rectangle `margin` times as large as the
      map.
    - *A square has no direction.* While the two half-extents are nearly
      equal, the sides are rounded instead of turning to a random angle: the
      mask is a smooth function of the input everywhere. For that, a saliency
      that is longer than wide gives a variance of 0.01 along its longer side
      to the shorter one: with a margin of 1, the half-extents of a
      uniform map of 8 x 32 pixels are 0.985 and 0.303, not 1 and 0.25.
    - *Seeing less must pay.* A network rarely loses by looking at everything.
      `area_penalty` makes it give up what it does not need.

    Coordinates: the origin is the centre of the map, x points right, y points
    down, and one unit is half of the longer side of the map. A square map
    spans -1 to 1 on both axes; a map twice as wide as high spans -1 to 1 on x
    and -0.5 to 0.5 on y. Angles are therefore true angles of the image.

    Args:
        margin: Positive float, the half-extents over those of the rectangle
            that matches the saliency. At the default of 2 the mask starts
            above 0.998 everywhere; a smaller margin draws a tighter rectangle
            and gives larger gradients: the better choice for a network
            trained from scratch.
        sharpness: Positive float, `s` in the formula above. The mask falls
            from 0.88 to 0.12 within about `2 / sharpness` of a half-extent.
        area_penalty: Float from 0. This times the mean of the mask is added
            to the training loss.
        saliency_initializer: Initializer of the saliency weights. With
            `"ones"` the saliency starts as the sum over the channels.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: Other keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`, or
            `(batch, channels, height, width)` for `"channels_first"`. Batch,
            height and width may be unknown.
        return_attention: Boolean, whether to return the mask as well.
        training: Boolean, whether the area penalty is added to the losses.

    Returns:
        A tensor like `inputs`. With `return_attention=True` a pair of it and
        the mask, `(batch, height, width)`, float32 between 0 and 1.

    Raises:
        ValueError: if `margin` or `sharpness` is not positive or not finite,
            `area_penalty` is negative or not finite, `data_format` is unknown,
            or the inputs are not of rank 4 or of unknown channels.

    Reference:
        [Nguyen et al., 2025](https://arxiv.org/abs/2503.10875)
    """

    def __init__(
        self,
        margin=2.0,
        sharpness=10.0,
        area_penalty=0.0,
        saliency_initializer="zeros",
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for argument, value in (("margin", margin), ("sharpness", sharpness)):
            if not 0 < value < math.inf:  # nor is NaN
                raise ValueError(
                    f"`{argument}` must be positive and finite. "
                    f"Received: {argument}={value}"
                )
        if not 0 <= area_penalty < math.inf:
            raise ValueError(
                "`area_penalty` must be finite and not negative. "
                f"Received: area_penalty={area_penalty}"
            )
        self.margin = margin
        self.sharpness = sharpness
        self.area_penalty = area_penalty
        self.saliency_initializer = keras.initializers.get(saliency_initializer)
        self.data_format = feature_maps.standardize_data_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        channels = feature_maps.fix_channels(self, input_shape)
        self.saliency_kernel = self.add_weight(
            name="saliency_kernel",
            shape=(channels, 1),
            initializer=self.saliency_initializer,
            dtype="float32",
            autocast=False,
        )

    @property
    def starts_as_identity(self):
        """Whether a new layer changes its inputs by less than 0.2 %."""
        # The mask in the corners, where a uniform saliency makes it least.
        logit = self.sharpness * (1 - self.margin**-2)
        edge = (1 + math.tanh(logit / 2)) / 2
        uniform = isinstance(
            self.saliency_initializer, keras.initializers.Zeros
        )
        return uniform and edge**2 > 0.998

    def call(self, inputs, return_attention=False, training=None):
        inputs = feature_maps.as_float(inputs, self.compute_dtype)
        mask = self.attention_map(inputs)
        if self.area_penalty and training:
            self.add_loss(self.area_penalty * ops.mean(mask))
        channel_axis = 1 if self.data_format == "channels_first" else -1
        gate = ops.expand_dims(ops.cast(mask, inputs.dtype), channel_axis)
        outputs = inputs * gate
        return (outputs, mask) if return_attention else outputs

    def rectangles(self, inputs):
        """Return the five parameters of the rectangle of each image.

        Args:
            inputs: Tensor as for a call.

        Returns:
            Float32 tensor `(batch, 5)`: centre x, centre y, half-extent along
            the longer side, half-extent along the shorter side (all in half
            longer sides of the map, see the class), and the angle in radians
            from the x axis to the longer side, positive from x towards y
            (clockwise on the screen), between -pi / 2 and pi / 2.
        """
        feature_maps.check_map(self, inputs)
        center_x, center_y, long, short, cos, sin = self._rectangle(
            feature_maps.to_channels_last(inputs, self.data_format)
        )
        # Where rounding errors would decide the direction, take the x axis,
        # which also bounds the derivative of the angle.
        directed = ops.maximum(ops.abs(cos), ops.abs(sin)) > 1e-3
        angle = ops.arctan2(sin, ops.where(directed, cos, 1.0)) / 2
        return ops.concatenate([center_x, center_y, long, short, angle], -1)

    def attention_map(self, inputs):
        """Return the mask, float32 `(batch, height, width)` from 0 to 1."""
        feature_maps.check_map(self, inputs)
        features = feature_maps.to_channels_last(inputs, self.data_format)
        center_x, center_y, long, short, cos, sin = self._rectangle(features)
        _, height, width, _ = ops.shape(features)
        x, y = _pixel_coordinates(height, width)
        x, y = x - center_x, y - center_y
        # The squared offset along a side needs only the double angle, so
        # that half a turn changes nothing.
        radial, axial = x * x + y * y, cos * (x * x - y * y) + 2 * sin * x * y
        inside_long = 1 - (radial + axial) / (2 * long * long)
        inside_short = 1 - (radial - axial) / (2 * short * short)
        mask = ops.sigmoid(self.sharpness * inside_long) * ops.sigmoid(
            self.sharpness * inside_short
        )
        return ops.reshape(mask, (-1, height, width))

    def _rectangle(self, features):
        """Return centre x and y, half-extents, cosine and sine of twice the
        angle (scaled towards zero near a square), each `(batch, 1)`."""
        _, height, width, _ = ops.shape(features)
        # In float32: a sum over channels may overflow float16.
        logits = ops.matmul(ops.cast(features, "float32"), self.saliency_kernel)
        saliency = _saliency(ops.reshape(logits, (-1, height * width)))

        def average(values):
            return ops.sum(saliency * values, axis=-1, keepdims=True)

        x, y = _pixel_coordinates(height, width)
        center_x, center_y = average(x), average(y)
        x, y = x - center_x, y - center_y
        # A pixel is a small square with a variance of its own, so that a
        # uniform saliency has the variance of the whole map and the rectangle
        # never gets smaller than a pixel.
        pixel = 1 / (3 * ops.square(_longer_side(height, width)))
        variance_x = average(x * x) + pixel
        variance_y = average(y * y) + pixel
        covariance = average(x * y)

        total = variance_x + variance_y
        difference = variance_x - variance_y
        rounded = ops.sqrt(
            ops.square(difference) + 4 * ops.square(covariance) + ROUNDING**2
        )
        # A uniform rectangle of half-extent a has the variance a**2 / 3.
        long = self.margin * ops.sqrt(1.5 * (total + rounded - ROUNDING))
        short = self.margin * ops.sqrt(1.5 * (total - rounded + ROUNDING))
        return (
            center_x,
            center_y,
            long,
            short,
            difference / rounded,
            2 * covariance / rounded,
        )

    def describe_attention(self, inputs, query):
        """See `keras_attn.maps`."""
        return {
            "map": self.attention_map(inputs),
            "rectangles": self.rectangles(inputs),
        }

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(
        self, inputs, return_attention=False, training=None
    ):
        outputs = keras.KerasTensor(inputs.shape, self.compute_dtype)
        if not return_attention:
            return outputs
        height, width, _ = feature_maps.map_shape(
            inputs.shape, self.data_format
        )
        mask_shape = (inputs.shape[0], height, width)
        return outputs, keras.KerasTensor(mask_shape, "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "margin": self.margin,
            "sharpness": self.sharpness,
            "area_penalty": self.area_penalty,
            "saliency_initializer": keras.initializers.serialize(
                self.saliency_initializer
            ),
            "data_format": self.data_format,
        }


def _saliency(logits):
    """Return the softmax of standardised logits, over the last axis."""
    centered = logits - ops.mean(logits, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
    # The one lets small logits stay small: zero weights give a uniform map.
    deviations = centered * ops.rsqrt(variance + 1)
    return ops.softmax(deviations, axis=-1)


def _longer_side(height, width):
    return ops.cast(ops.maximum(height, width), "float32")


def _pixel_coordinates(height, width):
    """Return x and y of the pixel centres, each `(height * width,)`."""
    longer_side = _longer_side(height, width)

    def centers(size):
        index = ops.arange(size, dtype="float32")
        return (2 * index + 1 - ops.cast(size, "float32")) / longer_side

    x, y = ops.meshgrid(centers(width), centers(height))
    return ops.reshape(x, (-1,)), ops.reshape(y, (-1,))
