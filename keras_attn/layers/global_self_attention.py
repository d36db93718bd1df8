"""GSA: global self-attention, by content and by position."""

import keras
from keras import ops

from keras_attn.layers import feature_maps
from keras_attn.layers import position_tables


@keras.saving.register_keras_serializable(package="keras_attn")
class GlobalSelfAttention2D(keras.layers.Layer):
    """Global self-attention over a feature map (GSA).

    Replaces a 3x3 convolution. A 1x1 convolution gives queries, keys and
    values; two layers attend in parallel, and their outputs are summed:

    - *content*: keys are normalised by a softmax over all pixels, each key
      channel for itself; `context = keys^T values`, `output = query context`.
      Queries are neither normalised nor scaled. Linear in the pixels.
    - *position*: each pixel sums the values of its column with the weights
      `query . column_table[offset]`, batch normalisation follows, then the
      same along the row with `row_table`. There is no softmax. The tables
      are learned, hold all offsets from `-(size - 1)` to `size - 1`, and all
      heads share them.

    The position part is not normalised and, with fixed statistics of the
    batch normalisation, grows with the cube of the inputs: in float16 it needs
    inputs that are batch-normalised, as they are in a bottleneck.

    Where the paper is not specific, this layer chooses: the keys, queries and
    values have `filters` channels each; no biases; no output projection; heads
    that share the tables; pooling after the attention (the sizes of the paper's
    networks speak for these); statistics of the batch normalisation for each
    channel (momentum 0.9, epsilon 1e-5); tables that start with the standard
    deviation `key_dim ** -0.5`.

    Args:
        filters: Integer, the channels of queries, keys, values and output.
        num_heads: Integer, divides `filters`.
        strides: Integer, the size and stride of an average pooling after the
            attention. 1 for none.
        max_size: Integer, the largest height or width that the positional
            tables serve. Defaults to the height (of the column table) and the
            width (of the row table) of the map that the layer is built with,
            which must then be known. Tables of another size are interpolated
            when they are loaded, and scaled by their size over the new one,
            since the position part sums over the pixels. A map whose
            size is not known before the layer runs, and turns out larger,
            gives NaN or an error of the backend.
        use_content: Boolean, whether to attend by content. There are no keys
            without it.
        use_position: Boolean, whether to attend by position.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to
            `keras.config.image_data_format()`.
        **kwargs: Other keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`, or
            `(batch, channels, height, width)` for `"channels_first"`.
        training: Boolean, whether batch normalisation uses the batch's
            statistics.

    Returns:
        Tensor `(batch, ceil(height / strides), ceil(width / strides),
        filters)`, or the same with channels first.

    Raises:
        ValueError: if an integer is not positive, `filters` is not divisible
            by `num_heads`, both parts are switched off, `data_format` is
            unknown, the inputs are not of rank 4 or of unknown channels, the
            sizes of the tables are not known, or the map is known to be larger
            than they are.

    Reference:
        [Shen et al., 2020](https://arxiv.org/abs/2010.03019), section 3
    """

    # The variables that loading fits to another size of map, by index.
    TABLES = {"1": "column_table", "2": "row_table"}

    def __init__(
        self,
        filters,
        num_heads=8,
        strides=1,
        max_size=None,
        use_content=True,
        use_position=True,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        filters = feature_maps.positive_integer("filters", filters)
        num_heads = feature_maps.positive_integer("num_heads", num_heads)
        feature_maps.check_divisible("filters", filters, num_heads)
        if max_size is not None:
            max_size = feature_maps.positive_integer("max_size", max_size)
        if not (use_content or use_position):
            raise ValueError(
                "At least one of `use_content` and `use_position` must be "
                "True. Received: use_content=False, use_position=False"
            )
        self.filters = filters
        self.num_heads = num_heads
        self.key_dim = filters // num_heads
        self.strides = feature_maps.positive_integer("strides", strides)
        self.max_size = max_size
        self.use_content = use_content
        self.use_position = use_position
        self.data_format = feature_maps.standardize_data_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        channels = feature_maps.fix_channels(self, input_shape)
        # Before any variable is made, which a second try would make again.
        sizes = None
        if self.use_position:
            sizes = position_tables.table_sizes(self, input_shape)
        parts = 3 if self.use_content else 2
        self.kernel = self.add_weight(
            name="query_key_value_kernel",
            shape=(channels, parts * self.filters),
            initializer="glorot_uniform",
        )
        if self.use_position:
            self._build_position(sizes)

    def _build_position(self, sizes):
        position_tables.add_tables(self, sizes)
        self.column_norm = keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name="column_norm",
        )
        self.column_norm.build((None, None, None, self.filters))

    def load_own_variables(self, store):
        fitted = position_tables.fit_tables(self, store)
        for key in self.TABLES:
            # A sum over all pixels of a column or row, not an average: over
            # twice as many, half the weight keeps its size.
            if key in fitted and fitted[key].shape != store[key].shape:
                fitted[key] *= (len(store[key]) + 1) / (len(fitted[key]) + 1)
        super().load_own_variables(fitted)

    def call(self, inputs, training=None):
        features = feature_maps.to_channels_last(inputs, self.data_format)
        _, height, width, _ = ops.shape(features)
        query, key, value = self._query_key_value(features)
        outputs = []
        if self.use_content:
            outputs.append(self._attend_to_content(query, key, value))
        if self.use_position:
            outputs.append(
                self._attend_to_position(query, value, height, width, training)
            )
        outputs = sum(outputs[1:], outputs[0])
        outputs = ops.reshape(
            ops.transpose(outputs, (0, 2, 1, 3)),
            (-1, height, width, self.filters),
        )
        if self.strides > 1:
            outputs = ops.average_pool(
                outputs,
                self.strides,
                self.strides,
                padding="same",
                data_format="channels_last",
            )
        return feature_maps.from_channels_last(outputs, self.data_format)

    def _query_key_value(self, features):
        """Return three tensors `(batch, heads, pixels, key_dim)`; the second
        is `None` without content."""
        features = feature_maps.as_float(features, self.compute_dtype)
        _, height, width, channels = ops.shape(features)
        parts = self.kernel.shape[-1] // self.filters
        projected = self._project(ops.reshape(features, (-1, channels)))
        projected = ops.reshape(
            projected, (-1, height * width, parts, self.num_heads, self.key_dim)
        )
        # One transposition for all, which are then views, not copies.
        projected = ops.transpose(projected, (2, 0, 3, 1, 4))
        query, *key, value = ops.unstack(projected, parts)
        return query, key[0] if key else None, value

    def _project(self, pixels):
        return ops.matmul(pixels, ops.cast(self.kernel, pixels.dtype))

    def _attend_to_content(self, query, key, value):
        weights = _softmax(ops.transpose(key, (0, 1, 3, 2)))
        return ops.matmul(query, ops.matmul(weights, value))

    def _attend_to_position(self, query, value, height, width, training):
        heads, key_dim = self.num_heads, self.key_dim
        query = ops.reshape(query, (-1, height, width, key_dim))
        value = ops.reshape(value, (-1, height, width, key_dim))
        columns = _attend_along_axis(
            ops.transpose(query, (1, 0, 2, 3)),
            ops.transpose(value, (0, 2, 1, 3)),
            self.column_table,
        )
        columns = ops.reshape(columns, (-1, heads, width, height, key_dim))
        columns = ops.reshape(
            ops.transpose(columns, (0, 3, 2, 1, 4)),
            (-1, height, width, self.filters),
        )
        columns = self.column_norm(columns, training=training)
        columns = ops.reshape(columns, (-1, height, width, heads, key_dim))
        rows = _attend_along_axis(
            ops.transpose(query, (2, 0, 1, 3)),
            ops.transpose(columns, (0, 3, 1, 2, 4)),
            self.row_table,
        )
        return ops.reshape(rows, (-1, heads, height * width, key_dim))

    def attention_map(self, inputs):
        """Return where the content part looks.

        Args:
            inputs: Tensor as for a call.

        Returns:
            Float32 tensor `(batch, height, width)`: the softmax of the keys,
            averaged over all key channels. Each map sums to one.

        Raises:
            ValueError: if the layer does not attend by content.
        """
        feature_maps.check_map(self, inputs)
        self._check_used("use_content")
        features = feature_maps.to_channels_last(inputs, self.data_format)
        _, height, width, _ = ops.shape(features)
        _, key, _ = self._query_key_value(features)
        weights = ops.softmax(ops.cast(key, "float32"), axis=2)
        return ops.reshape(ops.mean(weights, axis=(1, 3)), (-1, height, width))

    def query_attention(self, inputs, query):
        """Return what one pixel takes from each value in the content part.

        Args:
            inputs: Tensor as for a call.
            query: The pixel's `(row, column)` on the map of the inputs,
                before any strides.

        Returns:
            Float32 tensor `(batch, num_heads, height, width)`: the query
            times the softmax of the keys, which may be negative and does not
            sum to one. The content part of a head's output at that pixel is
            the sum of all values times these weights.

        Raises:
            ValueError: if the layer does not attend by content, or the query
                is not on the map.
        """
        feature_maps.check_map(self, inputs)
        self._check_used("use_content")
        features = feature_maps.to_channels_last(inputs, self.data_format)
        _, height, width, _ = ops.shape(features)
        feature_maps.check_pixel(query, height, width)
        queries, key, _ = self._query_key_value(features)
        weights = ops.softmax(ops.cast(key, "float32"), axis=2)
        index = query[0] * width + query[1]
        one_query = ops.cast(queries[:, :, index, None], "float32")
        weights = ops.sum(one_query * weights, axis=-1)
        return ops.reshape(weights, (-1, self.num_heads, height, width))

    def position_attention(self, inputs, query):
        """Return what one pixel takes from each value in the position part.

        Args:
            inputs: Tensor as for a call.
            query: The pixel's `(row, column)` on the map of the inputs,
                before any strides.

        Returns:
            Float32 tensor `(batch, num_heads, height, width)`: the weight
            along the row times the weight along the column, which may be
            negative and does not sum to one. The batch normalisation between
            the two passes scales each channel for itself on top of that.

        Raises:
            ValueError: if the layer does not attend by position, or the
                query is not on the map.
        """
        feature_maps.check_map(self, inputs)
        self._check_used("use_position")
        features = feature_maps.to_channels_last(inputs, self.data_format)
        _, height, width, _ = ops.shape(features)
        feature_maps.check_pixel(query, height, width)
        row, column = query
        queries, _, _ = self._query_key_value(features)
        queries = ops.reshape(
            ops.cast(queries, "float32"),
            (-1, self.num_heads, height, width, self.key_dim),
        )[:, :, row]
        along_columns = position_tables.relative_positions(
            ops.cast(self.column_table, "float32"), height
        )[row]
        along_row = position_tables.relative_positions(
            ops.cast(self.row_table, "float32"), width
        )[column]
        # Each pixel of the query's row collects its column with the weights
        # of its own query; the query then collects the row.
        column_weights = ops.einsum("bhxk,yk->bhyx", queries, along_columns)
        row_weights = ops.einsum(
            "bhk,xk->bhx", queries[:, :, column], along_row
        )
        return column_weights * row_weights[:, :, None]

    def describe_attention(self, inputs, query):
        """See `keras_attn.maps`."""
        fields = {}
        if self.use_content:
            weights = self.query_attention(inputs, query)
            fields["map"] = self.attention_map(inputs)
            fields["query_map"] = feature_maps.mean_magnitude(weights)
        if self.use_position:
            weights = self.position_attention(inputs, query)
            fields["position_map"] = feature_maps.mean_magnitude(weights)
        return fields

    def _check_used(self, part):
        if not getattr(self, part):
            raise ValueError(
                "This shows a part of the layer that is switched off. "
                f"Received: {part}=False"
            )

    def compute_output_shape(self, input_shape):
        position_tables.check_map_size(self, input_shape)
        return feature_maps.strided_shape(
            input_shape, self.filters, self.strides, self.data_format
        )

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "num_heads": self.num_heads,
            "strides": self.strides,
            "max_size": self.max_size,
            "use_content": self.use_content,
            "use_position": self.use_position,
            "data_format": self.data_format,
        }


def _softmax(logits):
    weights = ops.softmax(ops.cast(logits, "float32"), axis=-1)
    return ops.cast(weights, logits.dtype)


def _attend_along_axis(query, value, table):
    """Sum values along an axis, weighted by `query . table[offset]`.

    Args:
        query: Tensor `(positions, ..., key_dim)`: the axis is the first.
        value: Tensor `(..., positions, key_dim)`: the axis is the last but
            one.
        table: Variable `(offsets, key_dim)`.

    Returns:
        Tensor `(batch, positions, key_dim)`, all other axes of `value` being
        the batch.
    """
    size, key_dim = ops.shape(query)[0], ops.shape(query)[-1]
    positions = position_tables.relative_positions(table, size)
    positions = ops.transpose(ops.cast(positions, query.dtype), (0, 2, 1))
    # One matrix product a position, shared by the whole batch: far fewer and
    # larger ones than a product for each image, head and line of pixels.
    weights = ops.matmul(ops.reshape(query, (size, -1, key_dim)), positions)
    weights = ops.transpose(weights, (1, 0, 2))
    return ops.matmul(weights, ops.reshape(value, (-1, size, key_dim)))
