"""Fine-tuning on few images: pretrained against from scratch.

The first classes of another data set, with few training images each, in folders
as `examples/fine_tune.py` takes them, which is what runs here. Both may train
for as many epochs, and stop early alike; of both the best epoch counts.
"""

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


def measure(ids, data_set, data_dir):
    """Return a row for each network and way to begin.

    Args:
        ids: Ids of published weights.
        data_set: Name of the data set to fine-tune on, see `zoo.data.load`.
        data_dir: Path of it.

    Returns:
        A list of dictionaries: `id`, `begin`, the `data`, its `classes`, the
        `images` to train on, those of the `validation`, the `most_epochs` and
        the `top1` of the best one.
    """
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        counts = {
            split: _write(folder / split, data_set, data_dir, split, most)
            for split, most in (("train", IMAGES), ("val", None))
        }
        for weight_id in ids:
            for begin, options in (
                (
                    "pretrained",
                    [
                        f"--head-epochs={HEAD_EPOCHS}",
                        f"--body-epochs={BODY_EPOCHS}",
                    ],
                ),
                (
                    "from scratch",
                    [
                        "--from-scratch",
                        f"--body-epochs={HEAD_EPOCHS + BODY_EPOCHS}",
                    ],
                ),
            ):
                rows.append(
                    {
                        "id": weight_id,
                        "begin": begin,
                        "data": data_set,
                        "classes": CLASSES,
                        "images": counts["train"],
                        "validation": counts["val"],
                        "most_epochs": HEAD_EPOCHS + BODY_EPOCHS,
                        "top1": _fine_tune(weight_id, folder, options),
                    }
                )
    return rows


def _write(folder, data_set, data_dir, split, most):
    """Write the images of the first classes; return how many."""
    images = data.load(data_set, data_dir, split)
    written = 0
    for label in range(CLASSES):
        place = folder / f"{label:03d}"
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
