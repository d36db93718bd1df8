"""Data sets, and what augmentation promises."""

import io
import itertools
import sys

import keras
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
from PIL import Image

from tests.subprocesses import WITHOUT_TENSORFLOW
from tests.subprocesses import run_python
from tests.zoo.common import ONE_SIZE
from tests.zoo.common import small_recipe
from zoo import data
from zoo.data import array_batches
from zoo.data import crops
from zoo.data import tensorflow_batches
from zoo.data.augmentation import BatchAugmentation
from zoo.data.sources import ArraySplit
from zoo.data.sources import StoredSplit


def test_tiny_imagenet_is_read(data_dir):
    for split, count in (("train", 15), ("val", 6)):
        read = data.load("tiny_imagenet", data_dir, split)
        assert read.images.shape == (count, 16, 16, 3)
        assert read.images.dtype == "uint8" and len(read) == count
        assert read.class_names == ["red", "green", "blue"]
        np.testing.assert_array_equal(
            read.images.mean(axis=(1, 2)).argmax(axis=1), read.labels
        )


def test_cifar100_is_read_from_parquet(tmp_path):
    """Lossless pictures in a table, the class names in its metadata."""
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), "uint8")
    stored = {"train": images[::-1], "test": images}
    for split, pictures in stored.items():
        files = []
        for image in pictures:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "WEBP", lossless=True)
            files.append(file.getvalue())
        table = pyarrow.table(
            {"image": files, "label": np.int16([2, 0, 1, 2])}
        ).replace_schema_metadata({"classes": "apple,bear,cup"})
        pyarrow.parquet.write_table(
            table, tmp_path / f"cifar100_{split}.parquet"
        )
    for split, name in (("train", "train"), ("val", "test")):
        read = data.load("cifar100", tmp_path, split)
        np.testing.assert_array_equal(read.images, stored[name])
    assert list(read.labels) == [2, 0, 1, 2] and read.labels.dtype == "int32"
    assert read.class_names == ["apple", "bear", "cup"]


@pytest.mark.parametrize(
    ("columns", "metadata"),
    [
        (["image", "label"], None),
        (["image", "label"], {"other": "a"}),
        (["image", "fine_label"], {"classes": "apple,bear"}),
    ],
)
def test_a_cifar100_without_names_or_columns_is_told(
    tmp_path, columns, metadata
):
    table = pyarrow.table(dict.fromkeys(columns, [0]))
    table = table.replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, tmp_path / "cifar100_train.parquet")
    with pytest.raises(ValueError, match="must have the columns image and lab"):
        data.load("cifar100", tmp_path, "train")


