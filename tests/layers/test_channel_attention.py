"""Squeeze and excitation against loops over pixels and channels."""

import numpy as np
import pytest

from keras_attn.layers import ChannelAttention2D
from tests.layers.common import assert_close
from tests.layers.common import built
from tests.layers.common import make_inputs
from tests.layers.common import sigmoid
from tests.layers.common import to_numpy


def dense(values, layer):
    kernel, bias = to_numpy(layer.kernel), to_numpy(layer.bias)
    outputs = [*bias]
    for unit in range(len(bias)):
        for channel, value in enumerate(values):
            outputs[unit] += value * kernel[channel, unit]
    return np.array(outputs)


def reference(layer, inputs):
    outputs = np.zeros_like(inputs)
    for index, image in enumerate(inputs):
        pixels = [pixel for row in image for pixel in row]
        squeezed = [sum(pixels) / len(pixels)]
        if layer.use_max:
            squeezed.append([max(channel) for channel in zip(*pixels)])
        logits = 0
        for values in squeezed:
            hidden = np.maximum(0, dense(values, layer.reduce))
            logits = logits + dense(hidden, layer.expand)
        for channel, gate in enumerate(sigmoid(logits)):
            outputs[index, :, :, channel] = gate * image[:, :, channel]
    return outputs


@pytest.mark.parametrize("use_max", [False, True])
@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_equals_loops_over_pixels_and_channels(use_max, reduction):
    layer = ChannelAttention2D(reduction, use_max=use_max)
    inputs = make_inputs(5, 3, channels=8)
    built(layer, inputs.shape)
    assert layer.reduce.kernel.shape == (8, 8 // reduction)
    outputs = reference(layer, inputs)
    assert_close(layer(inputs), outputs)
    assert_close(layer.channel_weights(inputs), (outputs / inputs)[:, 0, 0])


def test_few_channels_keep_one_hidden_unit():
    layer = ChannelAttention2D(reduction=16)
    inputs = make_inputs(channels=6)
    built(layer, inputs.shape)
    assert layer.reduce.kernel.shape == (6, 1)
    assert_close(layer(inputs), reference(layer, inputs))


def test_where_a_feature_lies_does_not_matter():
    layer = ChannelAttention2D(2, use_max=True)
    inputs = make_inputs(4, 5)
    built(layer, inputs.shape)
    shuffled = np.random.default_rng(4).permutation(
        np.reshape(inputs, (2, 20, 6)), axis=1
    )
    shuffled = np.reshape(shuffled, inputs.shape)
    gate = to_numpy(layer(inputs)) / inputs
    expected = np.broadcast_to(gate[:, :1, :1], gate.shape)
    assert_close(to_numpy(layer(shuffled)) / shuffled, expected)
