"""Attention in networks that exist already: nothing lost, nothing broken."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_attn
from keras_attn.layers import ChannelAttention2D
from keras_attn.layers import ExplicitAttention2D
from keras_attn.layers import GlobalSelfAttention2D
from keras_attn.layers import PositionwiseAttention2D
from keras_attn.layers import RectangularAttention2D
from keras_attn.layers import RelativeSelfAttention2D
from keras_attn.layers import ReZero
from tests.layers.common import make_inputs
from tests.layers.common import to_numpy
from tests.subprocesses import WITHOUT_TENSORFLOW
from tests.subprocesses import run_python

# A layer in the middle of each; ConvNeXt's is a model inside the model.
NETWORKS = {
    "ResNet50": "conv4_block3_out",
    "MobileNetV3Small": "expanded_conv_5_add",
    "EfficientNetB0": "block4b_add",
    "VGG16": "block4_conv2",
    "ConvNeXtTiny": "convnext_tiny_stage_1_block_2_identity",
    "Xception": "block6_sepconv2_bn",
}


def some_pictures(size=64, count=3):
    """Smooth ones: noise has the same average everywhere."""
    generator = np.random.default_rng(2)
    coarse = generator.uniform(0, 255, (count, 8, 8, 3)).astype("float32")
    return to_numpy(keras.ops.image.resize(coarse, (size, size)))


def network(name):
    size = 71 if name == "Xception" else 64  # the least it takes
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(size, size, 3),
        include_top=False,
        pooling="avg",
    )
    return awakened(model, size)


def awakened(model, size=64):
    """Let a random network tell pictures apart, as a trained one does."""
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.BatchNormalization)
    ]
    for norm in norms:
        norm.momentum = 0.0  # The statistics become those of this batch.
    model(some_pictures(size, 16), training=True)
    for layer in model.layers:
        if layer.name.endswith("layer_scale"):  # ConvNeXt's start at 1e-6.
            layer.set_weights([np.ones_like(layer.get_weights()[0])])
    return model


def outputs_of(model, inputs):
    return to_numpy(model(inputs, training=False))


def awaken(attention):
    if isinstance(attention, ReZero):
        attention.scale.assign(1.0)
    else:
        attention.margin = 0.3


def small_model(filters=6):
    """Two convolutions, and a head."""
    inputs = keras.Input((5, 7, 6), name="image")
    x = layers.Conv2D(filters, 3, padding="same", name="first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(filters, 3, padding="same", name="second")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="small")


def assert_has_the_weights_of(new, old):
    """All of the old weights, equal, and in layers of the same names."""
    for layer in old.layers:
        copied = new.get_layer(layer.name)
        assert copied is not layer
        assert len(copied.weights) == len(layer.weights)
        for weight, copy in zip(layer.weights, copied.weights):
            assert copy is not weight
            np.testing.assert_array_equal(to_numpy(copy), to_numpy(weight))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_keras_keep_their_outputs_and_weights(name):
    """The claim: any gate into any network, unchanged at step 0.

    The corners of a rectangle are 0.1 % off, which networks of random
    weights may enlarge.
    """
    model, after = network(name), NETWORKS[name]
    pictures = some_pictures(model.input_shape[1])
    before = outputs_of(model, pictures)
    largest = np.abs(before).max()
    assert np.abs(before[0] - before[1]).max() > 0.05 * largest
    for template, tolerance in (
        (RectangularAttention2D(), 5e-3),
        (PositionwiseAttention2D(3), 1e-6),
    ):
        new = keras_attn.insert_attention(model, template, after)
        error = np.abs(outputs_of(new, pictures) - before).max()
        assert error <= tolerance * largest
        assert_has_the_weights_of(new, model)
        inserted = new.get_layer(f"{after}_attention")
        added = len(new.weights) - len(model.weights)
        assert added == len(inserted.weights) > 0
        # The attention is in the way, or all of this would say nothing.
        awaken(inserted)
        error = np.abs(outputs_of(new, pictures) - before).max()
        assert error > 1e-2 * largest
    np.testing.assert_array_equal(outputs_of(model, pictures), before)


@pytest.mark.parametrize("stage", [2, 3, 4])
def test_a_rectangle_moves_no_probability_by_a_thousandth(stage):
    """In a trained network, which random ones do not stand for."""
    classifier = keras_attn.load("resnet14_small.cifar100_32")
    files = ["examples/images/cat.jpg", "examples/images/coffee.jpg"]
    images = np.stack([classifier.prepare(file) for file in files])
    before = outputs_of(classifier.model, images)
    assert before.max() > 0.3
    new = keras_attn.insert_attention(
        classifier.model, RectangularAttention2D(), f"conv{stage}_block2_out"
    )
    assert 0 < np.abs(outputs_of(new, images) - before).max() <= 1e-3


def test_a_keras_cv_backbone_keeps_its_outputs():
    """Models inside models, and layers of lambda functions."""
    keras_cv = pytest.importorskip("keras_cv")
    backbone = keras_cv.models.CSPDarkNetBackbone(
        stackwise_channels=[8, 16],
        stackwise_depth=[1, 1],
        include_rescaling=True,
        input_shape=(64, 64, 3),
    )
    model = keras.Sequential([backbone, layers.GlobalAveragePooling2D()])
    awakened(model)
    pictures = some_pictures()
    before = outputs_of(model, pictures)
    new = keras_attn.insert_attention(
        model,
        PositionwiseAttention2D(3),
        after=f"{backbone.name}/dark2_csp",
    )
    np.testing.assert_allclose(outputs_of(new, pictures), before, rtol=1e-5)
    inserted = new.get_layer(backbone.name).get_layer("dark2_csp_attention")
    awaken(inserted)
    assert not np.allclose(outputs_of(new, pictures), before, rtol=0.01)


GATES = [PositionwiseAttention2D(3), ChannelAttention2D(2)]
MIXERS = [
    ExplicitAttention2D(6),
    GlobalSelfAttention2D(6, num_heads=2),
    RelativeSelfAttention2D(6, 4, num_heads=2),
    keras.layers.SeparableConv2D(6, 3, padding="same"),
]


@pytest.mark.parametrize("template", GATES + MIXERS, ids=lambda t: t.name)
def test_what_is_no_identity_goes_beside_a_shortcut(template):
    model, inputs = small_model(), make_inputs()
    before = outputs_of(model, inputs)
    new = keras_attn.insert_attention(model, template, "relu")
    np.testing.assert_allclose(outputs_of(new, inputs), before, atol=1e-6)
    assert isinstance(new.get_layer("relu_attention"), ReZero)
    bare = keras_attn.insert_attention(model, template, "relu", residual=False)
    assert type(bare.get_layer("relu_attention")) is type(template)
    # The layer as it is would have changed the outputs.
    assert np.abs(outputs_of(bare, inputs) - before).max() > 1e-2


def test_the_inserted_layer_takes_the_output_of_the_one_before():
    """Against the layers applied by hand."""
    model, inputs = small_model(), make_inputs()
    new = keras_attn.insert_attention(
        model, ChannelAttention2D(2), "relu", residual=False
    )
    x = inputs
    for name in ("first", "norm", "relu"):
        x = model.get_layer(name)(x, training=False)
    x = new.get_layer("relu_attention")(x)
    for name in ("second", "pool", "head"):
        x = model.get_layer(name)(x)
    np.testing.assert_allclose(outputs_of(new, inputs), to_numpy(x), rtol=1e-5)


def test_a_rectangle_is_inserted_bare_unless_it_starts_small():
    model = small_model()
    for template, residual in (
        (RectangularAttention2D(), False),
        (RectangularAttention2D(margin=1.0), True),
        (RectangularAttention2D(saliency_initializer="ones"), True),
        (RectangularAttention2D(margin=1e-4), True),
        (RectangularAttention2D(margin=1.3), True),
        (RectangularAttention2D(sharpness=5.0), True),
        (ReZero(ChannelAttention2D(2)), False),
    ):
        new = keras_attn.insert_attention(model, template, "relu")
        inserted = new.get_layer("relu_attention")
        wrapped = isinstance(inserted, ReZero)
        assert wrapped == (residual or isinstance(template, ReZero))
        if wrapped:
            assert not isinstance(inserted.layer, ReZero)


def test_a_rectangle_beside_a_shortcut_changes_nothing():
    model, inputs = small_model(), make_inputs()
    before = outputs_of(model, inputs)
    new = keras_attn.insert_attention(
        model, RectangularAttention2D(), "relu", residual=True
    )
    assert isinstance(new.get_layer("relu_attention"), ReZero)
    np.testing.assert_allclose(outputs_of(new, inputs), before, atol=1e-6)


@pytest.mark.parametrize(
    "template", [ChannelAttention2D(2), RectangularAttention2D()]
)
def test_an_inserted_layer_has_the_dtype_policy_of_the_one_before(template):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = small_model()
    keras.config.set_dtype_policy("float32")
    new = keras_attn.insert_attention(model, template, "relu")
    layer = new.get_layer("relu_attention")
    for each in (layer, getattr(layer, "layer", layer)):
        assert each.dtype_policy.name == "mixed_bfloat16"


@pytest.mark.parametrize(
    "after",
    ["*conv?_relu", "*CONV?_relu", ["conv1_relu", "CONV2_relu"]],
)
def test_a_pattern_inserts_a_layer_of_its_own_at_each_place(after):
    inputs = keras.Input((5, 7, 6))
    x = inputs
    for name, filters in (("conv1", 4), ("CONV2", 8), ("other", 4)):
        x = layers.Conv2D(filters, 3, padding="same", name=name)(x)
        x = layers.ReLU(name=f"{name}_relu")(x) if name != "other" else x
    model = keras.Model(inputs, x)
    template = ChannelAttention2D(2, name="template")

    new = keras_attn.insert_attention(model, template, after)

    inserted = [layer for layer in new.layers if isinstance(layer, ReZero)]
    names = [layer.name for layer in inserted]
    assert names == ["conv1_relu_attention", "CONV2_relu_attention"]
    channels = [layer.layer.expand.kernel.shape[1] for layer in inserted]
    assert channels == [4, 8]
    assert all(layer.layer is not template for layer in inserted)
    assert not template.built


def test_the_exact_name_of_a_layer_is_no_pattern():
    image = keras.Input((5, 7, 6))
    x = layers.ReLU(name="gate[1]")(layers.ReLU(name="Gate[1]")(image))
    model = keras.Model(image, layers.ReLU(name="gate1")(x))
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "gate[1]")
    inserted = [layer for layer in new.layers if isinstance(layer, ReZero)]
    assert [layer.name for layer in inserted] == ["gate[1]_attention"]


def test_a_function_makes_each_layer():
    made = []

    def make():
        made.append(RectangularAttention2D(margin=2.0 + len(made)))
        return made[-1]

    new = keras_attn.insert_attention(small_model(), make, ["relu", "norm"])
    margins = {
        name: new.get_layer(f"{name}_attention").margin
        for name in ("norm", "relu")
    }
    assert margins == {"norm": 2.0, "relu": 3.0}
    new = keras_attn.insert_attention(
        small_model(), RectangularAttention2D, "relu"
    )
    assert new.get_layer("relu_attention").margin == 2.0


def test_a_second_insertion_gets_a_name_of_its_own():
    model = small_model()
    for _ in range(3):
        model = keras_attn.insert_attention(
            model, RectangularAttention2D(), "relu"
        )
    names = [layer.name for layer in model.layers if "attention" in layer.name]
    assert sorted(names) == [
        "relu_attention",
        "relu_attention_2",
        "relu_attention_3",
    ]


def test_a_layer_that_is_called_twice_gets_one_attention_called_twice():
    left, right = keras.Input((5, 7, 6)), keras.Input((5, 7, 6))
    shared = layers.Conv2D(6, 3, name="shared")
    outputs = layers.Subtract()([shared(left), shared(right)])
    model = keras.Model([left, right], outputs)
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "shared")
    inserted = new.get_layer("shared_attention")
    assert len(new.weights) == len(model.weights) + len(inserted.weights)
    inserted.scale.assign(1.0)
    one, other = make_inputs(seed=1), make_inputs(seed=2)
    gated = [to_numpy(inserted(shared(features))) for features in (one, other)]
    np.testing.assert_allclose(
        to_numpy(new([one, other])), gated[0] - gated[1], atol=1e-5
    )


def test_models_inside_models_with_a_layer_in_common():
    common = layers.Conv2D(6, 1, name="common")
    inner_inputs = keras.Input((5, 7, 6))
    inner = keras.Model(
        inner_inputs, layers.ReLU(name="relu")(common(inner_inputs)), name="in"
    )
    middle = keras.Sequential([inner, layers.Conv2D(6, 3)], name="middle")
    inputs = keras.Input((5, 7, 6))
    model = keras.Model(inputs, middle(common(inputs)), name="outer")
    features = make_inputs()
    before = outputs_of(model, features)

    new = keras_attn.insert_attention(
        model, ChannelAttention2D(2), "middle/in/relu"
    )

    np.testing.assert_allclose(outputs_of(new, features), before, atol=1e-6)
    inserted = new.get_layer("middle").get_layer("in")
    inserted = inserted.get_layer("relu_attention")
    # The common layer is one still: its weights are there once.
    assert len(new.weights) == len(model.weights) + len(inserted.weights)
    inserted.scale.assign(2.0)
    assert not np.allclose(outputs_of(new, features), before, atol=1e-3)

    # A model inside the model is a layer as well.
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "middle")
    new.get_layer("middle_attention").scale.assign(-1.0)
    gated = to_numpy(new.get_layer("middle_attention")(before))
    np.testing.assert_allclose(outputs_of(new, features), gated, atol=1e-5)


def test_several_inputs_and_outputs_keep_their_structure():
    inputs = {
        "picture": keras.Input((5, 7, 6), name="picture"),
        "number": keras.Input((1,), name="number"),
    }
    features = layers.Conv2D(4, 3, name="features")(inputs["picture"])
    pooled = layers.GlobalAveragePooling2D()(features)
    outputs = {
        "map": features,
        "logit": layers.Dense(1)(
            layers.Concatenate()([pooled, inputs["number"]])
        ),
    }
    model = keras.Model(inputs, outputs)
    new = keras_attn.insert_attention(
        model, RectangularAttention2D(), "features"
    )
    values = {"picture": make_inputs(), "number": np.ones((2, 1), "float32")}
    before, after = model(values), new(values)
    assert set(after) == {"map", "logit"}
    for key, expected in before.items():
        expected = to_numpy(expected)
        error = np.abs(to_numpy(after[key]) - expected).max()
        assert 0 < error <= 2e-3 * np.abs(expected).max()


def test_operations_lambdas_and_adapted_layers_are_copied():
    """What is no weight: functions, and statistics of the data."""
    data = make_inputs(seed=5)
    normalization = layers.Normalization()
    normalization.adapt(data)
    factor = 3.0
    inputs = keras.Input((5, 7, 6))
    x = normalization(inputs)
    x = layers.Lambda(lambda y: keras.ops.abs(y) * factor)(x)
    x = layers.ReLU(name="relu")(2.0 - x)
    model = keras.Model(inputs, keras.ops.mean(x, axis=-1) + 1.0)
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "relu")
    np.testing.assert_allclose(
        outputs_of(new, data), outputs_of(model, data), atol=1e-6
    )


def scaled(x, factor):
    return factor * x


def test_lambdas_keep_all_that_they_were_given():
    given = layers.Lambda(
        scaled,
        output_shape=(5, 7, 6),
        mask=np.ones((1, 5, 7), bool),
        arguments={"factor": 3.0},
        dtype="float16",
        name="mine",
    )
    given.trainable = False
    image = keras.Input((5, 7, 6))
    model = keras.Model(image, given(layers.ReLU(name="relu")(image)))
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "relu")
    copied = new.get_layer("mine")
    assert copied is not given and copied.function is scaled
    assert copied.get_config() == given.get_config()


@pytest.mark.parametrize("output_mode", ["int", "one_hot"])
def test_bins_and_vocabularies_of_adapted_layers_are_copied(output_mode):
    """They are no weights, and decide how wide what follows is."""
    numbers = np.linspace(0, 10, 50, dtype="float32")[:, None]
    words = np.array([["cat"], ["dog"], ["cow"]])
    bins = layers.Discretization(num_bins=4, output_mode=output_mode)
    bins.adapt(numbers)
    vocabulary = layers.StringLookup(output_mode=output_mode)
    vocabulary.adapt(words)
    image = keras.Input((5, 7, 6), name="image")
    number = keras.Input((1,), name="number")
    word = keras.Input((1,), dtype="string", name="word")
    x = layers.Conv2D(4, 3, name="conv")(image)
    sides = [
        keras.ops.cast(side, "float32")
        for side in (bins(number), vocabulary(word))
    ]
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), *sides])
    model = keras.Model([image, number, word], layers.Dense(2)(x))
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "conv")
    data = [make_inputs(seed=5), numbers[[5, 40]], words[1:]]
    data = [keras.ops.convert_to_tensor(array) for array in data]
    np.testing.assert_allclose(new(data), model(data), atol=1e-6)
    other = [*data[:1], keras.ops.convert_to_tensor(numbers[[40, 5]]), data[2]]
    assert np.abs(new(other) - new(data)).max() > 1e-3


def test_the_new_model_is_not_compiled_and_frozen_layers_stay_frozen():
    model = small_model()
    model.trainable = False
    model.get_layer("head").trainable = True
    model.get_layer("head").bias.trainable = False
    model.compile("sgd", loss=lambda true, predicted: true - predicted)
    new = keras_attn.insert_attention(model, RectangularAttention2D(), "relu")
    assert not new.compiled
    trainable = {layer.name for layer in new.layers if layer.trainable_weights}
    assert trainable == {"relu_attention", "head"}
    assert [x.name for x in new.get_layer("head").trainable_weights] == [
        "kernel"
    ]


@pytest.mark.parametrize("wrapped", [False, True])
def test_frozen_layers_inside_of_layers_stay_frozen(wrapped):
    """Statistics move or not as the layer says, not as its weights do."""
    gate = PositionwiseAttention2D(3, name="gate")
    image = keras.Input((5, 7, 6))
    x = ReZero(gate, name="gate")(image) if wrapped else gate(image)
    model = keras.Model(image, layers.ReLU(name="relu")(x))
    gate.norm.trainable = False
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "relu")
    copied = new.get_layer("gate")
    copied = copied.layer if wrapped else copied
    assert copied.trainable and copied.convolution.trainable
    assert not copied.norm.trainable
    before = to_numpy(copied.norm.moving_mean)
    new(make_inputs(), training=True)
    np.testing.assert_array_equal(to_numpy(copied.norm.moving_mean), before)


def test_attention_inside_of_a_frozen_model_learns():
    """Its layers stay frozen, but not what is new between them."""
    inner = small_model()
    inner.trainable = False
    image = keras.Input(inner.input.shape[1:])
    model = keras.Model(image, inner(image))
    path = f"{inner.name}/relu"
    new = keras_attn.insert_attention(model, PositionwiseAttention2D(3), path)
    learning = {weight.path for weight in new.trainable_weights}
    assert learning and all("relu_attention" in path for path in learning)


def test_the_new_model_trains_and_the_old_one_stays():
    model = small_model()
    weights = model.get_weights()
    new = keras_attn.insert_attention(model, PositionwiseAttention2D(3), "relu")
    new.compile("adam", "mse")
    before = new.get_weights()
    inputs = make_inputs()
    new.fit(inputs, np.ones((2, 3)), epochs=3, verbose=0)
    changed = [
        np.any(value != old) for value, old in zip(new.get_weights(), before)
    ]
    # All but the bias before the batch norm, perhaps, which that undoes.
    assert sum(changed) >= len(changed) - 1
    for value, old in zip(model.get_weights(), weights):
        np.testing.assert_array_equal(value, old)


RELOAD = """
import sys
import keras
import numpy as np
import keras_attn