def test_a_folder_of_images_of_any_size_becomes_batches(tmp_path):
    for split, count in (("train", 5), ("val", 3)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                color = 200 * label, 10 * index, 0
                picture = Image.new("RGB", (20 + index, 30), color)
                picture.save(folder / f"{index}.png")
    read = data.load("image_folder", tmp_path, "train")
    assert isinstance(read, StoredSplit) and len(read) == 10
    assert read.class_names == ["cat", "dog"]
    recipe = small_recipe()
    seen = list(data.training_batches(read, recipe))
    assert [tuple(images.shape) for images, _ in seen] == [
        *[(4, 12, 12, 3)] * 2,
        *[(4, 16, 16, 3)] * 2,
    ]
    for images, labels in seen:
        np.testing.assert_allclose(
            images[:, 5, 5, 0], 200 * np.argmax(labels, -1), atol=1e-3
        )
    # The same draws again, and in a training that goes on.
    again = list(data.training_batches(read, recipe))
    resumed = list(data.training_batches(read, recipe, first_epoch=1))
    for one, other in [*zip(seen, again), *zip(seen[2:], resumed)]:
        np.testing.assert_array_equal(one[0], other[0])
    validation = data.load("image_folder", tmp_path, "val")
    [(images, labels)] = data.evaluation_batches(validation, 16)
    assert images.shape == (6, 16, 16, 3)
    assert sorted(np.argmax(labels, -1)) == [0, 0, 0, 1, 1, 1]


def test_a_data_set_of_tfds_is_prepared_and_read(tmp_path):
    """A builder that is defined here is known by its name from then on."""
    import tensorflow_datasets as tfds

    class SpottedImages(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(8, 8, 3)),
                "label": tfds.features.ClassLabel(names=["plain", "spotted"]),
            }
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, download):
            return {"train": self._examples(6), "test": self._examples(4)}

        def _examples(self, count):
            for number in range(count):
                image = np.zeros((8, 8, 3), "uint8")
                image[::2] = 100 * (number % 2)
                yield number, {"image": image, "label": number % 2}

        def _generate_examples(self):
            raise NotImplementedError

    for _ in range(2):  # prepares, then finds what is prepared
        read = data.load("spotted_images", tmp_path, "train")
        assert isinstance(read, ArraySplit) and len(read) == 6
        assert read.class_names == ["plain", "spotted"]
        np.testing.assert_array_equal(
            read.images.max((1, 2, 3)), 100 * read.labels
        )
    assert len(data.load("spotted_images", tmp_path, "val")) == 4

    class HeldOutImages(SpottedImages):
        """As imagenet2012, whose test images have no labels."""

        def _split_generators(self, download):
            return {
                name: self._examples(count)
                for name, count in (
                    ("train", 6),
                    ("test", 4),
                    ("validation", 2),
                )
            }

    assert len(data.load("held_out_images", tmp_path, "val")) == 2

    class LostImages(SpottedImages):
        def _split_generators(self, download):
            raise ConnectionError("no route to host")

    with pytest.raises(FileNotFoundError, match="lost_images.*no route"):
        data.load("lost_images", tmp_path, "train")

    class BoughtImages(SpottedImages):
        """As imagenet2012, whose archives tfds does not download."""

        MANUAL_DOWNLOAD_INSTRUCTIONS = "Put\n\nspots.tar there."

        def _split_generators(self, manager):
            return {"train": self._examples(len(manager.manual_dir))}

    with pytest.raises(FileNotFoundError, match="Put spots.tar there") as told:
        data.load("bought_images", tmp_path, "train")
    assert "\n" not in str(told.value)


def test_pictures_that_tfds_would_leave_out_are_an_error(tmp_path):
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    for file in (folder / "a.png", folder / "b.webp", tmp_path / "all.webp"):
        Image.new("RGB", (8, 8)).save(file)
    with pytest.raises(ValueError, match="1 pictures.*b.webp"):
        data.load("image_folder", tmp_path, "train")


@pytest.mark.parametrize("colours", [1, 3])
def test_a_data_set_of_tfds_needs_colours_and_a_class_each(tmp_path, colours):
    import tensorflow_datasets as tfds

    def info(builder):
        features = {"image": tfds.features.Image(shape=(8, 8, colours))}
        if colours == 1:
            features["label"] = tfds.features.ClassLabel(names=["a"])
        return builder.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features)
        )

    def examples(builder, download):
        image = np.zeros((8, 8, colours), "uint8")
        example = {"image": image} | ({"label": 0} if colours == 1 else {})
        return {"train": iter([(0, example)])}

    name = f"Other{colours}Images"
    type(
        name,
        (tfds.core.GeneratorBasedBuilder,),
        {
            "VERSION": tfds.core.Version("1.0.0"),
            "_info": info,
            "_split_generators": examples,
            "_generate_examples": None,
            "__module__": __name__,
        },
    )
    with pytest.raises(ValueError, match="must have an `image` in colour"):
        data.load(f"other{colours}_images", tmp_path, "train")


