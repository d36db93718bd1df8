"""ExpAtt: attention maps that are an explicit function of distance."""

import math

import keras
from keras import ops

from keras_attn.layers import feature_maps


def gaussian(offset, radius):
    """`exp(-offset**2 / (2 * radius**2))`: nearby pixels only."""
    return ops.exp(-ops.square(offset / radius) / 2)


def laplacian(offset, radius):
    """`exp(-abs(offset) / radius)`: a heavier tail, by axis."""
    return ops.exp(-ops.abs(offset) / radius)


def epanechnikov(offset, radius):
    """`max(0, 1 - (offset / (radius + 1))**2)`: compact support."""
    return ops.relu(1 - ops.square(offset / (radius + 1)))


def cauchy(distance, radius):
    """`1 / (1 + (distance / radius)**2)`: the heaviest tail."""
    return 1 / (1 + ops.square(distance / radius))


# A separable kernel is a product over the two axes: its attention map is the
# Kronecker product of two small matrices. A radial one needs the dense map.
SEPARABLE_KERNELS = {
    "gaussian": gaussian,
    "laplacian": laplacian,
    "epanechnikov": epanechnikov,
}
RADIAL_KERNELS = {"cauchy": cauchy}

# Keeps the kernels apart from 0 / 0; far below half a pixel.
SMALLEST_RADIUS = 0.1


