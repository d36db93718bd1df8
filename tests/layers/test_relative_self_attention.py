"""AA against loops over query and key pixels."""

import keras
import numpy as np
import pytest

from keras_attn.layers import RelativeSelfAttention2D
from tests.layers.common import assert_close
from tests.layers.common import built
from tests.layers.common import interpolated
from tests.layers.common import make_inputs
from tests.layers.common import randomize
from tests.layers.common import softmax
from tests.layers.common import to_numpy


def weights_of(query, key, column_table, row_table):
    """One image and one head: `(height, width, height, width)`."""
    height, width, key_dim = query.shape
    middle_row = (len(column_table) - 1) // 2
    middle_column = (len(row_table) - 1) // 2
    weights = np.zeros((height, width, height, width))
    for i in range(height):
        for j in range(width):
            logits = np.zeros((height, width))
            for y in range(height):
                for x in range(width):
                    keys = (
                        key[y, x]
                        + column_table[middle_row + y - i]
                        + row_table[middle_column + x - j]
                    )
                    logits[y, x] = np.dot(query[i, j], keys)
            weights[i, j] = softmax(logits / np.sqrt(key_dim))
    return weights


def reference(layer, inputs):
    """Return the outputs and the attention of every image and head."""
    filters, key_filters = layer.filters, layer.key_filters
    heads = layer.num_heads
    tables = to_numpy(layer.column_table), to_numpy(layer.row_table)
    outputs, attention = [], []
    for image in inputs.astype("float64"):
        projected = image @ to_numpy(layer.kernel)
        assert projected.shape[-1] == 2 * key_filters + filters
        query = projected[:, :, :key_filters]
        key = projected[:, :, key_filters : 2 * key_filters]
        value = projected[:, :, 2 * key_filters :]
        attended = np.zeros_like(value)
        for head in range(heads):
            size = key_filters // heads
            keys = slice(head * size, (head + 1) * size)
            weights = weights_of(query[..., keys], key[..., keys], *tables)
            attention.append(weights)
            size = filters // heads
            values = slice(head * size, (head + 1) * size)
            for i in range(image.shape[0]):
                for j in range(image.shape[1]):
                    for y in range(image.shape[0]):
                        for x in range(image.shape[1]):
                            attended[i, j, values] += (
                                weights[i, j, y, x] * value[y, x, values]
                            )
        outputs.append(attended @ to_numpy(layer.output_kernel))
    shape = (len(inputs), heads, *attention[0].shape)
    return np.stack(outputs), np.reshape(attention, shape)


def functional_model(size):
    inputs = keras.Input((*size, 4))
    layer = RelativeSelfAttention2D(4, 6, num_heads=2, name="aa")
    return keras.Model(inputs, layer(inputs)), layer


@pytest.mark.parametrize("size", [(3, 5), (4, 2), (1, 4)])
@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 6, "key_filters": 4, "num_heads": 2},
        {"filters": 4, "key_filters": 8, "num_heads": 4, "max_size": 7},
        {"filters": 5, "key_filters": 3, "num_heads": 1},
    ],
    ids=str,
)
def test_equals_loops_over_query_and_key_pixels(size, arguments):
    layer = RelativeSelfAttention2D(**arguments)
    inputs = make_inputs(*size)
    built(layer, inputs.shape)
    outputs, _ = reference(layer, inputs)
    assert_close(layer(inputs), outputs)


def test_a_smaller_map_uses_the_middle_of_the_tables():
    layer = RelativeSelfAttention2D(4, 4, num_heads=2, max_size=6)
    built(layer, (None, None, None, 6))
    assert layer.row_table.shape == (11, 2)
    for size in ((6, 2), (2, 3)):
        inputs = make_inputs(*size)
        assert_close(layer(inputs), reference(layer, inputs)[0])


def test_attention_map_is_the_mean_over_heads_and_queries():
    layer = RelativeSelfAttention2D(4, 6, num_heads=2)
    inputs = make_inputs(3, 4)
    built(layer, inputs.shape)
    _, attention = reference(layer, inputs)
    attention_map = to_numpy(layer.attention_map(inputs))
    assert_close(attention_map, attention.mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(attention_map.sum(axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("query", [(0, 0), (1, 2), (2, 3)])
def test_query_attention_is_the_softmax_of_that_pixel(query):
    layer = RelativeSelfAttention2D(4, 6, num_heads=2)
    inputs = make_inputs(3, 4)
    built(layer, inputs.shape)
    _, attention = reference(layer, inputs)
    expected = attention[:, :, query[0], query[1]]
    assert_close(layer.query_attention(inputs, query), expected)


def test_huge_logits_give_one_pixel_all_the_attention():
    layer = RelativeSelfAttention2D(2, 2, num_heads=1)
    inputs = make_inputs(3, 4)
    built(layer, inputs.shape)
    outputs = to_numpy(layer(1000 * inputs))
    assert np.all(np.isfinite(outputs))
    value = 1000 * inputs @ to_numpy(layer.kernel)[:, 4:]
    value = np.reshape(value @ to_numpy(layer.output_kernel), (2, 12, 2))
    for image in range(2):
        for output in np.reshape(outputs[image], (12, 2)):
            distance = np.abs(value[image] - output).max(axis=-1)
            assert distance.min() <= 1e-3 * np.abs(value).max()


@pytest.mark.parametrize("size", [(None, None), (None, 5), (5, None)])
def test_a_size_not_known_is_an_error_that_names_max_size(size):
    with pytest.raises(ValueError, match="max_size"):
        RelativeSelfAttention2D(8, 8).build((None, *size, 6))


def test_a_map_larger_than_max_size_is_an_error_on_build():
    with pytest.raises(ValueError, match="max_size=4"):
        RelativeSelfAttention2D(8, 8, max_size=4).build((None, 4, 5, 6))


@pytest.mark.parametrize("size", [(5, 4), (4, 5)])
def test_a_map_larger_than_the_tables_is_an_error_on_call(size):
    layer = RelativeSelfAttention2D(8, 8)
    layer.build((None, 4, 4, 6))
    with pytest.raises(ValueError, match="at most 4 pixels.* 5 pixels"):
        layer(make_inputs(*size))


@pytest.mark.parametrize(
    "stored, wanted",
    [((3, 3), (5, 5)), ((5, 5), (2, 2)), ((4, 4), (4, 4)), ((4, 3), (8, 3))],
)
def test_loading_stretches_the_tables_to_another_size(tmp_path, stored, wanted):
    """Each for its own axis."""
    source, source_layer = functional_model(stored)
    target, target_layer = functional_model(wanted)
    randomize(source_layer)
    source.save_weights(tmp_path / "aa.weights.h5")
    target.load_weights(tmp_path / "aa.weights.h5")
    for name, old, new in zip(("column_table", "row_table"), stored, wanted):
        table = to_numpy(getattr(source_layer, name))
        loaded = to_numpy(getattr(target_layer, name))
        expected = interpolated(table, 2 * new - 1)
        np.testing.assert_allclose(loaded, expected, atol=1e-6)
        np.testing.assert_allclose(loaded[new - 1], table[old - 1], atol=1e-6)
    for name in ("kernel", "output_kernel"):
        np.testing.assert_array_equal(
            to_numpy(getattr(target_layer, name)),
            to_numpy(getattr(source_layer, name)),
        )
