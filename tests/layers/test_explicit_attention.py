"""ExpAtt against loops over pairs of pixels."""

import numpy as np
import pytest
from keras import ops

from keras_attn.layers import ExplicitAttention2D
from tests.layers.common import assert_close
from tests.layers.common import built
from tests.layers.common import gradients
from tests.layers.common import make_inputs
from tests.layers.common import softmax
from tests.layers.common import to_numpy

KERNELS = {
    "gaussian": lambda dx, dy, r: np.exp(-(dx**2 + dy**2) / (2 * r**2)),
    "laplacian": lambda dx, dy, r: np.exp(-(abs(dx) + abs(dy)) / r),
    "epanechnikov": lambda dx, dy, r: (
        max(0, 1 - (dx / (r + 1)) ** 2) * max(0, 1 - (dy / (r + 1)) ** 2)
    ),
    "cauchy": lambda dx, dy, r: 1 / (1 + (dx**2 + dy**2) / r**2),
}
every_kernel = pytest.mark.parametrize("kernel", KERNELS)


def dense_map(kernel, radius, height, width, strides):
    """The weights from each query to each pixel, both row by row."""
    center = (strides - 1) / 2
    rows = []
    for i in range(0, height, strides):
        for j in range(0, width, strides):
            query_y = min(i + center, height - 1)
            query_x = min(j + center, width - 1)
            row = [
                KERNELS[kernel](query_x - x, query_y - y, radius)
                for y in range(height)
                for x in range(width)
            ]
            rows.append(np.array(row) / sum(row))
    return np.array(rows)


def set_radius(layer, radius):
    """Give every head its radius, in pixels: 0.1 and a softplus."""
    excess = np.asarray(radius) - 0.1
    weight = excess + np.log(-np.expm1(-excess))
    layer.radius_weight.assign(np.broadcast_to(weight, (layer.num_heads,)))


def built_with(kernel, radius=None, shape=(None, 5, 7, 6), **arguments):
    layer = ExplicitAttention2D(kernel=kernel, **{"filters": 4, **arguments})
    built(layer, shape)
    if radius is not None:
        set_radius(layer, radius)
    return layer


@every_kernel
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("size", [(5, 7), (6, 4), (1, 3)])
def test_map_follows_the_documented_kernel(kernel, strides, size):
    layer = built_with(kernel, [0.8, 3.0], num_heads=2, strides=strides)
    weights = layer.attention_weights(*size)
    for head, radius in enumerate((0.8, 3.0)):
        expected = dense_map(kernel, radius, *size, strides)
        assert_close(weights[head], expected)


