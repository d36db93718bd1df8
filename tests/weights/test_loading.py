"""Loading into networks that fit, nearly fit, or do not fit."""

import errno
import inspect
import json
import logging
import os

import h5py
import keras
import numpy as np
import pytest

from keras_attn import layers
from keras_attn.applications import AttnResNet
from keras_attn.weights import load_weights
from keras_attn.weights import loading
from keras_attn.weights import manifest
from tests.applications.common import randomize
from tests.applications.common import small_network
from tests.applications.common import some_images
from tests.subprocesses import run_python


@pytest.fixture
def gsa_file(tmp_path):
    """A network with random weights and the file it was saved to."""
    model = small_network("gsa")
    randomize(model)
    model.save_weights(tmp_path / "gsa.weights.h5")
    return model, tmp_path / "gsa.weights.h5"


def test_the_same_network_gets_every_variable(gsa_file, caplog):
    model, file = gsa_file
    other = small_network("gsa")

    report = load_weights(other, file)

    assert len(report.loaded) == len(model.weights)
    assert not (report.adapted or report.reinitialized or report.left_out)
    assert not caplog.records
    for ours, theirs in zip(other.weights, model.weights):
        np.testing.assert_array_equal(ours, theirs)


def test_other_classes_keep_the_body_and_say_so(gsa_file, caplog):
    model, file = gsa_file
    other = small_network("gsa", classes=3)
    head = np.array(other.get_layer("predictions").kernel)

    with caplog.at_level(logging.WARNING, "keras_attn"):
        report = load_weights(other, file)

    assert report.reinitialized == ("predictions/0", "predictions/1")
    assert "2 reinitialized (predictions/0, predictions/1)" in caplog.text
    np.testing.assert_array_equal(other.get_layer("predictions").kernel, head)
    body = keras.Model(model.input, model.get_layer("avg_pool").output)
    same = keras.Model(other.input, other.get_layer("avg_pool").output)
    np.testing.assert_array_equal(body(some_images()), same(some_images()))


@pytest.mark.parametrize("attention", ["gsa", "aa"])
def test_another_size_interpolates_the_tables_and_says_so(
    attention, tmp_path, caplog
):
    model = small_network(attention)
    randomize(model)
    model.save_weights(tmp_path / "a.weights.h5")
    larger = small_network(attention, input_shape=(24, 24, 3))

    with caplog.at_level(logging.WARNING, "keras_attn"):
        report = load_weights(larger, tmp_path / "a.weights.h5")

    tables = [v.path for v in larger.weights if v.path.endswith("_table")]
    assert len(report.adapted) == len(tables) > 0
    assert f"{len(tables)} adapted" in caplog.text
    name = "conv3_block1_2_attention"
    small = np.array(model.get_layer(name).column_table)
    large = np.array(larger.get_layer(name).column_table)
    scale = 2 / 3 if attention == "gsa" else 1
    np.testing.assert_allclose(
        large[[0, len(large) // 2, -1]],
        scale * small[[0, len(small) // 2, -1]],
        rtol=1e-6,
    )
    kernel = "query_key_value_kernel"
    for ours, theirs in zip(larger.weights, model.weights):
        if ours.path.endswith(kernel):
            np.testing.assert_array_equal(ours, theirs)


def test_without_the_top_the_classifier_is_left_out(gsa_file):
    _, file = gsa_file
    report = load_weights(small_network("gsa", include_top=False), file)
    assert report.left_out == ("predictions/0", "predictions/1")


def test_a_constructor_takes_the_path_of_a_file(gsa_file):
    model, file = gsa_file
    other = small_network("gsa", weights=file)
    np.testing.assert_array_equal(model(some_images()), other(some_images()))


def test_another_network_is_refused_with_every_variable_named(gsa_file):
    _, file = gsa_file
    other = small_network("se", width=24)
    before = [np.array(variable) for variable in other.weights]

    with pytest.raises(ValueError) as error:
        load_weights(other, file)

    message = str(error.value)
    assert "does not fit the network 'attn_resnet'" in message
    assert "conv1_conv/0: expected shape (3, 3, 3, 24)" in message
    assert "conv2_block1_2_conv/0: missing in the file" in message
    assert "'conv2_block1_2_attention/column_norm/0': not in the" in message
    for variable, value in zip(other.weights, before):
        np.testing.assert_array_equal(variable, value)


def test_a_table_with_other_channels_is_refused(gsa_file):
    _, file = gsa_file
    with h5py.File(file, "r+") as store:
        group = store["layers/global_self_attention2d/vars"]
        del group["1"]
        group["1"] = np.zeros((31, 3), "float32")
    with pytest.raises(ValueError, match=r"found \(31, 3\)"):
        load_weights(small_network("gsa"), file)


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.98])
def test_a_truncated_file_is_refused(gsa_file, keep):
    _, file = gsa_file
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    with pytest.raises(ValueError, match="not a readable weights file"):
        load_weights(small_network("gsa"), file)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC])
