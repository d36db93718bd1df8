"""Measure a published weight: `python -m zoo.evaluate ID --data-dir DIR`."""

import argparse
import json
from pathlib import Path

import keras

import keras_attn
from zoo import data


def accuracies(model, images, labels):
    """Return `images`, `top1` and `top5` (from 0 to 1) of a split.

    Args:
        model: A `keras.Model` with probabilities or logits as output.
        images: uint8 array `(n, height, width, 3)` of the model's input size.
        labels: Integer array `(n,)`.
    """
    model.compile(
        loss="sparse_categorical_crossentropy",
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="top1"),
            keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5"),
        ],
    )
    measured = model.evaluate(
        images, labels, batch_size=200, verbose=0, return_dict=True
    )
    return {
        "images": len(images),
        "top1": round(measured["top1"], 4),
        "top5": round(measured["top5"], 4),
    }


def main():
    parser = argparse.ArgumentParser(prog="python -m zoo.evaluate")
    parser.add_argument("id", help="a published weight")
    parser.add_argument("--data-dir", type=Path, required=True)
    arguments = parser.parse_args()
    classifier = keras_attn.load(arguments.id, verify=True)
    for name in classifier.metadata.metrics:
        images, labels, _ = data.load(name, arguments.data_dir, "val")
        measured = accuracies(classifier.model, images, labels)
        print(json.dumps({name: {"val": measured}}))


if __name__ == "__main__":
    main()