def test_missing_data_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="--data-dir"):
        data.load("tiny_imagenet", tmp_path, "train")
    with pytest.raises(ValueError, match="name='imagenet3000'"):
        data.load("imagenet3000", tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="--data-dir"):
        data.load("image_folder", tmp_path, "train")
    with pytest.raises(ValueError, match="split='test'"):
        data.load("tiny_imagenet", tmp_path, "test")
    (tmp_path / "cifar100_train.parquet").touch()
    with pytest.raises(FileNotFoundError, match="no cifar100_test.*--data-dir"):
        data.load("cifar100", tmp_path, "val")
    (tmp_path / "cifar100_train.parquet").rename(
        tmp_path / "cifar100_test.parquet"
    )
    with pytest.raises(FileNotFoundError, match="no cifar100_train"):
        data.load("cifar100", tmp_path, "train")


def test_a_missing_reader_of_parquet_files_is_named(tmp_path, monkeypatch):
    (tmp_path / "cifar100_train.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"pyarrow: pip .*keras-attn\[train"):
        data.load("cifar100", tmp_path, "train")


def test_the_two_sets_that_need_no_tensorflow_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ValueError, match="cifar10 needs tensorflow.*parquet"):
        data.load("cifar10", tmp_path, "train")


def numbered_images(count=10, size=16):
    """The red of an image is its number; green marks its lower half."""
    images = np.zeros((count, size, size, 3), "uint8")
    images[..., 0] = np.arange(count)[:, None, None]
    images[:, size // 2 :, :, 1] = 200
    names = [str(number) for number in range(count)]
    return ArraySplit(images, np.arange(count, dtype="int32"), names)


def on_tensorflow(recipe, first_epoch=0, split=None):
    batches = data.training_batches(
        split or numbered_images(), recipe, first_epoch
    )
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


def on_numpy(recipe, first_epoch=0, part=(0, 1), split=None):
    batches = array_batches.TrainingBatches(
        split or numbered_images(), recipe, first_epoch, part
    )
    return [batches[index] for index in range(len(batches))]


def from_storage(recipe, first_epoch=0, split=None):
    """The same images, one at a time."""
    split = split or numbered_images()
    images = tf.data.Dataset.from_tensor_slices((split.images, split.labels))
    stored = StoredSplit(
        images, lambda image: image, len(split), split.class_names
    )
    return on_tensorflow(recipe, first_epoch, stored)


BOTH = pytest.mark.parametrize("batches", [on_tensorflow, on_numpy])
EVERY_SOURCE = pytest.mark.parametrize(
    "batches", [on_tensorflow, on_numpy, from_storage]
)


@EVERY_SOURCE
def test_every_epoch_shows_other_images_in_its_own_size(batches):
    all_batches = batches(small_recipe())
    assert [images.shape[1] for images, _ in all_batches] == [12, 12, 16, 16]
    seen = [np.argmax(labels, axis=1) for _, labels in all_batches]
    first, second = np.concatenate(seen[:2]), np.concatenate(seen[2:])
    assert len(set(first)) == len(set(second)) == 8
    assert list(first) != list(second)
    for (images, labels), numbers in zip(all_batches, seen):
        assert images.dtype == labels.dtype == "float32"
        np.testing.assert_allclose(images[:, 0, 0, 0], numbers, atol=1e-4)


@EVERY_SOURCE
def test_no_two_crops_are_alike(batches):
    """In a batch, an epoch, a training or trainings with two seeds."""
    picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), "uint8")
    split = ArraySplit(np.repeat(picture, 8, 0), np.zeros(8, "int32"), ["a"])
    shown = []
    for seed in range(2):
        recipe = small_recipe(data=ONE_SIZE, training={"seed": seed})
        shown += [images for images, _ in batches(recipe, split=split)]
    assert len(np.unique(np.concatenate(shown), axis=0)) == 2 * 2 * 8


@BOTH
@pytest.mark.parametrize(
    ("mode", "darkest"), [("constant", 0), ("symmetric", 9)]
)
def test_batches_are_padded_as_the_recipe_says(batches, mode, darkest):
    grey = np.full((8, 16, 16, 3), 9, "uint8")
    split = ArraySplit(grey, np.zeros(8, "int32"), ["a"])
    padding = {"crop_padding": 4, "crop_padding_mode": mode}
    recipe = small_recipe(data=ONE_SIZE | padding)
    for images, _ in batches(recipe, split=split):
        assert images.min() == darkest and images.max() == 9
        assert (images == 9).mean() > 0.5  # shifted by a quarter at most


