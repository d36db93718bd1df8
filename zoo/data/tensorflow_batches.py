"""Batches for training and evaluation, as `tf.data.Dataset`."""

import dataclasses
import functools

import keras
import tensorflow as tf

from zoo.data import crops
from zoo.data.augmentation import BatchAugmentation
from zoo.data.sources import ArraySplit

SHUFFLED_IMAGES = 10_000  # Of a split that is not in memory.


def training_batches(split, recipe, first_epoch):
    """Return augmented batches of all epochs, one after the other.

    Order, crops and flips depend on the seed, the epoch and the step only.
    See `zoo.data.training_batches`.
    """
    if isinstance(split, ArraySplit):
        # Once for all epochs, whose graphs would hold copies.
        split = dataclasses.replace(
            split,
            images=tf.constant(split.images),
            labels=tf.constant(split.labels),
        )
    phases = recipe["data"]["training_sizes"]
    last = recipe["training"]["epochs"]
    ends = [min(phase["from_epoch"], last) for phase in phases[1:]] + [last]
    batches = [
        _phase_batches(split, recipe, epochs, phase["size"])
        for phase, end in zip(phases, ends)
        if (epochs := range(max(phase["from_epoch"], first_epoch), end))
    ]
    return functools.reduce(tf.data.Dataset.concatenate, batches).prefetch(4)


def _phase_batches(split, recipe, epochs, size):
    """Return the batches of epochs whose images have the same size."""
    in_memory = isinstance(split, ArraySplit)
    from_split = _from_memory if in_memory else _from_storage
    batches = from_split(split, recipe, epochs, size)
    classes = len(split.class_names)
    batches = batches.map(
        lambda images, labels: (images, tf.one_hot(labels, classes))
    )
    if "augmentation" not in recipe:
        return batches
    augment = BatchAugmentation(
        recipe["augmentation"], recipe["training"]["seed"] + epochs.start + 1
    )
    # Not in parallel: the layers draw from one generator each.
    return batches.enumerate().map(lambda step, batch: augment(step, *batch))


def _from_memory(split, recipe, epochs, size):
    data, training = recipe["data"], recipe["training"]

    def epoch_batches(epoch):
        seed = tf.stack([training["seed"], epoch])
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(split)), seed
        )
        batches = tf.data.Dataset.from_tensor_slices(order)
        batches = batches.batch(training["batch_size"], drop_remainder=True)

        def cropped(step, index):
            step_seed = tf.random.fold_in(seed, step)
            crop = _crop(tf.gather(split.images, index), data, size, step_seed)
            return crop, tf.gather(split.labels, index)

        return batches.enumerate().map(cropped, num_parallel_calls=2)

    return tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(
        epoch_batches
    )


def _from_storage(split, recipe, epochs, size):
    data, training = recipe["data"], recipe["training"]

    def epoch_batches(epoch):
        seed = [training["seed"], epoch]

        def cropped(index, stored_and_label):
            stored, label = stored_and_label
            image = crops.random_resized_crop_of_photo(
                split.decode(stored),
                size,
                data["crop_area"],
                data["crop_aspect_ratio"],
                tf.random.fold_in(seed, index),
            )
            return tf.ensure_shape(image, (size, size, 3)), label

        images = split.images.shuffle(
            SHUFFLED_IMAGES,
            seed=hash(tuple(seed)),
            reshuffle_each_iteration=False,
        )
        images = images.enumerate().map(
            cropped, num_parallel_calls=tf.data.AUTOTUNE
        )
        return images.batch(training["batch_size"], drop_remainder=True)

    # The seed of `shuffle` must be a number, not a tensor.
    return functools.reduce(
        tf.data.Dataset.concatenate, map(epoch_batches, epochs)
    )


def _crop(images, data, size, seed):
    if "crop_padding" in data:
        mode = data.get("crop_padding_mode", "constant")
        return crops.random_padded_crop(
            images, size, data["crop_padding"], mode, seed
        )
    return crops.random_resized_crop(
        images, size, data["crop_area"], data["crop_aspect_ratio"], seed
    )


def evaluation_batches(split, size, batch_size):
    """Return batches in order. See `zoo.data.evaluation_batches`."""
    if isinstance(split, ArraySplit):
        images = tf.data.Dataset.from_tensor_slices(
            (split.images, split.labels)
        )
    else:
        images = split.images.map(
            lambda stored, label: (split.decode(stored), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    classes = len(split.class_names)

    def prepared(image, label):
        return _middle(image, size), tf.one_hot(label, classes)

    images = images.map(prepared, num_parallel_calls=2)
    return images.batch(batch_size).prefetch(2)


def _middle(image, size):
    """Cut the middle square out and scale it, unless it is what is wanted."""
    if image.shape[:2] == (size, size):
        return tf.cast(image, tf.float32)
    scaled = keras.ops.image.resize(
        tf.cast(image, tf.float32),
        (size, size),
        antialias=True,
        crop_to_aspect_ratio=True,
        data_format="channels_last",
    )
    return tf.ensure_shape(scaled, (size, size, 3))
