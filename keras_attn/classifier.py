"""A pretrained network with what belongs to it: `keras_attn.load`."""

import json
import numbers
import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from keras_attn import applications
from keras_attn import images as image_files
from keras_attn.applications import attention_types
from keras_attn.layers.feature_maps import positive_integer
from keras_attn.rebuilding import has_graph
from keras_attn.replacing import replacing
from keras_attn.weights import files
from keras_attn.weights import golden
from keras_attn.weights import hub
from keras_attn.weights import manifest
from keras_attn.weights import published
from keras_attn.weights.loading import CLASSIFIER
from keras_attn.weights.loading import forget_classifier

# What terminals obey: controls, ends of lines, and what turns the direction of
# a line; and half of a letter, which no file takes. The manifest's schema has
# the same.
CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Classifier:
    """A pretrained network, its class names and its metadata.

    Attributes:
        model: The `keras.Model`: images with pixels from 0 to 255 in,
            probabilities `(batch, classes)` out.
        class_names: Tuple of strings in the order of the outputs, or `None`
            where the classifier was replaced by one of other classes. They
            hold no control characters, which terminals would obey.
        metadata: The `keras_attn.weights.Entry`, or `None` for a `.keras`
            file.
        load_report: The `keras_attn.weights.LoadReport`, or `None` for a
            `.keras` file.
        interpolation: How pictures are scaled, `"bilinear"` or `"bicubic"`.

    Raises:
        ValueError: if there are class names, and not one string without
            control characters for each output, or for another
            `interpolation`.
    """

    def __init__(
        self,
        model,
        class_names,
        metadata=None,
        load_report=None,
        interpolation="bilinear",
    ):
        if interpolation not in image_files.INTERPOLATIONS:
            raise ValueError(
                f"`interpolation` must be one of "
                f"{list(image_files.INTERPOLATIONS)}. "
                f"Received: interpolation={interpolation!r}"
            )
        if class_names is not None:
            class_names = _names("class_names", class_names)
            _check_names(class_names, model)
        self.model = model
        self.class_names = class_names
        self.metadata = metadata
        self.load_report = load_report
        self.interpolation = interpolation

    def __repr__(self):
        name = self.metadata.id if self.metadata else self.model.name
        return f"<Classifier {name}>"

    @property
    def input_size(self):
        """The height and width of the images, in pixels."""
        return tuple(self.model.input_shape[1:3])

    def prepare(self, source):
        """Return a picture as the network takes it.

        Args:
            source: A path, a `PIL.Image.Image`, or a uint8 array
                `(height, width, 3)`.

        Returns:
            uint8 array `(height, width, 3)` of the network's input size: the
            middle of the picture.

        Raises:
            FileNotFoundError, ValueError: if the source is no picture, or the
                network takes images of any size.
        """
        if None in self.input_size:
            raise ValueError(
                f"The model {self.model.name!r} does not say which size its "
                "images have: load or build it with an `input_shape`. "
                f"Received: input_shape={self.model.input_shape}"
            )
        picture = image_files.resize_and_crop(
            image_files.read(source),
            *self.input_size,
            interpolation=self.interpolation,
        )
        return np.asarray(picture)

    def set_body_trainable(self, trainable):
        """Freeze or unfreeze all but the classifier, for fine-tuning.

        Batch normalisation stays frozen, and so in inference mode, in either
        case, also inside of attention layers: the statistics of a few images
        would spoil what was learned from many. Compile the model afterwards.
        A file keeps this for whole layers only: call it again after loading
        one, to go on training.

        Args:
            trainable: Boolean.

        Raises:
            ValueError: if no layer is called "predictions", as the classifier
                is in the networks of `keras_attn.applications`.
        """
        if CLASSIFIER not in {layer.name for layer in self.model.layers}:
            raise ValueError(
                f"The model {self.model.name!r} has no layer called "
                f"{CLASSIFIER!r}: set `trainable` of its layers yourself"
            )
        self.model.trainable = True  # else no layer's own would count
        # No public name reaches the layers inside of layers, each of which
        # may have been frozen alone.
        for layer in self.model.layers:
            if layer.name != CLASSIFIER:
                for inner in layer._flatten_layers():
                    inner.trainable = trainable
        for layer in self.model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False

    def save(self, path):
        """Save the network and its class names in one file.

        `keras_attn.load(path)` brings the classifier back,
        `keras.saving.load_model(path)` the model alone.

        Args:
            path: Path that ends in `.keras`.

        Raises:
            ValueError: if it does not.
            OSError: if it cannot be written. What was there stays.
        """
        if Path(path).suffix != ".keras":
            raise ValueError(
                "A classifier is saved in a .keras file. "
                f"Received: path={str(path)!r}"
            )
        description = {
            "class_names": self.class_names and list(self.class_names),
            "interpolation": self.interpolation,
        }
        with replacing(path) as unfinished:
            self.model.save(unfinished)
            with zipfile.ZipFile(unfinished, "a") as archive:
                archive.writestr(hub.DESCRIPTION, json.dumps(description))

    def predict(self, sources, batch_size=32, verbose="auto"):
        """Return the class probabilities of pictures.

        Args:
            sources: A picture, as for `prepare`, a list of pictures, or a
                uint8 array `(pictures, height, width, 3)`.
            batch_size: Integer.
            verbose: Whether to show a progress bar, as `keras.Model.predict`.

        Returns:
            Float32 array `(pictures, classes)`.

        Raises:
            FileNotFoundError, ValueError: if a source is no picture, or there
                are none.
        """
        is_batch = isinstance(sources, np.ndarray) and sources.ndim == 4
        if not is_batch and not isinstance(sources, (list, tuple)):
            sources = [sources]
        if len(sources) == 0:
            raise ValueError("`sources` must hold at least one picture")
        batch = np.stack([self.prepare(source) for source in sources])
        return self.model.predict(batch, batch_size=batch_size, verbose=verbose)

    def decode_predictions(self, predictions, top=5):
        """Return the most probable classes.

        Args:
            predictions: Array `(pictures, classes)` of probabilities.
            top: Integer from 1, how many classes a picture, at most all.

        Returns:
            For each picture a list of `(class index, class name,
            probability)`, the most probable first.

        Raises:
            ValueError: if the predictions have another number of classes, or
                the classes have no names, or for another `top`.
        """
        top = positive_integer("top", top)
        predictions = np.asarray(predictions)
        if self.class_names is None:
            raise ValueError(
                "The classes of this network have no names: it was loaded "
                "with another number of classes, or from a .keras file that "
                "has none."
            )
        if predictions.ndim != 2 or predictions.shape[1] != len(
            self.class_names
        ):
            raise ValueError(
                "`predictions` must have the shape (pictures, "
                f"{len(self.class_names)}). "
                f"Received: predictions.shape={predictions.shape}"
            )
        return [
            [
                (int(index), self.class_names[index], float(row[index]))
                for index in np.argsort(-row)[:top]
            ]
            for row in predictions
        ]


