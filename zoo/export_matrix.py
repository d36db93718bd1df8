"""Every published weight in every format: size, accuracy, speed, operations.

    python -m zoo.export_matrix --data cifar100=DIR --data tiny_imagenet=DIR

Replaces the rows of these weights in `zoo/results/export.csv`, and writes what
int8 costs into the manifest, from which `keras_attn.export` knows when to warn.
Top-1 is that of all validation images; int8 finds its ranges on 200 training
images.
"""

import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer

import keras_attn
from keras_attn.exporting.export import SUFFIXES
from keras_attn.weights import manifest
from zoo import data as data_sets
from zoo import evaluate
from zoo import manifest_file
from zoo import tables
from zoo.benchmark import timing

RESULTS = Path("zoo/results/export.csv")
BATCH = 100
REPRESENTATIVES = 200
SECONDS = 2

FORMATS = {
    "saved_model": ("saved_model", None),
    "litert": ("litert", None),
    "litert float16": ("litert", "float16"),
    "litert dynamic": ("litert", "dynamic"),
    "litert int8": ("litert", "int8"),
    "onnx": ("onnx", None),
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[
        list[str],
        typer.Option(metavar="NAME=DIR", help="Where a data set is."),
    ],
    ids: Annotated[
        list[str] | None, typer.Argument(help="Default: all weights.")
    ] = None,
):
    """Export every published weight in every format, and measure."""
    try:
        ids = ids or keras_attn.list_models()
        folders = _folders(data, ids)
        for weight_id in ids:
            rows = measure(weight_id, folders)
            tables.replace(RESULTS, rows, "id")
            _enter_int8(weight_id, rows)
    except (OSError, ValueError) as error:
        raise SystemExit(f"zoo.export_matrix: {error}") from None


def _folders(data, ids):
    """Return the folders of the data sets of weights."""
    folders = dict(each.partition("=")[::2] for each in data)
    for weight_id in ids:
        [data_set] = manifest.entry(weight_id).metrics
        if not folders.get(data_set):
            raise ValueError(f"{weight_id} needs --data {data_set}=DIR")
    return folders


def measure(weight_id, folders):
    """Return a row for Keras and for each format.

    Args:
        weight_id: Id of a published weight.
        folders: Dictionary from names of data sets to their folders.

    Returns:
        A list of dictionaries: `id`, `format`, `bytes`, `largest_difference`
        (of a probability from Keras's), `images` and `top1`, the milliseconds
        of one image `median_ms`, and the `operations` of a file.
    """
    classifier = keras_attn.load(weight_id, verify=True)
    [data_set] = classifier.metadata.metrics
    validation = data_sets.load(data_set, folders[data_set], "val")
    batches = data_sets.evaluation_batches(validation, classifier.input_size[0])
    images = np.concatenate([images for images, _ in batches])
    training = data_sets.load(data_set, folders[data_set], "train").images
    representatives = training[:: len(training) // REPRESENTATIVES]
    expected = classifier.model.predict(images, verbose=0)

    def row(format, size, outputs, predict, operations):
        difference = float(np.abs(outputs - expected).max())
        right = outputs.argmax(axis=1) == validation.labels
        return {
            "id": weight_id,
            "format": format,
            "bytes": size,
            "largest_difference": round(difference, 6),
            "images": len(images),
            "top1": round(float(right.mean()), 4),
            "median_ms": _median_ms(predict, images[:1]),
            "operations": " ".join(operations),
        }

    size = classifier.metadata.bytes
    predict = classifier.model.predict_on_batch
    rows = [row("keras", size, expected, predict, [])]
    for name, (format, quantize) in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"exported{SUFFIXES[format]}"
            data = representatives if quantize == "int8" else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of int8
                keras_attn.export(classifier, path, format, quantize, data)
            predict, operations = _open(path)
            outputs = [
                predict(images[i : i + BATCH])
                for i in range(0, len(images), BATCH)
            ]
            outputs = np.concatenate(outputs)
            rows.append(row(name, _size(path), outputs, predict, operations))
    keras.utils.clear_session()
    return rows


def _median_ms(predict, image):
    predict(image)
    results = timing.durations(lambda: np.asarray(predict(image)), SECONDS)
    return timing.summary(results)["median_ms"]


def _open(path):
    """Return the function to predict with, and the operations it is made of."""
    predict, *_ = evaluate.open_model(str(path))
    return (lambda images: np.asarray(predict(images))), _operations(path)


def _operations(path):
    if path.suffix == ".onnx":
        import onnx

        return sorted({node.op_type for node in onnx.load(path).graph.node})
    if path.suffix != ".tflite":
        return []
    from ai_edge_litert.interpreter import Interpreter

    # Without a delegate, which would hide them.
    details = Interpreter(str(path))._get_ops_details()
    return sorted({op["op_name"] for op in details} - {"DELEGATE"})


def _size(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _enter_int8(weight_id, rows):
    """Write what int8 costs into the manifest."""
    whole, int8 = (
        next(row for row in rows if row["format"] == format)
        for format in ("litert", "litert int8")
    )
    measured = {
        "images": int8["images"],
        "float32_top1": whole["top1"],
        "top1": int8["top1"],
    }
    manifest_file.change(weight_id, int8=measured)


if __name__ == "__main__":
    app()
