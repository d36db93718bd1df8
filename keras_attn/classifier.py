"""A pretrained network with what belongs to it: `keras_attn.load`."""

import numpy as np

from keras_attn import applications
from keras_attn import images as image_files
from keras_attn.weights import golden
from keras_attn.weights import load_weights
from keras_attn.weights import manifest


class Classifier:
    """A pretrained network, its class names and its metadata.

    Attributes:
        model: The `keras.Model`: pixels from 0 to 255 in, probabilities out.
        class_names: Tuple of strings in the order of the outputs, or `None`
            where the classifier was replaced by one of other classes.
        metadata: The `keras_attn.weights.Entry` of the manifest.
        load_report: The `keras_attn.weights.LoadReport`.
    """

    def __init__(self, model, class_names, metadata, load_report):
        self.model = model
        self.class_names = class_names
        self.metadata = metadata
        self.load_report = load_report

    def __repr__(self):
        return f"<Classifier {self.metadata.id}>"

    @property
    def input_size(self):
        """The height and width of the images, in pixels."""
        return self.model.input_shape[1] or self.metadata.input["size"]

    def prepare(self, source):
        """Return a picture as the network takes it.

        Args:
            source: A path, a `PIL.Image.Image`, or a uint8 array
                `(height, width, 3)`.

        Returns:
            uint8 array `(size, size, 3)`: the middle of the picture.

        Raises:
            FileNotFoundError, ValueError: if the source is no picture.
        """
        picture = image_files.resize_and_crop(
            image_files.read(source),
            self.input_size,
            self.metadata.input["interpolation"],
        )
        return np.asarray(picture)

    def predict(self, sources, batch_size=32, verbose=0):
        """Return the class probabilities of pictures.

        Args:
            sources: A picture or a list of pictures, as for `prepare`.
            batch_size: Integer.
            verbose: As `keras.Model.predict`.

        Returns:
            Float32 array `(pictures, classes)`.
        """
        if not isinstance(sources, (list, tuple)):
            sources = [sources]
        batch = np.stack([self.prepare(source) for source in sources])
        return self.model.predict(batch, batch_size=batch_size, verbose=verbose)

    def decode_predictions(self, predictions, top=5):
        """Return the most probable classes.

        Args:
            predictions: Array `(pictures, classes)` of probabilities.
            top: Integer, how many classes a picture.

        Returns:
            For each picture a list of `(class index, class name,
            probability)`, the most probable first.

        Raises:
            ValueError: if the predictions have another number of classes, or
                the classes have no names.
        """
        predictions = np.asarray(predictions)
        if self.class_names is None:
            raise ValueError(
                "The classes of this network have no names: it was loaded "
                "with another number of classes."
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


def load(weight_id, classes=None, input_shape=None, verify=False, **arguments):
    """Load a pretrained classifier.

    Args:
        weight_id: Id of a published weight, see `keras_attn.list_models()`.
        classes: Integer, another number of classes: the body is kept, the
            classifier starts random.
        input_shape: Another shape of the images, `(height, width, 3)`.
            Positional tables are interpolated.
        verify: Boolean, whether to check the network's answer to a golden
            image.
        **arguments: Other keyword arguments of the network's constructor.

    Returns:
        A `keras_attn.Classifier`.

    Raises:
        FileNotFoundError: if the weights file cannot be found.
        ValueError: for an unknown id, a file that is not the published one,
            weights that do not fit, or a failed verification.
    """
    entry = manifest.entry(weight_id)
    if entry.constructor not in applications.__all__:
        raise ValueError(
            f"The manifest names an unknown constructor for {weight_id}. "
            f"Received: constructor={entry.constructor!r}"
        )
    constructor = getattr(applications, entry.constructor)
    size = entry.input["size"]
    same_classes = classes in (None, len(entry.class_names))
    model = constructor(
        **entry.arguments,
        input_shape=input_shape or (size, size, 3),
        classes=classes or len(entry.class_names),
        **arguments,
    )
    report = load_weights(model, weight_id)
    class_names = entry.class_names if same_classes else None
    if verify:
        if not same_classes or input_shape or arguments:
            raise ValueError(
                "`verify=True` compares with the published network: leave "
                "`classes`, `input_shape` and other arguments out. Received: "
                f"classes={classes}, input_shape={input_shape}, {arguments}"
            )
        golden.check(model, entry)
    return Classifier(model, class_names, entry, report)
