"""From images to a registered weight, on a data set made here."""

import csv
import json
import tomllib

import jsonschema
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_attn.applications import CRAMResNet18Small
from keras_attn.weights import golden
from keras_attn.weights import load_weights
from keras_attn.weights import manifest
from zoo import data
from zoo import register
from zoo import train

CLASSES = 3
RECIPE = """
paper = "https://example.org"
summary = "A test."
[data]
name = "tiny_imagenet"
evaluation_size = 16
training_sizes = [{ from_epoch = 0, size = 12 }, { from_epoch = 1, size = 16 }]
crop_area = [0.35, 1.0]
crop_aspect_ratio = [0.75, 1.333]
[model]
constructor = "CRAMResNet18Small"
arguments = { stem_strides = 2, classes = 3 }
dtype_policy = "mixed_bfloat16"
[training]
seed = 0
epochs = 2
batch_size = 4
peak_learning_rate = 0.1
warmup_epochs = 1
momentum = 0.9
weight_decay = 1e-3
label_smoothing = 0.1
"""


@pytest.fixture
def data_dir(tmp_path):
    """The layout of Tiny-ImageNet with three classes of plain colours."""
    folder = tmp_path / "tiny"
    rows = []
    for label in range(CLASSES):
        wordnet_id = f"n{label}"
        images = folder / "train" / wordnet_id / "images"
        images.mkdir(parents=True)
        (folder / "val" / "images").mkdir(parents=True, exist_ok=True)
        for index in range(5):
            color = [20 * index] * 3
            color[label] = 250
            picture = Image.new("RGB", (16, 16), tuple(color))
            picture.save(images / f"{wordnet_id}_{index}.JPEG")
            if index < 2:
                name = f"val_{label}_{index}.JPEG"
                picture.save(folder / "val" / "images" / name)
                rows.append(f"{name}\t{wordnet_id}\t0\t0\t9\t9")
    (folder / "wnids.txt").write_text("n1\nn0\nn2\n")
    (folder / "words.txt").write_text("n0\tred, r\nn1\tgreen\nn2\tblue\n")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows))
    return folder


def test_tiny_imagenet_is_read(data_dir):
    for split, count in (("train", 15), ("val", 6)):
        images, labels, names = data.load("tiny_imagenet", data_dir, split)
        assert images.shape == (count, 16, 16, 3) and images.dtype == "uint8"
        assert names == ["red", "green", "blue"]
        np.testing.assert_array_equal(
            images.mean(axis=(1, 2)).argmax(axis=1), labels
        )


def test_missing_data_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="--data-dir"):
        data.load("tiny_imagenet", tmp_path, "train")
    with pytest.raises(ValueError, match="name='imagenet3000'"):
        data.load("imagenet3000", tmp_path, "train")


def batches(first_epoch=0, seed=0):
    images = np.zeros((10, 16, 16, 3), "uint8")
    images[..., 0] = np.arange(10)[:, None, None]
    images[:, 8:, :, 1] = 200
    recipe = tomllib.loads(RECIPE)
    training = {**recipe["training"], "seed": seed}
    return list(
        data.training_batches(
            images, np.arange(10), 10, recipe["data"], training, first_epoch
        )
    )


def test_every_epoch_shows_other_images_in_its_own_size():
    all_batches = batches()
    assert [images.shape[1] for images, _ in all_batches] == [12, 12, 16, 16]
    seen = [np.argmax(labels, axis=1) for _, labels in all_batches]
    first, second = np.concatenate(seen[:2]), np.concatenate(seen[2:])
    assert len(set(first)) == len(set(second)) == 8
    assert list(first) != list(second)
    for (images, _), labels in zip(all_batches, seen):
        np.testing.assert_allclose(images[:, 0, 0, 0], labels, atol=1e-4)


def test_a_resumed_run_sees_the_batches_it_would_have_seen():
    for (image, label), (again, same) in zip(batches()[2:], batches(1)):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(label, same)
    assert not np.array_equal(batches()[0][0], batches(seed=1)[0][0])


def test_crops_differ_and_half_are_flipped():
    image = np.tile(np.arange(32, dtype="uint8")[None, None, :, None], 3)
    images = np.repeat(np.broadcast_to(image, (1, 32, 32, 3)), 400, axis=0)
    settings = tomllib.loads(RECIPE)["data"]
    crops = data.random_resized_crop(
        tf.constant(images), 16, settings, seed=[0, 0]
    ).numpy()
    left, right = crops[:, 0, 0, 0], crops[:, 0, -1, 0]
    assert 0.4 < np.mean(left > right) < 0.6
    width = np.abs(right - left) / 31
    # From the least area at the narrowest ratio to the whole width.
    assert width.min() >= np.sqrt(0.35 * 0.75) - 0.02
    assert width.max() <= 1 and width.std() > 0.05
    assert len(np.unique(left)) > 300


def test_a_recipe_becomes_a_registered_weight(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tomllib.loads(RECIPE)
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_text(RECIPE)
    (run / "run.json").write_text(
        json.dumps({"command": "test", "commit": 40 * "0"})
    )
    train.train(recipe, data_dir, run)
    with open(run / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {"top1", "top5", "val_top1"} <= set(rows[0])
    keras.config.set_dtype_policy("float32")
    with pytest.raises(FileExistsError, match="finished"):
        train.train(recipe, data_dir, run)

    weight_id = "cram_resnet18_small.test_16"
    recipes = tmp_path / "zoo" / "recipes"
    recipes.mkdir(parents=True)
    published = recipes / f"{weight_id}.toml"
    published.write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(ValueError, match=r"\[training\]"):
        register.register(run, weight_id, data_dir)
    published.write_text(RECIPE)
    entry = register.register(run, weight_id, data_dir)

    document = json.loads((tmp_path / manifest.FILE_NAME).read_text())
    jsonschema.validate(document, json.loads(register.SCHEMA.read_text()))
    assert document["weights"] == [json.loads(json.dumps(entry))]
    assert document["class_names"]["tiny_imagenet"] == ["red", "green", "blue"]
    assert entry["metrics"]["tiny_imagenet"]["val"]["images"] == 6
    file = tmp_path / "zoo" / "weights" / entry["file"]
    assert file.stat().st_size == entry["bytes"] < 7_000_000
    model = CRAMResNet18Small(
        stem_strides=2, classes=CLASSES, input_shape=(16, 16, 3)
    )
    load_weights(model, file)
    answer = np.asarray(model(golden.golden_image(16), training=False))[0]
    for index, probability in entry["golden_output"]["top"]:
        assert abs(answer[index] - probability) < 1e-3


def test_compact_files_hold_halves_and_whole_vectors(tmp_path):
    model = CRAMResNet18Small(input_shape=(16, 16, 3), classes=2)
    model.save_weights(tmp_path / "whole.weights.h5")
    compact = tmp_path / "compact.weights.h5"
    register.save_compactly(model, compact)

    other = CRAMResNet18Small(input_shape=(16, 16, 3), classes=2)
    load_weights(other, compact)

    for ours, theirs in zip(other.weights, model.weights):
        exact = len(theirs.shape) < 2
        np.testing.assert_allclose(
            ours, theirs, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-6
        )
    whole = (tmp_path / "whole.weights.h5").stat().st_size
    assert compact.stat().st_size < 0.55 * whole
    assert len(list(tmp_path.iterdir())) == 2
