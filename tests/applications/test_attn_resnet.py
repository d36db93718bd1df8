"""The builder: every attention type in small networks."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_attn
from keras_attn import applications
from keras_attn.applications import attention_types
from keras_attn.layers import RelativeSelfAttention2D
from tests.applications.common import randomize
from tests.applications.common import small_network
from tests.applications.common import some_images
from tests.subprocesses import run_python

ATTENTIONS = [None, *attention_types.ATTENTION_TYPES]


@pytest.mark.parametrize("bottleneck", [True, False])
def test_blocks_are_these_layers_in_this_order(bottleneck):
    """Neither ReLUs nor the place of a gate show in sizes."""
    model = small_network(
        "se", bottleneck, blocks_per_stage=(1, 1), include_top=False
    )
    randomize(model)
    names = {layer.name for layer in model.layers}

    def apply(x, *layer_names):
        for name in layer_names:
            x = model.get_layer(name)(x, training=False)
        return x

    x = some_images().astype("float32")
    x = apply(x, "preprocessing", "conv1_conv", "conv1_bn")
    x = keras.ops.relu(x)
    for block in ("conv2_block1", "conv3_block1"):
        shortcut = x
        if f"{block}_0_conv" in names:
            shortcut = apply(x, f"{block}_0_conv", f"{block}_0_bn")
        *inner, last = "123" if bottleneck else "12"
        for part in inner:
            x = apply(x, f"{block}_{part}_conv", f"{block}_{part}_bn")
            x = keras.ops.relu(x)
        x = apply(x, f"{block}_{last}_conv", f"{block}_out_bn")
        x = apply(x, f"{block}_attention")
        x = keras.ops.relu(shortcut + x)
    outputs = model(some_images(), training=False)
    np.testing.assert_allclose(outputs, x, rtol=1e-5, atol=1e-5)


def test_every_block_begins_as_its_shortcut():
    gains = [
        np.asarray(weight)
        for weight in small_network(None).weights
        if "out_bn/gamma" in weight.path
    ]
    assert len(gains) == 4 and not np.any(np.concatenate(gains))


# Mixed precision is the harder of the two.
@pytest.mark.parametrize(
    "attention, policy",
    [("gsa", "float32"), *((name, "mixed_bfloat16") for name in ATTENTIONS)],
)
def test_every_attention_learns_to_tell_two_images_apart(attention, policy):
    keras.config.set_dtype_policy(policy)
    model = small_network(
        attention,
        blocks_per_stage=(1, 1),
        width=8 if attention == "se" else 16,
        attention_stages=attention and [2, 3],
    )
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy"
    )
    assert model.get_layer("avg_pool").output.dtype == "float32"
    assert model.output.dtype == "float32"
    images, labels = some_images(8), np.arange(8) % 2

    first = model.train_on_batch(images, labels)
    for _ in range(8):
        last = model.train_on_batch(images, labels)

    assert last < 0.8 * first


@pytest.mark.parametrize(
    "attention", [a for a in ATTENTIONS if a not in ("gsa", "aa")]
)
def test_networks_without_tables_take_any_size(attention):
    model = small_network(attention, input_shape=(None, None, 3))
    for height, width in ((16, 16), (17, 24), (32, 9)):
        images = np.zeros((1, height, width, 3), "uint8")
        assert model(images).shape == (1, 7)


@pytest.mark.parametrize("attention", ["gsa", "aa"])
@pytest.mark.parametrize("height, width", [(21, 15), (31, 45)])
def test_networks_with_tables_take_odd_sizes(attention, height, width):
    model = small_network(attention, input_shape=(height, width, 3))
    assert model(np.zeros((1, height, width, 3), "uint8")).shape == (1, 7)


def test_augmented_attention_halves_large_maps_of_the_third_stage_only():
    def maps(size):
        model = small_network("aa", True, input_shape=(size, size, 3))
        return [
            layer.input.shape[1]
            for layer in model.layers
            if isinstance(layer, RelativeSelfAttention2D)
        ]

    assert maps(28) == [14, 7, 4]
    assert maps(30) == [8, 8, 4]


def test_halved_maps_are_interpolated_and_cut_at_their_ends():
    model = small_network("aa", input_shape=(31, 45, 3))
    upsample = model.get_layer("conv3_block1_2_upsample")
    assert upsample.interpolation == "bilinear" and upsample.size == (2, 2)
    crop = model.get_layer("conv3_block1_2_crop")
    assert crop.cropping == ((0, 0), (0, 1))


@pytest.mark.parametrize("attention", ["gsa", "aa"])
def test_tables_need_a_known_size(attention):
    with pytest.raises(ValueError, match="`input_shape` .* `max_size`"):
        small_network(attention, include_top=False, input_shape=None)


def test_bytes_and_floats_are_the_same_picture():
    model = small_network("cram")
    images = some_images()
    np.testing.assert_array_equal(
        model(images), model(images.astype("float32"))
    )


def test_preprocessing_gives_standard_pixels():
    model = small_network(None)
    preprocess = model.get_layer("preprocessing")
    mean = np.array([[[[123.675, 116.28, 103.53]]]], "float32")
    deviation = np.array([[[[58.395, 57.12, 57.375]]]], "float32")
    np.testing.assert_allclose(preprocess(mean), 0 * mean, atol=1e-5)
    np.testing.assert_allclose(
        preprocess(mean + deviation), 1 + 0 * mean, atol=1e-5
    )


def test_a_saved_network_keeps_its_data_format():
    """However Keras is configured where it is loaded."""
    config = small_network(None).get_layer("preprocessing").get_config()
    again = layers.Rescaling.from_config(config)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 4, 5, 3))
    expected = layers.Rescaling.from_config(config)(pixels)
    keras.config.set_image_data_format("channels_first")
    try:
        np.testing.assert_array_equal(again(pixels), expected)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_block_attention_is_channels_then_pixels():
    model = small_network("cbam", attention_stages=[2])
    channels = model.get_layer("conv2_block1_attention_channels")
    pixels = model.get_layer("conv2_block1_attention_pixels")
    assert channels.use_max and pixels.input is channels.output
    assert model.get_layer("conv2_block1_add").input[1] is pixels.output


def test_preprocessing_can_be_left_out():
    model = small_network(
        None, include_preprocessing=False, input_shape=(16, 16, 4)
    )
    assert model.input_shape == (None, 16, 16, 4)
    grey = keras.Input((16, 16, 1))
    for arguments in ({"input_shape": (16, 16, 4)}, {"input_tensor": grey}):
        with pytest.raises(ValueError, match="include_preprocessing"):
            small_network(None, **arguments)


@pytest.mark.parametrize(
    "pooling, shape",
    [(None, (None, 2, 2, 512)), ("avg", (None, 512)), ("max", (None, 512))],
)
def test_headless_networks(pooling, shape):
    model = small_network("cram", include_top=False, pooling=pooling)
    assert model.output_shape == shape


@pytest.mark.parametrize("pooling, reduce", [("avg", np.mean), ("max", np.max)])
def test_pooling_is_over_the_pixels(pooling, reduce):
    model = small_network("cram", include_top=False, pooling=pooling)
    randomize(model)
    features = keras.Model(model.input, model.layers[-1].input)(some_images())
    pooled = reduce(np.asarray(features), axis=(1, 2))
    np.testing.assert_allclose(model(some_images()), pooled, rtol=1e-5)


def test_the_default_size_fits_the_stem_and_is_any_without_the_top():
    for stem_strides, size in ((4, 224), (2, 64), (1, 32)):
        model = small_network(None, input_shape=None, stem_strides=stem_strides)
        assert model.input_shape == (None, size, size, 3)
    headless = small_network(None, input_shape=None, include_top=False)
    assert headless.input_shape == (None, None, None, 3)


def test_an_input_tensor_is_the_input_of_the_model():
    image = keras.Input((16, 16, 3))
    model = small_network("se", input_tensor=layers.RandomFlip()(image))
    assert model.inputs == [image]


def test_logits_without_an_activation():
    model = small_network(None, classifier_activation=None)
    randomize(model)
    logits = model.predict(some_images(), verbose=0)
    assert not np.allclose(logits.sum(axis=1), 1)


def test_a_new_attention_type_needs_no_change_of_the_builder():
    def mix(x, filters, strides, stage, name):
        return layers.SeparableConv2D(
            filters, 3, strides=strides, padding="same", name=f"{name}_mix"
        )(x)

    def gate(name):
        return layers.SpatialDropout2D(0.1, name=name)

    attention = applications.AttentionType(
        stages=(3,), mixing=mix, block_gate=gate, stage_gate=gate
    )
    model = small_network(attention)

    names = [layer.name for layer in model.layers]
    assert [name for name in names if name.endswith("_mix")] == [
        "conv3_block1_2_mix"
    ]
    assert "conv3_block1_attention" in names
    assert "conv3_attention" in names
    assert "conv4_attention" not in names


def test_attention_goes_into_the_stages_that_are_named():
    for attention, part in (("cram", "attention"), ("se", "block1_attention")):
        stages = np.array([2, 5]) if attention == "se" else [2, 5]
        model = small_network(attention, attention_stages=stages)
        names = {layer.name for layer in model.layers}
        attended = [s for s in (2, 3, 4, 5) if f"conv{s}_{part}" in names]
        assert attended == [2, 5]


def test_no_picture_makes_global_self_attention_overflow():
    """Without a limit its products would grow with the power of 3 ** 8."""
    model = applications.GSAResNet14Small(input_shape=(16, 16, 3), classes=3)
    for weight in model.trainable_weights:
        if weight.path.endswith("kernel"):
            weight.assign(30 * weight)
        if weight.path.endswith("out_bn/gamma"):
            weight.assign(np.ones(weight.shape))
    noise = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3))
    limits = [x for x in model.layers if x.name.endswith("_limit")]
    assert [limit.max_value for limit in limits] == [16] * 12
    hidden = keras.Model(model.input, model.get_layer("avg_pool").input)
    assert np.isfinite(hidden.predict(noise, verbose=0)).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"attention": "gas"}, "attention='gas'"),
        ({"attention": ["gsa"]}, r"attention=\['gsa'\]"),
        (
            {"attention": "aa", "attention_stages": [2], "width": 8},
            "`width`.*8 channels at conv2_block1_2, .*makes 8$",
        ),
        ({"pooling": "sum", "include_top": False}, "pooling='sum'"),
        ({"pooling": "avg"}, "include_top=False"),
        ({"stem_strides": 3}, "stem_strides=3"),
        ({"input_shape": (16, 16)}, r"input_shape=\(16, 16\)"),
        (
            {"attention": "cram", "attention_stages": [4, 6]},
            r"has \[2, 3, 4, 5\]\. Received: attention_stages=\[4, 6\]",
        ),
        (
            {"attention": "cram", "attention_stages": []},
            r"attention_stages=\[\]",
        ),
        ({"attention": "cram", "blocks_per_stage": (1, 1)}, r"type has \[4\]"),
        ({"attention_stages": [3]}, "needs an `attention`"),
        (
            {"attention": "gsa", "attention_stages": 3},
            "sequence of integers. Received: attention_stages=3",
        ),
        (
            {"attention": "gsa", "attention_stages": ["4", 4]},
            r"sequence of integers. Received: attention_stages=\['4', 4\]",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_network(**{"attention": None, **arguments})


RELOAD = """
import sys
import keras
import numpy as np
import keras_attn

