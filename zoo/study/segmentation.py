"""Segmentation of generated pictures, with attention and without.

`examples/segment.py` runs with the same settings for each. The seeds are those
of weights and training pictures; the pictures to measure on stay the same. Two
answers show what the figures are worth: all pixels are ground, and the perfect
outlines with one name for every shape.
"""

import json
import runpy
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np

EXAMPLE = "examples/segment.py"

SEEDS = 0, 1
SIZE = 96  # of the pictures, in pixels
IMAGES, EPOCHS = 10000, 2
HELD_OUT = 500  # pictures to measure on


def measure(attention):
    """Return a row for each seed.

    Args:
        attention: Name of an attention type, or `"none"`.

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
    for seed in SEEDS:
        chosen = {"attention": attention, "seed": seed, **settings}
        rows.append({**chosen, **_segment(chosen)})
    return rows


def measure_without_network():
    """Return rows as of `measure`: all ground, and every shape a disc."""
    example = runpy.run_path(EXAMPLE)
    seed = example["HELD_OUT_SEED"]
    images, labels = example["pictures"](HELD_OUT, SIZE, seed)
    classes = np.eye(len(example["CLASSES"]), dtype="float32")
    answers = {"all ground": 0 * labels, "all discs": np.minimum(labels, 1)}
    return [
        {
            "attention": name,
            "seed": seed,
            "size": SIZE,
            "held_out": HELD_OUT,
            **example["measure"](_answering(classes[answer]), images, labels),
        }
        for name, answer in answers.items()
    ]


def _answering(probabilities):
    return types.SimpleNamespace(predict=lambda *_, **__: probabilities)


def _segment(chosen):
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, EXAMPLE),
            *("--out", str(Path(folder) / "segmenter.keras")),
            *(
                f"--{name.replace('_', '-')}={value}"
                for name, value in chosen.items()
            ),
        ]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])
