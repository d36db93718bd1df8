"""AA: multi-head self-attention with relative positions along both axes."""

import keras
from keras import ops

from keras_attn.layers import feature_maps
from keras_attn.layers import position_tables


@keras.saving.register_keras_serializable(package="keras_attn")
class RelativeSelfAttention2D(keras.layers.Layer):
    """Self-attention over a feature map with relative positions (AA).

    The attention branch of attention-augmented convolutions: multi-head
    attention of every pixel to every pixel, where the logit between two
    pixels is `(query . key + query . column_table[dy] + query . row_table[dx])
    / sqrt(key_dim)`. All heads share the two learned tables, which start with
    the standard deviation `key_dim ** -0.5`. A 1x1 projection follows.

    Where the paper is not specific, this layer chooses: no biases.

    Args:
        filters: Integer, the channels of the values and of the output.
        key_filters: Integer, the channels of queries and keys, all heads
            together.
        num_heads: Integer, divides `filters` and `key_filters`.
        max_size: Integer, the largest height or width that the positional
            tables serve. Defaults to the height (of the column table) and the
            width (of the row table) of the map that the layer is built with,
            which must then be known. Weights of a layer whose tables have
            another size are interpolated when they are loaded. A map whose
            size is not known before the layer runs, and turns out larger,
            gives NaN or an error of the backend.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: Other keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`, or
            `(batch, channels, height, width)` for `"channels_first"`.

    Returns:
        Tensor `(batch, height, width, filters)`, or the same with channels
        first.

    Raises:
        ValueError: if an integer is not positive, `filters` or `key_filters`
            is not divisible by `num_heads`, `data_format` is unknown, the
            inputs are not of rank 4 or of unknown channels, the sizes of the
            tables are not known, or the map is known to be larger than they
            are.

    Reference:
        [Bello et al., 2019](https://arxiv.org/abs/1904.09925), section 3
    """

    # The variables that loading fits to another size of map, by index.
    TABLES = {"2": "column_table", "3": "row_table"}

    def __init__(
        self,
        filters,
        key_filters,
        num_heads=8,
        max_size=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        filters = feature_maps.positive_integer("filters", filters)
        key_filters = feature_maps.positive_integer("key_filters", key_filters)
        num_heads = feature_maps.positive_integer("num_heads", num_heads)
        feature_maps.check_divisible("filters", filters, num_heads)
        feature_maps.check_divisible("key_filters", key_filters, num_heads)
        if max_size is not None:
            max_size = feature_maps.positive_integer("max_size", max_size)
        self.filters = filters
        self.key_filters = key_filters
        self.num_heads = num_heads
        self.key_dim = key_filters // num_heads
        self.max_size = max_size
        self.data_format = feature_maps.standardize_data_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        channels = feature_maps.fix_channels(self, input_shape)
        # Before any variable is made, which a second try would make again.
        sizes = position_tables.table_sizes(self, input_shape)
        self.kernel = self.add_weight(
            name="query_key_value_kernel",
            shape=(channels, 2 * self.key_filters + self.filters),
            initializer="glorot_uniform",
        )
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(self.filters, self.filters),
            initializer="glorot_uniform",
        )
        position_tables.add_tables(self, sizes)

    def load_own_variables(self, store):
        super().load_own_variables(position_tables.fit_tables(self, store))

    def call(self, inputs):
        features = feature_maps.to_channels_last(inputs, self.data_format)
        _, height, width, _ = ops.shape(features)
        query, key, value = self._query_key_value(features)
        weights = self._attention_weights(query, key, height, width)
        attended = ops.matmul(ops.cast(weights, value.dtype), value)
        attended = ops.reshape(
            ops.transpose(attended, (0, 2, 1, 3)),
            (-1, height, width, self.filters),
        )
        output_kernel = ops.cast(self.output_kernel, attended.dtype)
        outputs = ops.matmul(attended, output_kernel)
        return feature_maps.from_channels_last(outputs, self.data_format)

    def _query_key_value(self, features):
        """Return three tensors `(batch, heads, pixels, head channels)`."""
        features = feature_maps.as_float(features, self.compute_dtype)
        _, height, width, _ = ops.shape(features)
        kernel = ops.cast(self.kernel, features.dtype)
        query, key, value = ops.split(
            ops.matmul(features, kernel),
            [self.key_filters, 2 * self.key_filters],
            axis=-1,
        )
        query = query * ops.cast(self.key_dim**-0.5, query.dtype)

        def split_heads(tensor):
            head_filters = tensor.shape[-1] // self.num_heads
            tensor = ops.reshape(
                tensor, (-1, height * width, self.num_heads, head_filters)
            )
            return ops.transpose(tensor, (0, 2, 1, 3))

        return split_heads(query), split_heads(key), split_heads(value)

    def _attention_weights(self, query, key, height, width):
        """Return the map of each head: `(batch, heads, pixels, pixels)`."""
        logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        logits = ops.reshape(
            ops.cast(logits, "float32"),
            (-1, self.num_heads, height, width, height, width),
        )
        # (batch, heads, height, width, key_dim), then rows and columns first.
        query = ops.reshape(
            query, (-1, self.num_heads, height, width, self.key_dim)
        )
        vertical = self._position_logits(query, self.column_table)
        horizontal = self._position_logits(
            ops.transpose(query, (0, 1, 3, 2, 4)), self.row_table
        )
        horizontal = ops.transpose(horizontal, (0, 1, 3, 2, 4))
        logits = logits + ops.expand_dims(vertical, -1)
        logits = logits + ops.expand_dims(horizontal, -2)
        pixels = height * width
        logits = ops.reshape(logits, (-1, self.num_heads, pixels, pixels))
        return ops.softmax(logits, axis=-1)

    def _position_logits(self, query, table):
        """Return `query . table[offset]` along the third axis, float32."""
        positions = position_tables.relative_positions(
            table, ops.shape(query)[2]
        )
        positions = ops.cast(positions, query.dtype)
        logits = ops.matmul(query, ops.transpose(positions, (0, 2, 1)))
        return ops.cast(logits, "float32")

    def attention_map(self, inputs):
        """Return how much each pixel is attended to.

        Args:
            inputs: Tensor as for a call.

        Returns:
            Float32 tensor `(batch, height, width)`: the attention, averaged
            over heads and queries. Each map sums to one.
        """
        feature_maps.check_map(self, inputs)
        features = feature_maps.to_channels_last(inputs, self.data_format)
        _, height, width, _ = ops.shape(features)
        query, key, _ = self._query_key_value(features)
        weights = self._attention_weights(query, key, height, width)
        return ops.reshape(ops.mean(weights, axis=(1, 2)), (-1, height, width))

    def query_attention(self, inputs, query):
        """Return the attention of one pixel to all of them.

        Args:
            inputs: Tensor as for a call.
            query: The pixel's `(row, column)` on the map.

        Returns:
            Float32 tensor `(batch, num_heads, height, width)`. Each map sums
            to one.

        Raises:
            ValueError: if the query is not on the map.
        """
        feature_maps.check_map(self, inputs)
        features = feature_maps.to_channels_last(inputs, self.data_format)
        _, height, width, _ = ops.shape(features)
        feature_maps.check_pixel(query, height, width)
        row, column = query
        queries, key, _ = self._query_key_value(features)
        weights = self._attention_weights(queries, key, height, width)
        weights = weights[:, :, row * width + column]
        return ops.reshape(weights, (-1, self.num_heads, height, width))

    def describe_attention(self, inputs, query):
        """See `keras_attn.maps`."""
        weights = self.query_attention(inputs, query)
        return {
            "map": self.attention_map(inputs),
            "query_map": feature_maps.mean_magnitude(weights),
        }

    def compute_output_shape(self, input_shape):
        position_tables.check_map_size(self, input_shape)
        return feature_maps.strided_shape(
            input_shape, self.filters, 1, self.data_format
        )

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "key_filters": self.key_filters,
            "num_heads": self.num_heads,
            "max_size": self.max_size,
            "data_format": self.data_format,
        }