folder, *names = sys.argv[1:]
arrays = np.load(f"{folder}/arrays.npz")
for name in names:
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    np.testing.assert_allclose(
        model(arrays["images"], training=False), arrays[name], atol=1e-5,
        err_msg=name,
    )
"""


def test_networks_reload_in_a_fresh_process(tmp_path):
    images = some_images()
    expected = {"images": images}
    for attention in ATTENTIONS:
        model = small_network(attention)
        randomize(model)
        model.save(tmp_path / f"{attention}.keras")
        probabilities = np.asarray(model(images, training=False))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        assert not np.allclose(probabilities[0], probabilities[1])
        expected[str(attention)] = probabilities
    np.savez(tmp_path / "arrays.npz", **expected)
    run_python(RELOAD, tmp_path, *ATTENTIONS)


ON_JAX = """
import sys
import keras
import numpy as np
from keras_attn import applications
from keras_attn.applications import AttnResNet
from keras_attn.weights import load_weights

assert "tensorflow" not in sys.modules
folder, *names = sys.argv[1:]
arrays = np.load(f"{folder}/arrays.npz")
for data_format in ("channels_last", "channels_first"):
    keras.config.set_image_data_format(data_format)
    first = data_format == "channels_first"
    images = arrays["images"]
    images = images.transpose(0, 3, 1, 2) if first else images
    for name in names:
        model = AttnResNet(
            (1, 1), width=16, stem_strides=1, classes=7,
            input_shape=images.shape[1:],
            attention=None if name == "None" else name,
            attention_stages=[3] if name in ("cram", "positionwise") else None,
        )
        load_weights(model, f"{folder}/{name}.weights.h5")
        np.testing.assert_allclose(
            model.predict(images, verbose=0), arrays[name], atol=1e-4,
            err_msg=f"{name} {data_format}",
        )
