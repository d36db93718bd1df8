"""What happens to a batch of training images, as TensorFlow operations.

Crops and flips here are functions of a seed, so that a resumed training sees
what it would have seen. RandAugment is keras-cv's, which is several times as
fast as Keras's; CutMix and MixUp are Keras's, whose labels are right.
"""

import keras
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


class BatchAugmentation:
    """RandAugment, then CutMix or MixUp, whatever the recipe asks for.

    Args:
        recipe: The table `[augmentation]` of a recipe: any of
            `rand_augment_magnitude` (0 to 1), `cutmix_alpha` and
            `mixup_alpha` (the parameter of their beta distribution). With
            both of the latter, each batch gets one of them.
        seed: Integer.
    """

    def __init__(self, recipe, seed):
        unknown = set(recipe) - {
            "rand_augment_magnitude",
            "cutmix_alpha",
            "mixup_alpha",
        }
        if unknown:
            raise ValueError(f"Unknown [augmentation]: {sorted(unknown)}")
        self.rand_augment = None
        if "rand_augment_magnitude" in recipe:
            import keras_cv

            self.rand_augment = keras_cv.layers.RandAugment(
                value_range=(0, 255),
                augmentations_per_image=2,
                magnitude=recipe["rand_augment_magnitude"],
                seed=seed,
            )
        self.mixers = []
        if "cutmix_alpha" in recipe:
            self.mixers.append(
                keras.layers.CutMix(recipe["cutmix_alpha"], seed=seed)
            )
        if "mixup_alpha" in recipe:
            self.mixers.append(
                keras.layers.MixUp(recipe["mixup_alpha"], seed=seed)
            )

    def __bool__(self):
        return bool(self.rand_augment or self.mixers)

    def __call__(self, step, images, labels):
        """Return augmented `(images, one_hot_labels)`.

        Args:
            step: Integer tensor, which chooses between CutMix and MixUp.
            images: Float32 tensor `(n, height, width, 3)`, 0 to 255.
            labels: Float32 tensor `(n, classes)`.
        """
        batch = {"images": images, "labels": labels}
        if self.rand_augment:
            batch["images"] = self.rand_augment(images, training=True)
        if len(self.mixers) == 1:
            batch = self.mixers[0](batch, training=True)
        elif self.mixers:
            cutmix, mixup = self.mixers
            batch = tf.cond(
                tf.cast(step, tf.int32) % 2 == 0,
                lambda: cutmix(batch, training=True),
                lambda: mixup(batch, training=True),
            )
        return batch["images"], batch["labels"]
