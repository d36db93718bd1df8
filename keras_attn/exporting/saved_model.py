"""TensorFlow's SavedModel, with signatures for tensors and for files."""

import functools
import json

import keras

from keras_attn.exporting.description import describe

TOP = 5
FILES = {
    "saved_model.pb",
    "fingerprint.pb",
    "keras_metadata.pb",
    "variables",
    "assets",
    "assets.extra",
}


def write(classifier, folder, shape, takes_pictures):
    """Write a SavedModel.

    Args:
        classifier: A `keras_attn.Classifier` in float32.
        folder: Path, which is made.
        shape: Tuple, the shape of the input, `None` for what may vary.
        takes_pictures: Boolean, whether pictures are what it is for.
    """
    import tensorflow as tf

    batch = shape[0]
    predict = functools.partial(classifier.model, training=False)
    # `archive.track(model)` would store all weights a second time:
    # https://github.com/keras-team/keras/issues/23553
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        "serve", predict, [tf.TensorSpec(shape, "float32", "image")]
    )
    archive.add_endpoint(
        "serve_uint8",
        lambda image: predict(tf.cast(image, "float32")),
        [tf.TensorSpec(shape, "uint8", "image")],
    )
    if takes_pictures and _classifies(classifier.model, shape):
        archive.add_endpoint(
            "serve_encoded",
            _of_files(classifier, shape[1:3]),
            [tf.TensorSpec([batch], "string", "encoded")],
        )
    archive.write_out(str(folder), verbose=False)
    extra = folder / "assets.extra"
    extra.mkdir()
    text = json.dumps(describe(classifier, shape), indent=1)
    (extra / "keras_attn.json").write_text(text + "\n", "utf-8")


def others_in(folder):
    """Return the names of what a folder holds besides a SavedModel."""
    return sorted({file.name for file in folder.iterdir()} - FILES)


def _classifies(model, shape):
    _, height, width, channels = shape
    output = getattr(model, "output", model.outputs[0])  # not of a Sequential
    return (
        None not in (height, width)
        and channels == 3
        and isinstance(output, keras.KerasTensor)
        and len(output.shape) == 2
    )


def _of_files(classifier, size):
    """Return a function from encoded pictures to what is in them."""
    import tensorflow as tf

    model, names = classifier.model, classifier.class_names

    def classify(encoded):
        images = tf.map_fn(
            lambda content: _prepared(content, size, classifier.interpolation),
            encoded,
            fn_output_signature=tf.TensorSpec([*size, 3], "float32"),
        )
        probabilities = model(images, training=False)
        answer = {"probabilities": probabilities}
        if names is not None:
            top = tf.math.top_k(probabilities, min(TOP, len(names)))
            answer["top_classes"] = tf.gather(tf.constant(names), top.indices)
            answer["top_probabilities"] = top.values
        return answer

    return classify


def _prepared(content, size, interpolation):
    """Decode a picture; cut its middle out, as large as it fits; scale it."""
    import tensorflow as tf

    image = tf.io.decode_image(content, channels=3, expand_animations=False)
    image = tf.ensure_shape(image, (None, None, 3))
    image = keras.ops.image.resize(
        tf.cast(image, "float32"),
        size,
        interpolation,
        antialias=True,
        crop_to_aspect_ratio=True,
        data_format="channels_last",
    )
    return tf.clip_by_value(image, 0.0, 255.0)