@every_kernel
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("query", [(0, 0), (2, 5), (4, 6)])
def test_query_attention_is_the_row_of_the_map(kernel, strides, query):
    layer = built_with(kernel, [0.8, 3.0], num_heads=2, strides=strides)
    weights = to_numpy(layer.query_attention(make_inputs(5, 7), query))
    assert weights.shape == (2, 2, 5, 7)
    columns = -(-7 // strides)
    row = query[0] // strides * columns + query[1] // strides
    for head, radius in enumerate((0.8, 3.0)):
        expected = dense_map(kernel, radius, 5, 7, strides)[row]
        for image in range(2):
            assert_close(weights[image, head], expected.reshape(5, 7))


@every_kernel
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("size", [(5, 7), (6, 3)])
def test_outputs_are_the_dense_map_of_the_values_projected(
    kernel, strides, num_heads, size
):
    radii = [0.7, 2.5][:num_heads]
    layer = built_with(kernel, radii, num_heads=num_heads, strides=strides)
    inputs = make_inputs(*size)
    values = np.reshape(inputs @ to_numpy(layer.value_kernel), (2, -1, 4))
    channels = 4 // num_heads
    queries = -(-size[0] // strides), -(-size[1] // strides)
    attended = np.zeros((2, queries[0] * queries[1], 4))
    for head, radius in enumerate(radii):
        weights = dense_map(kernel, radius, *size, strides)
        for channel in range(head * channels, (head + 1) * channels):
            for query, row in enumerate(weights):
                for pixel, weight in enumerate(row):
                    attended[:, query, channel] += (
                        weight * values[:, pixel, channel]
                    )
    expected = attended @ to_numpy(layer.output_kernel)
    assert_close(layer(inputs), np.reshape(expected, (2, *queries, 4)))


@every_kernel
@pytest.mark.parametrize("strides", [1, 2])
def test_the_weights_of_each_query_sum_to_one(kernel, strides):
    layer = built_with(kernel, [0.3, 40.0], num_heads=2, strides=strides)
    sums = to_numpy(ops.sum(layer.attention_weights(7, 5), axis=-1))
    np.testing.assert_allclose(sums, 1, rtol=1e-5)


def test_gaussian_is_a_softmax_over_squared_distances():
    radius = 1.7
    layer = built_with("gaussian", radius)
    weights = to_numpy(layer.attention_weights(4, 6))[0]
    pixels = [(y, x) for y in range(4) for x in range(6)]
    for query, (i, j) in enumerate(pixels):
        squared = np.array([(y - i) ** 2 + (x - j) ** 2 for y, x in pixels])
        expected = softmax(-squared / (2 * radius**2))
        assert_close(weights[query], expected)


@every_kernel
def test_nearer_pixels_never_weigh_less(kernel):
    layer = built_with(kernel, 2.0)
    weights = to_numpy(layer.attention_weights(1, 9))[0]
    from_the_left_end = weights[0]
    assert np.all(np.diff(from_the_left_end) <= 0)
    assert from_the_left_end[0] > from_the_left_end[1]


def test_epanechnikov_is_zero_from_radius_plus_one_on():
    layer = built_with("epanechnikov", 2.0)
    weights = to_numpy(layer.attention_weights(1, 9))[0, 0]
    assert np.all(weights[:3] > 0)
    np.testing.assert_allclose(weights[3:], 0, atol=1e-6)


@every_kernel
@pytest.mark.parametrize("initial_radius", [0.11, 0.5, 2.0, 50.0])
def test_every_head_starts_at_the_initial_radius(kernel, initial_radius):
    layer = ExplicitAttention2D(
        6, kernel=kernel, initial_radius=initial_radius, num_heads=3
    )
    layer.build((None, 5, 5, 6))
    radius = to_numpy(layer.radius)
    assert radius.shape == (3,)
    np.testing.assert_allclose(radius, initial_radius, rtol=1e-5)


@every_kernel
def test_a_tiny_radius_attends_to_the_own_pixel(kernel):
    layer = built_with(kernel)
    layer.radius_weight.assign([-100.0])
    np.testing.assert_allclose(to_numpy(layer.radius), 0.1, rtol=1e-5)
    weights = to_numpy(layer.attention_weights(4, 5))[0]
    assert np.all(np.diag(weights) > 0.5)


@every_kernel
def test_a_huge_radius_averages_the_map(kernel):
    layer = built_with(kernel, 1e5)
    weights = layer.attention_weights(4, 5)
    assert_close(weights, np.full((1, 20, 20), 1 / 20), 1e-4)


@every_kernel
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("weight", [-100.0, -5.0, 20.0, 1e5])
def test_outputs_and_gradients_stay_finite_at_any_radius(
    kernel, strides, weight
):
    layer = built_with(kernel, strides=strides)
    layer.radius_weight.assign([weight])
    inputs = make_inputs(7, 40)
    assert np.all(np.isfinite(to_numpy(layer(inputs))))

    def loss(inputs):
        return ops.sum(ops.square(layer(inputs)))

    for grad in gradients(loss, layer, inputs):
        assert np.all(np.isfinite(grad))


@every_kernel
@pytest.mark.parametrize("strides, initial_radius", [(4, 0.11), (8, 2.0)])
def test_queries_beyond_the_last_pixel_stay_finite(
    kernel, strides, initial_radius
):
    layer = built_with(kernel, strides=strides, initial_radius=initial_radius)
    set_radius(layer, initial_radius)
    weights = to_numpy(layer.attention_weights(strides + 1, strides + 1))
    assert np.all(np.isfinite(weights))
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)


def test_unknown_kernel_is_an_error_that_lists_the_kernels():
    with pytest.raises(ValueError, match="cauchy.*kernel='box'"):
        ExplicitAttention2D(4, kernel="box")


@pytest.mark.parametrize("initial_radius", [0.1, 0.0, -1.0])
def test_too_small_an_initial_radius_is_an_error(initial_radius):
    with pytest.raises(ValueError, match="initial_radius="):
        ExplicitAttention2D(4, initial_radius=initial_radius)


@pytest.mark.parametrize("radius", [0.1, float("nan"), float("inf")])
def test_radii_that_are_none_are_an_error(radius):
    with pytest.raises(ValueError, match=f"finite. Received: .*={radius}"):
        ExplicitAttention2D(4, initial_radius=radius)
