"""RandAugment, CutMix and MixUp of a batch, on any backend.

RandAugment is keras-cv's on TensorFlow, where it is several times as fast as
Keras's, and Keras's elsewhere, which is another augmentation: it chooses its
operations once for a whole batch, has rotations among them, and changes more at
the same magnitude. CutMix and MixUp are Keras's: the labels of keras-cv's
CutMix are not the shares of the pixels.
"""

import keras

OPERATIONS = 2  # of RandAugment, on each image


class BatchAugmentation:
    """What a recipe asks for beyond crops and flips.

    A layer draws from a generator of its own, seeded here: call it on one
    batch after the other. The same seed gives the same draws on one device
    (`--strategy none`) after `keras.utils.set_random_seed`, since parts of
    keras-cv draw from TensorFlow's; under a strategy, `fit` looks at a first
    batch before it begins, and a training that goes on draws anew.

    Args:
        settings: The table `[augmentation]` of a recipe: any of
            `rand_augment_magnitude` (0 to 1), `cutmix_alpha` and
            `mixup_alpha` (the parameter of their beta distribution). With
            both of the latter, batches get one and the other in turn.
        seed: Integer from 1.
    """

    def __init__(self, settings, seed):
        self.rand_augment = None
        if "rand_augment_magnitude" in settings:
            self.rand_augment = _rand_augment(
                settings["rand_augment_magnitude"], seed
            )
        self.mixers = []
        if "cutmix_alpha" in settings:
            # One number would be the largest of the parameters to draw from.
            alpha = settings["cutmix_alpha"]
            self.mixers.append(keras.layers.CutMix((alpha, alpha), seed=seed))
        if "mixup_alpha" in settings:
            self.mixers.append(
                keras.layers.MixUp(settings["mixup_alpha"], seed=seed)
            )

    def __call__(self, step, images, labels):
        """Return augmented `(images, labels)`.

        Args:
            step: Integer or integer tensor, the number of the batch.
            images: Float32 tensor `(n, height, width, 3)`, 0 to 255.
            labels: Float32 tensor `(n, classes)`, one-hot.
        """
        batch = {"images": images, "labels": labels}
        if self.rand_augment:
            batch["images"] = self.rand_augment(images, training=True)
        if self.mixers:
            batch = self._mix(step, batch)
        return batch["images"], batch["labels"]

    def _mix(self, step, batch):
        turn = step % len(self.mixers)
        if isinstance(turn, int):
            return self.mixers[turn](batch, training=True)
        if len(self.mixers) == 1:
            return self.mixers[0](batch, training=True)
        cutmix, mixup = self.mixers
        return keras.ops.cond(
            keras.ops.equal(turn, 0),
            lambda: cutmix(batch, training=True),
            lambda: mixup(batch, training=True),
        )


def _rand_augment(magnitude, seed):
    if keras.backend.backend() != "tensorflow":
        return keras.layers.RandAugment(
            value_range=(0, 255),
            num_ops=OPERATIONS,
            factor=magnitude,
            seed=seed,
        )
    import keras_cv
    import tensorflow as tf

    augment = keras_cv.layers.RandAugment(
        value_range=(0, 255),
        augmentations_per_image=OPERATIONS,
        magnitude=magnitude,
        seed=seed,
    )

    def one_after_the_other(images, training):
        # Given a batch, the layer works on ten images at a time, and which
        # of them draws first is chance.
        return tf.map_fn(
            lambda image: augment(image, training=training),
            images,
            parallel_iterations=1,
        )

    return one_after_the_other
