"""LiteRT files (TFLite), of built-in operations only."""

import functools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_attn.exporting.description import describe

QUANTIZATIONS = ("float16", "dynamic", "int8")
MOST_LOST_POINTS = 1.0  # of top-1, which int8 may lose without a warning
CONVERTER = Path(__file__).with_name("litert_converter.py")


def beside(path, format):
    """Return what is written beside an exported file."""
    return [path.with_suffix(".json")] if format == "litert" else []


def write(classifier, path, shape, quantize, representatives):
    """Write a LiteRT file, and beside it what belongs to it, `NAME.json`.

    Args:
        classifier: A `keras_attn.Classifier` in float32.
        path: Path that ends in `.tflite`.
        shape: Tuple, the shape of the input; the batch may be `None`.
        quantize: `None` or one of `QUANTIZATIONS`.
        representatives: Float32 array of pictures for `"int8"`, or `None`.

    Raises:
        ValueError: if the network has operations that LiteRT does not have.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source = Path(folder) / "saved_model"
        archive = keras.export.ExportArchive()
        archive.add_endpoint(
            "serve",
            functools.partial(classifier.model, training=False),
            [keras.InputSpec("float32", shape, name="image")],
        )
        archive.write_out(str(source), verbose=False)
        pictures = Path(folder) / "pictures.npy"
        if representatives is not None:
            np.save(pictures, representatives)
        _convert(source, path, quantize or "none", pictures, shape[0] or 1)
    description = describe(classifier, shape) | {"quantize": quantize}
    text = json.dumps(description, indent=1)
    path.with_suffix(".json").write_text(text + "\n", "utf-8")


def _convert(*arguments):
    """Run the converter, which leaks memory, in a process of its own."""
    done = subprocess.run(
        # -P: or the files beside the script would be found as modules.
        [sys.executable, "-P", str(CONVERTER), *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode == 0:
        return
    if done.returncode < 0:
        raise OSError(
            f"The conversion to LiteRT was ended by signal {-done.returncode}: "
            "it may have run out of memory"
        )
    lacking = sorted(set(re.findall(r"'(tf\.\w+)' op is neither", done.stderr)))
    if lacking:
        raise ValueError(
            "LiteRT has no built-in operation for what this network uses: "
            f"{', '.join(lacking)}"
        )
    lines = done.stderr.strip().splitlines() or ["no message"]
    if lines[-1].startswith("OSError"):
        raise OSError(lines[-1])
    raise ValueError(f"The conversion to LiteRT failed: {lines[-1]}")
