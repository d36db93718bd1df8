"""What is measured of a classifier, in every form it comes in."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

import keras_attn
from keras_attn.applications import AttnResNet
from tests.subprocesses import run_python
from tests.zoo.common import small_recipe
from zoo import data
from zoo import evaluate
from zoo import network
from zoo import train


def test_metrics_are_those_of_keras():
    random = np.random.default_rng(0)
    logits = random.normal(size=(300, 12)).astype("float32") * 2
    labels = random.integers(0, 12, 300)
    one_hot = np.eye(12)[labels]
    softmax = np.asarray(keras.ops.softmax(logits))
    batches = [
        (np.arange(200), one_hot[:200]),
        (np.arange(200, 300), one_hot[200:]),
    ]
    expected = {
        "images": 300,
        "top1": keras.metrics.sparse_categorical_accuracy,
        "top5": keras.metrics.sparse_top_k_categorical_accuracy,
        "loss": keras.metrics.sparse_categorical_crossentropy,
    }
    names = [f"class {label}" for label in range(12)]
    for outputs in (logits, softmax):
        measured, classes = evaluate.measure(
            lambda index, outputs=outputs: outputs[index], batches, names
        )
        assert measured.pop("images_per_second") > 0
        for key, value in measured.items():
            metric = expected[key]
            if callable(metric):
                metric = np.mean(metric(labels, softmax))
            assert value == pytest.approx(metric, abs=2e-4), key
    assert [row["class"] for row in classes] == names
    total = sum(row["images"] * row["top1"] for row in classes)
    assert total / 300 == pytest.approx(measured["top1"], abs=1e-3)


def test_the_loss_of_int8_is_that_of_its_probabilities():
    """They are multiples of 1/256, and rarely sum up to one."""
    random = np.random.default_rng(0)
    logits = 3 * random.normal(size=(300, 100))
    exact = np.asarray(keras.ops.softmax(logits))
    rounded = np.floor(256 * exact) / 256
    assert rounded.sum(axis=1).min() < 0.94
    labels = np.argmax(logits + random.normal(size=logits.shape), axis=1)
    own = rounded[np.arange(300), labels]
    measured, _ = evaluate.measure(
        lambda images: rounded,
        [(np.zeros(300), np.eye(100)[labels])],
        [str(label) for label in range(100)],
    )
    expected = -np.log(np.maximum(own, 1e-7)).mean()
    assert measured["loss"] == pytest.approx(expected, abs=1e-3)
    right = np.argmax(rounded, axis=1) == labels
    assert measured["top1"] == pytest.approx(right.mean(), abs=1e-4)


def test_a_constant_answer_is_right_by_chance_only():
    """Equal scores for all classes are no knowledge of any."""
    one_hot = np.eye(10)
    measured, _ = evaluate.measure(
        lambda images: np.full((10, 10), 0.1),
        [(np.zeros(10), one_hot)],
        "abcdefghij",
    )
    assert measured["top1"] == 0.1 and measured["top5"] == 0.5


def test_an_answer_that_is_not_a_number_is_an_error():
    with pytest.raises(ValueError, match="not finite"):
        evaluate.measure(
            lambda images: np.full((2, 3), np.nan),
            [(np.zeros(2), np.eye(3)[:2])],
            ["a", "b", "c"],
        )


def test_another_number_of_classes_is_an_error():
    with pytest.raises(ValueError, match="has 3 classes"):
        evaluate.measure(
            lambda images: np.zeros((2, 5)),
            [(np.zeros(2), np.eye(3)[:2])],
            ["a", "b", "c"],
        )


@pytest.fixture
def model():
    model = AttnResNet(
        (1, 1),
        bottleneck=False,
        width=16,
        stem_strides=2,
        attention="cram",
        attention_stages=[3],
        input_shape=(16, 16, 3),
        classes=3,
    )
    # Different answers for different colours.
    model.layers[-1].kernel.assign(
        20 * np.random.default_rng(0).normal(size=(32, 3))
    )
    return model


def test_classes_are_matched_by_their_names(model, data_dir, tmp_path):
    names = data.load("tiny_imagenet", data_dir, "val").class_names
    order = [2, 0, 1]

    def measured(own_names, file):
        keras_attn.Classifier(model, own_names).save(tmp_path / file)
        return CliRunner().invoke(
            evaluate.app,
            [
                *(str(tmp_path / file), "--data", "tiny_imagenet"),
                *("--data-dir", str(data_dir)),
            ],
        )

    expected = json.loads(measured(names, "a.keras").output)
    head = model.layers[-1]
    head.set_weights([weight[..., order] for weight in head.get_weights()])
    shuffled = measured([names[label] for label in order], "b.keras")
    for key in ("top1", "loss"):
        assert json.loads(shuffled.output)[key] == expected[key]
    others = measured(["x", *names[1:]], "c.keras")
    assert others.exit_code == 1
    assert "one of them lacks ['red', 'x']" in str(others.exception)


def test_every_form_of_a_model_measures_the_same(model, data_dir, tmp_path):
    split = data.load("tiny_imagenet", data_dir, "val")
    batches = data.evaluation_batches(split, 16)
    expected, _ = evaluate.measure(
        model.predict_on_batch, batches, split.class_names
    )
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "saved", verbose=False)
    # The converter keeps the memory it takes: in a process of its own.
    run_python(
        "import sys, tensorflow as tf; from pathlib import Path;"
        "converter = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1]);"
        "Path(sys.argv[2]).write_bytes(converter.convert())",
        tmp_path / "saved",
        tmp_path / "model.tflite",
    )
    keras_attn.export(model, tmp_path / "model.onnx")
    for name in ("model.keras", "saved", "model.tflite", "model.onnx"):
        per_class = tmp_path / "classes.csv"
        result = CliRunner().invoke(
            evaluate.app,
            [
                *(str(tmp_path / name), "--data", "tiny_imagenet"),
                *("--data-dir", str(data_dir)),
                *("--per-class", str(per_class)),
            ],
        )
        assert result.exit_code == 0, result.output
        measured = json.loads(result.output.splitlines()[-1])
        for key in ("images", "top1", "top5"):
            assert measured[key] == expected[key], (name, key)
        assert measured["loss"] == pytest.approx(expected["loss"], abs=2e-3)
        with open(per_class) as file:
            rows = list(csv.DictReader(file))
        assert [row["class"] for row in rows] == ["red", "green", "blue"]
        assert [row["images"] for row in rows] == ["2"] * 3


def test_whole_numbers_of_pixels_are_the_nearest(tmp_path):
    """Resized images lie between two of them; cut off, all would be darker."""
    network = tf.Module()
    network.serve = tf.function(
        lambda image: {"mean": tf.reduce_mean(tf.cast(image, "float32"))},
        input_signature=[tf.TensorSpec((None, 1, 1, 3), "uint8", "image")],
    )
    signatures = {"serving_default": network.serve}
    tf.saved_model.save(network, tmp_path / "saved", signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(tmp_path / "saved")
    )
    (tmp_path / "model.tflite").write_bytes(converter.convert())
    for name in ("saved", "model.tflite"):
        predict, *_ = evaluate.open_model(str(tmp_path / name))
        assert predict(np.full((2, 1, 1, 3), 99.8, "float32")) == 100, name


def test_a_run_is_measured_with_its_weights(data_dir, tmp_path):
    """Those of the last epoch, or of the file that is named."""
    recipe = small_recipe()
    train.start(tmp_path / "run", tmp_path / "a.toml", recipe, [])
    split = data.load("tiny_imagenet", data_dir, "val")
    batches = data.evaluation_batches(split, 16)
    for index, name in enumerate(("last.weights.h5", "best.weights.h5")):
        keras.utils.set_random_seed(index)
        trained = network.build(recipe)
        trained.layers[-1].kernel.assign(
            np.random.default_rng(index).normal(size=(32, 3))
        )
        trained.save_weights(tmp_path / "run" / name)
        expected, _ = evaluate.measure(
            trained.predict_on_batch, batches, split.class_names
        )
        paths = [tmp_path / "run", tmp_path / "run" / name][index:]
        for path in paths:
            result = CliRunner().invoke(
                evaluate.app, [str(path), "--data-dir", str(data_dir)]
            )
            assert result.exit_code == 0, result.output
            measured = json.loads(result.output.splitlines()[-1])
            assert measured["data"] == "tiny_imagenet"
            assert measured["loss"] == pytest.approx(expected["loss"], abs=1e-3)


def test_the_images_of_the_training_are_measured_if_asked(
    model, data_dir, tmp_path
):
    model.save(tmp_path / "a.keras")
    for options, split, count in (
        ([], "val", 6),
        (["--split", "train"], "train", 15),
    ):
        result = CliRunner().invoke(
            evaluate.app,
            [
                *(str(tmp_path / "a.keras"), "--data", "tiny_imagenet"),
                *("--data-dir", str(data_dir), *options),
            ],
        )
        assert result.exit_code == 0, result.output
        measured = json.loads(result.output.splitlines()[-1])
        assert measured["split"] == split and measured["images"] == count
        images = data.load("tiny_imagenet", data_dir, split)
        expected, _ = evaluate.measure(
            model.predict_on_batch,
            data.evaluation_batches(images, 16),
            images.class_names,
        )
        assert measured["loss"] == pytest.approx(expected["loss"], abs=1e-3)


def test_an_onnx_file_of_a_fixed_batch_is_told(model, tmp_path):
    keras_attn.export(model, tmp_path / "one.onnx", batch_size=1)
    with pytest.raises(ValueError, match="one.onnx takes 1 images"):
        evaluate.open_model(str(tmp_path / "one.onnx"))


def test_a_file_that_is_no_onnx_is_named(tmp_path):
    arguments = ["--data", "tiny_imagenet", "--data-dir", str(tmp_path)]
    with pytest.raises(SystemExit, match="a.onnx: there is no such file"):
        evaluate.app(
            [str(tmp_path / "a.onnx"), *arguments], standalone_mode=False
        )
    (tmp_path / "a.onnx").write_text("no graph")
    with pytest.raises(SystemExit, match="a.onnx is not an ONNX file"):
        evaluate.app(
            [str(tmp_path / "a.onnx"), *arguments], standalone_mode=False
        )


def test_what_cannot_be_measured_is_told_in_one_line(model, tmp_path):
    network = AttnResNet((1, 1), width=16, input_shape=(None, None, 3))
    network.save(tmp_path / "any.keras")
    model.save(tmp_path / "model.keras")
    serve = tf.function(model, input_signature=[tf.TensorSpec((1, 16, 16, 3))])
    tf.saved_model.save(model, tmp_path / "saved", {"other": serve})
    data = ["--data", "tiny_imagenet", "--data-dir", str(tmp_path)]
    nowhere = str(tmp_path / "nowhere" / "a.csv")
    for name, options, message in (
        ("any.keras", [], "any.keras has no fixed input size"),
        ("model.keras", ["--per-class", nowhere], "no folder .*nowhere$"),
        ("saved", [], "has no signature `serving_default`"),
    ):
        with pytest.raises(SystemExit, match=message) as stopped:
            evaluate.app(
                [str(tmp_path / name), *data, *options], standalone_mode=False
            )
        assert "\n" not in str(stopped.value)


def test_a_model_in_a_file_needs_the_name_of_a_data_set(model, tmp_path):
    model.save(tmp_path / "model.keras")
    with pytest.raises(SystemExit, match="--data is needed"):
        evaluate.app(
            [str(tmp_path / "model.keras"), "--data-dir", str(tmp_path)],
            standalone_mode=False,
        )
