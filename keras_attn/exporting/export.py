"""`keras_attn.export`: a SavedModel, a LiteRT file or an ONNX file."""

import contextlib
import math
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np

from keras_attn.classifier import Classifier
from keras_attn.classifier import load
from keras_attn.exporting import litert
from keras_attn.exporting import onnx
from keras_attn.exporting import saved_model
from keras_attn.exporting.description import published_entry
from keras_attn.exporting.float32 import in_float32
from keras_attn.images import find
from keras_attn.images import read
from keras_attn.images import resize_and_crop
from keras_attn.layers.feature_maps import positive_integer

SUFFIXES = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx"}
OTHER_SUFFIXES = (".tflite", ".onnx", ".keras", ".h5")  # no SavedModels
MOST_REPRESENTATIVES = 500


def export(
    model,
    path,
    format=None,
    quantize=None,
    representative_data=None,
    input_size=None,
    batch_size=None,
    overwrite=False,
):
    """Write a network as a file that needs neither keras-attn nor Keras.

    The network takes pixels from 0 to 255, as in Keras: its preprocessing is
    inside. Class names and how to prepare a picture travel along: in a
    SavedModel as `assets.extra/keras_attn.json`, beside a LiteRT file as
    `NAME.json`, in an ONNX file as its metadata.

    A SavedModel has the signatures `serve` (of `image`, float32 `(batch,
    height, width, channels)`; also called `serving_default`) and `serve_uint8`
    (the same in uint8), which give the network's output as `output_0`, or its
    outputs by their names. That of a classifier (no mere `keras.Model`) for
    pictures of a known size has `serve_encoded`, too, of `encoded`: `(batch,)`
    strings, JPEG or PNG files, which it resizes and crops itself, but does not
    turn as their EXIF data may say. It gives `probabilities`, float32 `(batch,
    classes)`, and where the classes have names `top_classes` and
    `top_probabilities`, the best 5 of each picture.

    Args:
        model: Whatever `keras_attn.load` takes, a `keras_attn.Classifier`, or
            a `keras.Model` with one image as input; of such a model the file
            says nothing but the size of its images, and takes pixels as the
            model does. A network of half precision is exported in float32.
        path: The file or (SavedModel) folder to write. LiteRT files end in
            `.tflite`, ONNX files in `.onnx`.
        format: `"saved_model"`, `"litert"` or `"onnx"`. Defaults to what the
            end of `path` says.
        quantize: For LiteRT `None`, `"float16"` (weights), `"dynamic"` (weights
            in int8) or `"int8"` (weights and activations, which needs
            `representative_data`). Inputs and outputs stay float32.
        representative_data: Pictures that int8 finds its ranges with: a folder,
            a list of paths or pictures, or an array `(n, height, width, 3)`
            with values from 0 to 255. For a `keras.Model` an array of what it
            takes, of its shape. At most 500 are used, evenly chosen.
        input_size: Integer, the height and width of the images in pixels,
            where it is not the network's own; that of a network which was
            built for a size cannot be changed. LiteRT files need a known size.
        batch_size: Integer, the images of each call. Defaults to any.
        overwrite: Boolean, whether to replace a file or a SavedModel at
            `path`, and `NAME.json` beside a LiteRT file. A folder with more in
            it than a SavedModel is not replaced.

    Returns:
        The path.

    Raises:
        FileExistsError: if `path` exists and is not to be overwritten.
        FileNotFoundError: if its folder does not exist.
        ImportError: if a package is missing; the extra `export` has them.
        ValueError: for arguments that do not fit each other, or a network
            with operations that the format does not have.
        OSError: if it cannot be written. `path` is then as it was.
    """
    path = Path(path)
    if input_size is not None:
        input_size = positive_integer("input_size", input_size)
    if batch_size is not None:
        batch_size = positive_integer("batch_size", batch_size)
    if format is None:
        formats = {suffix: name for name, suffix in SUFFIXES.items()}
        format = formats.get(path.suffix.lower(), "saved_model")
    _check_arguments(path, format, quantize, representative_data)
    _check_backend()
    _check_places(path, format, overwrite)
    classifier = _float32_classifier(model, input_size)
    shape = _input_shape(classifier.model, format, input_size, batch_size)
    # A model may take anything: only a `Classifier` says that it takes them.
    takes_pictures = not isinstance(model, keras.Model)
    if representative_data is not None:
        _check_range(representative_data, takes_pictures, shape)
    representatives = _representatives(classifier, representative_data, shape)
    if quantize == "int8":
        _warn_of_int8(classifier)
    with (
        _errors_of_the_system(path),
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
    ):
        unfinished = Path(folder) / path.name
        if format == "saved_model":
            saved_model.write(classifier, unfinished, shape, takes_pictures)
        elif format == "onnx":
            onnx.write(classifier, unfinished, shape)
        else:
            litert.write(
                classifier, unfinished, shape, quantize, representatives
            )
        _check_places(path, format, overwrite)  # what came meanwhile
        _move(Path(folder), path.parent)
    return path


