"""Imports, the command line, and a folder of pictures."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zoo import tables

PICTURE = Path(__file__).parents[2] / "examples" / "images" / "coffee.jpg"
RUNS = 5
PICTURES = 512

COMMAND = [sys.executable, "-m", "keras_attn"]
IMPORT = (
    "import time; start = time.perf_counter(); import {}; {}"
    "print(time.perf_counter() - start)"
)


def run(path, quick):
    """Measure in fresh processes and write the best times to `path`.

    Args:
        path: Path of the CSV file.
        quick: Boolean, whether to run everything once, on two pictures.
    """
    runs, pictures = (1, 2) if quick else (RUNS, PICTURES)
    restart = "start = time.perf_counter(); import keras_attn; "
    with tempfile.TemporaryDirectory() as folder:
        for index in range(pictures):
            shutil.copy(PICTURE, Path(folder) / f"{index:04}.jpg")
        measures = {
            "import keras": lambda: _printed(IMPORT.format("keras", "")),
            "import keras_attn after keras": lambda: _printed(
                IMPORT.format("keras", restart)
            ),
            "keras-attn --help": lambda: _command("--help"),
            "keras-attn list": lambda: _command("list"),
            "keras-attn info": lambda: _command(
                "info", "cram_resnet18_small.tiny_imagenet_64"
            ),
            "keras-attn classify, one picture": lambda: _command(
                "classify", PICTURE
            ),
            f"keras-attn classify, {pictures} pictures": lambda: _command(
                "classify", folder
            ),
        }
        times = {name: [] for name in measures}
        for _ in range(runs):
            for name, measure in measures.items():
                times[name].append(measure())
    rows = [
        {"what": name, "best_s": round(min(results), 4)}
        for name, results in times.items()
    ]
    more = rows[-1]["best_s"] - rows[-2]["best_s"]
    rows.append(
        {
            "what": "seconds for each further picture of "
            f"{PICTURE.stat().st_size // 1000} kB",
            "best_s": round(more / (pictures - 1), 5),
        }
    )
    tables.write(path, rows)


def _run(arguments):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [str(argument) for argument in arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout


def _printed(code):
    return float(_run([sys.executable, "-c", code]))


def _command(*arguments):
    start = time.perf_counter()
    _run([*COMMAND, *arguments])
    return time.perf_counter() - start