@BOTH
def test_batches_are_augmented_if_the_recipe_says_so(batches):
    """CutMix shows in the labels, RandAugment in the colours."""
    for settings, mixed, recoloured in (
        ({}, False, False),
        ({"cutmix_alpha": 1.0}, True, False),
        ({"rand_augment_magnitude": 0.5}, False, True),
    ):
        recipe = small_recipe(augmentation=settings)
        images, labels = map(np.concatenate, zip(*batches(recipe)[:2]))
        assert ((labels > 0).sum(axis=1) > 1).any() == mixed
        shown = set(np.unique(images.round(3)[..., 2]))
        assert (shown != {0}) == recoloured  # no image has any blue


@EVERY_SOURCE
def test_a_resumed_run_sees_the_batches_it_would_have_seen(batches):
    whole, resumed = batches(small_recipe()), batches(small_recipe(), 1)
    for (image, label), (again, same) in zip(whole[2:], resumed, strict=True):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(label, same)
    other = batches(small_recipe(training={"seed": 1}))
    for ours, theirs in zip(whole[0], other[0], strict=True):
        assert not np.array_equal(ours, theirs)


def test_augmented_arrays_depend_on_their_place_alone():
    """Not on the batches before: neither in a training that goes on, nor in
    one that is made again. But each process has draws of its own."""
    recipe = small_recipe(
        augmentation={"cutmix_alpha": 1.0, "mixup_alpha": 0.2}
    )
    whole = on_numpy(recipe)
    resumed = on_numpy(recipe, first_epoch=1)
    for ours, again in [
        *zip(whole, on_numpy(recipe)),
        *zip(whole[2:], resumed),
    ]:
        for array, same in zip(ours, again, strict=True):
            np.testing.assert_array_equal(array, same)
    batches = array_batches.TrainingBatches(
        numbered_images(), recipe, 0, (0, 1)
    )
    for index in (2, 0, 0, 3):  # in any order
        np.testing.assert_array_equal(batches[index][0], whole[index][0])
    one, other = (on_numpy(recipe, part=(part, 2)) for part in range(2))
    # Nor are those of any two batches the same.
    blended = on_numpy(small_recipe(augmentation={"mixup_alpha": 0.2}))
    for pair in ((one[0], other[0]), *itertools.combinations(blended, 2)):
        shares = [np.sort(np.max(labels, axis=1)) for _, labels in pair]
        assert np.abs(shares[0] - shares[1]).max() > 1e-3


def test_processes_share_the_batches_of_one():
    whole = on_numpy(small_recipe())
    parts = [on_numpy(small_recipe(), part=(part, 2)) for part in range(2)]
    for (images, labels), *shares in zip(whole, *parts, strict=True):
        for part, (their_images, their_labels) in enumerate(shares):
            np.testing.assert_array_equal(images[part::2], their_images)
            np.testing.assert_array_equal(labels[part::2], their_labels)


@pytest.mark.parametrize(
    ("images", "devices", "size"),
    [
        (10_000, 1, 200),
        (10_000, 3, 198),  # and 34 + 34 + 32
        (7, 2, 4),  # and 2 + 1
        # 200 would leave 10: TensorFlow makes that 5 * 2, and three times none.
        (10_010, 8, 184),
    ],
)
def test_each_device_gets_some_of_every_evaluation_batch(images, devices, size):
    """TensorFlow's batch normalisation fails on a device with no image."""
    assert data._evaluation_batch_size(images, devices) == size


def test_too_few_images_for_the_devices_are_an_error():
    with pytest.raises(ValueError, match="2 devices cannot share 5 validation"):
        data.evaluation_batches(numbered_images(5), 16, devices=2)


def tensorflow_crops(images, settings, size=None):
    return tensorflow_batches._crop(
        tf.constant(images), settings, size or images.shape[1], [0, 0]
    ).numpy()


