"""Multiply-adds against the formulas of the layers."""

import keras
import pytest

from keras_attn import layers
from zoo import macs


def count(layer, shape):
    return macs.count(keras.Sequential([keras.Input(shape), layer]), shape)


def test_a_convolution():
    layer = keras.layers.Conv2D(5, 3, strides=2, padding="same")
    assert count(layer, (8, 8, 3)) == 4 * 4 * 5 * 3 * 9


def test_global_self_attention():
    height, width, channels, filters, heads = 6, 9, 10, 16, 4
    pixels, key_dim = height * width, filters // heads
    projection = pixels * channels * 3 * filters
    content = 2 * pixels * filters * key_dim
    # Logits and weighted sums, along a column and along a row.
    position = 2 * pixels * filters * (height + width)
    layer = layers.GlobalSelfAttention2D(filters, num_heads=heads)
    expected = projection + content + position
    assert count(layer, (height, width, channels)) == expected


def test_explicit_attention_is_separable():
    height, width, channels, filters = 6, 9, 10, 4
    pixels = height * width
    projections = pixels * (channels + filters) * filters
    attention = pixels * (height + width) * filters
    layer = layers.ExplicitAttention2D(filters)
    expected = projections + attention
    assert count(layer, (height, width, channels)) == expected


def test_an_einsum():
    layer = keras.layers.EinsumDense("bhwc,cd->bhwd", (None, None, 5))
    assert count(layer, (2, 3, 4)) == 2 * 3 * 4 * 5


def test_unknown_products_are_not_passed_over():
    with pytest.raises(ValueError, match="DepthwiseConv2dNative"):
        count(keras.layers.DepthwiseConv2D(3), (8, 8, 3))
