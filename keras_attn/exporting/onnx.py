"""ONNX files."""

import json
import warnings

import keras

from keras_attn.exporting.description import describe


def write(classifier, path, shape):
    """Write an ONNX file with the description as its metadata.

    Args:
        classifier: A `keras_attn.Classifier` in float32.
        path: Path that ends in `.onnx`.
        shape: Tuple, the shape of the input, `None` for what may vary.

    Raises:
        ImportError: if the packages for ONNX are missing.
        ValueError: if the network has operations that ONNX does not have.
    """
    try:
        import onnx
        import tf2onnx  # noqa: F401, what Keras converts with
    except ImportError as error:
        raise ImportError(
            "ONNX files need `pip install keras-attn[export]`"
        ) from error
    # Called alone, as Keras exports it, a network would augment.
    image = keras.Input(batch_shape=shape)
    model = keras.Model(image, classifier.model(image, training=False))
    with warnings.catch_warnings():
        # Keras looks for old names of NumPy, to convert with tf2onnx.
        warnings.simplefilter("ignore", FutureWarning)
        model.export(
            str(path),
            format="onnx",
            verbose=False,
            input_signature=[keras.InputSpec("float32", shape, name="image")],
        )
    file = onnx.load(str(path))
    try:  # tf2onnx leaves in the file what it cannot convert
        onnx.checker.check_model(file)
    except onnx.checker.ValidationError as error:
        [reason, *_] = str(error).splitlines()
        raise ValueError(
            f"ONNX has no operation for what this network uses: {reason}"
        ) from error
    description = describe(classifier, shape)
    onnx.helper.set_model_props(
        file, {key: json.dumps(value) for key, value in description.items()}
    )
    onnx.save(file, str(path))
