"""Convert a SavedModel; run as a script, without Keras.

python litert_converter.py SAVED_MODEL OUT none|float16|dynamic|int8 PICTURES
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(saved_model, out, quantize, pictures):
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
        images = np.load(pictures)
        converter.representative_dataset = lambda: (
            {"image": image[None]} for image in images
        )
    Path(out).write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