folder = sys.argv[1]
arrays = np.load(f"{folder}/arrays.npz")
model = keras.saving.load_model(f"{folder}/model.keras")
again = keras_attn.insert_attention(
    keras.saving.load_model(f"{folder}/original.keras"),
    keras_attn.layers.PositionwiseAttention2D(3),
    "*u",
)
again.load_weights(f"{folder}/model.weights.h5")
for loaded in (model, again):
    outputs = loaded(arrays["inputs"], training=False)
    np.testing.assert_allclose(outputs, arrays["outputs"], atol=1e-6)
"""


def test_the_new_model_reloads_in_a_fresh_process(tmp_path):
    original = small_model()
    model = keras_attn.insert_attention(
        original, PositionwiseAttention2D(3), "relu"
    )
    original.save(tmp_path / "original.keras")
    for layer in model.layers:
        layer.set_weights([w + 0.5 for w in layer.get_weights()])
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    inputs = make_inputs()
    np.savez(tmp_path / "arrays.npz", inputs=inputs, outputs=model(inputs))
    run_python(RELOAD, tmp_path)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export")
def test_the_new_model_is_exported(tmp_path):
    import tensorflow as tf

    model = small_model()
    for layer, after in (
        (PositionwiseAttention2D(3), "relu"),
        (RectangularAttention2D(), "second"),
    ):
        model = keras_attn.insert_attention(model, layer, after)
    awaken(model.get_layer("relu_attention"))
    awaken(model.get_layer("second_attention"))
    inputs = make_inputs()
    folder = keras_attn.export(model, tmp_path / "exported")
    exported = tf.saved_model.load(folder)
    np.testing.assert_allclose(
        to_numpy(exported.serve(inputs)), outputs_of(model, inputs), atol=1e-5
    )


ON_JAX = """
import keras
import numpy as np
import keras_attn

