"""Measure a classifier on a data set.

    python -m zoo.evaluate ID --data-dir DIR
    python -m zoo.evaluate RUN --data-dir DIR
    python -m zoo.evaluate PATH --data NAME --data-dir DIR

ID is a published weight; RUN the output folder of a training, of which the
weights of the last epoch are measured, or another file of weights in it; PATH a
`.keras` file, a SavedModel, a LiteRT file (`.tflite`) or an ONNX file
(`.onnx`). Prints one line of JSON.
"""

import json
import os
import time
from pathlib import Path
from typing import Annotated
from typing import Literal

import numpy as np
import typer

from zoo import run_folder
from zoo import tables

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    model: Annotated[
        str, typer.Argument(metavar="ID|RUN|PATH", help="What to measure.")
    ],
    data_dir: Annotated[Path, typer.Option(help="Where the data set is.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="The data set, see zoo.data. Default: what it was trained on."
        ),
    ] = None,
    split: Annotated[
        Literal["val", "train"],
        typer.Option(help="Validation images, or those it was trained on."),
    ] = "val",
    per_class: Annotated[
        Path | None,
        typer.Option(help="A CSV file to write, with one row a class."),
    ] = None,
):
    """Measure top-1, top-5, loss and images per second on a data set."""
    from zoo import data as data_sets

    try:
        predict, size, own_data, own_names = open_model(model)
        name = data or own_data
        if name is None:
            raise ValueError(
                f"--data is needed: {model} does not name its data set"
            )
        if size is None:
            raise ValueError(
                f"{model} has no fixed input size: save it with one"
            )
        if per_class and not per_class.parent.is_dir():
            raise FileNotFoundError(
                f"--per-class {per_class}: there is no folder "
                f"{per_class.parent}"
            )
        images = data_sets.load(name, data_dir, split)
        batches = data_sets.evaluation_batches(images, size)
        if own_names:
            predict = in_order(predict, own_names, images.class_names)
        measured, classes = measure(predict, batches, images.class_names)
        what = {"model": model, "data": name, "split": split}
        print(json.dumps(what | measured))
        if per_class:
            tables.write_rows(per_class, classes)
    except (OSError, ValueError) as error:
        raise SystemExit(f"zoo.evaluate: {error}") from None


def in_order(predict, own_names, class_names):
    """Return a function that predicts the classes of a data set in its order.

    Args:
        predict: Function from images to an array `(n, classes)`.
        own_names: Sequence of strings, the names of these classes.
        class_names: Sequence of strings, the names in the order wanted.

    Raises:
        ValueError: if these are other classes.
    """
    own_names, class_names = list(own_names), list(class_names)
    if own_names == class_names:
        return predict
    if sorted(own_names) != sorted(class_names):
        apart = sorted(set(own_names) ^ set(class_names))
        raise ValueError(
            f"The model has {len(own_names)} classes and the data set "
            f"{len(class_names)}, which are not the same: one of them lacks "
            f"{apart[:5]}"
        )
    order = [own_names.index(name) for name in class_names]
    return lambda images: np.asarray(predict(images))[:, order]


def measure(predict, batches, class_names):
    """Return how well a function classifies.

    Args:
        predict: Function from float32 images `(n, size, size, 3)`, 0 to 255,
            to an array `(n, classes)` of probabilities, or of logits.
        batches: Iterable of `(images, one_hot_labels)`.
        class_names: Sequence of strings.

    Returns:
        A dictionary of `images`, `top1`, `top5` (0 to 1), `loss` (natural
        logarithm) and `images_per_second` (without the first batch), and a
        list of a dictionary for each class.

    Raises:
        ValueError: if the outputs are not those of these classes.
    """
    outputs, labels, images_per_second = _predict_all(predict, batches)
    if outputs.shape[1:] != (len(class_names),):
        raise ValueError(
            f"The data set has {len(class_names)} classes. The model's output "
            f"for {len(labels)} images has the shape {outputs.shape}."
        )
    if not np.isfinite(outputs).all():
        raise ValueError("The model's output has values that are not finite")
    own = outputs[np.arange(len(labels)), labels]
    ranks = _ranks(outputs, labels, own)
    measured = {
        "images": len(labels),
        **_accuracy(ranks),
        "loss": round(_cross_entropy(outputs, own), 4),
        "images_per_second": images_per_second,
    }
    classes = []
    for label, name in enumerate(class_names):
        of_class = ranks[labels == label]
        if len(of_class):
            row = {"class": name, "images": len(of_class)}
            classes.append(row | _accuracy(of_class))
    return measured, classes