assert "tensorflow" not in sys.modules
"""


def test_jax_agrees_in_both_data_formats_without_tensorflow(tmp_path):
    images = some_images()
    expected = {"images": images}
    for attention in ATTENTIONS:
        is_of_stage = attention in ("cram", "positionwise")
        model = small_network(
            attention,
            blocks_per_stage=(1, 1),
            attention_stages=[3] if is_of_stage else None,
        )
        randomize(model)
        model.save_weights(tmp_path / f"{attention}.weights.h5")
        expected[str(attention)] = np.asarray(model(images, training=False))
    np.savez(tmp_path / "arrays.npz", **expected)
    run_python(ON_JAX, tmp_path, *ATTENTIONS, backend="jax")


def test_statistics_are_those_of_batches_with_a_momentum():
    """Each batch moves them by a tenth of the way that is left."""
    model = small_network(None, blocks_per_stage=(1,))
    statistics = [w for w in model.weights if w.name.startswith("moving_")]
    assert len(statistics) == 2 * 5  # a stem, a shortcut, a bottleneck
    seen = []
    for _ in range(3):
        seen.append([np.array(value) for value in statistics])
        model(some_images(), training=True)
    for first, second, third in zip(*seen):
        moved = second - first
        np.testing.assert_allclose(third - second, 0.9 * moved, 1e-3, 1e-6)
        assert np.abs(moved).max() > 1e-4


def test_channels_first_where_keras_is_configured_so():
    """Also the shapes that nobody gave."""
    keras.config.set_image_data_format("channels_first")
    try:
        assert applications.AttnResNet((1,)).input_shape == (None, 3, 224, 224)
        body = applications.AttnResNet((1,), include_top=False)
        assert body.input_shape == (None, 3, None, None)
        model = applications.ExpAttResNet14Small(weights="cifar100_32")
        assert model.input_shape == (None, 3, 32, 32)
        pyramid = keras_attn.feature_pyramid(
            small_network(None, input_shape=(3, 32, 32))
        )
        heights = {name: x.shape[2] for name, x in pyramid.output.items()}
        assert heights == {"P0": 32, "P1": 16, "P2": 8, "P3": 4}
    finally:
        keras.config.set_image_data_format("channels_last")
