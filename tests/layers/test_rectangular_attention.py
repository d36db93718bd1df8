"""CRAM: its rectangle, its mask and how they follow the features."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_attn.layers import RectangularAttention2D
from tests.layers.common import assert_close
from tests.layers.common import built
from tests.layers.common import gradients
from tests.layers.common import make_inputs
from tests.layers.common import randomize
from tests.layers.common import sigmoid
from tests.layers.common import to_numpy

SIZES = [(7, 7), (5, 8), (9, 4)]
one_pixel_is_fine = pytest.mark.filterwarnings(
    "ignore:You are using a softmax over axis -1"
)


def coordinates(height, width):
    """Return x and y of the pixel centres, in half longer sides."""
    x, y = np.zeros((2, height, width))
    longer = max(height, width)
    for i in range(height):
        for j in range(width):
            x[i, j] = (j + 0.5 - width / 2) / (longer / 2)
            y[i, j] = (i + 0.5 - height / 2) / (longer / 2)
    return x, y


def moments(layer, image):
    """Return the mean and the covariance of the saliency of one image."""
    logits = (image @ to_numpy(layer.saliency_kernel))[:, :, 0]
    deviation = np.sqrt(np.mean((logits - logits.mean()) ** 2) + 1)
    saliency = np.exp((logits - logits.mean()) / deviation)
    saliency /= saliency.sum()
    height, width = saliency.shape
    x, y = coordinates(height, width)
    mean, covariance = np.zeros(2), np.zeros((2, 2))
    for i in range(height):
        for j in range(width):
            mean += saliency[i, j] * np.array([x[i, j], y[i, j]])
    for i in range(height):
        for j in range(width):
            offset = np.array([x[i, j], y[i, j]]) - mean
            covariance += saliency[i, j] * np.outer(offset, offset)
    # A pixel is a uniform square of its own.
    half_pixel = 1 / max(height, width)
    return mean, covariance + np.eye(2) * half_pixel**2 / 3


def documented_mask(layer, rectangle, height, width, rounding):
    """Compute the mask from the five parameters, a pixel at a time.

    With `rounding` the sides turn into each other near a square; without,
    the formula of the class, which elongated rectangles come close to.
    """
    center_x, center_y, long, short, angle = rectangle.astype("float64")
    towards = 1.0
    if rounding:
        gap = (long**2 - short**2) / (3 * layer.margin**2) + 0.02
        towards = np.sqrt(1 - (0.02 / gap) ** 2)
    x, y = coordinates(height, width)
    mask = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            dx, dy = x[i, j] - center_x, y[i, j] - center_y
            along = (dx * np.cos(angle) + dy * np.sin(angle)) ** 2
            across = (dy * np.cos(angle) - dx * np.sin(angle)) ** 2
            half, difference = (along + across) / 2, (along - across) / 2
            along = half + towards * difference
            across = half - towards * difference
            mask[i, j] = sigmoid(
                layer.sharpness * (1 - along / long**2)
            ) * sigmoid(layer.sharpness * (1 - across / short**2))
    return mask


def elongated_inputs(height=24, width=24):
    """Two maps, each salient along a line of its own direction."""
    x, y = coordinates(height, width)
    inputs = np.zeros((2, height, width, 3))
    for image, (angle, center_x) in enumerate(((0.5, 0.1), (-1.2, -0.2))):
        across = y * np.cos(angle) - (x - center_x) * np.sin(angle)
        inputs[image, :, :, 0] = np.abs(across) < 1.5 / width
    noise = np.random.default_rng(5).normal(size=inputs.shape)
    return (inputs + 0.02 * noise).astype("float32")


def elongated_layer(shape, **arguments):
    layer = RectangularAttention2D(**{"margin": 1.0, **arguments})
    layer.build(shape)
    layer.saliency_kernel.assign([[30.0], [1.0], [-1.0]])
    return layer


def difference_of_angles(first, second):
    """Return the difference of directions, which half a turn keeps."""
    return (first - second + np.pi / 2) % np.pi - np.pi / 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("margin", [0.8, 2.0])
def test_rectangle_has_the_moments_of_the_saliency(size, margin):
    layer = RectangularAttention2D(margin=margin)
    inputs = make_inputs(*size)
    built(layer, inputs.shape)
    rectangles = to_numpy(layer.rectangles(inputs))
    assert rectangles.shape == (2, 5)
    for image, rectangle in zip(inputs, rectangles):
        mean, covariance = moments(layer, image)
        small, large = np.linalg.eigvalsh(covariance)
        rounded = np.hypot(large - small, 0.02) - 0.02
        half_extents = margin * np.sqrt(
            1.5 * (large + small + np.array([rounded, -rounded]))
        )
        np.testing.assert_allclose(rectangle[:2], mean, atol=1e-5)
        np.testing.assert_allclose(rectangle[2:4], half_extents, rtol=1e-4)
        direction = np.linalg.eigh(covariance)[1][:, 1]
        angle = np.arctan2(direction[1], direction[0])
        assert abs(difference_of_angles(rectangle[4], angle)) < 1e-3


@pytest.mark.parametrize("size", [(24, 24), (20, 28)])
def test_half_extents_of_an_elongated_saliency_are_those_of_a_rectangle(size):
    inputs = elongated_inputs(*size)
    layer = elongated_layer(inputs.shape, margin=1.5)
    for image, rectangle in zip(inputs, to_numpy(layer.rectangles(inputs))):
        variances = np.linalg.eigvalsh(moments(layer, image)[1])
        long, short = 1.5 * np.sqrt(3 * variances[::-1])
        assert long > 1.6 * short
        np.testing.assert_allclose(rectangle[2], long, rtol=0.05)
        np.testing.assert_allclose(rectangle[3], short, rtol=0.2)


@pytest.mark.parametrize("size", [(24, 24), (20, 28)])
@pytest.mark.parametrize("sharpness", [4.0, 10.0])
def test_mask_follows_the_documented_formula(size, sharpness):
    inputs = elongated_inputs(*size)
    layer = elongated_layer(inputs.shape, sharpness=sharpness)
    masks = to_numpy(layer.attention_map(inputs))
    assert masks.min() < 0.1
    assert masks.max() > 0.9
    for mask, rectangle in zip(masks, to_numpy(layer.rectangles(inputs))):
        expected = documented_mask(layer, rectangle, *size, rounding=True)
        np.testing.assert_allclose(mask, expected, atol=1e-4)
        expected = documented_mask(layer, rectangle, *size, rounding=False)
        np.testing.assert_allclose(mask, expected, atol=0.1)


@pytest.mark.parametrize("size", SIZES)
def test_mask_of_any_saliency_is_the_rounded_rectangle(size):
    layer = RectangularAttention2D(margin=0.7)
    inputs = make_inputs(*size)
    built(layer, inputs.shape)
    masks = to_numpy(layer.attention_map(inputs))
    for mask, rectangle in zip(masks, to_numpy(layer.rectangles(inputs))):
        expected = documented_mask(layer, rectangle, *size, rounding=True)
        np.testing.assert_allclose(mask, expected, atol=2e-3)


def test_outputs_are_the_inputs_times_the_mask():
    layer = RectangularAttention2D(margin=0.7)
    inputs = make_inputs()
    built(layer, inputs.shape)
    mask = to_numpy(layer.attention_map(inputs))
    assert_close(layer(inputs), inputs * mask[..., None])


@pytest.mark.parametrize("size", [(24, 24), (20, 28)])
def test_a_quarter_turn_of_the_input_turns_the_rectangle(size):
    inputs = elongated_inputs(*size)
    turned = np.ascontiguousarray(np.rot90(inputs, axes=(1, 2)))
    layer = elongated_layer((None, None, None, 3))
    mask = to_numpy(layer.attention_map(inputs))
    assert_close(layer.attention_map(turned), np.rot90(mask, axes=(1, 2)))
    before = to_numpy(layer.rectangles(inputs))
    after = to_numpy(layer.rectangles(turned))
    np.testing.assert_allclose(after[:, 0], before[:, 1], atol=1e-5)
    np.testing.assert_allclose(after[:, 1], -before[:, 0], atol=1e-5)
    np.testing.assert_allclose(after[:, 2:4], before[:, 2:4], atol=1e-5)
    angle = before[:, 4] + np.pi / 2
    np.testing.assert_allclose(
        difference_of_angles(after[:, 4], angle), 0, atol=1e-4
    )


@pytest.mark.parametrize("axis, mirrored", [(2, 0), (1, 1)])
def test_a_flip_of_the_input_mirrors_the_rectangle(axis, mirrored):
    inputs = elongated_inputs(20, 28)
    flipped = np.ascontiguousarray(np.flip(inputs, axis))
    layer = elongated_layer(inputs.shape)
    mask = to_numpy(layer.attention_map(inputs))
    assert_close(layer.attention_map(flipped), np.flip(mask, axis))
    expected = to_numpy(layer.rectangles(inputs))
    expected[:, mirrored] *= -1
    after = to_numpy(layer.rectangles(flipped))
    np.testing.assert_allclose(after[:, :4], expected[:, :4], atol=1e-5)
    np.testing.assert_allclose(
        difference_of_angles(after[:, 4], -expected[:, 4]), 0, atol=1e-4
    )


@pytest.mark.parametrize("size", [(5, 7), (6, 6)])
def test_enlarged_features_enlarge_the_rectangle_with_the_map(size):
    layer = RectangularAttention2D(margin=0.9)
    inputs = make_inputs(*size)
    built(layer, (None, None, None, 6))
    enlarged = np.repeat(np.repeat(inputs, 2, axis=1), 2, axis=2)
    assert_close(
        layer.rectangles(enlarged), to_numpy(layer.rectangles(inputs)), 1e-4
    )


@pytest.mark.parametrize("shift", [(0, 5), (-4, 0), (7, -3)])
def test_a_moved_blob_moves_the_center_by_as_much(shift):
    inputs = np.zeros((1, 32, 40, 2), "float32")
    inputs[:, 10:12, 14:17] = [1.0, 3.0]
    moved = np.roll(inputs, shift, axis=(1, 2))
    layer = RectangularAttention2D()
    layer.build(inputs.shape)
    layer.saliency_kernel.assign([[500.0], [200.0]])
    before, after = (
        to_numpy(layer.rectangles(features))[0] for features in (inputs, moved)
    )
    np.testing.assert_allclose(before[0], (15.5 - 20) / 20, atol=1e-3)
    np.testing.assert_allclose(before[1], (11 - 16) / 20, atol=1e-3)
    np.testing.assert_allclose(after[0] - before[0], shift[1] / 20, atol=1e-3)
    np.testing.assert_allclose(after[1] - before[1], shift[0] / 20, atol=1e-3)


@one_pixel_is_fine
@pytest.mark.parametrize("size", [(7, 7), (4, 8), (9, 2), (1, 1)])
def test_starts_almost_as_the_identity(size):
    layer = RectangularAttention2D()
    inputs = make_inputs(*size)
    outputs, mask = layer(inputs, return_attention=True)
    assert_close(outputs, inputs, 2e-3)
    mask = to_numpy(mask)
    assert np.all((mask > 0.998) & (mask <= 1))


@one_pixel_is_fine
@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("side", [1, 2, 7, 32])
def test_uniform_saliency_gives_the_map_times_the_margin(margin, side):
    layer = RectangularAttention2D(margin=margin)
    inputs = make_inputs(side, side)
    layer.build(inputs.shape)
    expected = [[0, 0, margin, margin]] * 2
    rectangles = to_numpy(layer.rectangles(inputs))
    np.testing.assert_allclose(rectangles[:, :4], expected, atol=1e-4 * margin)


@pytest.mark.parametrize("side", [2, 4, 7, 14, 28])
def test_a_square_without_direction_points_along_x(side):
    layer = RectangularAttention2D()
    inputs = make_inputs(side, side)
    layer.build(inputs.shape)
    angles = to_numpy(layer.rectangles(inputs))[:, 4]
    np.testing.assert_allclose(angles, 0, atol=1e-3)

    def loss(inputs):
        return ops.sum(layer.rectangles(inputs)[:, 4])

    # Rounding errors must not pass for a direction.
    kernel_grad, _ = gradients(loss, layer, inputs)
    assert np.max(np.abs(kernel_grad)) < 1e4


@pytest.mark.parametrize("size, angle", [((6, 12), 0), ((12, 6), np.pi / 2)])
def test_uniform_saliency_of_an_oblong_map_gives_its_shape(size, angle):
    layer = RectangularAttention2D(margin=1.0)
    inputs = make_inputs(*size)
    layer.build(inputs.shape)
    for rectangle in to_numpy(layer.rectangles(inputs)):
        np.testing.assert_allclose(rectangle[:2], 0, atol=1e-6)
        np.testing.assert_allclose(rectangle[2], 1, rtol=0.02)
        np.testing.assert_allclose(rectangle[3], 0.5, rtol=0.06)
        assert abs(difference_of_angles(rectangle[4], angle)) < 1e-5


@pytest.mark.parametrize("size", [(24, 24), (20, 32)])
@pytest.mark.parametrize("pixel", [(0, 0), (3, 11), (19, 8)])
@pytest.mark.parametrize("margin", [1.0, 3.0])
def test_a_single_hot_pixel_is_the_rectangle(size, pixel, margin):
    inputs = np.zeros((1, *size, 1), "float32")
    inputs[0, pixel[0], pixel[1]] = 1e4
    layer = RectangularAttention2D(margin=margin)
    layer.build(inputs.shape)
    layer.saliency_kernel.assign([[1.0]])
    rectangle = to_numpy(layer.rectangles(inputs))[0]
    x, y = coordinates(*size)
    np.testing.assert_allclose(rectangle[0], x[pixel], atol=1e-4)
    np.testing.assert_allclose(rectangle[1], y[pixel], atol=1e-4)
    half_pixel = 1 / max(size)
    np.testing.assert_allclose(rectangle[2:4], margin * half_pixel, rtol=1e-2)


def test_large_saliency_weights_cannot_sharpen_the_saliency():
    layer = RectangularAttention2D()
    inputs = make_inputs()
    built(layer, inputs.shape)
    kernel = to_numpy(layer.saliency_kernel)
    rectangles = []
    for scale in (1e3, 1e6):
        layer.saliency_kernel.assign(scale * kernel)
        rectangles.append(to_numpy(layer.rectangles(inputs)))
    assert_close(rectangles[1], rectangles[0], 1e-4)
    assert np.all(rectangles[0][:, 2:4] > 0.3)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_return_attention_gives_the_mask_as_well(data_format):
    layer = RectangularAttention2D(margin=0.7, data_format=data_format)
    inputs = make_inputs(5, 7)
    if data_format == "channels_first":
        inputs = np.moveaxis(inputs, -1, 1)
    built(layer, inputs.shape)
    outputs, mask = layer(inputs, return_attention=True)
    assert_close(outputs, to_numpy(layer(inputs)), 1e-6)
    assert_close(mask, to_numpy(layer.attention_map(inputs)), 1e-6)
    assert mask.shape == (2, 5, 7)


def test_return_attention_has_the_shape_of_the_map_in_channels_first():
    layer = RectangularAttention2D(data_format="channels_first")
    outputs, mask = layer(keras.Input((6, 5, 7)), return_attention=True)
    assert outputs.shape == (None, 6, 5, 7) and mask.shape == (None, 5, 7)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("size", [(5, 7), (None, None)])
def test_return_attention_works_in_a_functional_model(tmp_path, policy, size):
    layer = RectangularAttention2D(margin=0.7, dtype=policy)
    symbolic = keras.Input((*size, 6))
    outputs, mask = layer(symbolic, return_attention=True)
    assert outputs.shape == (None, *size, 6)
    assert mask.shape == (None, *size)
    assert outputs.dtype == layer.compute_dtype
    assert mask.dtype == "float32"
    randomize(layer)
    model = keras.Model(symbolic, [outputs, mask])
    model.save(tmp_path / "model.keras")
    inputs = make_inputs()
    expected = layer(inputs, return_attention=True)
    for run in (model, keras.saving.load_model(tmp_path / "model.keras")):
        for actual, wanted in zip(run(inputs), expected):
            assert actual.dtype == wanted.dtype
            assert_close(actual, to_numpy(wanted), 1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", ["attention_map", "rectangles"])
def test_gradients_are_finite_at_the_uniform_start(size, method):
    layer = RectangularAttention2D(margin=1.0)
    inputs = make_inputs(*size)
    layer.build(inputs.shape)
    outputs = getattr(layer, method)
    direction = np.random.default_rng(6).normal(size=outputs(inputs).shape)
    direction = direction.astype("float32")

    def loss(inputs):
        return ops.sum(outputs(inputs) * direction)

    kernel_grad, inputs_grad = gradients(loss, layer, inputs)
    assert np.all(np.isfinite(kernel_grad))
    assert np.all(np.isfinite(inputs_grad))
    assert np.max(np.abs(kernel_grad)) > 1e-3


@one_pixel_is_fine
@pytest.mark.parametrize("method", ["attention_map", "rectangles"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("shape", [(1, 6, 6, 1), (1, 4, 7, 1), (1, 1, 1, 1)])
def test_gradients_are_finite_for_a_hot_pixel_of_any_size(method, scale, shape):
    inputs = np.zeros(shape, "float32")
    inputs[0, 0, 0] = scale
    layer = RectangularAttention2D()
    layer.build(shape)
    layer.saliency_kernel.assign([[1.0]])

    def loss(inputs):
        return ops.sum(getattr(layer, method)(inputs))

    for grad in gradients(loss, layer, inputs):
        assert np.all(np.isfinite(grad))


PARAMETERS = ["center x", "center y", "long", "short", "angle"]


@pytest.mark.parametrize("shown", [*PARAMETERS, "mask", "outputs"])
def test_each_parameter_has_the_slopes_that_differences_show(shown):
    """One that does not learn would hide among the other four."""
    layer = RectangularAttention2D(margin=0.7)
    inputs = make_inputs()
    built(layer, inputs.shape)

    def show(inputs):
        if shown == "outputs":
            return layer(inputs)
        if shown == "mask":
            return layer.attention_map(inputs)
        return layer.rectangles(inputs)[:, PARAMETERS.index(shown)]

    # One with which none of the slopes is as small as rounding errors.
    random = np.random.default_rng(13)
    direction = random.normal(size=show(inputs).shape).astype("float32")

    def loss(inputs):
        return ops.sum(show(inputs) * direction)

    start = [to_numpy(layer.saliency_kernel), inputs]
    for index, grad in enumerate(gradients(loss, layer, inputs)):
        step = 1e-2 * random.normal(size=grad.shape).astype("float32")
        ends = []
        for change in (-step, step):
            moved = list(start)
            moved[index] = moved[index] + change
            layer.saliency_kernel.assign(moved[0])
            ends.append(to_numpy(loss(moved[1])))
        np.testing.assert_allclose(
            2 * np.sum(grad * step), ends[1] - ends[0], rtol=2e-2, atol=1e-6
        )


@pytest.mark.parametrize("area_penalty", [0.0, 0.3])
def test_area_penalty_is_a_loss_of_the_mean_mask(area_penalty):
    layer = RectangularAttention2D(margin=0.7, area_penalty=area_penalty)
    inputs = make_inputs()
    built(layer, inputs.shape)
    _, mask = layer(inputs, return_attention=True, training=True)
    expected = [0.3 * np.mean(to_numpy(mask))] if area_penalty else []
    np.testing.assert_allclose(
        [to_numpy(loss) for loss in layer.losses], expected, rtol=1e-5
    )


def test_area_penalty_is_no_loss_in_evaluation():
    layer = RectangularAttention2D(area_penalty=0.3)
    layer(make_inputs(), training=False)
    assert layer.losses == []


def test_a_sum_of_channels_beyond_float16_stays_finite():
    layer = RectangularAttention2D(
        saliency_initializer="ones", dtype="mixed_float16"
    )
    inputs = 1e4 * np.abs(make_inputs(channels=16))
    outputs, mask = layer(inputs.astype("float16"), return_attention=True)
    assert np.all(np.isfinite(to_numpy(outputs)))
    assert np.all(np.isfinite(to_numpy(mask)))


def test_area_penalty_shrinks_the_mask_in_training():
    layer = RectangularAttention2D(margin=1.0, area_penalty=10.0)
    inputs = elongated_inputs()
    symbolic = keras.Input(inputs.shape[1:])
    model = keras.Model(symbolic, layer(symbolic))
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, outputs: 0.0 * y)
    area = to_numpy(layer.attention_map(inputs)).mean()
    model.fit(inputs, inputs[:, 0, 0, 0], epochs=5, verbose=0)
    assert to_numpy(layer.attention_map(inputs)).mean() < area - 0.01


def test_saliency_initializer_is_used_and_kept():
    layer = RectangularAttention2D(saliency_initializer="ones")
    layer.build((None, 5, 7, 3))
    np.testing.assert_array_equal(to_numpy(layer.saliency_kernel), 1)
    twin = RectangularAttention2D.from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()
    twin.build((None, 5, 7, 3))
    np.testing.assert_array_equal(to_numpy(twin.saliency_kernel), 1)


def test_saliency_starts_at_zero_by_default():
    layer = RectangularAttention2D()
    layer.build((None, 5, 7, 3))
    (weights,) = layer.weights
    assert weights.shape == (3, 1)
    np.testing.assert_array_equal(to_numpy(weights), 0)


def test_a_long_map_gives_a_little_of_its_length_to_its_width():
    """As the docstring says."""
    layer = RectangularAttention2D(margin=1.0)
    layer.build((None, 8, 32, 4))
    [rectangle] = layer.rectangles(np.zeros((1, 8, 32, 4), "float32"))
    rectangle = to_numpy(rectangle)
    np.testing.assert_allclose(rectangle[2:4], [0.985, 0.303], atol=5e-4)


@pytest.mark.parametrize(
    "argument, value",
    [
        ("margin", 0),
        ("margin", -1.0),
        ("margin", float("nan")),
        ("sharpness", 0.0),
        ("sharpness", -2.0),
        ("area_penalty", -0.1),
    ],
)
def test_a_value_out_of_range_is_an_error_that_names_it(argument, value):
    with pytest.raises(ValueError, match=f"{argument}={value}"):
        RectangularAttention2D(**{argument: value})
