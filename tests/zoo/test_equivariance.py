"""Rectangles that move with the image, and training for it."""

import math

import keras
import numpy as np
import pytest
from keras.src.trainers.trainer import model_supports_jit

from keras_attn.applications import AttnResNet
from tests.subprocesses import WITHOUT_TENSORFLOW
from tests.subprocesses import run_python
from tests.zoo.common import ONE_SIZE
from tests.zoo.common import history
from tests.zoo.common import small_recipe
from zoo import equivariance
from zoo import train
from zoo.study import equivariance as study

WEIGHTS = ("center_weight", "extents_weight", "angle_weight")
SETTINGS = {
    **dict.fromkeys(WEIGHTS, 1.0),
    "rotation": 30,
    "scale": 1.25,
    "translation": 0.15,
}


def brightest_point(image):
    """Return x and y of the mean of the light, in half sides from the
    middle."""
    size = image.shape[0]
    centers = (2 * np.arange(size) + 1 - size) / size
    light = image.sum(-1) / image.sum()
    return (light.sum(0) * centers).sum(), (light.sum(1) * centers).sum()


@pytest.mark.parametrize(
    ("angle", "scale", "shift"),
    [
        (0.0, 1.0, (0.25, -0.125)),
        (math.pi / 2, 1.0, (0.0, 0.0)),
        (0.5, 1.3, (0.1, 0.2)),
        (-0.4, 0.8, (-0.2, 0.1)),
    ],
)
def test_images_move_as_rectangles_do(angle, scale, shift):
    """A soft spot must arrive where the centre of a rectangle is sent."""
    size = 32
    centers = (2 * np.arange(size) + 1 - size) / size
    x, y = np.meshgrid(centers, centers)
    spot = 200 * np.exp(-((x - 0.3) ** 2 + (y + 0.1) ** 2) / 0.02)
    image = np.repeat(spot[None, ..., None], 3, axis=-1).astype("float32")
    moves = (
        np.float32([angle]),
        np.float32([scale]),
        np.float32([shift]),
    )
    rectangle = np.float32([[0.3, -0.1, 0.5, 0.2, 0.1]])
    [moved] = np.asarray(equivariance.moved_rectangles(rectangle, *moves))
    [picture] = np.asarray(equivariance.moved(image, *moves, "constant"))
    np.testing.assert_allclose(brightest_point(picture), moved[:2], atol=0.01)
    np.testing.assert_allclose(moved[2:4], [0.5 * scale, 0.2 * scale], 1e-5)
    assert moved[4] == pytest.approx(0.1 + angle)
    # By hand: turn, scale, shift.
    cos, sin = math.cos(angle), math.sin(angle)
    expected_x = scale * (0.3 * cos + 0.1 * sin) + shift[0]
    expected_y = scale * (0.3 * sin - 0.1 * cos) + shift[1]
    np.testing.assert_allclose(moved[:2], [expected_x, expected_y], atol=1e-6)


def test_xla_is_left_alone():
    """It has no kernel to move images with, and would fail on a GPU."""
    model = AttnResNet((1,), width=8, attention="cram", attention_stages=[2])
    training = equivariance.EquivariantTraining(model, **SETTINGS, seed=0)
    training.compile("sgd", "mse")
    assert model_supports_jit(model) and not model_supports_jit(training)
    assert not training.jit_compile


def test_no_frame_tells_how_an_image_was_moved():
    """A network would learn to follow the frame instead of the image."""
    images = np.full((4, 16, 16, 3), 200, "float32")
    random = keras.random.SeedGenerator(0)
    moves = equivariance.draw_moves(4, 30, 1.25, 0.15, random)
    moved = np.asarray(equivariance.moved(images, *moves))
    np.testing.assert_allclose(moved, 200, rtol=1e-4)


