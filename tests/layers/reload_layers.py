"""Loads what `test_every_layer.py` saved, in a process of its own.

Arguments: the directory, and "weights" to load the weights alone as well.
"""

import pathlib
import sys

import keras
import numpy as np

import keras_attn  # noqa: F401


def main(directory, weights=None):
    outputs = {}
    inputs = np.load(directory / "inputs.npy")
    for path in sorted(directory.glob("*.keras")):
        case = path.stem
        model = keras.saving.load_model(path)
        outputs[f"{case}/keras"] = model.predict(inputs, verbose=0)
        if weights:
            copy = keras.Model.from_config(model.get_config())
            outputs[f"{case}/fresh"] = copy(inputs)
            copy.load_weights(directory / f"{case}.weights.h5")
            outputs[f"{case}/weights"] = copy(inputs)
    np.savez(directory / f"{keras.backend.backend()}.npz", **outputs)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
