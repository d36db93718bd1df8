"""The examples run, on tiny data, as their heads say."""

import json
import os
import runpy
import subprocess
import sys
import warnings

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import typer
from PIL import Image
from typer.testing import CliRunner

import keras_attn
from keras_attn import command_line
from keras_attn.applications import AttnResNet
from tests.subprocesses import TWO_DEVICES

WEIGHT = "expatt_resnet14_small.cifar100_32"


@pytest.fixture
def folder(tmp_path):
    """Dark and bright pictures, a folder each."""
    random = np.random.default_rng(0)
    for name, low in (("bright", 180), ("dark", 0)):
        place = tmp_path / "pictures" / name
        place.mkdir(parents=True)
        for index in range(10):
            pixels = random.integers(low, low + 60, (40, 48, 3), "uint8")
            Image.fromarray(pixels).save(place / f"{index}.png")
    return tmp_path / "pictures"


def run(*arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        # Compiling takes most of the time: optimise less.
        env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_here(script, *arguments):
    """The same in this process, which has TensorFlow already."""
    app = typer.Typer()
    app.command()(runpy.run_path(script)["main"])
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


ON_TWO_DEVICES = f"""{TWO_DEVICES}
import runpy, sys
assert tf.distribute.MirroredStrategy().num_replicas_in_sync == 2
sys.argv[0] = "examples/fine_tune.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_fine_tuning_on_two_devices_in_mixed_precision(folder, tmp_path):
    """And what was trained is used by the names of its classes."""
    out = tmp_path / "mine.keras"
    printed = run(
        *("-c", ON_TWO_DEVICES, folder, "--out", out, "--model", WEIGHT),
        *("--head-epochs", 4, "--body-epochs", 2, "--batch-size", 4),
        *("--learning-rate", 0.01, "--mixed-precision"),
    )
    assert "Epoch 4/4" in printed and "Epoch 6/6" in printed
    assert json.loads(printed.splitlines()[-1])["top1"] == 1

    classifier = keras_attn.load(out)
    assert classifier.class_names == ("bright", "dark")
    picture = folder / "dark" / "0.png"
    arguments = ["classify", str(picture), "--model", str(out), "--json"]
    answer = CliRunner().invoke(command_line.app, arguments).stdout
    assert json.loads(answer)[0]["predictions"][0]["name"] == "dark"

    exported = keras_attn.export(out, tmp_path / "mine.onnx")
    session = onnxruntime.InferenceSession(exported)
    names = session.get_modelmeta().custom_metadata_map["class_names"]
    assert json.loads(names) == ["bright", "dark"]
    [pixels] = session.get_inputs()
    batch = classifier.prepare(picture)[np.newaxis].astype("float32")
    [[bright, dark]] = session.run(None, {pixels.name: batch})[0]
    assert dark > bright

    history = (tmp_path / "mine.history.csv").read_text().splitlines()
    epochs = [line.partition(",")[0] for line in history]
    assert epochs == ["epoch", *"012345"]


def test_first_the_head_learns_then_all_at_a_tenth_of_the_rate(
    folder, tmp_path
):
    main = runpy.run_path("examples/fine_tune.py")["main"]
    phases = []

    def fit(model, training, validation, epochs, learning_rate, log):
        trained = [x.name for x in model.layers if x.trainable_weights]
        phases.append((trained, learning_rate))
        loss = "sparse_categorical_crossentropy"
        model.compile("sgd", loss, metrics=["accuracy"])

    main.__globals__["fit"] = fit
    main(folder, tmp_path / "mine.keras", model=WEIGHT)
    (head, rate), (both, lower) = phases
    assert head == ["predictions"] and len(both) > 10
    assert lower == pytest.approx(rate / 10)


def test_batches_are_flipped():
    """Some of them, not all: from dark to bright becomes bright to dark."""
    augmented = runpy.run_path("examples/fine_tune.py")["augmented"]
    ramp = np.tile(np.linspace(0, 255, 16), (64, 16, 1))[..., None]
    images = ramp.repeat(3, -1).astype("uint8")
    batches = tf.data.Dataset.from_tensors((images, np.arange(64)))
    [(changed, _)] = augmented(batches)
    middle = np.asarray(changed)[:, 4:12, 4:12].mean(axis=(1, 3))
    flipped = middle[:, -1] < middle[:, 0]
    assert 16 < flipped.sum() < 48


def test_batches_are_shifted():
    augmented = runpy.run_path("examples/fine_tune.py")["augmented"]
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 16, 16, 3), "uint8")
    batches = tf.data.Dataset.from_tensors((images, np.arange(8)))
    [(changed, labels)] = augmented(batches)
    assert list(labels) == [*range(8)]
    # Of noise, any shift is another picture.
    assert np.abs(changed - images).mean(axis=(1, 2, 3)).min() > 10
    assert np.ptp(changed) > 100


def test_pictures_are_read_as_for_classifying(tmp_path):
    """Scaled down without aliasing, and turned as their EXIF says."""
    stripes = np.tile(np.uint8([[0], [255]]), (100, 200))
    upright = Image.fromarray(stripes).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it right
    for name in ("one", "two"):
        place = tmp_path / "pictures" / name
        place.mkdir(parents=True)
        upright.save(place / "picture.jpg", exif=exif, quality=95)
        upright.save(place / "picture.webp", exif=exif, lossless=True)
    (tmp_path / "pictures" / ".hidden").mkdir()
    example = runpy.run_path("examples/fine_tune.py")
    prepare = keras_attn.load(WEIGHT).prepare
    training, validation, names = example["from_folders"](
        tmp_path / "pictures", tmp_path / "pictures", prepare, 0
    )
    assert names == ["one", "two"]
    for part in (training, validation):
        assert [int(label) for _, label in part] == [0, 0, 1, 1]
        for image, label in part:
            candidates = (tmp_path / "pictures" / names[int(label)]).iterdir()
            prepared = [prepare(path) for path in candidates]
            assert any(np.array_equal(image, each) for each in prepared)
            assert np.ptp(image) < 30  # grey, where every sixth row would not


def test_a_fifth_of_each_class_is_held_out(folder):
    example = runpy.run_path("examples/fine_tune.py")
    prepare = keras_attn.load(WEIGHT).prepare
    splits = [
        example["from_folders"](folder, None, prepare, seed)
        for seed in (0, 0, 1)
    ]
    for training, validation, names in splits:
        assert names == ["bright", "dark"]
        assert [int(label) for _, label in validation] == [0, 0, 1, 1]
        assert [int(label) for _, label in training] == [0] * 8 + [1] * 8
    held_out, again, other = (
        np.stack([image for image, _ in validation])
        for _, validation, _ in splits
    )
    assert (held_out == again).all() and (held_out != other).any()
    for arguments, message in (
        ((folder / "dark", None), "no folders of classes"),
        ((folder / "nowhere", None), "no folders of classes"),
        ((folder, folder.parent), "its classes are not those of"),
    ):
        with pytest.raises(typer.BadParameter, match=message):
            example["from_folders"](*arguments, prepare, 0)


def test_folders_that_hold_no_classes_are_told(folder, tmp_path):
    """Of which a network would be trained that nobody wants."""
    main = runpy.run_path("examples/fine_tune.py")["main"]
    out = tmp_path / "mine.keras"
    (tmp_path / "data").mkdir()
    folder = folder.rename(tmp_path / "data" / "train")
    with pytest.raises(typer.BadParameter, match="not classes.* Give .*train"):
        main(tmp_path / "data", out, model=WEIGHT)
    for picture in list((folder / "dark").iterdir())[4:]:
        picture.unlink()
    with pytest.raises(typer.BadParameter, match="dark: too few images"):
        main(folder, out, model=WEIGHT)
    with pytest.raises(typer.BadParameter, match="goes without --data"):
        main(folder, out, model=WEIGHT, data="a", validation_folder=folder)


@pytest.mark.parametrize(
    "splits, sizes",
    [
        ({"train": 10, "test": 4}, [10, 4]),
        ({"train": 10, "validation": 3, "test": 4}, [10, 3]),
        ({"train": 10}, [8, 2]),
    ],
)
def test_a_data_set_of_tfds_is_split_where_it_is_not(splits, sizes, tmp_path):
    class Grey(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(40, 50, 1)),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, manager):
            return {
                name: self._generate_examples(splits[name]) for name in splits
            }

        def _generate_examples(self, count):
            image = np.full((40, 50, 1), 7, "uint8")
            for index in range(count):
                yield index, {"image": image, "label": 1}

    Grey(data_dir=tmp_path).download_and_prepare()
    example = runpy.run_path("examples/fine_tune.py")
    prepare = keras_attn.load(WEIGHT).prepare
    *parts, names = example["from_tfds"]("grey", tmp_path, prepare)
    assert [len(part) for part in parts] == sizes and names == ["cat", "dog"]
    for image, label in parts[0]:
        np.testing.assert_array_equal(image, np.full((32, 32, 3), 7, "uint8"))
        assert label == 1


@pytest.mark.parametrize("name", ["fine_tune", "segment"])
def test_a_wrong_place_is_told_before_the_training(folder, name, tmp_path):
    main = runpy.run_path(f"examples/{name}.py")["main"]
    arguments = {"folder": folder} if name == "fine_tune" else {}
    for out in (tmp_path / "mine.h5", tmp_path / "nowhere" / "mine.keras"):
        with pytest.raises(typer.BadParameter, match="no .keras file"):
            main(out=out, **arguments)


def test_some_epoch_is_trained(folder, tmp_path):
    main = runpy.run_path("examples/fine_tune.py")["main"]
    for options in ({"head_epochs": 0}, {"from_scratch": True}):
        with pytest.raises(typer.BadParameter, match="must be an epoch"):
            main(folder, tmp_path / "a.keras", body_epochs=0, **options)


def test_a_file_of_the_head_alone_loads_without_a_warning(folder, tmp_path):
    out = tmp_path / "mine.keras"
    run_here(
        *("examples/fine_tune.py", folder, "--out", out, "--model", WEIGHT),
        *("--head-epochs", 1, "--body-epochs", 0, "--batch-size", 8),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained = keras_attn.load(out).model.optimizer.variables
    assert len(trained) < 10


def test_a_figure_has_a_place_before_it_is_drawn(tmp_path):
    main = runpy.run_path("examples/see_attention.py")["main"]
    for name in ("where.txt", "nowhere/where.png"):
        with pytest.raises(typer.BadParameter, match="no .jpg or .png in a"):
            main([tmp_path / "missing.png"], tmp_path / name)


def test_sizes_that_the_levels_do_not_divide_are_told(tmp_path):
    main = runpy.run_path("examples/segment.py")["main"]
    with pytest.raises(typer.BadParameter, match="40: not a multiple of 32"):
        main(out=tmp_path / "segmenter.keras", size=40)


def test_attention_is_drawn_for_each_picture(folder, tmp_path):
    out = tmp_path / "where.png"
    pictures = [folder / "dark" / "0.png", folder / "bright" / "0.png"]
    run_here(
        *("examples/see_attention.py", *pictures, "--out", out),
        *("--model", "gsa_resnet14_small.cifar100_32", "--model", WEIGHT),
        *("--query", 3, 30, "--layers", "conv3*", "--layers", "conv4_block1*"),
    )
    with Image.open(out) as figure:
        width, height = figure.size
        pixels = np.asarray(figure)
    # A picture and two maps of each of six layers, in two rows of panels for
    # each network. ExpAtt has one map a layer: its rows are shorter.
    assert width / height == pytest.approx(13 * 2.6 / (4 * 3.1), rel=0.01)
    upper, lower = np.split(pixels[:, width * 8 // 13 :] < 250, 2)
    assert upper.any() and not lower.any()


def test_what_is_drawn_is_what_the_network_sees(tmp_path):
    """Of pictures that are not square, and of more than 8 bits; also for a
    network without names of classes."""
    example = runpy.run_path("examples/see_attention.py")
    levels = np.linspace(0, 65535, 60).astype("uint16")
    grey = Image.fromarray(np.tile(levels[:, None], (1, 60)))
    grey.save(tmp_path / "grey.png")
    shown = example["sharp"](tmp_path / "grey.png", 32, 16)
    assert shown.shape == (16, 32, 3)
    # A network of twice its height sees the middle half, from a quarter of
    # the levels to three quarters.
    assert np.ptp(shown, axis=1).max() < 3
    np.testing.assert_allclose(shown[[0, 15], 16, 0], [66, 189], atol=6)
    model = AttnResNet(
        (1, 1),
        bottleneck=False,
        width=8,
        stem_strides=2,
        attention="cram",
        attention_stages=[3],
        input_shape=(16, 32, 3),
        classes=2,
    )
    model.save(tmp_path / "mine.keras")
    file = str(tmp_path / "mine.keras")
    figure = example["draw"](file, [tmp_path / "grey.png"], "*", None)
    # Three panels: the picture, which is grey, and maps, which are not.
    panels = np.array_split(np.asarray(figure, "int16"), 2, axis=1)
    colorful = [np.ptp(panel, axis=2).max() > 50 for panel in panels]
    assert colorful == [False, True]


def test_a_network_from_scratch_has_other_weights(folder, tmp_path):
    out = tmp_path / "mine.keras"
    printed = run_here(
        *("examples/fine_tune.py", folder, "--out", out, "--model", WEIGHT),
        *("--from-scratch", "--body-epochs", 1, "--batch-size", 8),
    )
    assert printed.count("val_accuracy") == 1  # no other phase
    kernel = "conv2_block1_1_conv"
    trained = keras_attn.load(WEIGHT).model.get_layer(kernel).kernel
    fresh = keras_attn.load(out).model.get_layer(kernel).kernel
    correlation = np.corrcoef(np.ravel(trained), np.ravel(fresh))[0, 1]
    assert abs(correlation) < 0.1


def test_a_segmenter_learns_and_its_file_gives_the_same_masks(tmp_path):
    out = tmp_path / "segmenter.keras"
    example = runpy.run_path("examples/segment.py")
    printed = run(
        *("examples/segment.py", "--out", out, "--attention", "gsa"),
        *("--images", 240, "--held-out", 40, "--size", 64),
        *("--epochs", 3, "--batch-size", 8, "--learning-rate", 0.003),
    )
    figures = json.loads(printed.splitlines()[-1])
    images, labels = example["pictures"](40, 64, example["HELD_OUT_SEED"])
    # What one gets without looking: all pixels are ground.
    assert figures["mean_iou"] > (labels == 0).mean() / 6 + 0.01

    # This is another process than the one that trained.
    model = keras.saving.load_model(out)
    masks = model.predict(images, verbose=0).argmax(-1)
    overlaps = [
        ((masks == label) & (labels == label)).sum()
        / max(1, ((masks == label) | (labels == label)).sum())
        for label in range(6)
    ]
    for name, overlap in zip(example["CLASSES"], overlaps):
        assert figures[name] == pytest.approx(overlap, abs=1e-3)


def test_generated_pictures_come_from_their_seed_alone():
    pictures = runpy.run_path("examples/segment.py")["pictures"]
    images, labels = pictures(3, 32, 1)
    for array, again in zip((images, labels), pictures(3, 32, 1)):
        np.testing.assert_array_equal(array, again)
    for array, other in zip((images, labels), pictures(3, 32, 2)):
        assert (array != other).any()


def test_generated_shapes_are_what_their_labels_say():
    example = runpy.run_path("examples/segment.py")
    images, labels = example["pictures"](60, 64, 1)
    assert images.shape == (60, 64, 64, 3) and images.dtype == "uint8"
    assert set(np.unique(labels)) == set(range(len(example["CLASSES"])))
    assert 0.5 < (labels == 0).mean() < 0.9
    # Where the label changes, so does the picture, far more than elsewhere.
    steps = abs(np.diff(images.astype(int), axis=2)).mean(-1)
    edges = np.diff(labels.astype(int), axis=2) != 0
    assert steps[edges].mean() > 2 * steps[~edges].mean()
    # But a colour says nothing of the class.
    means = [images[labels == label].mean(0) for label in range(6)]
    assert np.ptp(means, axis=0).max() < 80


def test_outlines_have_the_areas_of_their_shapes():
    outline = runpy.run_path("examples/segment.py")["outline"]
    x, y = (np.mgrid[:300, :300] - 149.5) / 100  # radius 1 is 100 pixels
    for shape, area in {
        "disc": np.pi,
        "square": 2,
        "triangle": 3 * np.sqrt(3) / 4,
        "cross": 2 * 0.6 * 2 - 0.6**2,
        "ring": np.pi * (1 - 0.6**2),
    }.items():
        assert outline(shape, x, y).sum() / 1e4 == pytest.approx(area, rel=0.02)
