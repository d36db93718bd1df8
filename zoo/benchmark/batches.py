"""How fast training batches are made, which the training must not wait for.

Measures those of the backend, and keeps the rows of the others: once more with
`KERAS_BACKEND=jax` for the batches without TensorFlow, which cannot read photos
that stay in their files.
"""

import io
import itertools
import time

from zoo import tables

COUNT = 10_000
BATCH = 128
SECONDS = 4.0
RESIZED = {"crop_area": [0.35, 1.0], "crop_aspect_ratio": [0.75, 1.333]}
CROPS = {"padded": {"crop_padding": 4}, "resized": RESIZED, "photos": RESIZED}
PHOTO = 375, 500  # pixels, about those of ImageNet
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

    crops = "padded", "resized"
    cases = list(itertools.product((32, 64), crops, AUGMENTATIONS))
    if keras.backend.backend() == "tensorflow":
        cases += [(size, "photos", "crop and flip") for size in (224, 64)]
    rows = []
    for size, crop, augmentation in [cases[0], cases[-1]] if quick else cases:
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

    from zoo import data

    recipe = {
        "data": {
            "training_sizes": [{"from_epoch": 0, "size": size}],
            **CROPS[crop],
        },
        "augmentation": AUGMENTATIONS[augmentation],
        "training": {"seed": 0, "epochs": 100, "batch_size": BATCH},
    }
    split = _photos() if crop == "photos" else _images(size)
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


def _images(size):
    """Return images in memory, of random pixels."""
    import numpy as np

    from zoo.data.sources import ArraySplit

    shape = (COUNT, size, size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    labels = np.arange(COUNT, dtype="int32") % 100
    return ArraySplit(images, labels, [str(label) for label in range(100)])


def _photos():
    """Return JPEG files about as large as photos; random pixels would be
    larger, and slower to decode."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    from zoo.data.sources import StoredSplit

    random = np.random.default_rng(0)
    files = []
    for _ in range(100):
        coarse = random.integers(0, 256, (*(side // 5 for side in PHOTO), 3))
        photo = Image.fromarray(coarse.astype("uint8")).resize(PHOTO[::-1])
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    stored = tf.data.Dataset.from_tensor_slices((files, list(range(100))))
    return StoredSplit(
        stored.repeat(COUNT // 100),
        lambda photo: tf.io.decode_jpeg(photo, channels=3),
        COUNT,
        [str(label) for label in range(100)],
    )
