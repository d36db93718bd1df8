"""Random crops and flips of a batch, as TensorFlow operations.

Each draw is a function of a seed, so that a resumed training sees what it
would have seen.
"""

import numpy as np
import tensorflow as tf


def random_resized_crop(images, size, area, aspect_ratio, seed):
    """Crop each image at random, flip half of them, resize to `size`.

    Args:
        images: Tensor `(n, height, width, 3)`.
        size: Integer, the height and width of the result.
        area: Pair of floats. The area of a crop is a share of the image
            uniform between them.
        aspect_ratio: Pair of floats, width over height, log-uniform.
        seed: Integer tensor `(2,)`.

    Returns:
        Float32 tensor `(n, size, size, 3)`.
    """
    uniform = tf.random.stateless_uniform([5, tf.shape(images)[0]], seed)
    area = _between(uniform[0], *area)
    ratio = tf.exp(_between(uniform[1], *np.log(aspect_ratio)))
    height = tf.minimum(tf.sqrt(area / ratio), 1.0)
    width = tf.minimum(tf.sqrt(area * ratio), 1.0)
    top = uniform[2] * (1 - height)
    left = uniform[3] * (1 - width)
    return _crop(images, size, top, left, height, width, uniform[4] < 0.5)


def random_padded_crop(images, size, padding, seed):
    """Move each image by up to `padding` pixels, flip half of them.

    What moves in from outside is black.

    Args:
        images: Tensor `(n, height, width, 3)`.
        size: Integer, the height and width of the result.
        padding: Integer, in pixels of `images`.
        seed: Integer tensor `(2,)`.

    Returns:
        Float32 tensor `(n, size, size, 3)`.
    """
    shape = tf.shape(images)
    count = shape[0]
    flip_seed = tf.random.fold_in(seed, 1)
    flipped = tf.random.stateless_uniform([count], flip_seed) < 0.5
    offsets = tf.random.stateless_uniform(
        [2, count], seed, -padding, padding + 1, dtype=tf.int32
    )
    # In the unit of `crop_and_resize`: from the first pixel to the last.
    top, left = tf.unstack(
        tf.cast(offsets / (shape[1:3][:, None] - 1), tf.float32)
    )
    whole = tf.ones([count])
    return _crop(images, size, top, left, whole, whole, flipped)


def _crop(images, size, top, left, height, width, flipped):
    right = left + width
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
        tf.cast(images, tf.float32),
        boxes,
        tf.range(tf.shape(images)[0]),
        [size, size],
    )


def _between(uniform, low, high):
    return low + (high - low) * uniform
