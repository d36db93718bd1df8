"""ReZero: the identity at first, then what the layer inside gives."""

import keras
import numpy as np
import pytest

from keras_attn import layers
from tests.layers.common import assert_close
from tests.layers.common import make_inputs
from tests.layers.common import randomize
from tests.layers.common import to_numpy

INNER = [
    layers.PositionwiseAttention2D(3),
    layers.ChannelAttention2D(2),
    layers.RectangularAttention2D(margin=0.7),
    layers.ExplicitAttention2D(6),
    layers.GlobalSelfAttention2D(6, num_heads=2),
    layers.RelativeSelfAttention2D(6, 4, num_heads=2),
    keras.layers.Conv2D(6, 3, padding="same"),
]


def rezero(inner, **arguments):
    inner = type(inner).from_config(inner.get_config())
    return layers.ReZero(inner, **arguments)


@pytest.mark.parametrize("inner", INNER, ids=lambda layer: layer.name)
def test_begins_as_the_identity_of_any_layer(inner):
    layer = rezero(inner)
    inputs = make_inputs()
    np.testing.assert_array_equal(to_numpy(layer(inputs)), inputs)
    # The layer inside is not the identity, or this would say nothing.
    assert np.abs(to_numpy(layer.layer(inputs)) - inputs).max() > 0.1


@pytest.mark.parametrize("inner", INNER, ids=lambda layer: layer.name)
def test_adds_the_scaled_outputs_of_the_layer(inner):
    layer = rezero(inner)
    inputs = make_inputs()
    layer.build(inputs.shape)
    randomize(layer)
    layer.scale.assign(-0.7)
    expected = inputs - 0.7 * to_numpy(layer.layer(inputs))
    assert_close(layer(inputs), expected)


def test_learns_from_the_identity():
    """The scale leaves zero first; then the layer learns, too."""
    symbolic = keras.Input((5, 7, 6))
    layer = layers.ReZero(layers.ChannelAttention2D(2))
    model = keras.Model(symbolic, layer(symbolic))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    inputs = make_inputs()
    kernel = to_numpy(layer.layer.expand.kernel)
    model.train_on_batch(inputs, 2 * inputs)
    assert to_numpy(layer.scale) != 0
    np.testing.assert_array_equal(to_numpy(layer.layer.expand.kernel), kernel)
    model.train_on_batch(inputs, 2 * inputs)
    assert np.any(to_numpy(layer.layer.expand.kernel) != kernel)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_keeps_the_compute_dtype(policy):
    inner = layers.PositionwiseAttention2D(3, dtype=policy)
    layer = layers.ReZero(inner, dtype=policy)
    outputs = layer(make_inputs())
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype


def test_saves_and_loads(tmp_path):
    symbolic = keras.Input((None, None, 6))
    layer = layers.ReZero(layers.PositionwiseAttention2D(3), name="attention")
    model = keras.Model(symbolic, layer(symbolic))
    randomize(layer)
    layer.scale.assign(0.3)
    inputs = make_inputs()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(loaded(inputs), to_numpy(model(inputs)), 1e-6)


def test_a_layer_that_changes_the_shape_is_an_error():
    for filters in (1, 4):  # One channel would broadcast.
        layer = layers.ReZero(keras.layers.Conv2D(filters, 1))
        with pytest.raises(ValueError, match="`layer` must keep the shape"):
            layer(make_inputs())


def test_an_area_penalty_inside_is_a_loss_of_the_whole():
    inner = layers.RectangularAttention2D(area_penalty=0.5)
    layer = layers.ReZero(inner)
    layer(make_inputs(), training=True)
    assert len(layer.losses) == 1