def numpy_crops(images, settings, size=None):
    boxes, flipped = array_batches._draw_boxes(
        np.random.default_rng(0), len(images), settings, images.shape[1:3]
    )
    return array_batches.crop(
        array_batches.padded(images, settings),
        boxes,
        flipped,
        size or images.shape[1],
    )


BOTH_CROPS = pytest.mark.parametrize("cropped", [tensorflow_crops, numpy_crops])


def photo_crops(images, settings):
    """Of one image at a time, as those that are stored."""
    crops_of = [
        crops.random_resized_crop_of_photo(
            tf.constant(image),
            image.shape[0],
            settings["crop_area"],
            settings["crop_aspect_ratio"],
            [0, number],
        )
        for number, image in enumerate(images)
    ]
    return np.stack(crops_of)


EVERY_CROP = pytest.mark.parametrize(
    "cropped", [tensorflow_crops, numpy_crops, photo_crops]
)


def edges_of_crops(cropped, shape):
    """Return left, right, top and bottom of 300 crops, as shares of the
    image, and which are flipped."""
    down, across = (np.linspace(0, 255, size).round() for size in shape)
    ramps = np.zeros((*shape, 3), "uint8")
    ramps[..., 0], ramps[..., 1] = across, down[:, None]
    images = np.repeat(ramps[None], 300, axis=0)
    crop = cropped(images, small_recipe()["data"]) / 255
    ends = crop[:, 0, 0, 0], crop[:, 0, -1, 0]
    left, right = np.minimum(*ends), np.maximum(*ends)
    return left, right, crop[:, 0, 0, 1], crop[:, -1, 0, 1], ends[0] > ends[1]


@EVERY_CROP
@pytest.mark.parametrize("shape", [(96, 96), (96, 144), (144, 96)])
def test_crops_differ_and_half_are_flipped(cropped, shape):
    left, right, top, bottom, flipped = edges_of_crops(cropped, shape)
    assert 0.4 < np.mean(flipped) < 0.6
    width, height = right - left, bottom - top
    area, ratio = width * height, width / height * shape[1] / shape[0]
    # Nearly a square of pixels, whatever the shape of the image.
    assert 0.72 < ratio.min() < 0.82 and 1.22 < ratio.max() < 1.36
    assert 0.32 < area.min() < 0.42
    largest = min(1, 4 / 3 * min(shape) / max(shape))
    assert 0.9 * largest < area.max() < 1.01 * largest
    free = (width < 0.9) & (height < 0.9)
    across = left[free] / (1 - width[free])
    down = top[free] / (1 - height[free])
    for place in (across, down):
        assert place.min() < 0.06 and place.max() > 0.94
    assert abs(np.corrcoef(across, down)[0, 1]) < 0.2


@EVERY_CROP
def test_crops_of_a_panorama_are_as_high_as_it_is(cropped):
    """The least area of the recipe would be wider than it may be."""
    left, right, top, bottom, _ = edges_of_crops(cropped, (32, 320))
    assert np.allclose(top, 0, atol=0.03) and np.allclose(bottom, 1, atol=0.03)
    ratio = 10 * (right - left)
    # A step of the colour is 0.04 wide.
    assert np.abs(ratio - 4 / 3).max() < 0.1
    assert left.min() < 0.05 and right.max() > 0.95


def test_small_pictures_of_photos_have_no_false_patterns():
    """Of stripes as fine as pixels, they are grey."""
    stripes = np.zeros((200, 320, 3), "uint8")
    stripes[:, ::2] = 255
    split = ArraySplit(stripes[None], np.int32([0]), ["a"])
    shown = [
        tensorflow_batches._middle(tf.constant(stripes), 16),
        array_batches.EvaluationBatches(split, 16, 1, (0, 1))[0][0],
    ]
    for number in range(5):
        crop = crops.random_resized_crop_of_photo(
            tf.constant(stripes), 16, (0.35, 1.0), (0.75, 1.333), [0, number]
        )
        shown.append(crop)
    for picture in shown:
        assert np.abs(picture - 127.5).max() < 15


