"""Convert a SavedModel; run as a script, without Keras.

python litert_converter.py SAVED_MODEL OUT QUANTIZE PICTURES BATCH

QUANTIZE is none, float16, dynamic or int8, for which PICTURES are, BATCH at
once.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema


def main(saved_model, out, quantize, pictures, batch):
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
    # What is not there in LiteRT is an error, not a call of TensorFlow.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
        batches = in_batches(np.load(pictures), int(batch))
        converter.representative_dataset = lambda: (
            {"image": images} for images in batches
        )
    content = converter.convert()
    check_operations(content)
    Path(out).write_bytes(content)


def in_batches(images, size):
    """Return images by batches, the last of which begins again."""
    count = -(-len(images) // size)
    repeated = np.resize(images, (count * size, *images.shape[1:]))
    return repeated.reshape(count, size, *images.shape[1:])


def check_operations(content):
    """Raise a `ValueError` if a file asks for more than built-in operations."""
    model = schema.Model.GetRootAs(content)
    codes = map(model.OperatorCodes, range(model.OperatorCodesLength()))
    others = [code.CustomCode().decode() for code in codes if code.CustomCode()]
    if others:
        raise ValueError(f"operations that are not built in: {others}")


if __name__ == "__main__":
    main(*sys.argv[1:])
