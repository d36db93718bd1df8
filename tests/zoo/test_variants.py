"""Attention types of the comparison that no published network has."""

import keras
import numpy as np
import pytest

from keras_attn.applications import attention_types
from keras_attn.layers import ExplicitAttention2D
from keras_attn.layers import GlobalSelfAttention2D
from keras_attn.layers import RectangularAttention2D
from zoo import network as networks
from zoo import variants


def network(name):
    """As a recipe asks for it, by the name."""
    arguments = {
        "blocks_per_stage": [1],
        "bottleneck": False,
        "width": 128,  # as ResNet-14's third stage
        "stem_strides": 1,
        "attention": name,
        "attention_stages": [2],
        "classes": 3,
    }
    model = {"constructor": "AttnResNet", "arguments": arguments}
    return networks.build({"model": model}, 8, "softmax")


def attention_of(name, kind):
    model = network(name)
    found = [layer for layer in model.layers if isinstance(layer, kind)]
    # One in place of each 3x3 convolution, or after the stage.
    assert len(found) == (1 if name == "cram_identity" else 2)
    return found


@pytest.mark.parametrize("name", sorted(variants.VARIANTS))
def test_each_trains(name):
    random = np.random.default_rng(0)
    model = network(name)
    model.compile("adam", "sparse_categorical_crossentropy")
    to_numpy = keras.ops.convert_to_numpy
    before = [to_numpy(weight) for weight in model.trainable_weights]
    images = random.uniform(0, 255, (8, 8, 8, 3)).astype("float32")
    labels = random.integers(0, 3, 8)
    # Two steps: the first trains but the last gain of the block, which is 0.
    history = model.fit(images, labels, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for weight, old in zip(model.trainable_weights, before):
        # Alone, the position part gives each channel a gain that the batch
        # normalisation after it takes away.
        if name != "gsa_position" or "column_norm/gamma" not in weight.path:
            assert np.any(to_numpy(weight) != old), weight.path


def test_they_are_what_their_names_say():
    for layer in attention_of("expatt_cauchy", ExplicitAttention2D):
        assert layer.kernel == "cauchy"
    for layer in attention_of("expatt_heads", ExplicitAttention2D):
        assert layer.radius.shape == (13,)
    for layer in attention_of("gsa_content", GlobalSelfAttention2D):
        assert layer.use_content and not layer.use_position
    for layer in attention_of("gsa_position", GlobalSelfAttention2D):
        assert layer.use_position and not layer.use_content
    attention_of("gsa_normalized", variants.NormalizedGlobalSelfAttention2D)
    attention_of("gsa_local", variants.LocalGlobalSelfAttention2D)
    [gate] = attention_of("cram_identity", RectangularAttention2D)
    assert gate.starts_as_identity and gate.area_penalty == 0
    for name in ("gsa_normalized", "gsa_local"):
        limits = [
            layer.max_value
            for layer in network(name).layers
            if layer.name.endswith("_limit")
        ]
        assert limits == [attention_types.LARGEST_FEATURE] * 2


def test_normalized_queries_keys_and_values():
    """Each channel over the batch in training; by moving statistics, which
    approach those of the batch, later."""
    layer = variants.NormalizedGlobalSelfAttention2D(8, num_heads=2)
    random = np.random.default_rng(0)
    inputs = random.normal(3, 5, (16, 4, 4, 6)).astype("float32")
    for _ in range(80):
        layer(inputs, training=True)
    for tensor in layer._query_key_value(keras.ops.array(inputs)):
        tensor = keras.ops.convert_to_numpy(tensor)
        np.testing.assert_allclose(tensor.mean(axis=(0, 2)), 0, atol=0.05)
        np.testing.assert_allclose(tensor.std(axis=(0, 2)), 1, atol=0.05)


def test_a_local_start_falls_with_the_distance():
    """By e a pixel on either side, where GSA's own tables stay as large."""
    sizes = {}
    for kind in (GlobalSelfAttention2D, variants.LocalGlobalSelfAttention2D):
        keras.utils.set_random_seed(0)
        layer = kind(512, num_heads=2)
        layer.build((None, 3, 4, 6))
        tables = layer.column_table, layer.row_table
        sizes[kind] = [keras.ops.std(table, axis=1) for table in tables]
    for plain, local, largest in zip(*sizes.values(), (2, 3)):
        distances = abs(np.arange(-largest, largest + 1))
        np.testing.assert_allclose(local / plain, np.exp(-distances), rtol=1e-5)
        np.testing.assert_allclose(plain, 256**-0.5, rtol=0.2)
