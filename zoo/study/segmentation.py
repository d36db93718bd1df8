"""Segmentation of generated pictures, with attention and without.

`examples/segment.py` runs with the same settings for each. The seeds are those
of weights and training pictures; the pictures to measure on stay the same.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SEEDS = 0, 1
SIZE = 96  # of the pictures, in pixels
IMAGES, EPOCHS = 10000, 2
HELD_OUT = 500  # pictures to measure on


def measure(attentions):
    """Return a row for each attention type and seed.

    Args:
        attentions: Names of attention types, or `"none"`.

    Returns:
        A list of dictionaries: `attention`, `seed`, the `size` of the pictures,
        the `images` to train on and the `epochs`, how many were `held_out`,
        the network's `parameters`, the `mean_iou` on those held out and the
        IoU of each class by its name.
    """
    settings = {
        "size": SIZE,
        "images": IMAGES,
        "epochs": EPOCHS,
        "held_out": HELD_OUT,
    }
    rows = []
    for attention in attentions:
        for seed in SEEDS:
            chosen = {"attention": attention, "seed": seed, **settings}
            rows.append({**chosen, **_segment(chosen)})
    return rows


def _segment(chosen):
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "examples/segment.py"),
            *("--out", str(Path(folder) / "segmenter.keras")),
            *(
                f"--{name.replace('_', '-')}={value}"
                for name, value in chosen.items()
            ),
        ]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])