def test_what_moves_in_is_the_image_in_the_mirror():
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (1, 16, 16, 3)).astype("float32")
    four_pixels_right = np.float32([[0.5, 0]])  # in half sides
    moves = np.float32([0]), np.float32([1]), four_pixels_right
    [moved] = np.asarray(equivariance.moved(images, *moves))
    np.testing.assert_allclose(moved[:, 4:], images[0, :, :-4], atol=1e-2)
    np.testing.assert_allclose(moved[:, 3::-1], images[0, :, :4], atol=1e-2)


def test_the_distance_is_zero_for_the_same_rectangle():
    rectangle = np.float32([[0.1, 0.2, 0.6, 0.3, 0.4]])
    half_turn = rectangle + np.float32([[0, 0, 0, 0, math.pi]])
    other = rectangle + np.float32([[0.3, -0.4, 0, 0, 0]])
    turned = rectangle + np.float32([[0, 0, 0, 0, math.pi / 2]])
    larger = rectangle * np.float32([[1, 1, 2, 2, 1]])

    def distances(one, two):
        terms = equivariance.rectangle_distances(one, two)
        return pytest.approx([float(term[0]) for term in terms], abs=1e-5)

    assert distances(rectangle, rectangle) == [0, 0, 0]
    assert distances(rectangle, half_turn) == [0, 0, 0]
    assert distances(rectangle, other) == [0.25, 0, 0]
    assert distances(rectangle, turned) == [0, 0, 0.5 * 2]
    assert distances(rectangle, larger) == [0, 2 * math.log(2) ** 2, 0]


def test_moves_are_as_large_as_is_asked_for():
    random = keras.random.SeedGenerator(0)
    drawn = equivariance.draw_moves(4000, 30, 1.25, 0.15, random)
    angles, scales, shifts = map(np.asarray, drawn)
    for values, most in (
        (angles, math.pi / 6),
        (np.log(scales), math.log(1.25)),
        (shifts, 2 * 0.15),  # half sides
    ):
        assert values.min() == pytest.approx(-most, rel=0.01)
        assert values.max() == pytest.approx(most, rel=0.01)


def test_nothing_is_gained_by_becoming_a_square():
    import tensorflow as tf  # here: the module is imported without it, too

    one = tf.constant([[0.1, 0.2, 0.6, 0.3, 0.4]])
    other = tf.constant([[0.1, 0.2, 0.6, 0.3, 0.9]])
    with tf.GradientTape() as tape:
        tape.watch(other)
        *_, angles = equivariance.rectangle_distances(one, other)
    gradient = tape.gradient(angles, other).numpy()
    assert gradient[0, 4] != 0 and not gradient[0, :4].any()


def spots(count, size=32, seed=0):
    """Images of one bright bar each, on noise; the class is its side."""
    random = np.random.default_rng(seed)
    centers = (2 * np.arange(size) + 1 - size) / size
    x, y = np.meshgrid(centers, centers)
    images = random.uniform(0, 60, (count, size, size, 3))
    places = random.uniform(-0.5, 0.5, (count, 2))
    for image, (left, top) in zip(images, places):
        bar = (np.abs(x - left) < 0.4) & (np.abs(y - top) < 0.15)
        image[bar] += 180
    return images.astype("float32"), (places[:, 0] > 0).astype("int32")


def errors(trained, images):
    """Return the errors of rectangles of moved images, and of those that
    stay where they are."""
    moves = [SETTINGS[key] for key in ("rotation", "scale", "translation")]
    random = keras.random.SeedGenerator(0)
    moves = equivariance.draw_moves(len(images), *moves, random)
    before = study.find_rectangles(trained, images)
    moved = np.asarray(equivariance.moved(images, *moves))
    after = study.find_rectangles(trained, moved)
    measured = study.errors(before, after, moves)
    return [
        np.array([measured[prefix + term] for term in study.TERMS])
        for prefix in ("", "still_")
    ]


def network():
    return AttnResNet(
        (1, 1),
        bottleneck=False,
        width=8,
        stem_strides=1,
        attention="cram",
        attention_stages=[2],
        input_shape=(32, 32, 3),
        classes=2,
        classifier_activation=None,
    )