def test_what_the_system_refuses_is_not_taken_for_damage(
    gsa_file, monkeypatch, number
):
    model, file = gsa_file
    before = model.get_weights()

    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(loading, "_fill", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        load_weights(model, file)
    assert caught.value.errno == number
    for now, then in zip(model.get_weights(), before):
        np.testing.assert_array_equal(now, then)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.weights.h5"):
        load_weights(small_network(None), "nowhere.weights.h5")
    with pytest.raises(FileNotFoundError, match="a/b.keras"):
        load_weights(small_network(None), "a/b.keras")


def test_a_file_of_another_kind_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.keras"
    path.write_bytes(b"")
    for given in (path, "model.keras"):
        with pytest.raises(ValueError, match="keras file is for keras_attn.lo"):
            load_weights(small_network(None), given)
    other = tmp_path / "other.weights.h5"
    with h5py.File(other, "w") as file:
        file["layers/something/else"] = 1
    with pytest.raises(ValueError, match="not a readable weights file"):
        load_weights(small_network(None), other)


def test_files_of_bfloat16_networks_load(tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    model = small_network("se")
    model.save_weights(tmp_path / "half.weights.h5")
    keras.config.set_dtype_policy("float32")
    other = small_network("se", weights=tmp_path / "half.weights.h5")
    np.testing.assert_allclose(
        other.get_layer("conv1_conv").kernel,
        np.asarray(model.get_layer("conv1_conv").kernel, "float32"),
    )


def test_the_order_of_layers_does_not_matter(tmp_path):
    """Keras numbers the layers of a class; the names must decide."""
    model = small_network("cbam")
    randomize(model)
    model.save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5", "r+") as store:
        layers = store["layers"]
        layers.move("conv2d_1", "elsewhere")
        layers.move("conv2d_2", "conv2d_1")
        layers.move("elsewhere", "conv2d_2")

    other = small_network("cbam", weights=tmp_path / "a.weights.h5")

    np.testing.assert_array_equal(model(some_images()), other(some_images()))


def test_half_precision_files_load_into_every_policy(gsa_file):
    model, file = gsa_file
    with h5py.File(file, "r+") as store:
        kernel = store["layers/conv2d/vars/0"][()]
        del store["layers/conv2d/vars/0"]
        store["layers/conv2d/vars/0"] = kernel.astype("float16")
    for policy in ("float32", "mixed_float16", "bfloat16"):
        keras.config.set_dtype_policy(policy)
        other = small_network("gsa", weights=file)
        np.testing.assert_allclose(
            np.asarray(other.get_layer("conv1_conv").kernel, "float32"),
            model.get_layer("conv1_conv").kernel,
            atol=1e-2,
        )


@pytest.mark.parametrize("rows", [0, 4])
def test_a_table_of_no_size_is_refused(gsa_file, rows):
    """Offsets go both ways and have a middle: their number is odd."""
    model, file = gsa_file
    with h5py.File(file, "a") as stored:
        tables = []

        def find(name, item):
            if getattr(item, "shape", ())[:1] == (31,):
                tables.append(name)

        stored.visititems(find)
        table = stored[tables[0]]
        values, name = np.zeros((rows, *table.shape[1:]), "float32"), table.name
        del stored[name]
        stored[name] = values
    before = [np.array(weight) for weight in model.weights]
    with pytest.raises(ValueError, match=f"found \\({rows}, "):
        load_weights(model, file)
    for weight, old in zip(model.weights, before):
        np.testing.assert_array_equal(weight, old)


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(ValueError, match="cram_resnet18_small.tiny_imagenet"):
        AttnResNet(
            (1, 1),
            input_shape=(16, 16, 3),
            weights="cram_resnet18.tiny_imagenet_64",
        )


def test_a_published_weight_refuses_another_stem():
    """Its variables have the same shapes with any strides."""
    entry = manifest.entry("resnet14_small.cifar100_32")
    assert entry.arguments["stem_strides"] == 2
    arguments = {
        "blocks_per_stage": (2, 2, 2),
        "bottleneck": False,
        "input_shape": (32, 32, 3),
        "classes": 100,
        "weights": entry.id,
    }
    AttnResNet(**arguments, stem_strides=2)
    with pytest.raises(ValueError, match="trained with stem_strides=2"):
        AttnResNet(**arguments, stem_strides=1)


# Of each layer all arguments but `data_format`, none at its default.
EVERY_ARGUMENT = [
    (
        layers.RectangularAttention2D,
        {
            "margin": 0.7,
            "sharpness": 5.0,
            "area_penalty": 0.1,
            "saliency_initializer": keras.initializers.serialize(
                keras.initializers.Ones()
            ),
        },
    ),
    (
        layers.GlobalSelfAttention2D,
        {
            "filters": 6,
            "num_heads": 2,
            "strides": 2,
            "max_size": 9,
            "use_content": False,
        },
    ),
    (
        layers.GlobalSelfAttention2D,
        {"filters": 6, "num_heads": 2, "use_position": False},
    ),
    (
        layers.ExplicitAttention2D,
        {
            "filters": 6,
            "kernel": "laplacian",
            "initial_radius": 1.5,
            "num_heads": 2,
            "strides": 2,
        },
    ),
    (layers.PositionwiseAttention2D, {"kernel_size": 3}),
    (layers.ChannelAttention2D, {"reduction": 2, "use_max": True}),
    (
        layers.RelativeSelfAttention2D,
        {"filters": 6, "key_filters": 4, "num_heads": 2, "max_size": 9},
    ),
]

CONFIGURATION = """
import json
import sys
import keras
import keras_attn
print(json.dumps(keras.saving.load_model(sys.argv[1]).get_config()))
"""


def test_a_keras_file_has_every_argument_of_every_layer(tmp_path):
    """Read where nothing but the file says what they were."""
    given = {}
    for kind, arguments in EVERY_ARGUMENT:
        given.setdefault(kind, {"data_format": "channels_first"})
        given[kind] |= arguments
    for kind, arguments in given.items():
        parameters = inspect.signature(kind).parameters
        assert set(parameters) == {*arguments, "kwargs"}
        for name, value in arguments.items():
            assert parameters[name].default != value, name
    names = {kind.__name__ for kind in given}
    assert names | {"ReZero"} == set(layers.__all__)
    common = {"data_format": "channels_first", "trainable": False}
    dtype = "mixed_float16"
    model = keras.Sequential([keras.Input((6, 8, 8))])
    for kind, arguments in EVERY_ARGUMENT:
        model.add(kind(**arguments, **common, dtype=dtype))
    inner = layers.ChannelAttention2D(3, **common, dtype=dtype)
    model.add(layers.ReZero(inner, trainable=False, dtype=dtype, name="last"))
    model.save(tmp_path / "model.keras")
    loaded = json.loads(run_python(CONFIGURATION, tmp_path / "model.keras"))
    assert loaded == json.loads(json.dumps(model.get_config()))
    for layer, (_, arguments) in zip(loaded["layers"][1:], EVERY_ARGUMENT):
        config = layer["config"]
        assert (arguments | common).items() <= config.items()
        assert config["dtype"]["config"]["name"] == dtype
