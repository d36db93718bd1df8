"""The same batches without TensorFlow: NumPy and Keras's own layers."""

import math
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from zoo.data.augmentation import BatchAugmentation
from zoo.data.sources import ArraySplit

AHEAD = 4  # batches that are made while the network learns from another


class TrainingBatches(keras.utils.PyDataset):
    """Augmented batches of all epochs, one after the other.

    The index of a batch counts from the first batch of `first_epoch`. What is
    in it depends on the seed, the epoch, the step and the part only.

    Args:
        split: An `ArraySplit`.
        recipe: A recipe.
        first_epoch: Integer, the epoch to start at.
        part: Pair of integers: which part of each batch, and of how many, for
            trainings in several processes.
    """

    def __init__(self, split, recipe, first_epoch, part):
        # Keras's own workers would begin anew with each epoch of `fit`.
        super().__init__()
        _check_in_memory(split)
        self.threads = ThreadPoolExecutor(AHEAD)
        self.coming = {}
        self.split = split
        self.data, self.training = recipe["data"], recipe["training"]
        self.first_epoch = first_epoch
        self.part, self.parts = part
        self.steps = len(split) // self.training["batch_size"]
        self.augmentation = recipe.get("augmentation", {})

    def __len__(self):
        return (self.training["epochs"] - self.first_epoch) * self.steps

    def __getitem__(self, index):
        """Return a batch, and begin those that will be asked for next."""
        for number in range(index, min(index + AHEAD, len(self))):
            if number not in self.coming:
                self.coming[number] = self.threads.submit(self._make, number)
        return self.coming.pop(index).result()

    def _make(self, index):
        epoch, step = divmod(index, self.steps)
        epoch += self.first_epoch
        seed = self.training["seed"]
        batch_size = self.training["batch_size"]
        # The last number tells the purposes apart. None is 0, as which NumPy
        # takes a number that is missing.
        order = np.random.default_rng([seed, epoch, 0, 1]).permutation(
            len(self.split)
        )
        chosen = order[step * batch_size : (step + 1) * batch_size]
        random = np.random.default_rng([seed, epoch, step, 2])
        boxes, flipped = _draw_boxes(
            random, batch_size, self.data, self.split.images.shape[1:3]
        )
        share = slice(self.part, None, self.parts)
        images = crop(
            padded(self.split.images[chosen[share]], self.data),
            boxes[share],
            flipped[share],
            self._size(epoch),
        )
        labels = _one_hot(self.split, self.split.labels[chosen[share]])
        draws = np.random.SeedSequence([seed, epoch, step, 3 + self.part])
        # New layers, since theirs would be the draws of the batch before.
        augment = BatchAugmentation(
            self.augmentation, int(draws.generate_state(1)[0])
        )
        return augment(epoch * self.steps + step, images, labels)

    def _size(self, epoch):
        phases = self.data["training_sizes"]
        return [p["size"] for p in phases if p["from_epoch"] <= epoch][-1]


class EvaluationBatches(keras.utils.PyDataset):
    """Images and one-hot labels in order. Arguments: see above."""

    def __init__(self, split, size, batch_size, part):
        super().__init__()
        _check_in_memory(split)
        self.split, self.size = split, size
        self.part, self.parts = part
        self.batch_size = batch_size

    def __len__(self):
        return math.ceil(len(self.split) / self.batch_size)

    def __getitem__(self, index):
        first = index * self.batch_size
        share = slice(first + self.part, first + self.batch_size, self.parts)
        images = self.split.images[share].astype("float32")
        if images.shape[1:3] != (self.size, self.size):
            images = keras.ops.image.resize(
                images,
                (self.size, self.size),
                antialias=True,
                crop_to_aspect_ratio=True,
            )
        return images, _one_hot(self.split, self.split.labels[share])


def _check_in_memory(split):
    if not isinstance(split, ArraySplit):
        raise ValueError(
            "Without TensorFlow, images must have one size and fit into "
            "memory: this data set needs KERAS_BACKEND=tensorflow."
        )


def _one_hot(split, labels):
    return np.eye(len(split.class_names), dtype="float32")[labels]


def _draw_boxes(random, count, data, image_shape):
    """Return boxes `(count, 4)`: top, left, height and width, as shares of
    the way from the first pixel to the last of `padded` images, and which to
    flip `(count,)`."""
    flipped = random.random(count) < 0.5
    if "crop_padding" in data:
        padding = data["crop_padding"]
        corners = random.integers(0, 2 * padding + 1, (count, 2))
        extent = np.broadcast_to(np.array(image_shape) - 1, (count, 2))
        boxes = np.concatenate([corners, extent], 1)
        return boxes / np.tile(extent + 2 * padding, 2), flipped
    area = random.uniform(*data["crop_area"], count)
    least, most = data["crop_aspect_ratio"]
    ratio = np.exp(random.uniform(np.log(least), np.log(most), count))
    ratio *= image_shape[0] / image_shape[1]  # of shares, not of pixels
    height = np.minimum(np.sqrt(area / ratio), 1)
    width = np.minimum(np.sqrt(area * ratio), 1)
    # What was cut off from one side must not make it too narrow or too wide.
    of_image = image_shape[1] / image_shape[0]
    height = np.minimum(height, width * of_image / least)
    width = np.minimum(width, height / of_image * most)
    extent = np.stack([height, width], 1)
    corners = random.random((count, 2)) * (1 - extent)
    return np.concatenate([corners, extent], 1), flipped


def padded(images, data):
    """Return images with the border that the recipe's table `data` wants."""
    if "crop_padding" not in data:
        return images
    sides = (data["crop_padding"], data["crop_padding"])
    mode = data.get("crop_padding_mode", "constant")
    return np.pad(images, [(0, 0), sides, sides, (0, 0)], mode)


def crop(images, boxes, flipped, size):
    """Cut boxes out, resize them and flip some; black outside the image.

    Args:
        images: uint8 array `(n, height, width, 3)`.
        boxes: Array `(n, 4)`: top, left, height and width, as shares of the
            way from the centre of the first pixel to that of the last.
        flipped: Boolean array `(n,)`, which to mirror.
        size: Integer, the height and width of the result.

    Returns:
        Float32 array `(n, size, size, 3)`, interpolated bilinearly.
    """
    height, width = images.shape[1:3]
    steps = np.linspace(0, 1, size)
    rows = (boxes[:, :1] + steps * boxes[:, 2:3]) * (height - 1)
    columns = (boxes[:, 1:2] + steps * boxes[:, 3:]) * (width - 1)
    columns = np.where(flipped[:, None], columns[:, ::-1], columns)
    images = _interpolate(images, rows, axis=1)
    return _interpolate(images, columns, axis=2)


def _interpolate(images, positions, axis):
    """Return the lines of each image at its positions `(n, size)`."""
    last = images.shape[axis] - 1
    # Rounding must not push what is on the edge outside.
    positions = positions.round(4)
    inside = (positions >= 0) & (positions <= last)
    low = np.clip(np.floor(positions), 0, last).astype(int)
    high = np.minimum(low + 1, last)
    share = (positions - low) * inside

    def lines(index, weight):
        shape = [len(images), 1, 1, 1]
        shape[axis] = -1
        index, weight = index.reshape(shape), weight.reshape(shape)
        taken = np.take_along_axis(images, index, axis)
        return taken * weight.astype("float32")

    return lines(low, inside - share) + lines(high, share)
