"""GSA against loops over pixels, heads and offsets."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_attn.layers import GlobalSelfAttention2D
from tests.layers.common import assert_close
from tests.layers.common import batch_norm
from tests.layers.common import built
from tests.layers.common import interpolated
from tests.layers.common import make_inputs
from tests.layers.common import randomize
from tests.layers.common import softmax
from tests.layers.common import to_numpy


def attend_to_content(query, key, value):
    """One image and one head: all `(height, width, key_dim)`."""
    height, width, key_dim = query.shape
    context = np.zeros((key_dim, key_dim))
    for channel in range(key_dim):
        weights = softmax(key[:, :, channel])
        for i in range(height):
            for j in range(width):
                context[channel] += weights[i, j] * value[i, j]
    outputs = np.zeros_like(query)
    for i in range(height):
        for j in range(width):
            for channel in range(key_dim):
                outputs[i, j] += query[i, j, channel] * context[channel]
    return outputs


def attend_along_columns(query, value, table):
    height, width, _ = query.shape
    middle = (len(table) - 1) // 2
    outputs = np.zeros_like(query)
    for i in range(height):
        for j in range(width):
            for offset in range(-i, height - i):
                weight = np.dot(query[i, j], table[middle + offset])
                outputs[i, j] += weight * value[i + offset, j]
    return outputs


def attend_along_rows(query, value, table):
    height, width, _ = query.shape
    middle = (len(table) - 1) // 2
    outputs = np.zeros_like(query)
    for i in range(height):
        for j in range(width):
            for offset in range(-j, width - j):
                weight = np.dot(query[i, j], table[middle + offset])
                outputs[i, j] += weight * value[i, j + offset]
    return outputs


def average_pool(image, strides):
    """Average over windows around the map, pixels outside not counted."""
    height, width, channels = image.shape
    sizes = [-(-size // strides) for size in (height, width)]
    before = [
        ((pooled - 1) * strides + strides - size) // 2
        for pooled, size in zip(sizes, (height, width))
    ]
    outputs = np.zeros((*sizes, channels))
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            top, left = i * strides - before[0], j * strides - before[1]
            window = [
                image[y, x]
                for y in range(max(0, top), min(height, top + strides))
                for x in range(max(0, left), min(width, left + strides))
            ]
            outputs[i, j] = sum(window) / len(window)
    return outputs


def reference(layer, inputs):
    filters, heads = layer.filters, layer.num_heads
    key_dim = filters // heads
    outputs = []
    for image in inputs.astype("float64"):
        projected = image @ to_numpy(layer.kernel)
        starts = range(0, projected.shape[-1], filters)
        parts = [
            [
                projected[:, :, start + head * key_dim :][:, :, :key_dim]
                for head in range(heads)
            ]
            for start in starts
        ]
        query, value = parts[0], parts[-1]
        total = np.zeros((*image.shape[:2], filters))
        if layer.use_content:
            total += np.concatenate(
                [attend_to_content(*head) for head in zip(*parts)], axis=-1
            )
        if layer.use_position:
            table = to_numpy(layer.column_table)
            columns = np.concatenate(
                [
                    attend_along_columns(query[head], value[head], table)
                    for head in range(heads)
                ],
                axis=-1,
            )
            columns = batch_norm(columns, layer.column_norm)
            columns = np.split(columns, heads, axis=-1)
            table = to_numpy(layer.row_table)
            total += np.concatenate(
                [
                    attend_along_rows(query[head], columns[head], table)
                    for head in range(heads)
                ],
                axis=-1,
            )
        outputs.append(average_pool(total, layer.strides))
    return np.stack(outputs)


def functional_model(size, **arguments):
    inputs = keras.Input((*size, 4))
    layer = GlobalSelfAttention2D(4, num_heads=2, name="gsa", **arguments)
    return keras.Model(inputs, layer(inputs)), layer


@pytest.mark.parametrize("size", [(4, 7), (6, 3), (1, 5)])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"use_position": False},
        {"use_content": False},
        {"num_heads": 1},
        {"max_size": 10},
    ],
    ids=str,
)
def test_equals_loops_over_pixels_heads_and_offsets(size, arguments):
    layer = GlobalSelfAttention2D(6, **{"num_heads": 3, **arguments})
    inputs = make_inputs(*size)
    built(layer, inputs.shape)
    assert_close(layer(inputs), reference(layer, inputs))


@pytest.mark.parametrize(
    "strides, size", [(2, (5, 7)), (2, (4, 5)), (3, (7, 5))]
)
def test_strides_average_what_the_attention_gives(strides, size):
    layer = GlobalSelfAttention2D(4, num_heads=2, strides=strides)
    inputs = make_inputs(*size)
    built(layer, inputs.shape)
    assert_close(layer(inputs), reference(layer, inputs))


def test_a_smaller_map_uses_the_middle_of_the_tables():
    layer = GlobalSelfAttention2D(4, num_heads=2, max_size=8)
    built(layer, (None, None, None, 6))
    assert layer.column_table.shape == (15, 2)
    for size in ((8, 8), (3, 5)):
        inputs = make_inputs(*size)
        assert_close(layer(inputs), reference(layer, inputs))


def test_switched_off_position_has_no_tables_and_needs_no_size():
    layer = GlobalSelfAttention2D(4, num_heads=2, use_position=False)
    layer.build((None, None, None, 6))
    assert [weight.name for weight in layer.weights] == [
        "query_key_value_kernel"
    ]


def test_training_normalises_by_the_batch_and_remembers_it():
    layer = GlobalSelfAttention2D(4, num_heads=2, use_content=False)
    inputs = make_inputs()
    built(layer, inputs.shape)
    before = to_numpy(layer.column_norm.moving_mean)
    trained = to_numpy(layer(inputs, training=True))
    assert np.any(to_numpy(layer.column_norm.moving_mean) != before)
    # The scale of the values disappears in the statistics of the batch.
    kernel = to_numpy(layer.kernel)
    kernel[:, 8:] *= 10
    layer.kernel.assign(kernel)
    assert_close(layer(inputs, training=True), trained, 1e-3)


def test_attention_map_is_the_mean_softmax_of_the_keys():
    layer = GlobalSelfAttention2D(4, num_heads=2)
    inputs = make_inputs()
    built(layer, inputs.shape)
    keys = inputs @ to_numpy(layer.kernel)[:, 4:8]
    expected = np.zeros(keys.shape[:3])
    for image in range(len(inputs)):
        for channel in range(4):
            expected[image] += softmax(keys[image, :, :, channel]) / 4
    attention = layer.attention_map(inputs)
    assert_close(attention, expected)
    np.testing.assert_allclose(ops.sum(attention, axis=(1, 2)), 1, rtol=1e-5)


def test_attention_map_without_content_is_an_error():
    layer = GlobalSelfAttention2D(4, num_heads=2, use_content=False)
    layer.build((None, 5, 7, 6))
    with pytest.raises(ValueError, match="use_content=False"):
        layer.attention_map(make_inputs())


def attended(layer, inputs, weights):
    """Sum the values of each head times its weights: `(batch, filters)`."""
    values = inputs @ to_numpy(layer.kernel)[:, -layer.filters :]
    outputs = np.zeros((len(inputs), layer.filters))
    for image in range(len(inputs)):
        for channel in range(layer.filters):
            head = channel // layer.key_dim
            product = weights[image, head] * values[image, :, :, channel]
            outputs[image, channel] = product.sum()
    return outputs


@pytest.mark.parametrize("query", [(0, 0), (1, 5), (3, 6)])
def test_query_attention_weighs_the_values_of_the_content_part(query):
    layer = GlobalSelfAttention2D(6, num_heads=3, use_position=False)
    inputs = make_inputs(4, 7)
    built(layer, inputs.shape)
    weights = to_numpy(layer.query_attention(inputs, query))
    assert weights.shape == (2, 3, 4, 7)
    outputs = reference(layer, inputs)[:, query[0], query[1]]
    assert_close(attended(layer, inputs, weights), outputs)


@pytest.mark.parametrize("query", [(0, 0), (1, 5), (3, 6)])
def test_position_attention_weighs_the_values_of_the_position_part(query):
    layer = GlobalSelfAttention2D(6, num_heads=3, use_content=False)
    inputs = make_inputs(4, 7)
    built(layer, inputs.shape)
    # Batch normalisation that changes nothing.
    layer.column_norm.gamma.assign(np.ones(6))
    layer.column_norm.beta.assign(np.zeros(6))
    layer.column_norm.moving_mean.assign(np.zeros(6))
    layer.column_norm.moving_variance.assign(np.full(6, 1 - 1e-5))
    weights = to_numpy(layer.position_attention(inputs, query))
    assert weights.shape == (2, 3, 4, 7)
    outputs = reference(layer, inputs)[:, query[0], query[1]]
    assert_close(attended(layer, inputs, weights), outputs)


def test_parts_that_are_switched_off_are_not_shown():
    inputs = make_inputs()
    content = GlobalSelfAttention2D(4, num_heads=2, use_position=False)
    position = GlobalSelfAttention2D(4, num_heads=2, use_content=False)
    for layer, fields in (
        (content, {"map", "query_map"}),
        (position, {"position_map"}),
    ):
        built(layer, inputs.shape)
        assert set(layer.describe_attention(inputs, (0, 0))) == fields
    with pytest.raises(ValueError, match="use_content=False"):
        position.query_attention(inputs, (0, 0))
    with pytest.raises(ValueError, match="use_position=False"):
        content.position_attention(inputs, (0, 0))


def test_both_parts_switched_off_is_an_error():
    with pytest.raises(ValueError, match="use_content.*use_position"):
        GlobalSelfAttention2D(8, use_content=False, use_position=False)


@pytest.mark.parametrize("size", [(None, None), (None, 5), (5, None)])
def test_a_size_not_known_is_an_error_that_names_max_size(size):
    layer = GlobalSelfAttention2D(8)
    with pytest.raises(ValueError, match="max_size"):
        layer.build((None, *size, 6))


@pytest.mark.parametrize("size", [(5, 4), (4, 5), (None, 5)])
def test_a_map_larger_than_max_size_is_an_error_on_build(size):
    layer = GlobalSelfAttention2D(8, max_size=4)
    with pytest.raises(ValueError, match="max_size=4"):
        layer.build((None, *size, 6))


@pytest.mark.parametrize("size", [(5, 4), (4, 5)])
def test_a_map_larger_than_the_tables_is_an_error_on_call(size):
    layer = GlobalSelfAttention2D(8)
    layer.build((None, 4, 4, 6))
    with pytest.raises(ValueError, match="at most 4 pixels.* 5 pixels"):
        layer(make_inputs(*size))


@pytest.mark.parametrize(
    "stored, wanted",
    [
        ((3, 3), (6, 6)),
        ((6, 6), (3, 3)),
        ((4, 4), (4, 4)),
        ((2, 2), (3, 3)),
        ((4, 3), (8, 3)),
        ((5, 5), (5, 2)),
    ],
)
def test_loading_stretches_the_tables_to_another_size(tmp_path, stored, wanted):
    """Each for its own axis."""
    source, source_layer = functional_model(stored)
    target, target_layer = functional_model(wanted)
    randomize(source_layer)
    source.save_weights(tmp_path / "gsa.weights.h5")
    target.load_weights(tmp_path / "gsa.weights.h5")
    for name, old, new in zip(("column_table", "row_table"), stored, wanted):
        table = to_numpy(getattr(source_layer, name))
        loaded = to_numpy(getattr(target_layer, name))
        # A sum over more pixels keeps its size only with smaller weights.
        scale = old / new
        expected = scale * interpolated(table, 2 * new - 1)
        np.testing.assert_allclose(loaded, expected, atol=1e-6)
        np.testing.assert_allclose(
            loaded[new - 1], scale * table[old - 1], atol=1e-6
        )
        np.testing.assert_allclose(loaded[0], scale * table[0], atol=1e-6)
        np.testing.assert_allclose(loaded[-1], scale * table[-1], atol=1e-6)
    np.testing.assert_array_equal(
        to_numpy(target_layer.kernel), to_numpy(source_layer.kernel)
    )
    np.testing.assert_array_equal(
        to_numpy(target_layer.column_norm.moving_variance),
        to_numpy(source_layer.column_norm.moving_variance),
    )


def test_loading_at_the_same_size_changes_no_bit(tmp_path):
    source, source_layer = functional_model((4, 5))
    target, target_layer = functional_model((4, 5))
    randomize(source_layer)
    source.save_weights(tmp_path / "gsa.weights.h5")
    target.load_weights(tmp_path / "gsa.weights.h5")
    for loaded, saved in zip(target.get_weights(), source.get_weights()):
        np.testing.assert_array_equal(loaded, saved)


@pytest.mark.parametrize("wanted", [1, 3, 9])
def test_a_constant_table_keeps_its_sum(tmp_path, wanted):
    source, source_layer = functional_model((4, 4))
    target, target_layer = functional_model((wanted, wanted))
    source_layer.row_table.assign(np.full((7, 2), [0.5, -2.0]))
    source.save_weights(tmp_path / "gsa.weights.h5")
    target.load_weights(tmp_path / "gsa.weights.h5")
    np.testing.assert_allclose(
        to_numpy(target_layer.row_table),
        np.full((2 * wanted - 1, 2), [0.5, -2.0]) * 4 / wanted,
        atol=1e-6,
    )


def test_the_middle_row_stays_for_a_map_of_one_pixel(tmp_path):
    source, source_layer = functional_model((3, 3))
    target, target_layer = functional_model((1, 1))
    randomize(source_layer)
    source.save_weights(tmp_path / "gsa.weights.h5")
    target.load_weights(tmp_path / "gsa.weights.h5")
    np.testing.assert_allclose(
        to_numpy(target_layer.column_table)[0],
        3 * to_numpy(source_layer.column_table)[2],
        rtol=1e-6,
    )


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_loading_other_channels_is_still_an_error(tmp_path):
    source, _ = functional_model((4, 4))
    source.save_weights(tmp_path / "gsa.weights.h5")
    inputs = keras.Input((6, 6, 4))
    layer = GlobalSelfAttention2D(8, num_heads=2, name="gsa")
    target = keras.Model(inputs, layer(inputs))
    with pytest.raises(ValueError, match="shape"):
        target.load_weights(tmp_path / "gsa.weights.h5")


def test_statistics_are_those_of_batches_with_a_momentum():
    """Each batch moves them by a tenth of the way that is left."""
    layer = GlobalSelfAttention2D(4, num_heads=2)
    inputs = make_inputs()
    built(layer, inputs.shape)
    statistics = (
        layer.column_norm.moving_mean,
        layer.column_norm.moving_variance,
    )
    seen = []
    for _ in range(3):
        seen.append([to_numpy(value).copy() for value in statistics])
        layer(inputs, training=True)
    for first, second, third in zip(*seen):
        assert np.abs(second - first).max() > 1e-3
        np.testing.assert_allclose(third - second, 0.9 * (second - first), 1e-3)
