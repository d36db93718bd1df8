"""Batches for training and evaluation, as `tf.data.Dataset`."""

import tensorflow as tf

from zoo.data import augmentation
from zoo.data.sources import ArraySplit

EVALUATION_BATCH = 200
SHUFFLED_IMAGES = 10_000  # Of a split that is not in memory.


def training_batches(split, recipe, first_epoch=0):
    """Return augmented batches of all epochs, one after the other.

    Order, crops and flips depend on the seed, the epoch and the step only, so
    a run that is resumed at `first_epoch` sees what it would have seen.

    Args:
        split: An `ArraySplit` or a `StoredSplit`.
        recipe: A recipe.
        first_epoch: Integer, the epoch to start at.

    Returns:
        A `tf.data.Dataset` of `(images, one_hot_labels)`, float32, with the
        last, incomplete batch of each epoch left out.
    """
    data, training = recipe["data"], recipe["training"]
    size_of = _training_sizes(data["training_sizes"])
    if isinstance(split, ArraySplit):
        # Out of the graph of the epochs, which would hold a copy.
        source = tf.constant(split.images), tf.constant(split.labels)
        cropped = _from_arrays
    else:
        source, cropped = split.images, _from_storage

    def epoch_batches(epoch):
        seed = tf.stack([training["seed"], epoch])
        batches = cropped(
            source, data, training["batch_size"], size_of(epoch), seed
        )
        return batches.enumerate()

    epochs = tf.data.Dataset.range(first_epoch, training["epochs"])
    batches = epochs.flat_map(epoch_batches)
    classes = len(split.class_names)
    batches = batches.map(
        lambda step, batch: (step, batch[0], tf.one_hot(batch[1], classes))
    )
    augment = augmentation.BatchAugmentation(
        recipe.get("augmentation", {}), training["seed"]
    )
    # Not in parallel: these layers draw from one generator after the other.
    if augment:
        batches = batches.map(augment)
    else:
        batches = batches.map(lambda step, images, labels: (images, labels))
    return batches.prefetch(4)


def _training_sizes(phases):
    """Return the function from an epoch to the size of its images."""
    if len(phases) == 1:
        # A static shape, which positional tables need.
        return lambda epoch: phases[0]["size"]
    starts = tf.constant([phase["from_epoch"] for phase in phases], "int64")
    sizes = tf.constant([phase["size"] for phase in phases])

    def size_of(epoch):
        return sizes[tf.searchsorted(starts, [epoch], side="right")[0] - 1]

    return size_of


def _from_arrays(arrays, data, batch_size, size, seed):
    images, labels = arrays
    order = tf.random.experimental.stateless_shuffle(
        tf.range(len(labels)), seed
    )
    batches = tf.data.Dataset.from_tensor_slices(order)
    batches = batches.batch(batch_size, drop_remainder=True).enumerate()

    def cropped(step, index):
        step_seed = tf.random.fold_in(seed, step)
        crops = _crop(tf.gather(images, index), data, size, step_seed)
        return crops, tf.gather(labels, index)

    return batches.map(cropped, num_parallel_calls=2)


def _from_storage(images, data, batch_size, size, seed):
    images = images.shuffle(SHUFFLED_IMAGES, seed=seed[1]).enumerate()

    def cropped(index, image_and_label):
        image, label = image_and_label
        image_seed = tf.random.fold_in(seed, index)
        return _crop(image[None], data, size, image_seed)[0], label

    crops = images.map(cropped, num_parallel_calls=tf.data.AUTOTUNE)
    return crops.batch(batch_size, drop_remainder=True)


def _crop(images, data, size, seed):
    if "crop_padding" in data:
        return augmentation.random_padded_crop(
            images, size, data["crop_padding"], seed
        )
    return augmentation.random_resized_crop(
        images, size, data["crop_area"], data["crop_aspect_ratio"], seed
    )


def evaluation_batches(split, size):
    """Return `(images, one_hot_labels)` in order: the middle of each image.

    Args:
        split: An `ArraySplit` or a `StoredSplit`.
        size: Integer, the height and width of the images.
    """
    if isinstance(split, ArraySplit):
        images = tf.data.Dataset.from_tensor_slices(
            (split.images, split.labels)
        )
    else:
        images = split.images
    classes = len(split.class_names)

    def prepared(image, label):
        return _middle(image, size), tf.one_hot(label, classes)

    images = images.map(prepared, num_parallel_calls=2)
    return images.batch(EVALUATION_BATCH).prefetch(2)


def _middle(image, size):
    """Scale the shorter side to `size` and cut the middle out."""
    shape = tf.shape(image)
    short = tf.minimum(shape[0], shape[1])
    image = tf.cast(image, tf.float32)
    if image.shape[:2] == (size, size):
        return image
    image = tf.image.resize_with_crop_or_pad(image, short, short)
    return tf.ensure_shape(
        tf.image.resize(image, [size, size], antialias=True), (size, size, 3)
    )