def load(weights, classes=None, input_shape=None, verify=False):
    """Load a pretrained classifier.

    For other forms of the network (headless, logits, without preprocessing)
    call its constructor in `keras_attn.applications` with `weights=`.

    Args:
        weights: One of

            - the id of a published weight, see `keras_attn.list_models()`;
            - an address on the Hugging Face Hub, `"hf://ORG/NAME"` or
              `"hf://ORG/NAME@REVISION"`, of a repository made by
              `zoo.publish`;
            - the path of a folder with such a repository's files;
            - the path of a `.keras` file, which is read in Keras's safe mode,
              and comes back compiled if Keras knows its loss and metrics.
              `Classifier.save` writes one with the class names in it.
        classes: Names of other classes, or another number of classes: the
            body is kept, the classifier starts random. The number that the
            weight has itself changes nothing.
        input_shape: Another shape of the images, `(height, width, 3)`.
            Positional tables are interpolated.
        verify: Boolean, whether to check the network's answer to a golden
            image, which holds in float32.

    Returns:
        A `keras_attn.Classifier`.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        PermissionError, ConnectionError, OSError: if it cannot be downloaded.
        ValueError: for an unknown id, a file that is not the published one,
            weights or classes that do not fit, or a failed verification.
    """
    if verify and (classes is not None or input_shape):
        raise ValueError(
            "`verify=True` compares with the published network: leave "
            "`classes` and `input_shape` out. "
            f"Received: classes={classes}, input_shape={input_shape}"
        )
    if keras.config.image_data_format() == "channels_first":
        raise ValueError(
            "`keras_attn.load` works with channels last. Received: "
            "keras.config.image_data_format()='channels_first'"
        )
    entry = _published(weights)
    path = Path(weights)
    if entry is None and path.suffix == ".keras":
        _check_as_it_is(path, classes, input_shape, verify)
        return _from_keras_file(path)
    if entry is not None:
        constructor = _constructor(entry)  # before it is downloaded
        file = files.locate(entry)
    else:
        entry = manifest.single_entry(path / hub.DESCRIPTION)
        constructor = _constructor(entry)
        file = files.verified(path / hub.WEIGHTS, entry)
    count, class_names = _classes(classes, entry)
    model = constructor(
        **entry.arguments,
        weights=file,
        classes=count,
        input_shape=input_shape or (*2 * (entry.input["size"],), 3),
    )
    if count == len(entry.class_names) and class_names != entry.class_names:
        # It fits, but these are other classes.
        model.load_report = forget_classifier(model, model.load_report)
    if verify:
        golden.check(model, entry)
    return Classifier(
        model,
        class_names,
        entry,
        model.load_report,
        entry.input["interpolation"],
    )