def test_padded_crops_are_for_squares_of_one_size():
    recipe = small_recipe(data={"crop_padding": 4})
    wide = np.zeros((8, 16, 20, 3), "uint8")
    split = ArraySplit(wide, np.zeros(8, "int32"), ["a"])
    stored = StoredSplit(tf.data.Dataset.range(8), None, 8, ["a"])
    for refused in (split, stored):
        with pytest.raises(ValueError, match="`data.crop_padding` is for squ"):
            data.training_batches(refused, recipe)


def test_padding_is_less_than_the_image():
    """Else a crop could show nothing of it."""
    recipe = small_recipe(data={"crop_padding": 16})
    with pytest.raises(ValueError, match="16 pixels. Received: 16"):
        data.training_batches(numbered_images(), recipe)


@pytest.mark.parametrize("wide", [True, False])
def test_evaluation_sees_the_middle_square(wide):
    picture = np.zeros((30, 50, 3), "uint8")
    picture[:, 10:40] = 200
    picture = picture if wide else picture.transpose(1, 0, 2)
    split = ArraySplit(picture[None], np.int32([0]), ["a"])
    one = tensorflow_batches._middle(tf.constant(picture), 16)
    batches = array_batches.EvaluationBatches(split, 16, 1, (0, 1))
    [other] = batches[0][0]
    for shown in (one, other):
        np.testing.assert_allclose(shown, np.full((16, 16, 3), 200), rtol=1e-5)


@BOTH_CROPS
@pytest.mark.parametrize("mode", ["constant", "symmetric"])
@pytest.mark.parametrize(("side", "padding"), [(32, 4), (28, 3)])
def test_padded_crops_are_whole_pixels_of_the_image_or_its_border(
    cropped, mode, side, padding
):
    """Black, or the image in the mirror."""
    random = np.random.default_rng(0)
    image = random.integers(1, 256, (1, side, side, 3), "uint8")
    images = np.repeat(image, 200, axis=0)
    sides = (padding, padding)
    whole = np.pad(image[0], (sides, sides, (0, 0)), mode)
    places = set()
    settings = {"crop_padding": padding, "crop_padding_mode": mode}
    for crop in cropped(images, settings):
        places.add(_place(crop, whole))
    # 9 x 9 or 7 x 7 shifts, half of them mirrored: 200 draws find more than
    # half.
    assert len(places) > (2 * padding + 1) ** 2
    assert 0.35 < np.mean([flipped for *_, flipped in places]) < 0.65


def _place(crop, whole):
    side = len(crop)
    shifts = range(len(whole) - side + 1)
    for flipped in (False, True):
        straight = crop[:, ::-1] if flipped else crop
        for top, left in itertools.product(shifts, shifts):
            expected = whole[top : top + side, left : left + side]
            if np.abs(straight - expected).max() < 0.1:
                return top, left, flipped
    raise AssertionError("a crop is no shifted image")


@BOTH_CROPS
@pytest.mark.parametrize(
    ("side", "padding", "size"),
    [(64, 4, 64), (32, 8, 32), (16, 2, 16), (32, 4, 24), (32, 4, 48)],
)
def test_no_rounding_brings_black_into_mirrored_crops(
    cropped, side, padding, size
):
    white = np.full((300, side, side, 3), 255, "uint8")
    settings = {"crop_padding": padding, "crop_padding_mode": "symmetric"}
    crop = cropped(white, settings, size)
    assert crop.shape == (300, size, size, 3)
    np.testing.assert_allclose(crop, 255, rtol=1e-5)


