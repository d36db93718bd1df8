"""Feature maps by level, and tasks that are built on them."""

import keras
import numpy as np
import pytest

import keras_attn
from keras_attn.applications import AttnResNet
from keras_attn.applications import AttnResNet18Small
from keras_attn.layers import RectangularAttention2D


def backbone(attention="gsa", stem_strides=4, size=64):
    return AttnResNet18Small(
        attention,
        include_top=False,
        stem_strides=stem_strides,
        input_shape=(size, size, 3),
    )


@pytest.mark.parametrize(
    ("stem_strides", "levels"),
    [
        (4, ["P2", "P3", "P4", "P5"]),
        (2, ["P1", "P2", "P3", "P4"]),
        (1, ["P0", "P1", "P2", "P3"]),
    ],
)
def test_levels_are_powers_of_two_of_the_image(stem_strides, levels):
    pyramid = keras_attn.feature_pyramid(backbone(None, stem_strides))
    assert list(pyramid.output) == levels
    for level, features in pyramid.output.items():
        assert features.shape[1] == 64 // 2 ** int(level[1])


def test_a_network_with_the_same_names_has_the_same_levels():
    model = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    pyramid = keras_attn.feature_pyramid(model)
    assert {name: x.shape[1:] for name, x in pyramid.output.items()} == {
        "P2": (16, 16, 256),
        "P3": (8, 8, 512),
        "P4": (4, 4, 1024),
        "P5": (2, 2, 2048),
    }


def test_a_stage_ends_after_its_attention():
    model = AttnResNet((1, 2), attention="cram", attention_stages=[3], width=8)
    pyramid = keras_attn.feature_pyramid(model)
    assert pyramid.pyramid_level_inputs == {
        "P2": "conv2_block1_out",
        "P3": "conv3_attention",
    }
    images = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3))
    last = keras.Model(model.input, model.get_layer("conv3_attention").output)
    np.testing.assert_array_equal(
        pyramid.predict(images, verbose=0)["P3"],
        last.predict(images, verbose=0),
    )


def test_a_stage_ends_after_what_was_inserted():
    model = keras_attn.insert_attention(
        AttnResNet((1, 1), width=8, include_top=False),
        RectangularAttention2D(),
        after="conv*_block1_out",
    )
    assert keras_attn.feature_pyramid(model).pyramid_level_inputs == {
        "P2": "conv2_block1_out_attention",
        "P3": "conv3_block1_out_attention",
    }


def test_what_was_inserted_twice_ends_a_stage_together():
    model = AttnResNet((1, 1), width=8, include_top=False)
    for after in ("conv*_block1_out", "conv3_*_attention"):
        model = keras_attn.insert_attention(
            model, RectangularAttention2D(), after
        )
    assert keras_attn.feature_pyramid(model).pyramid_level_inputs == {
        "P2": "conv2_block1_out_attention",
        "P3": "conv3_block1_out_attention_attention",
    }


def test_a_saved_task_of_keras_cv_finds_the_levels_again(tmp_path):
    """That such a task learns is tested with `examples/segment.py`."""
    import keras_cv

    pyramid = keras_attn.feature_pyramid(backbone())
    model = keras_cv.models.DeepLabV3Plus(num_classes=2, backbone=pyramid)
    assert model.output_shape == (None, 64, 64, 2)
    model.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    levels = dict(again.backbone.pyramid_level_inputs)
    assert levels == pyramid.pyramid_level_inputs
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    np.testing.assert_array_equal(
        again.predict(images, verbose=0), model.predict(images, verbose=0)
    )


def test_a_body_without_its_preprocessing_has_the_same_levels():
    """Its layers were called in the whole network before."""
    whole = backbone()
    first = whole.get_layer("conv1_conv")
    body = keras.Model(first.input, whole.output)
    maps = keras_attn.feature_pyramid(body)(np.ones((1, 64, 64, 3), "float32"))
    assert {level: x.shape[1] for level, x in maps.items()} == {
        level: x.shape[1]
        for level, x in keras_attn.feature_pyramid(whole).output.items()
    }


def test_a_model_that_does_not_do_what_its_graph_says_is_refused():
    class Halved(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return super().call(inputs / 2, training=training, mask=mask)

    model = backbone()
    with pytest.raises(ValueError, match="Halved has a `call` of its own"):
        keras_attn.feature_pyramid(Halved(model.input, model.output))


def test_other_networks_are_refused():
    image = keras.Input((8, 8, 3))
    other = keras.Model(image, keras.layers.Conv2D(2, 3)(image), name="other")
    with pytest.raises(ValueError, match="Received: 'other' of type Functiona"):
        keras_attn.feature_pyramid(other)
    classifier = keras_attn.Classifier(other, None)
    with pytest.raises(ValueError, match="of type Classifier"):
        keras_attn.feature_pyramid(classifier)
    block = keras.layers.Conv2D(2, 3, name="conv2_block1_out")(image)
    with pytest.raises(ValueError, match="conv1_conv and conv2_block1_out"):
        keras_attn.feature_pyramid(keras.Model(image, block))


@pytest.mark.parametrize("size", [64, None])
def test_networks_that_reduce_their_maps_elsewhere_are_refused(size):
    """In ResNet-50 V2 the last block of a stage does."""
    model = keras.applications.ResNet50V2(
        include_top=False, weights=None, input_shape=(size, size, 3)
    )
    with pytest.raises(ValueError, match="'conv2_block3_out', P2, must be 16"):
        keras_attn.feature_pyramid(model)
