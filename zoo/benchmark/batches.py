"""How fast training batches are made, which the training must not wait for.

Measures those of the backend, and keeps the rows of the others: once more with
`KERAS_BACKEND=jax` for the batches without TensorFlow.
"""

import itertools
import time

from zoo import tables

COUNT = 10_000
BATCH = 128
SECONDS = 4.0
CROPS = {
    "padded": {"crop_padding": 4},
    "resized": {
        "crop_area": [0.35, 1.0],
        "crop_aspect_ratio": [0.75, 1.333],
    },
}
AUGMENTATIONS = {
    "crop and flip": {},
    "CutMix": {"cutmix_alpha": 1.0},
    "CutMix and MixUp": {"cutmix_alpha": 1.0, "mixup_alpha": 0.2},
    "RandAugment": {"rand_augment_magnitude": 0.5},
    "RandAugment, CutMix and MixUp": {
        "rand_augment_magnitude": 0.5,
        "cutmix_alpha": 1.0,
        "mixup_alpha": 0.2,
    },
}


def run(path, quick):
    """Measure every pipeline and write the results to `path`.

    Args:
        path: Path of the CSV file.
        quick: Boolean, whether to take a few batches of two pipelines only.
    """
    import keras

    cases = itertools.product((32, 64), CROPS, AUGMENTATIONS)
    rows = []
    for size, crop, augmentation in list(cases)[: 2 if quick else None]:
        speed = _images_per_second(size, crop, augmentation, quick)
        rows.append(
            {
                "backend": keras.backend.backend(),
                "batch": BATCH,
                "image": size,
                "crop": crop,
                "augmentation": augmentation,
                "images_per_second": speed,
            }
        )
    tables.replace(path, rows, "backend")


def _images_per_second(size, crop, augmentation, quick):
    import keras
    import numpy as np

    from zoo import data
    from zoo.data.sources import ArraySplit

    shape = (COUNT, size, size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    labels = np.arange(COUNT, dtype="int32") % 100
    recipe = {
        "data": {
            "training_sizes": [{"from_epoch": 0, "size": size}],
            **CROPS[crop],
        },
        "augmentation": AUGMENTATIONS[augmentation],
        "training": {"seed": 0, "epochs": 1000, "batch_size": BATCH},
    }
    split = ArraySplit(images, labels, [str(label) for label in range(100)])
    batches = iter(data.training_batches(split, recipe))

    def make():
        images, _ = next(batches)
        keras.ops.convert_to_numpy(images)  # waits for it

    for _ in range(8):  # starts threads, fills what is prefetched
        make()
    begin, count = time.perf_counter(), 0
    while count < 8 or (not quick and time.perf_counter() - begin < SECONDS):
        make()
        count += 1
    return round(count * BATCH / (time.perf_counter() - begin))
