"""The spatial gate of CBAM against loops over pixels."""

import numpy as np
import pytest

from keras_attn.layers import PositionwiseAttention2D
from tests.layers.common import assert_close
from tests.layers.common import batch_norm
from tests.layers.common import built
from tests.layers.common import make_inputs
from tests.layers.common import sigmoid
from tests.layers.common import to_numpy


def reference_gate(layer, inputs):
    kernel = to_numpy(layer.convolution.kernel)
    reach = layer.kernel_size // 2
    batch, height, width, channels = inputs.shape
    logits = np.zeros((batch, height, width, 1))
    for image in range(batch):
        for i in range(height):
            for j in range(width):
                for y in range(max(0, i - reach), min(height, i + reach + 1)):
                    for x in range(
                        max(0, j - reach), min(width, j + reach + 1)
                    ):
                        pixel = inputs[image, y, x]
                        largest, total = kernel[
                            y - i + reach, x - j + reach, :, 0
                        ]
                        logits[image, i, j] += largest * max(pixel)
                        logits[image, i, j] += total * sum(pixel) / channels
    return sigmoid(batch_norm(logits, layer.norm))


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("size", [(5, 7), (8, 3)])
def test_equals_loops_over_pixels(kernel_size, size):
    layer = PositionwiseAttention2D(kernel_size)
    inputs = make_inputs(*size)
    built(layer, inputs.shape)
    gate = reference_gate(layer, inputs)
    assert_close(layer(inputs), inputs * gate)
    assert_close(layer.attention_map(inputs), gate[..., 0])


def test_default_kernel_covers_seven_pixels():
    layer = PositionwiseAttention2D()
    layer.build((None, None, None, 6))
    assert layer.convolution.kernel.shape == (7, 7, 2, 1)


def test_training_normalises_by_the_batch_and_remembers_it():
    layer = PositionwiseAttention2D(3)
    inputs = make_inputs()
    built(layer, inputs.shape)
    layer.norm.beta.assign([0.0])
    before = to_numpy(layer.norm.moving_mean)
    outputs = to_numpy(layer(inputs, training=True))
    gate = outputs[..., 0] / inputs[..., 0]
    logits = np.log(gate / (1 - gate))
    np.testing.assert_allclose(logits.mean(), 0, atol=1e-3)
    np.testing.assert_allclose(
        logits.std(), abs(to_numpy(layer.norm.gamma)[0]), rtol=1e-2
    )
    assert np.any(to_numpy(layer.norm.moving_mean) != before)


def test_attention_map_does_not_touch_the_statistics():
    layer = PositionwiseAttention2D(3)
    inputs = make_inputs()
    built(layer, inputs.shape)
    before = to_numpy(layer.norm.moving_mean)
    layer.attention_map(inputs)
    np.testing.assert_array_equal(to_numpy(layer.norm.moving_mean), before)


def test_statistics_are_those_of_batches_with_a_momentum():
    """Each batch moves them by a tenth of the way that is left."""
    layer = PositionwiseAttention2D(3)
    inputs = make_inputs()
    built(layer, inputs.shape)
    statistics = layer.norm.moving_mean, layer.norm.moving_variance
    seen = []
    for _ in range(3):
        seen.append([to_numpy(value).copy() for value in statistics])
        layer(inputs, training=True)
    for first, second, third in zip(*seen):
        assert np.abs(second - first).max() > 1e-3
        np.testing.assert_allclose(third - second, 0.9 * (second - first), 1e-3)