def _published(weights):
    """Return the `Entry` of what is no path of a file or folder."""
    if isinstance(weights, str) and (
        weights.startswith(hub.SCHEME) or weights in manifest.entries()
    ):
        return published(weights)
    path = Path(weights)
    if path.suffix == ".keras" or (path / hub.DESCRIPTION).is_file():
        return None
    if path.exists():
        raise ValueError(
            "`weights` must be an id, an hf:// address, a .keras file or a "
            f"folder with {hub.DESCRIPTION}. A .weights.h5 file does not say "
            "which network it is of: call its constructor in "
            f"keras_attn.applications. Received: weights={str(weights)!r}"
        )
    name = os.fspath(weights)
    entry = published(name)
    if entry is None:
        raise FileNotFoundError(f"There is no file or folder {name}")
    return entry


def _classes(classes, entry):
    """Return the number of classes and their names, or `None`."""
    published_count = len(entry.class_names)
    if classes is None:
        return published_count, entry.class_names
    if isinstance(classes, numbers.Integral):
        same = classes == published_count
        return int(classes), entry.class_names if same else None
    names = _names("classes", classes)
    return len(names), names


def _names(argument, names):
    if isinstance(names, str) or not isinstance(names, Iterable):
        or_number = ", or their number" if argument == "classes" else ""
        raise ValueError(
            f"`{argument}` must be a sequence of names{or_number}. "
            f"Received: {argument}={names!r}"
        )
    return tuple(names)


def _check_names(names, model):
    outputs = model.outputs if has_graph(model) else []
    if len(outputs) != 1 or len(outputs[0].shape) < 2:
        raise ValueError(
            "`model` must be a functional or a built sequential model with one "
            "output, `(batch, classes)`. Received outputs of the shapes "
            f"{[tuple(output.shape) for output in outputs]}"
        )
    count = outputs[0].shape[-1]
    if len(names) != count:
        raise ValueError(
            f"There must be a name for each of {count} classes. "
            f"Received: {len(names)} names, {names}"
        )
    refused = [
        name
        for name in names
        if not isinstance(name, str) or CONTROLS.search(name)
    ]
    if refused:
        raise ValueError(
            "The names of classes must be strings without control characters. "
            f"Received: {', '.join(map(repr, refused))} in {names}"
        )


def _constructor(entry):
    if entry.constructor not in applications.__all__:
        raise ValueError(
            f"The manifest names an unknown constructor for {entry.id}. "
            f"Received: constructor={entry.constructor!r}"
        )
    attention_types.get(entry.arguments.get("attention"))  # or an error
    return getattr(applications, entry.constructor)


def _check_as_it_is(path, classes, input_shape, verify):
    if classes is not None or input_shape or verify:
        raise ValueError(
            f"{path.name} is loaded as it is: leave `classes`, `input_shape` "
            f"and `verify` out. Received: classes={classes}, "
            f"input_shape={input_shape}, verify={verify}"
        )


def _from_keras_file(path):
    import keras_attn.pyramid  # noqa: F401 (registers what may be in the file)

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}")
    try:
        model = _read_keras_file(path)
        with zipfile.ZipFile(path) as archive:
            if hub.DESCRIPTION not in archive.namelist():
                return Classifier(model, None)
            description = json.loads(archive.read(hub.DESCRIPTION))
        return Classifier(
            model,
            description["class_names"],
            interpolation=description["interpolation"],
        )
    except Exception as error:  # Keras raises errors of many kinds here.
        raise ValueError(
            f"{path} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def _read_keras_file(path):
    try:
        return keras.saving.load_model(path, safe_mode=True)
    except (TypeError, ValueError):
        # It may be of a loss that only the program knows that trained it.
        return keras.saving.load_model(path, safe_mode=True, compile=False)
