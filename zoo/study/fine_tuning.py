"""Fine-tuning on few images: pretrained against from scratch.

The first classes of another data set, with few training images each, in folders
as `examples/fine_tune.py` takes them, which is what runs here. Both train for
as many epochs, and what is measured is the network after the last: no epoch is
chosen on the images that it is measured on.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from zoo import data

CLASSES = 20
IMAGES = 25  # of a class, to train on
HEAD_EPOCHS, BODY_EPOCHS = 5, 25
SEEDS = 0, 1, 2
BEGINS = {
    "pretrained": [
        f"--head-epochs={HEAD_EPOCHS}",
        f"--body-epochs={BODY_EPOCHS}",
    ],
    "from scratch": [
        "--from-scratch",
        f"--body-epochs={HEAD_EPOCHS + BODY_EPOCHS}",
    ],
}


def measure(weight_id, data_set, data_dir):
    """Return a row for each way to begin and seed.

    Args:
        weight_id: Id of a published weight.
        data_set: Name of the data set to fine-tune on, see `zoo.data.load`.
        data_dir: Path of it.

    Returns:
        A list of dictionaries: `id`, `begin`, `seed`, the `data`, its
        `classes`, the `images` to train on, those of the `validation`, the
        `epochs` and the `top1` after the last.

    Raises:
        ValueError: for a data set that is not in memory, or has too few
            classes.
    """
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        training = _write(folder, data_set, data_dir, "train", IMAGES)
        validation = _write(folder, data_set, data_dir, "val", None)
        for begin, seed in itertools.product(BEGINS, SEEDS):
            options = [*BEGINS[begin], f"--seed={seed}"]
            rows.append(
                {
                    "id": weight_id,
                    "begin": begin,
                    "seed": seed,
                    "data": data_set,
                    "classes": CLASSES,
                    "images": training,
                    "validation": validation,
                    "epochs": HEAD_EPOCHS + BODY_EPOCHS,
                    "top1": _fine_tune(weight_id, folder, options),
                }
            )
    return rows


def _write(folder, data_set, data_dir, split, most):
    """Write the images of the first classes; return how many."""
    images = data.load(data_set, data_dir, split)
    if not isinstance(images, data.ArraySplit):
        raise ValueError(f"{data_set} does not fit into memory, as it has to")
    if len(images.class_names) < CLASSES:
        raise ValueError(
            f"{data_set} has {len(images.class_names)} classes. Expected: "
            f"{CLASSES} or more"
        )
    written = 0
    for label in range(CLASSES):
        place = folder / split / f"{label:03d}"
        place.mkdir(parents=True)
        for index in np.flatnonzero(images.labels == label)[:most]:
            Image.fromarray(images.images[index]).save(place / f"{index}.png")
            written += 1
    return written


def _fine_tune(weight_id, folder, options):
    command = [
        *(sys.executable, "examples/fine_tune.py", str(folder / "train")),
        *("--validation-folder", str(folder / "val")),
        *("--out", str(folder / "tuned.keras")),
        *("--model", weight_id),
        *options,
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])["top1"]