inputs = keras.Input((8, 8, 3))
x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
x = keras.layers.BatchNormalization(name="norm")(x)
x = keras.layers.GlobalAveragePooling2D()(x)
model = keras.Model(inputs, keras.layers.Dense(2)(x))
images = np.random.default_rng(0).uniform(size=(4, 8, 8, 3)).astype("float32")
before, weights = np.array(model(images)), model.get_weights()

new = keras_attn.insert_attention(
    model, keras_attn.layers.PositionwiseAttention2D(3), "norm"
)
np.testing.assert_allclose(new(images), before, atol=1e-6)
# A training step on JAX may reuse the memory of the weights.
for trained in (new, model):
    trained.compile("sgd", "mse")
    trained.fit(images, np.ones((4, 2)), verbose=0)
    if trained is new:
        for value, expected in zip(model.get_weights(), weights):
            np.testing.assert_array_equal(value, expected)
[attention] = keras_attn.attention_maps(new, images)
assert attention.map.shape == (4, 8, 8)
replaced = keras_attn.replace_convolutions(
    model, "conv", lambda conv: keras_attn.layers.ExplicitAttention2D(4)
)
# A wrapper's own flag, set in the copy, must not reach what it wraps.
gate = keras_attn.layers.PositionwiseAttention2D(3)
x = keras_attn.layers.ReZero(gate, name="gate")(inputs)
model = keras.Model(inputs, keras.layers.ReLU(name="relu")(x))
gate.norm.trainable = False
copied = keras_attn.insert_attention(
    model, keras_attn.layers.PositionwiseAttention2D(3), "relu"
)
assert not copied.get_layer("gate").layer.norm.trainable
assert copied.get_layer("gate").layer.convolution.trainable
assert "tensorflow" not in sys.modules
"""


def test_insertion_on_jax_without_tensorflow():
    run_python(WITHOUT_TENSORFLOW + ON_JAX, backend="jax")


class Twice(layers.Layer):
    def call(self, x):
        return x, 2 * x

    def compute_output_shape(self, shape):
        return shape, shape


def two_outputs():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, Twice(name="twice")(inputs))


class Doubled(keras.Model):
    """A functional model with more than its graph."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


