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
            uniform between them, or less where that does not fit.
        aspect_ratio: Pair of floats, width over height in pixels,
            log-uniform.
        seed: Integer tensor `(2,)`.

    Returns:
        Float32 tensor `(n, size, size, 3)`.
    """
    boxes = _draw_boxes(tf.shape(images), area, aspect_ratio, seed)
    return _crop(images, size, *boxes)


def random_resized_crop_of_photo(image, size, area, aspect_ratio, seed):
    """The same for one image, which may be much larger than `size`: with
    antialiasing, as pictures are resized for evaluation.

    Args:
        image: Tensor `(height, width, 3)`.

    Returns:
        Float32 tensor `(size, size, 3)`.
    """
    shape = tf.shape(image)
    boxes = _draw_boxes(tf.concat([[1], shape], 0), area, aspect_ratio, seed)
    top, left, height, width, flipped = (value[0] for value in boxes)

    def pixels(share, axis):
        return tf.cast(
            tf.round(share * tf.cast(shape[axis], tf.float32)), tf.int32
        )

    height = tf.maximum(pixels(height, 0), 1)
    width = tf.maximum(pixels(width, 1), 1)
    top = tf.minimum(pixels(top, 0), shape[0] - height)
    left = tf.minimum(pixels(left, 1), shape[1] - width)
    cut = image[top : top + height, left : left + width]
    scaled = tf.image.resize(cut, [size, size], antialias=True)
    return tf.where(flipped, tf.reverse(scaled, [1]), scaled)


def _draw_boxes(shape, area, aspect_ratio, seed):
    """Return top, left, height and width, as shares of the image, and which
    to flip, each `(n,)`."""
    uniform = tf.random.stateless_uniform([5, shape[0]], seed)
    area = _between(uniform[0], *area)
    ratio = tf.exp(_between(uniform[1], *np.log(aspect_ratio)))
    of_image = tf.cast(shape[2] / shape[1], tf.float32)
    height = tf.minimum(tf.sqrt(area / ratio * of_image), 1.0)
    width = tf.minimum(tf.sqrt(area * ratio / of_image), 1.0)
    # What was cut off from one side must not make it too narrow or too wide.
    least, most = aspect_ratio
    height = tf.minimum(height, width * of_image / least)
    width = tf.minimum(width, height / of_image * most)
    top = uniform[2] * (1 - height)
    left = uniform[3] * (1 - width)
    return top, left, height, width, uniform[4] < 0.5


def random_padded_crop(images, size, padding, mode, seed):
    """Move each image by up to `padding` pixels, flip half of them.

    Args:
        images: Tensor `(n, height, height, 3)`, squares.
        size: Integer, the height and width of the result.
        padding: Integer, in pixels of `images`.
        mode: What moves in from outside: `"constant"` for black,
            `"symmetric"` for the image, mirrored at its edges.
        seed: Integer tensor `(2,)`.

    Returns:
        Float32 tensor `(n, size, size, 3)`.
    """
    count = tf.shape(images)[0]
    flip_seed = tf.random.fold_in(seed, 1)
    flipped = tf.random.stateless_uniform([count], flip_seed) < 0.5
    offsets = tf.random.stateless_uniform(
        [2, count], seed, -padding, padding + 1, dtype=tf.int32
    )
    last = tf.shape(images)[1] - 1
    # One more than is needed: rounding must not push what is on the very edge
    # outside, where `crop_and_resize` knows only black.
    border = padding + 1
    sides = [border, border]
    images = tf.pad(images, [[0, 0], sides, sides, [0, 0]], mode.upper())
    # In the unit of `crop_and_resize`: from the first pixel to the last.
    unit = last + 2 * border
    top, left = tf.unstack(tf.cast((offsets + border) / unit, tf.float32))
    extent = tf.fill([count], tf.cast(last / unit, tf.float32))
    return _crop(images, size, top, left, extent, extent, flipped)


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