def test_both_paths_cut_the_same_boxes():
    """TensorFlow's own kernel against NumPy's interpolation."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 20, 24, 3), "uint8")
    corners = random.uniform(-0.3, 0.6, (6, 2))
    boxes = np.concatenate([corners, random.uniform(0.3, 1, (6, 2))], axis=1)
    flipped = np.array([True, False] * 3)
    ours = array_batches.crop(images, boxes, flipped, 16)
    theirs = crops._crop(
        tf.constant(images),
        16,
        *(tf.constant(column, "float32") for column in boxes.T),
        tf.constant(flipped),
    )
    # A pixel on the very edge may fall on either side of it.
    difference = np.abs(ours - theirs)
    assert np.mean(difference > 0.1) < 0.01


def mixed(settings, step=0, count=64, seed=1):
    """Augment images of random noise whose values tell their number."""
    images = np.broadcast_to(
        np.arange(1, count + 1, dtype="float32")[:, None, None, None],
        (count, 16, 16, 3),
    )
    labels = np.eye(count, dtype="float32")
    augment = BatchAugmentation(settings, seed=seed)
    result = augment(step, tf.constant(images), tf.constant(labels))
    return [np.asarray(tensor) for tensor in result]


def test_cutmix_labels_are_the_shares_of_the_pixels():
    images, labels = mixed({"cutmix_alpha": 1.0})
    shares = np.stack(
        [(images[..., 0] == number).mean((1, 2)) for number in range(1, 65)],
        axis=1,
    )
    np.testing.assert_allclose(shares.sum(1), 1)
    assert np.abs(shares - labels).max() < 0.13  # whole pixels of 16 x 16
    own = np.diag(shares)
    assert own.std() > 0.1 and len(np.unique(own)) > 10  # one box an image


def test_cutmix_shares_are_from_the_beta_distribution_of_the_recipe():
    """With 1 it is uniform: neither mostly whole images nor mostly halves."""
    shares = np.concatenate(
        [np.diag(mixed({"cutmix_alpha": 1.0}, seed=s)[1]) for s in range(2)]
    )
    within = [np.mean(shares < edge) for edge in (0.25, 0.5, 0.75)]
    np.testing.assert_allclose(within, [0.25, 0.5, 0.75], atol=0.12)


def test_sizes_after_the_last_epoch_are_left_out():
    recipe = small_recipe(training={"epochs": 1})
    for batches in (on_tensorflow, on_numpy):
        assert [len(images) for images, _ in batches(recipe)] == [4, 4]


def test_mixup_labels_are_the_shares_of_the_images():
    images, labels = mixed({"mixup_alpha": 0.4})
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-5)
    expected = labels @ np.arange(1, 65)
    np.testing.assert_allclose(images[:, 3, 7, 1], expected, rtol=1e-4)
    assert np.diag(labels).std() > 0.1  # one share an image


def test_mixup_shares_are_from_the_beta_distribution_of_the_recipe():
    """With a small alpha one of the two images is nearly all of it."""
    larger = [
        np.maximum(share, 1 - share).mean()
        for share in (
            np.diag(mixed({"mixup_alpha": alpha})[1]) for alpha in (0.2, 1.0)
        )
    ]
    # The means of the distributions are 0.90 and 0.75.
    np.testing.assert_allclose(larger, [0.9, 0.75], atol=0.06)


@pytest.mark.parametrize("number", [int, tf.constant])
def test_cutmix_and_mixup_take_turns(number):
    """Also where steps are tensors, as those of `tf.data` are."""
    both = {"cutmix_alpha": 1.0, "mixup_alpha": 0.4}
    cut, _ = mixed(both, step=number(2))
    blended, _ = mixed(both, step=number(3))
    assert np.all(cut == cut.round()) and np.ptp(cut, axis=(1, 2)).max() > 0
    assert not np.all(blended == blended.round())
    assert np.ptp(blended, axis=(1, 2)).max() < 1e-3


def test_rand_augment_differs_by_image_and_stays_in_range():
    picture = np.random.default_rng(0).uniform(40, 200, (1, 16, 16, 3))
    images = tf.constant(np.repeat(picture, 32, 0), "float32")
    augment = BatchAugmentation({"rand_augment_magnitude": 0.5}, seed=1)
    result, labels = augment(0, images, tf.eye(32))
    result = result.numpy()
    assert result.shape == images.shape and result.dtype == "float32"
    assert result.min() >= 0 and result.max() <= 255
    assert len(np.unique(result.reshape(32, -1), axis=0)) > 16
    np.testing.assert_array_equal(labels, np.eye(32))


def test_rand_augment_does_more_than_one_thing_to_an_image():
    """Some are moved, so that a quarter is not of one colour, and have none of
    the colours they had."""
    images = np.full((32, 16, 16, 3), 60, "float32")
    images[:, 8:, 8:] = 120
    augment = BatchAugmentation({"rand_augment_magnitude": 0.5}, seed=1)
    result = np.asarray(augment(0, tf.constant(images), tf.eye(32))[0])
    quarters = result[..., 0].reshape(32, 2, 8, 2, 8)
    moved = np.ptp(quarters, axis=(2, 4)).max(axis=(1, 2)) > 1
    kept = np.isclose(result, 60, atol=1) | np.isclose(result, 120, atol=1)
    recoloured = ~kept.any(axis=(1, 2, 3))
    assert (moved & recoloured).any()


def test_a_larger_magnitude_changes_more():
    picture = np.random.default_rng(0).uniform(40, 200, (1, 16, 16, 3))
    images = tf.constant(np.repeat(picture, 32, 0), "float32")
    changes = []
    for magnitude in (0.1, 0.9):
        keras.utils.set_random_seed(0)
        settings = {"rand_augment_magnitude": magnitude}
        result, _ = BatchAugmentation(settings, seed=1)(0, images, tf.eye(32))
        changes.append(np.abs(result - images).mean())
    assert changes[1] > 1.5 * changes[0]


def test_augmented_batches_are_the_same_for_the_same_seed():
    recipe = small_recipe(
        augmentation={"rand_augment_magnitude": 0.5, "cutmix_alpha": 1.0}
    )
    for (one, label), (two, same) in zip(
        on_tensorflow(recipe), on_tensorflow(recipe)
    ):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(label, same)


def test_images_of_a_batch_draw_one_after_the_other():
    """keras-cv's RandAugment works on ten at a time; which drew first was
    chance, in most batches of this size."""
    images = np.random.default_rng(0).uniform(0, 255, (64, 16, 16, 3))
    batch = images.astype("float32"), np.eye(64, dtype="float32")

    def augmented():
        keras.utils.set_random_seed(0)
        augment = BatchAugmentation({"rand_augment_magnitude": 0.5}, seed=1)
        batches = tf.data.Dataset.from_tensors(batch).repeat(6).enumerate()
        batches = batches.map(lambda step, batch: augment(step, *batch))
        return np.stack([images for images, _ in batches])

    np.testing.assert_array_equal(augmented(), augmented())


BATCHES_OF_JAX = """
import numpy as np
from tests.zoo.common import small_recipe
from zoo import data
from zoo.data.sources import ArraySplit
images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), "uint8")
split = ArraySplit(images, np.arange(9) % 3, ["a", "b", "c"])
recipe = small_recipe(augmentation={
    "rand_augment_magnitude": 0.5, "cutmix_alpha": 1.0, "mixup_alpha": 0.2})
batches = data.training_batches(split, recipe)
assert len(batches) == 4
mixed = [(np.asarray(batches[index][1]) > 0).sum() > 4 for index in range(4)]
assert any(mixed)
for index in range(len(batches)):
    images, labels = map(np.asarray, batches[index])
    size = 12 if index < 2 else 16
    assert images.shape == (4, size, size, 3) and labels.shape == (4, 3)
    assert images.dtype == labels.dtype == "float32"
    assert -0.01 < images.min() and images.max() < 255.01  # rounding
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-5)
for size in (16, 8):
    (images, labels), = [data.evaluation_batches(split, size)[0]]
    assert images.shape == (9, size, size, 3)
    assert np.asarray(images).max() > 200
"""


def test_the_batches_of_jax_need_no_tensorflow():
    run_python(WITHOUT_TENSORFLOW + BATCHES_OF_JAX, backend="jax")