@contextlib.contextmanager
def _errors_of_the_system(path):
    """Raise what TensorFlow makes of a full disk as an `OSError`."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be written: {error.message}") from error


def _check_arguments(path, format, quantize, representative_data):
    if format not in SUFFIXES:
        raise ValueError(
            f"`format` must be one of {sorted(SUFFIXES)}. "
            f"Received: format={format!r}"
        )
    suffix = path.suffix.lower()
    if SUFFIXES[format] and suffix != SUFFIXES[format]:
        raise ValueError(
            f"A {format} file ends in {SUFFIXES[format]}. "
            f"Received: path={str(path)!r}"
        )
    if not SUFFIXES[format] and suffix in OTHER_SUFFIXES:
        raise ValueError(
            f"A SavedModel is a folder, not a {suffix} file. "
            f"Received: path={str(path)!r}, format={format!r}"
        )
    if quantize not in (None, *litert.QUANTIZATIONS):
        raise ValueError(
            f"`quantize` must be None or one of {litert.QUANTIZATIONS}. "
            f"Received: quantize={quantize!r}"
        )
    if quantize and format != "litert":
        raise ValueError(
            "`quantize` is for LiteRT, whose files end in .tflite. "
            f"Received: quantize={quantize!r}, path={str(path)!r}, "
            f"format={format!r}"
        )
    if (quantize == "int8") != (representative_data is not None):
        raise ValueError(
            "quantize='int8' needs `representative_data`, and nothing else "
            f"does. Received: quantize={quantize!r}"
        )


def _check_backend():
    if keras.config.image_data_format() == "channels_first":
        raise ValueError(
            "Exporting works with channels last. Received: "
            "keras.config.image_data_format()='channels_first'"
        )
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Exporting needs KERAS_BACKEND=tensorflow. The backend is "
            f"{keras.backend.backend()!r}."
        )


def _check_places(path, format, overwrite):
    for place in (path, *litert.beside(path, format)):
        _check_place(place, format, overwrite)


def _check_place(path, format, overwrite):
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent}")
    is_saved_model = (path / "saved_model.pb").is_file()
    if format == "saved_model":
        replaceable, expected = is_saved_model, "SavedModel"
    else:
        replaceable, expected = path.is_file(), "file"
    if path.exists() and not replaceable:
        kind = "folder" if path.is_dir() else "file"
        raise FileExistsError(
            f"{path} is a {kind}, not a {expected} that could be replaced"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Set `overwrite` to replace it.")
    others = saved_model.others_in(path) if is_saved_model else ()
    if others:
        raise FileExistsError(
            f"{path} holds more than a SavedModel, which would be lost: "
            f"{', '.join(others)}"
        )


def _float32_classifier(model, input_size):
    """Return a `Classifier` in float32, of the wanted size if it can be."""
    entry = None
    if isinstance(model, keras.Model):
        model = Classifier(model, None)
    if not isinstance(model, Classifier):
        model = _load(model, input_size)
        entry = model.metadata
        if entry and model.input_size != (entry.input["size"],) * 2:
            entry = None  # It was measured at another size.
    _check_takes_one_image(model.model)
    return Classifier(
        in_float32(model.model),
        model.class_names,
        entry,  # What was given as an object may have been trained since.
        interpolation=model.interpolation,
    )


def _check_takes_one_image(model):
    inputs = getattr(model, "inputs", None) or []  # a model not yet built
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ValueError(
            "`model` must have one image as its input. Received inputs of the "
            f"shapes {[tuple(x.shape) for x in inputs]}"
        )


def _load(weights, input_size):
    if str(weights).endswith(".keras"):
        return load(weights)
    size = None if input_size is None else (input_size, input_size, 3)
    with _float32_policy():
        return load(weights, input_shape=size)


@contextlib.contextmanager
def _float32_policy():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _input_shape(model, format, input_size, batch_size):
    """Return the shape of the input, with `None` for what is not known."""
    _, height, width, channels = model.inputs[0].shape
    if input_size is not None:
        if height not in (None, input_size) or width not in (None, input_size):
            raise ValueError(
                f"The network is built for {height} x {width} pixels, which "
                "`input_size` cannot change: build it, or load it by its id, "
                f"for others. Received: input_size={input_size}"
            )
        height = width = input_size
    if format == "litert" and None in (height, width):
        raise ValueError(
            "A LiteRT file has a fixed size of image, which this network does "
            "not have: pass `input_size`."
        )
    return batch_size, height, width, channels


def _representatives(classifier, data, shape):
    """Return pictures as a float32 array, or `None`."""
    if data is None:
        return None
    if isinstance(data, str | os.PathLike):
        data = find(Path(data))
    if not isinstance(data, list | tuple | np.ndarray):
        raise ValueError(
            "`representative_data` must be a folder, a list or an array. "
            f"Received: {type(data).__name__}"
        )
    if len(data) == 0:
        raise ValueError("`representative_data` must hold at least one picture")
    # Evenly: the first ones of a folder may all be of one class.
    data = data[:: math.ceil(len(data) / MOST_REPRESENTATIVES)]
    if isinstance(data, np.ndarray) and data.shape[1:] == shape[1:]:
        return data.astype("float32")
    if isinstance(data, np.ndarray):  # which is to be resized as a picture
        data = data.round().clip(0, 255).astype("uint8")
    _, height, width, channels = shape
    if channels != 3:
        raise ValueError(
            "For this network, `representative_data` must be an array of "
            f"shape (n, {height}, {width}, {channels})"
        )
    pictures = [
        resize_and_crop(read(each), height, width, classifier.interpolation)
        for each in data
    ]
    return np.stack(pictures, dtype="float32")


def _check_range(data, takes_pictures, shape):
    is_array = isinstance(data, np.ndarray)
    if not takes_pictures and not (is_array and data.shape[1:] == shape[1:]):
        raise ValueError(
            "`representative_data` for a `keras.Model` must be an array of "
            f"what it takes, of the shape {('n', *shape[1:])}: that it takes "
            "pictures only a `keras_attn.Classifier` says. "
            f"Received: {type(data).__name__}"
        )
    is_float = is_array and data.dtype.kind == "f" and data.size > 0
    if takes_pictures and is_float and data.max() <= 1:
        raise ValueError(
            "`representative_data` must have values from 0 to 255. Received "
            f"values up to {data.max():g}"
        )


def _warn_of_int8(classifier):
    entry = published_entry(classifier)
    if entry is None or not entry.int8:
        warnings.warn(
            "int8 was not measured for this network: compare it with float32 "
            "on your own pictures",
            stacklevel=3,
        )
        return
    lost = 100 * (entry.int8["float32_top1"] - entry.int8["top1"])
    if lost > litert.MOST_LOST_POINTS:
        warnings.warn(
            f"In int8, {entry.id} was measured to lose {lost:.1f} points of "
            f"top-1 on {entry.int8['images']} images",
            stacklevel=3,
        )


def _move(folder, target):
    """Give all that is in a folder its place, the old replaced; or nothing."""
    moved = []
    try:
        for path in list(folder.iterdir()):
            place, old = target / path.name, folder / f"replaced_{path.name}"
            if place.is_dir():
                place.rename(old)  # it cannot be replaced while it holds files
            elif place.exists():
                shutil.copy2(place, old)
            moved.append((path, place, old))
            os.replace(path, place)
    except BaseException:
        for path, place, old in moved:
            if not path.exists():  # it has its place already
                place.rename(path)
            if old.exists() and not place.exists():
                old.rename(place)
        raise