@keras.saving.register_keras_serializable(package="keras_attn")
class ExplicitAttention2D(keras.layers.Layer):
    """Explicitly modelled attention (ExpAtt).

    Self-attention whose map does not depend on the content: there is no
    query, no key and no positional encoding. The weight between two pixels is
    a kernel of their distance with one learnable radius. A 1x1 convolution
    gives the values, the map mixes them, a 1x1 convolution projects them:

    `outputs = project(sum_j weight[i, j] * value[j])`, where the weights of
    each pixel `i` are `kernel(distance(i, j))`, divided by their sum.

    Kernels, with `d` a distance and `dx`, `dy` its parts along the axes, all
    in pixels of the feature map, and `r` the radius:

    - `"gaussian"`: `exp(-d**2 / (2 * r**2))`, separable
    - `"laplacian"`: `exp(-(abs(dx) + abs(dy)) / r)`, separable, heavier tails
    - `"epanechnikov"`: `max(0, 1 - (dx / (r + 1))**2)` times the same of
      `dy`, separable, zero from `r + 1` pixels on
    - `"cauchy"`: `1 / (1 + (d / r)**2)`, not separable, the heaviest tails

    A separable map is applied as two small products, one along the height and
    one along the width, at `height * width * (height + width)` multiply-adds
    a channel; no map of `(height * width)**2` entries is ever made. At the
    edge of the map both forms divide by the same sum, so they agree exactly.

    Where the paper is not specific, this layer chooses: the kernels beyond
    the Gaussian, rows that sum to one, a radius for each layer (with
    `num_heads`, each head), `radius = 0.1 + softplus(weight)`, its initial
    value, and for `strides` above one a query in the centre of each
    `strides x strides` cell (or on the last pixel, if the centre of the last
    cell lies beyond it). No biases. That the values and the output are
    projected by 1x1 convolutions follows from the sizes of the paper's
    networks.

    Args:
        filters: Integer, the channels of the values and of the output.
        kernel: Name of the kernel, see above.
        initial_radius: Positive float above 0.1, in pixels of the feature map.
        num_heads: Integer, divides `filters`. Each head has its own radius.
        strides: Integer, the distance between queries, in pixels.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: Other keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`, or
            `(batch, channels, height, width)` for `"channels_first"`. Batch,
            height and width may be unknown.

    Returns:
        Tensor `(batch, ceil(height / strides), ceil(width / strides),
        filters)`, or the same with channels first.

    Raises:
        ValueError: if `kernel` or `data_format` is unknown, `initial_radius`
            is too small or not finite, an integer is not positive, `filters`
            is not divisible by `num_heads`, or the inputs are not of rank 4 or
            of unknown channels.

    Reference:
        [Tan et al., 2021](https://arxiv.org/abs/2006.07872)
    """

    def __init__(
        self,
        filters,
        kernel="gaussian",
        initial_radius=2.0,
        num_heads=1,
        strides=1,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        names = [*SEPARABLE_KERNELS, *RADIAL_KERNELS]
        if kernel not in names:
            raise ValueError(
                f"`kernel` must be one of {names}. Received: kernel={kernel!r}"
            )
        if not SMALLEST_RADIUS < initial_radius < math.inf:  # nor is NaN
            raise ValueError(
                f"`initial_radius` must be above {SMALLEST_RADIUS} pixels, and "
                f"finite. Received: initial_radius={initial_radius}"
            )
        filters = feature_maps.positive_integer("filters", filters)
        num_heads = feature_maps.positive_integer("num_heads", num_heads)
        feature_maps.check_divisible("filters", filters, num_heads)
        self.filters = filters
        self.kernel = kernel
        self.initial_radius = initial_radius
        self.num_heads = num_heads
        self.strides = feature_maps.positive_integer("strides", strides)
        self.data_format = feature_maps.standardize_data_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        channels = feature_maps.fix_channels(self, input_shape)
        self.value_kernel = self.add_weight(
            name="value_kernel",
            shape=(channels, self.filters),
            initializer="glorot_uniform",
        )
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(self.filters, self.filters),
            initializer="glorot_uniform",
        )
        excess = self.initial_radius - SMALLEST_RADIUS
        softplus_inverse = excess + math.log(-math.expm1(-excess))
        self.radius_weight = self.add_weight(
            name="radius_weight",
            shape=(self.num_heads,),
            initializer=keras.initializers.Constant(softplus_inverse),
            dtype="float32",
            autocast=False,
        )

    @property
    def radius(self):
        """The radius of each head, in pixels: float32 `(num_heads,)`."""
        return SMALLEST_RADIUS + ops.softplus(self.radius_weight)

    def call(self, inputs):
        inputs = feature_maps.as_float(inputs, self.compute_dtype)
        features = feature_maps.to_channels_last(inputs, self.data_format)
        value_kernel = ops.cast(self.value_kernel, features.dtype)
        value = self._split_heads(ops.matmul(features, value_kernel))
        if self.kernel in SEPARABLE_KERNELS:
            attended = self._attend_by_axis(value)
        else:
            attended = self._attend_densely(value)
        output_kernel = ops.cast(self.output_kernel, features.dtype)
        outputs = ops.matmul(self._merge_heads(attended), output_kernel)
        return feature_maps.from_channels_last(outputs, self.data_format)

    def _split_heads(self, value):
        """Return `value` as `(batch, heads, height, width, head channels)`."""
        _, height, width, _ = ops.shape(value)
        if self.num_heads == 1:
            return ops.expand_dims(value, 1)
        head_filters = self.filters // self.num_heads
        value = ops.reshape(
            value, (-1, height, width, self.num_heads, head_filters)
        )
        return ops.transpose(value, (0, 3, 1, 2, 4))

    def _merge_heads(self, value):
        if self.num_heads == 1:
            return ops.squeeze(value, 1)
        _, _, height, width, _ = ops.shape(value)
        value = ops.transpose(value, (0, 2, 3, 1, 4))
        return ops.reshape(value, (-1, height, width, self.filters))

    def _attend_by_axis(self, value):
        _, _, height, width, channels = ops.shape(value)
        rows = ops.cast(self._axis_weights(height), value.dtype)
        columns = ops.cast(self._axis_weights(width), value.dtype)
        value = ops.reshape(
            value, (-1, self.num_heads, height, width * channels)
        )
        value = ops.matmul(rows, value)
        height = self._strided(height)
        value = ops.reshape(
            value, (-1, self.num_heads, height, width, channels)
        )
        return ops.matmul(ops.expand_dims(columns, 1), value)

    def _attend_densely(self, value):
        _, heads, height, width, channels = ops.shape(value)
        weights = ops.cast(self.attention_weights(height, width), value.dtype)
        # The batch beside the channels: one product for all images, and one
        # gradient of the map, not one for each image.
        value = ops.reshape(
            ops.transpose(value, (1, 2, 3, 0, 4)), (heads, height * width, -1)
        )
        queries = (self._strided(height), self._strided(width))
        attended = ops.reshape(
            ops.matmul(weights, value), (heads, *queries, -1, channels)
        )
        return ops.transpose(attended, (3, 0, 1, 2, 4))

    def attention_weights(self, height, width):
        """Return the dense attention map for one size of feature map.

        Args:
            height: Integer, pixels.
            width: Integer, pixels.

        Returns:
            Float32 tensor `(num_heads, queries, height * width)`, both pixel
            axes row by row. The weights of each query sum to one.
        """
        if self.kernel in SEPARABLE_KERNELS:
            rows = self._axis_weights(height)[:, :, None, :, None]
            columns = self._axis_weights(width)[:, None, :, None, :]
            return ops.reshape(
                rows * columns, (self.num_heads, -1, height * width)
            )
        vertical = self._offsets(height)[:, None, :, None]
        horizontal = self._offsets(width)[None, :, None, :]
        distance = ops.sqrt(ops.square(vertical) + ops.square(horizontal))
        distance = ops.reshape(distance, (1, -1, height * width))
        radius = self.radius[:, None, None]
        return _normalized(RADIAL_KERNELS[self.kernel](distance, radius))

    def query_attention(self, inputs, query):
        """Return the attention of one pixel to all of them.

        Args:
            inputs: Tensor as for a call, of which only the shape matters.
            query: The pixel's `(row, column)` on the map. With strides, the
                attention is that of the cell in which it lies.

        Returns:
            Float32 tensor `(batch, num_heads, height, width)`. Each map sums
            to one.

        Raises:
            ValueError: if the query is not on the map.
        """
        feature_maps.check_map(self, inputs)
        features = feature_maps.to_channels_last(inputs, self.data_format)
        batch, height, width, _ = ops.shape(features)
        feature_maps.check_pixel(query, height, width)
        row, column = (index // self.strides for index in query)
        if self.kernel in SEPARABLE_KERNELS:
            rows = self._axis_weights(height)[:, row, :, None]
            weights = rows * self._axis_weights(width)[:, column, None, :]
        else:
            index = row * self._strided(width) + column
            weights = self.attention_weights(height, width)[:, index]
            weights = ops.reshape(weights, (-1, height, width))
        return ops.repeat(weights[None], batch, axis=0)

    def describe_attention(self, inputs, query):
        """See `keras_attn.maps`."""
        weights = self.query_attention(inputs, query)
        return {
            "query_map": feature_maps.mean_magnitude(weights),
            "radius": self.radius,
        }

    def _axis_weights(self, size):
        """Return the map along one axis: `(num_heads, queries, size)`."""
        kernel = SEPARABLE_KERNELS[self.kernel]
        radius = self.radius[:, None, None]
        return _normalized(kernel(self._offsets(size)[None], radius))

    def _offsets(self, size):
        """Return the offsets from queries to pixels: `(queries, size)`."""
        pixels = ops.arange(size, dtype="float32")
        queries = ops.arange(self._strided(size), dtype="float32")
        queries = queries * self.strides + (self.strides - 1) / 2
        # A query beyond the map could be too far from every pixel to weigh
        # any.
        queries = ops.minimum(queries, ops.cast(size - 1, "float32"))
        return queries[:, None] - pixels[None, :]

    def _strided(self, size):
        return (size + self.strides - 1) // self.strides

    def compute_output_shape(self, input_shape):
        return feature_maps.strided_shape(
            input_shape, self.filters, self.strides, self.data_format
        )

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel": self.kernel,
            "initial_radius": self.initial_radius,
            "num_heads": self.num_heads,
            "strides": self.strides,
            "data_format": self.data_format,
        }


def _normalized(weights):
    return weights / ops.sum(weights, axis=-1, keepdims=True)