def network_that_looks():
    """Its saliency is not uniform, as it is at first."""
    looking = network()
    looking.get_layer("conv2_attention").saliency_kernel.assign(
        np.random.default_rng(0).normal(size=(8, 1))
    )
    return looking


def test_the_error_of_moved_rectangles_falls_in_training():
    """Far below what the classification alone makes of it, on other images,
    where the classes are no reason to look at anything."""
    images, _ = spots(64)
    labels = np.random.default_rng(5).integers(0, 2, len(images))
    new_images, _ = spots(48, seed=1)
    moves = {key: SETTINGS[key] for key in ("rotation", "scale", "translation")}
    error = {}
    for weight in (0.0, 10.0):
        keras.utils.set_random_seed(0)
        trained = network_that_looks()
        before, _ = errors(trained, new_images)
        model = equivariance.EquivariantTraining(
            trained, **moves, **dict.fromkeys(WEIGHTS, weight), seed=0
        )
        model.compile(
            keras.optimizers.Adam(3e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        model.fit(images, labels, batch_size=16, epochs=12, verbose=0)
        after, still = errors(trained, new_images)
        error[weight] = sum(after)
    assert error[10.0] < 0.5 * sum(still)
    assert error[10.0] < 0.4 * sum(before)
    assert error[10.0] < 0.6 * error[0.0]


def test_a_rectangle_that_does_not_look_stays_where_it_is():
    """The whole map, whatever moves: its errors follow from the moves."""
    trained = network()
    kernel = trained.get_layer("conv2_attention").saliency_kernel
    kernel.assign(np.zeros(kernel.shape))
    found, still = errors(trained, spots(300)[0])
    np.testing.assert_allclose(found, still, rtol=1e-3, atol=1e-6)
    # Uniform to 0.3 half sides along either axis, and in the logarithm of
    # both extents; a square has no direction.
    assert still[0] == pytest.approx(2 * 0.3**2 / 3, rel=0.2)
    assert still[1] == pytest.approx(2 * np.log(1.25) ** 2 / 3, rel=0.2)
    assert still[2] == pytest.approx(0, abs=1e-6)


def test_an_image_that_stays_is_no_error_and_each_step_moves_anew():
    """Its features are normalised by the batch both times, not by what is
    known of other images."""
    images, _ = spots(4)
    none = SETTINGS | {"rotation": 0, "scale": 1, "translation": 0}
    for settings, equal in ((none, True), (SETTINGS, False)):
        model = equivariance.EquivariantTraining(
            network_that_looks(), **settings, seed=0
        )
        losses = []
        for _ in range(2):
            model(images, training=True)
            losses.append(float(model.losses[0]))
        assert (max(losses) < 1e-6) == equal
        assert (losses[0] == pytest.approx(losses[1], abs=1e-6)) == equal


def test_half_precision_rounds_neither_pixels_nor_rectangles(monkeypatch):
    given = {}

    def spy_on(name):
        function = getattr(equivariance, name)

        def spied(*arguments):
            given[name] = arguments
            return function(*arguments)

        monkeypatch.setattr(equivariance, name, spied)

    spy_on("moved")
    spy_on("rectangle_distances")
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = equivariance.EquivariantTraining(network(), **SETTINGS, seed=0)
    keras.config.set_dtype_policy("float32")
    images, _ = spots(4)
    model(images, training=True)
    shown, *moves = given["moved"]
    np.testing.assert_array_equal(shown, images)
    computed = [
        *moves,
        equivariance.moved(images, *moves),
        equivariance.moved(images.astype("uint8"), *moves),
        *given["rectangle_distances"],
        model.losses[0],
    ]
    assert {np.asarray(value).dtype.name for value in computed} == {"float32"}


def test_each_part_of_the_rectangle_has_its_weight(monkeypatch):
    monkeypatch.setattr(
        equivariance,
        "rectangle_distances",
        lambda rectangles, others: ([1.0, 3.0], [10.0, 30.0], [100.0, 300.0]),
    )
    weights = dict(zip(WEIGHTS, (3.0, 4.0, 5.0)))
    model = equivariance.EquivariantTraining(
        network(), **SETTINGS | weights, seed=0
    )
    model(spots(2)[0], training=True)
    loss, _ = model.losses  # the other is the penalty of the area
    assert float(loss) == 3 * 2 + 4 * 20 + 5 * 200


def test_every_weight_before_the_rectangle_learns_from_the_constraint():
    images, _ = spots(4)
    trained = network_that_looks()
    model = equivariance.EquivariantTraining(trained, **SETTINGS, seed=0)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        model(images, training=True)
        loss, _ = model.losses  # the other is the penalty of the area
    features = keras.Model(trained.input, model.gate.input)
    weights = [*features.trainable_weights, model.gate.saliency_kernel]
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    for weight, gradient in zip(weights, gradients):
        # The last gain of a block is zero at first: what is before it waits.
        if "conv2_block1_1" in weight.path or "conv2_block1_2" in weight.path:
            continue
        assert gradient is not None and np.any(gradient), weight.path


def test_moved_images_do_not_count_in_what_is_evaluated_with():
    images, _ = spots(4)
    alone, trained = network(), network()
    trained.set_weights(alone.get_weights())
    model = equivariance.EquivariantTraining(trained, **SETTINGS, seed=0)
    model(images, training=True)
    alone(images, training=True)
    for weight, expected in zip(trained.weights, alone.weights):
        np.testing.assert_allclose(weight, expected, atol=1e-6)
    moved = np.abs(alone.get_layer("conv1_bn").moving_mean).max()
    assert moved > 0  # else nothing was looked at


def test_a_network_without_a_rectangle_is_an_error():
    plain = AttnResNet((1,), width=8, input_shape=(32, 32, 3), classes=2)
    with pytest.raises(ValueError, match="has 0"):
        equivariance.EquivariantTraining(plain, **SETTINGS, seed=0)


def test_a_recipe_asks_for_it(data_dir, tmp_path):
    recipe = small_recipe(
        data=ONE_SIZE,
        equivariance=SETTINGS | dict.fromkeys(WEIGHTS, 1e4),
        training={"peak_learning_rate": 1e-9},
    )
    train.train(recipe, data_dir, tmp_path)
    for row in history(tmp_path):
        # Of three classes, which have nothing to do with the weight.
        assert row["val_loss"] < 10 and row["loss"] > 100
    names = {path.name for path in tmp_path.iterdir()}
    assert "last.weights.h5" in names and "backup.weights.h5" not in names


def test_half_precision_scales_the_loss():
    keras.config.set_dtype_policy("mixed_float16")
    model = equivariance.EquivariantTraining(network(), **SETTINGS, seed=0)
    keras.config.set_dtype_policy("float32")
    model.compile("sgd", "mse")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


ON_JAX = """
import numpy as np
import keras
from tests.zoo.test_equivariance import SETTINGS, WEIGHTS, network
from zoo import equivariance
from zoo.study import equivariance as study
images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3))
settings = SETTINGS | dict.fromkeys(WEIGHTS, 1e4)
model = equivariance.EquivariantTraining(network(), **settings, seed=0)
model.compile(keras.optimizers.SGD(1e-6),
              keras.losses.SparseCategoricalCrossentropy(True))
before = np.array(model.gate.saliency_kernel)
losses = model.fit(images, np.arange(4) % 2, epochs=2, batch_size=4,
                   verbose=0).history["loss"]
# Of two classes alone, it would be about one.
assert np.isfinite(losses).all() and min(losses) > 100, losses
# By much more than the classes alone would move it at so low a rate.
assert np.abs(np.array(model.gate.saliency_kernel) - before).max() > 1e-5
moves = equivariance.draw_moves(4, 30.0, 1.25, 0.15, model.random)
find = study.rectangles_of_moved_saliency
found = find(model.network, images, moves, "reflect")
assert found.shape == (4, 5) and np.isfinite(found).all()
"""


def test_the_constraint_trains_and_is_studied_on_jax():
    run_python(WITHOUT_TENSORFLOW + ON_JAX, backend="jax")