def doubled():
    model = small_model()
    return Doubled(model.input, model.output)


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"after": "rely"}, "`after` .* Nearest: relu.*after='rely'"),
        ({"after": "block*"}, r"`after`.*after='block\*'"),
        ({"after": "image"}, "`after`.*after='image'"),
        ({"after": ["relu", "nrm"]}, "Nearest: norm"),
        ({"after": []}, r"`after`.*after=\[\]"),
        ({"after": 3}, "`after`.*after=3"),
        ({"after": "pool"}, r"'pool' with the output shape \(None, 6\)"),
        ({"layer": "cram"}, "`layer` must be a layer.*'cram'"),
        ({"layer": lambda: None}, "`layer` must be a layer.*None"),
        (
            {"layer": layers.Conv2D(4, 1)},
            r"`layer` must keep the shape.*\(None, 5, 7, 4\)",
        ),
        (
            {"layer": layers.Conv2D(4, 1), "residual": False},
            r"`layer`.*\(None, 5, 7, 6\).*\(None, 5, 7, 4\)",
        ),
        (
            {"layer": PositionwiseAttention2D(data_format="channels_first")},
            "`layer` must have the data format of the model, channels_last.*"
            "data_format='channels_first'",
        ),
        ({"layer": Twice()}, "`layer` must take one tensor, .* 'relu'"),
        (
            {"layer": Twice(), "residual": False},
            "`layer` must take one tensor, .* 'relu', and return one",
        ),
        (
            {"layer": layers.MultiHeadAttention(2, 4)},
            "`layer` must take one tensor.*this failed.*value",
        ),
        ({"model": doubled()}, "its class Doubled has a `call` of its own"),
        ({"model": Subclassed()}, "`model` must be.*Subclassed"),
        ({"model": keras.Sequential([layers.ReLU()])}, "`model`.*built"),
        ({"model": "resnet"}, "`model`.*'resnet'|`model`.*resnet"),
        ({"model": two_outputs(), "after": "twice"}, "'twice'.*tuple"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    arguments = {
        "model": small_model(),
        "layer": ChannelAttention2D(2),
        "after": "relu",
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        keras_attn.insert_attention(**arguments)


def hard_sigmoid(x):
    """Keras's own of this name is another function."""
    return keras.ops.clip(0.2 * x + 0.5, 0, 1)


def twice(x):
    return 2 * x


@pytest.mark.filterwarnings("ignore:The object being serialized includes a")
@pytest.mark.parametrize(
    "activation", [hard_sigmoid, twice, lambda x: x - 1, "hard_sigmoid"]
)
def test_activations_of_users_are_kept(activation):
    """Keras knows functions by their names alone."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation=activation, name="conv")(image)
    model = keras.Model(image, layers.Activation(activation)(x))
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "conv")
    pictures = 4 * make_inputs(8, 8, 3)
    np.testing.assert_allclose(
        outputs_of(new, pictures), outputs_of(model, pictures), atol=1e-6
    )


@pytest.mark.parametrize("inside", ["sequential", "lambda"])
def test_models_and_lambdas_inside_wrappers_are_kept(inside):
    """Keras would make them anew by the names of their functions."""
    encoder = keras.Sequential([layers.Conv2D(4, 3, activation=hard_sigmoid)])
    if inside == "lambda":
        encoder = layers.Lambda(lambda x: x[..., :2] ** 2)
    frames, image = keras.Input((2, 8, 8, 3)), keras.Input((8, 8, 3))
    outputs = [layers.TimeDistributed(encoder)(frames), encoder(image)]
    outputs.append(layers.ReLU(name="relu")(outputs[1]))
    model = keras.Model([frames, image], outputs)
    new = keras_attn.insert_attention(model, ChannelAttention2D(1), "relu")
    pictures = 4 * make_inputs(8, 8, 3)[:1]
    inputs = [pictures[:, None].repeat(2, 1), pictures]
    for one, other in zip(new(inputs), model(inputs)):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), atol=1e-6)
    # The encoder is one layer still: only the attention is new.
    attention = new.get_layer("relu_attention")
    assert len(new.weights) == len(model.weights) + len(attention.weights)


def test_a_layer_inside_of_a_wrapped_model_gets_attention_too():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    body = keras.Model(image, layers.BatchNormalization()(x), name="body")
    frames = keras.Input((2, 8, 8, 3))
    outputs = [body(image), layers.TimeDistributed(body)(frames)]
    model = keras.Model([image, frames], outputs)
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "body/conv")
    pictures = 4 * make_inputs(8, 8, 3)[:1]
    inputs = [pictures, pictures[:, None].repeat(2, 1)]
    for one, other in zip(new(inputs), model(inputs)):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), atol=1e-6)
    new.get_layer("body").get_layer("conv_attention").scale.assign(1)
    once, often = new(inputs)
    np.testing.assert_allclose(often[:, 0], to_numpy(once), atol=1e-6)
    assert np.abs(to_numpy(once) - to_numpy(model(inputs)[0])).max() > 1e-3


class Convolved(layers.Wrapper):
    """A wrapper of a user, which makes what it wraps."""

    def __init__(self, filters, **kwargs):
        super().__init__(layers.Conv2D(filters, 1), **kwargs)
        self.filters = filters

    def call(self, inputs):
        return self.layer(inputs)

    def get_config(self):
        return {"filters": self.filters, "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def test_wrappers_that_make_what_they_wrap_are_kept():
    image = keras.Input((8, 8, 3))
    wrapper = Convolved(4, name="wrapper")
    model = keras.Model(image, wrapper(layers.ReLU(name="relu")(image)))
    wrapper.layer.trainable = False
    new = keras_attn.insert_attention(model, ChannelAttention2D(1), "relu")
    pictures = make_inputs(8, 8, 3)
    np.testing.assert_allclose(
        outputs_of(new, pictures), outputs_of(model, pictures), atol=1e-6
    )
    copied = new.get_layer("wrapper")
    assert copied.trainable and not copied.layer.trainable


class Tripled(keras.Sequential):
    """A sequential model with more than its layers."""

    def call(self, inputs, **kwargs):
        return 3 * super().call(inputs, **kwargs)


def test_a_class_of_ones_own_stays_what_it_is_as_a_template():
    keras.saving.register_keras_serializable("tests")(Tripled)
    model = small_model()
    gate = Tripled([layers.ReLU()])
    new = keras_attn.insert_attention(model, gate, "relu", residual=False)
    assert type(new.get_layer("relu_attention")) is Tripled


def test_copies_with_an_initializer_of_ones_own_begin_differently():
    class Mine(keras.initializers.GlorotUniform):
        pass

    gate = layers.Conv2D(6, 1, kernel_initializer=Mine(), padding="same")
    new = keras_attn.insert_attention(small_model(), gate, ["first", "second"])
    kernels = [
        to_numpy(new.get_layer(f"{name}_attention").layer.kernel)
        for name in ("first", "second")
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_only_the_outermost_data_format_counts():
    """A layer may compute in another one inside."""

    class Turning(layers.Layer):
        data_format = "channels_last"

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = layers.ReLU()
            self.inner.data_format = "channels_first"

        def call(self, inputs):
            return self.inner(inputs)

    keras_attn.insert_attention(small_model(), Turning(), "relu")
    inside = keras.Sequential(
        [ChannelAttention2D(2, data_format="channels_first")]
    )
    with pytest.raises(ValueError, match="`layer` must have the data format"):
        keras_attn.insert_attention(small_model(), inside, "relu")


class Largest(keras.constraints.Constraint):
    """A class of a user, which is not registered."""

    def __call__(self, weights):
        return keras.ops.clip(weights, -0.01, 0.01)


def test_constraints_of_users_are_kept():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, kernel_constraint=Largest(), name="conv")(image)
    model = keras.Model(image, x)
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "conv")
    assert isinstance(new.get_layer("conv").kernel_constraint, Largest)


class Absolute(keras.regularizers.Regularizer):
    """A class of a user, which is not registered."""

    def __call__(self, weights):
        return keras.ops.sum(keras.ops.abs(weights))

    def get_config(self):
        return {}


def squared(weights):
    return keras.ops.sum(weights**2)


def test_regularizers_are_kept():
    """Keras's and those of users, also inside of wrappers and models."""
    image = keras.Input((8, 8, 3))
    inner = layers.Conv2D(
        4, 1, kernel_regularizer="l1", activity_regularizer="l2"
    )
    x = keras.Sequential([image, inner])(image)
    x = layers.Conv2D(4, 1, kernel_regularizer=squared, name="conv")(x)
    dense = layers.Dense(2, kernel_regularizer=Absolute())
    model = keras.Model(image, layers.TimeDistributed(dense)(x))
    new = keras_attn.insert_attention(model, ChannelAttention2D(2), "conv")
    pictures = make_inputs(8, 8, 3)
    expected, losses = [], []
    for network, found in ((model, expected), (new, losses)):
        network(pictures)
        found.extend(to_numpy(loss) for loss in network.losses)
    assert len(expected) == 4
    np.testing.assert_allclose(sorted(losses), sorted(expected), rtol=1e-5)


def test_sequential_models_keep_all_of_their_outputs():
    image = keras.Input((8, 8, 3))
    both = {"one": layers.ReLU(name="relu")(image), "two": image * 2}
    model = keras.Sequential([image, keras.Model(image, both)])
    new = keras_attn.insert_attention(model, ChannelAttention2D(1), "*/relu")
    pictures = make_inputs(8, 8, 3)
    expected, outputs = model(pictures), new(pictures)
    assert set(outputs) == set(expected) == {"one", "two"}
    for name, values in expected.items():
        np.testing.assert_allclose(
            to_numpy(outputs[name]), to_numpy(values), atol=1e-6
        )


class Gate(layers.Layer):
    """A layer of a user, which is not registered."""

    def call(self, inputs):
        return keras.ops.sigmoid(inputs) * inputs


def test_several_layers_are_inserted_as_one():
    """With the dtype policy of the layer before, each of them."""
    image = keras.Input((8, 8, 3))
    convolution = layers.Conv2D(4, 3, dtype="mixed_bfloat16", name="conv")
    model = keras.Model(image, convolution(image))
    both = keras.Sequential([Gate(), PositionwiseAttention2D(3)])
    new = keras_attn.insert_attention(model, both, "conv", residual=False)
    gates = new.get_layer("conv_attention").layers
    assert [type(gate) for gate in gates] == [Gate, PositionwiseAttention2D]
    assert {gate.compute_dtype for gate in gates} == {"bfloat16"}
    assert both.layers[1].compute_dtype == "float32"


@pytest.mark.parametrize("wrapped", [False, True])
def test_activations_of_users_are_kept_in_what_was_inserted(wrapped):
    def hard_sigmoid(x):  # Keras has another of this name
        return keras.ops.clip(x, -0.5, 0.5)

    gate = layers.Conv2D(4, 3, padding="same", activation=hard_sigmoid)
    if wrapped:
        gate = layers.SpectralNormalization(gate)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    model = keras.Model(image, layers.ReLU(name="relu")(x))
    first = keras_attn.insert_attention(model, gate, "relu")
    first.get_layer("relu_attention").scale.assign(1)
    second = keras_attn.insert_attention(first, ChannelAttention2D(2), "conv")
    pictures = 4 * make_inputs(8, 8, 3)
    np.testing.assert_allclose(
        outputs_of(second, pictures), outputs_of(first, pictures), atol=1e-6
    )


def test_a_replacement_has_the_dtype_policy_of_the_convolution():
    image = keras.Input((8, 8, 4))
    convolution = layers.Conv2D(
        4, 3, padding="same", dtype="mixed_bfloat16", name="conv"
    )
    model = keras.Model(image, convolution(image))
    new = keras_attn.replace_convolutions(
        model, "conv", lambda convolution: ExplicitAttention2D(4)
    )
    assert new.get_layer("conv").dtype_policy.name == "mixed_bfloat16"
    assert new.outputs[0].dtype == "bfloat16"


def test_convolutions_are_replaced_and_all_else_is_kept():
    model = network("ResNet50")

    def make(convolution):
        return GlobalSelfAttention2D(
            convolution.filters, strides=convolution.strides[0]
        )

    new = keras_attn.replace_convolutions(model, "conv4_block?_2_*", make)

    replaced = [f"conv4_block{index}_2_conv" for index in range(1, 7)]
    for layer in model.layers:
        copied = new.get_layer(layer.name)
        is_attention = isinstance(copied, GlobalSelfAttention2D)
        assert is_attention == (layer.name in replaced)
        if not is_attention:
            for old, value in zip(layer.weights, copied.weights, strict=True):
                np.testing.assert_array_equal(to_numpy(value), to_numpy(old))
    assert new.output_shape == model.output_shape
    assert not np.allclose(
        outputs_of(new, some_pictures()), outputs_of(model, some_pictures())
    )


def test_a_convolution_with_a_named_argument_is_replaced():
    image = keras.Input((8, 8, 4))
    convolution = layers.Conv2D(4, 3, padding="same", name="conv")
    model = keras.Model(image, convolution(inputs=image))
    new = keras_attn.replace_convolutions(
        model, "conv", lambda convolution: layers.Conv2D(4, 1)
    )
    assert new.get_layer("conv").kernel_size == (1, 1)


def test_a_replacement_of_the_same_type_starts_with_new_weights():
    model = small_model()
    new = keras_attn.replace_convolutions(
        model,
        "second",
        lambda convolution: layers.Conv2D(6, 3, padding="same", name="mine"),
    )
    first, second = (
        to_numpy(m.get_layer("second").kernel) for m in (model, new)
    )
    assert first.shape == second.shape
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"where": "relu"}, "`where`.*Conv2D.*where='relu'"),
        ({"make_layer": lambda conv: None}, "must return a layer.*None"),
        (
            {"make_layer": ExplicitAttention2D(6)},
            "must be a function of a conv",
        ),
        ({"make_layer": None}, "must be a function of a conv.*None"),
        (
            {"make_layer": lambda conv: ExplicitAttention2D(4)},
            r"`make_layer`.*\(None, 5, 7, 6\).*'second'.*\(None, 5, 7, 4\)",
        ),
        (
            {"make_layer": lambda conv: Twice()},
            r"`make_layer`.*\(None, 5, 7, 6\).*'second'. Received: tuple",
        ),
        (
            {
                "make_layer": lambda conv: ExplicitAttention2D(
                    6, data_format="channels_first"
                )
            },
            "`make_layer` must have the data format.*'channels_first'",
        ),
    ],
)
def test_bad_arguments_of_a_replacement_are_named(arguments, message):
    arguments = {
        "model": small_model(),
        "where": "second",
        "make_layer": lambda conv: ExplicitAttention2D(6),
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        keras_attn.replace_convolutions(**arguments)