def _predict_all(predict, batches):
    """Return all outputs, the labels, and the images per second, without the
    first batch where there are others."""
    outputs, labels, seconds = [], [], []
    for images, one_hot in batches:
        images = np.asarray(images)
        begin = time.perf_counter()
        outputs.append(np.asarray(predict(images)))
        seconds.append(time.perf_counter() - begin)
        labels.append(np.argmax(one_hot, axis=1))
    timed = slice(1 if len(labels) > 1 else 0, None)
    count = sum(len(batch) for batch in labels[timed])
    speed = round(count / sum(seconds[timed]))
    return np.concatenate(outputs), np.concatenate(labels), speed


def _ranks(outputs, labels, own):
    """Return how many classes come before the right one of each image: of
    equal ones, as in int8, the first does, as for `numpy.argmax`."""
    before = np.arange(outputs.shape[1]) < labels[:, None]
    equal = outputs == own[:, None]
    return ((outputs > own[:, None]) | (equal & before)).sum(1)


def _accuracy(ranks):
    return {f"top{k}": round(float((ranks < k).mean()), 4) for k in (1, 5)}


def _cross_entropy(outputs, own):
    outputs, own = outputs.astype("float64"), own.astype("float64")
    # Those of int8 are multiples of 1/256, of which some sum up to 0.9 only.
    sums_to_one = abs(outputs.sum(1).mean() - 1) < 0.1
    if outputs.min() >= 0 and outputs.max() <= 1.01 and sums_to_one:
        return float(-np.log(np.maximum(own, 1e-7)).mean())
    highest = outputs.max(1)
    exponentials = np.exp(outputs - highest[:, None])
    return float((highest + np.log(exponentials.sum(1)) - own).mean())


def open_model(model):
    """Return the function to predict with, the size of its images, and where
    the model knows them the names of its data set and of its classes."""
    path = Path(model)
    if path.suffix == ".tflite":
        return *_open_lite(path), None, None
    if path.suffix == ".onnx":
        return *_open_onnx(path), None, None
    run = path.parent if path.name.endswith(".weights.h5") else path
    if (run / run_folder.RECIPE).is_file():
        weights = run_folder.LAST if path == run else path.name
        return _open_run(run, weights)
    if path.is_dir():
        return *_open_saved_model(path), None, None
    import keras_attn

    classifier = keras_attn.load(model, verify=path.suffix != ".keras")
    [data_set] = classifier.metadata.metrics if classifier.metadata else [None]
    return (
        classifier.model.predict_on_batch,
        classifier.input_size[0],
        data_set,
        classifier.class_names,
    )


def _open_run(run, weights):
    data = run_folder.read_recipe(run)["data"]
    model = run_folder.load_network(run, weights)
    return model.predict_on_batch, data["evaluation_size"], data["name"], None


def _open_saved_model(path):
    import tensorflow as tf

    signature = tf.saved_model.load(path).signatures.get("serving_default")
    if signature is None:
        raise ValueError(f"{path} has no signature `serving_default`")
    [(name, spec)] = signature.structured_input_signature[1].items()

    def predict(images):
        images = tf.constant(_rounded(images, spec.dtype.as_numpy_dtype))
        [outputs] = signature(**{name: images}).values()
        return outputs

    return predict, spec.shape[1]


def _open_onnx(path):
    try:
        import onnxruntime
    except ImportError:
        raise _missing("onnxruntime", "ONNX") from None
    _check_is_file(path)
    try:
        session = onnxruntime.InferenceSession(path)
    except Exception as error:  # onnxruntime's own kinds
        raise ValueError(f"{path} is not an ONNX file: {error}") from None
    [image] = session.get_inputs()
    if isinstance(image.shape[0], int):
        raise ValueError(
            f"{path} takes {image.shape[0]} images at a time: export it "
            "without a batch size to measure it"
        )

    def predict(images):
        [outputs] = session.run(None, {image.name: images})
        return outputs

    return predict, image.shape[1]


def _rounded(images, dtype):
    """Return images in the type that a network takes."""
    if np.issubdtype(dtype, np.integer):
        images = np.rint(images)
    return images.astype(dtype)


def _missing(package, kind):
    return ValueError(
        f"{kind} files need the package {package}: "
        "pip install 'keras-attn[export]'"
    )


def _check_is_file(path):
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")


def _open_lite(path):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise _missing("ai-edge-litert", "LiteRT") from None
    _check_is_file(path)
    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    [image] = interpreter.get_input_details()
    [output] = interpreter.get_output_details()
    if image["dtype"] not in (np.float32, np.uint8):
        raise ValueError(
            f"The input of {path} must be float32 or uint8. "
            f"Received: {np.dtype(image['dtype'])}"
        )

    def predict(images):
        interpreter.resize_tensor_input(image["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image["index"], _rounded(images, image["dtype"]))
        interpreter.invoke()
        return interpreter.get_tensor(output["index"])

    return predict, int(image["shape"][1])


if __name__ == "__main__":
    app()
