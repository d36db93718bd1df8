"""Training data as arrays and as an augmented `tf.data` pipeline."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

EVALUATION_BATCH = 200


def load(name, data_dir, split):
    """Return `(images, labels, class_names)` of a data set split.

    Args:
        name: `"tiny_imagenet"`.
        data_dir: Path of the data set's folder.
        split: `"train"` or `"val"`.

    Returns:
        `images`, uint8 `(n, height, width, 3)`; `labels`, int32 `(n,)`;
        `class_names`, a list of strings.

    Raises:
        ValueError: for an unknown data set.
        FileNotFoundError: if the folder is not that data set.
    """
    if name not in READERS:
        raise ValueError(
            f"`name` must be one of {sorted(READERS)}. Received: name={name!r}"
        )
    return READERS[name](Path(data_dir), split)


def _read_tiny_imagenet(folder, split):
    if not (folder / "wnids.txt").is_file():
        raise FileNotFoundError(
            f"{folder} is not Tiny-ImageNet: it has no wnids.txt. Unpack "
            "tiny-imagenet-200.zip and pass that folder as --data-dir."
        )
    wordnet_ids = sorted((folder / "wnids.txt").read_text().split())
    label_of = {wnid: label for label, wnid in enumerate(wordnet_ids)}
    words = dict(
        line.split("\t")
        for line in (folder / "words.txt").read_text().splitlines()
    )
    if split == "train":
        files = sorted(folder.glob("train/*/images/*.JPEG"))
        labels = [label_of[file.parent.parent.name] for file in files]
    else:
        rows = (folder / "val/val_annotations.txt").read_text().splitlines()
        rows = [row.split("\t")[:2] for row in rows]
        files = [folder / "val/images" / file for file, _ in rows]
        labels = [label_of[wnid] for _, wnid in rows]
    with ThreadPoolExecutor() as threads:
        images = np.stack(list(threads.map(_decode, files)))
    # The first of the synonyms is the name that people use.
    class_names = [words[wnid].split(",")[0] for wnid in wordnet_ids]
    return images, np.array(labels, "int32"), class_names


READERS = {"tiny_imagenet": _read_tiny_imagenet}


def _decode(file):
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def training_batches(images, labels, classes, data, training, first_epoch=0):
    """Return augmented batches of all epochs, one after the other.

    Every draw depends on the seed, the epoch and the step only, so a run
    that is resumed at `first_epoch` sees the batches it would have seen.

    Args:
        images: uint8 array `(n, height, width, 3)`.
        labels: int array `(n,)`.
        classes: Integer, the length of the one-hot labels.
        data: The table `[data]` of a recipe.
        training: The table `[training]` of a recipe.
        first_epoch: Integer, the epoch to start at.

    Returns:
        A `tf.data.Dataset` of `(images, one_hot_labels)`, float32, with the
        last, incomplete batch of each epoch left out.
    """
    images, labels = tf.constant(images), tf.one_hot(labels, classes)
    count, batch_size = len(images), training["batch_size"]
    starts = tf.constant(
        [phase["from_epoch"] for phase in data["training_sizes"]]
    )
    sizes = tf.constant([phase["size"] for phase in data["training_sizes"]])

    def epoch_batches(epoch):
        phase = tf.searchsorted(
            starts, [tf.cast(epoch, tf.int32)], side="right"
        )
        size = sizes[phase[0] - 1]
        epoch_seed = tf.stack([training["seed"], epoch])
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), epoch_seed
        )
        batches = tf.data.Dataset.from_tensor_slices(order)
        batches = batches.batch(batch_size, drop_remainder=True).enumerate()

        def augmented(step, index):
            seed = tf.random.fold_in(epoch_seed, step)
            crops = random_resized_crop(
                tf.gather(images, index), size, data, seed
            )
            return crops, tf.gather(labels, index)

        return batches.map(augmented, num_parallel_calls=2)

    epochs = tf.data.Dataset.range(first_epoch, training["epochs"])
    return epochs.flat_map(epoch_batches).prefetch(4)


def random_resized_crop(images, size, data, seed):
    """Crop each image at random, flip half of them, resize to `size`.

    The area of a crop is a share of the image uniform in
    `data["crop_area"]`, its aspect ratio log-uniform in
    `data["crop_aspect_ratio"]`.
    """
    count = tf.shape(images)[0]
    uniform = tf.random.stateless_uniform([5, count], seed)
    area = _between(uniform[0], *data["crop_area"])
    ratio = tf.exp(_between(uniform[1], *np.log(data["crop_aspect_ratio"])))
    height = tf.minimum(tf.sqrt(area / ratio), 1.0)
    width = tf.minimum(tf.sqrt(area * ratio), 1.0)
    top = uniform[2] * (1 - height)
    left = uniform[3] * (1 - width)
    right = left + width
    flipped = uniform[4] < 0.5
    boxes = tf.stack(
        [
            top,
            tf.where(flipped, right, left),
            top + height,
            tf.where(flipped, left, right),
        ],
        axis=-1,
    )
    return tf.image.crop_and_resize(
        tf.cast(images, tf.float32), boxes, tf.range(count), [size, size]
    )


def _between(uniform, low, high):
    return low + (high - low) * uniform


def evaluation_batches(images, labels, classes):
    """Return `(images, one_hot_labels)` in order, not augmented."""
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    dataset = dataset.batch(EVALUATION_BATCH)
    return dataset.map(
        lambda image, label: (
            tf.cast(image, tf.float32),
            tf.one_hot(label, classes),
        )
    ).prefetch(2)
