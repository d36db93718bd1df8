"""Segment pictures: which pixel belongs to which shape.

    pip install -e ".[train]"
    python examples/segment.py --attention gsa --out segmenter.keras

DeepLabV3+ of keras-cv on a feature pyramid of keras-attn, from random weights.
The pictures are generated: up to three discs, squares, triangles, crosses and
rings of any size, place and angle, on striped ground. Colours and stripes are
drawn alike for every shape and for the ground, so that a pixel's class is not
in the pixel but in the outline around it. `--attention none` is the same
network with 3x3 convolutions only.

At the end one line of JSON has the mean intersection over union (IoU) of all
classes, ground included, on pictures that were not trained on:
`keras.metrics.MeanIoU`. The result is one file, for any process that imports
both libraries:

    import keras, keras_attn, keras_cv
    probabilities = keras.saving.load_model("segmenter.keras").predict(images)
"""

import json
from pathlib import Path
from typing import Annotated

import keras
import keras_cv
import numpy as np
import typer

import keras_attn
from keras_attn.applications import AttnResNet18Small

CLASSES = "ground", "disc", "square", "triangle", "cross", "ring"
HELD_OUT_SEED = 0  # those of the training pictures begin at 1


def main(
    out: Annotated[Path, typer.Option(help="A .keras file to write.")],
    attention: Annotated[
        str, typer.Option(help="As of AttnResNet18Small, or none.")
    ] = "gsa",
    images: Annotated[int, typer.Option(min=1, help="To train on.")] = 10000,
    held_out: Annotated[int, typer.Option(min=1, help="To measure on.")] = 500,
    size: Annotated[
        int, typer.Option(min=32, help="Of a picture, a multiple of 32.")
    ] = 96,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    learning_rate: Annotated[float, typer.Option()] = 3e-3,
    seed: Annotated[
        int, typer.Option(min=0, help="Of weights and training pictures.")
    ] = 0,
):
    """Segment generated pictures."""
    if out.suffix != ".keras" or not out.parent.is_dir():
        raise typer.BadParameter(f"--out {out}: no .keras file in a folder")
    if size % 32:
        raise typer.BadParameter(f"--size {size}: not a multiple of 32")
    keras.utils.set_random_seed(seed)
    model = segmenter(None if attention == "none" else attention, size)
    steps = -(-images // batch_size) * epochs
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        ),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=[mean_iou()],
    )
    model.fit(
        *pictures(images, size, HELD_OUT_SEED + 1 + seed),
        batch_size=batch_size,
        epochs=epochs,
        verbose=2,
    )
    model.save(out)
    # Of the last epoch: no weights were chosen on these pictures.
    figures = measure(model, *pictures(held_out, size, HELD_OUT_SEED))
    print(json.dumps({"parameters": model.count_params(), **figures}))


def segmenter(attention, size):
    """Return DeepLabV3+ with a ResNet-18 that has attention."""
    body = AttnResNet18Small(
        attention,
        include_top=False,
        stem_strides=4,  # DeepLabV3+ takes the levels "P2" and "P5"
        input_shape=(size, size, 3),
    )
    return keras_cv.models.DeepLabV3Plus(
        num_classes=len(CLASSES),
        backbone=keras_attn.feature_pyramid(body),
        # The map of "P5" has few pixels: the usual rates would leave it.
        spatial_pyramid_pooling=keras_cv.layers.SpatialPyramidPooling(
            dilation_rates=[1, 2, 3], num_channels=64
        ),
        # The usual head enlarges its features before it classifies them. In
        # the other order six channels are enlarged instead of 256.
        segmentation_head=keras.Sequential(
            [
                keras.layers.Conv2D(64, 1, use_bias=False),
                keras.layers.BatchNormalization(momentum=0.9),
                keras.layers.ReLU(),
                keras.layers.Conv2D(len(CLASSES), 1),
                keras.layers.UpSampling2D(4, interpolation="bilinear"),
                keras.layers.Softmax(dtype="float32"),
            ]
        ),
    )


def mean_iou():
    return keras.metrics.MeanIoU(
        len(CLASSES), sparse_y_pred=False, name="mean_iou"
    )


def measure(model, images, labels):
    """Return the mean IoU and that of each class."""
    probabilities = model.predict(images, verbose=0)
    metrics = [mean_iou()] + [
        keras.metrics.IoU(len(CLASSES), [label], sparse_y_pred=False, name=name)
        for label, name in enumerate(CLASSES)
    ]
    return {
        metric.name: round(float(metric(labels, probabilities)), 4)
        for metric in metrics
    }


def pictures(count, size, seed):
    """Return generated pictures and the class of every pixel.

    Args:
        count: Integer, how many.
        size: Integer, their height and width.
        seed: Integer; the same pictures for the same seed.

    Returns:
        Arrays `(count, size, size, 3)`, uint8, and `(count, size, size)`,
        uint8: indices of `CLASSES`.
    """
    random = np.random.default_rng(seed)
    images = np.empty((count, size, size, 3), "uint8")
    labels = np.zeros((count, size, size), "uint8")
    for image, label in zip(images, labels):
        pixels = stripes(random, size)
        for _ in range(random.integers(1, 4)):
            shape = random.integers(1, len(CLASSES))
            inside = outline(CLASSES[shape], *placed(random, size))
            pixels[inside] = stripes(random, size)[inside]
            label[inside] = shape
        noise = random.normal(0, 10, pixels.shape)
        image[:] = np.clip(pixels + noise, 0, 255)
    return images, labels


def stripes(random, size):
    """Return waves between two colours, `(size, size, 3)`."""
    colour = random.uniform(0, 255, 3)
    change = random.normal(0, 40, 3)
    x, y = random.normal(0, 0.3, 2)  # radians a pixel
    rows, columns = np.mgrid[:size, :size]
    wave = np.sin(x * columns + y * rows + random.uniform(0, 2 * np.pi))
    return colour + change * wave[..., None]


def placed(random, size):
    """Return coordinates of all pixels in which a shape has the radius 1."""
    radius = size * random.uniform(0.15, 0.35)
    middle = random.uniform(0, size, 2)
    angle = random.uniform(0, 2 * np.pi)
    offsets = (np.mgrid[:size, :size].T - middle) / radius
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return np.moveaxis(offsets @ turn, -1, 0)


def outline(shape, x, y):
    """Return which pixels are in a shape."""
    distance = np.hypot(x, y)
    match shape:
        case "disc":
            return distance < 1
        case "square":
            return np.maximum(abs(x), abs(y)) < np.sqrt(0.5)
        case "triangle":
            slope = np.sqrt(3) * abs(x)
            return (y > -0.5) & (slope + y < 1)
        case "cross":
            thin = np.minimum(abs(x), abs(y)) < 0.3
            return thin & (np.maximum(abs(x), abs(y)) < 1)
        case "ring":
            return (distance > 0.6) & (distance < 1)


if __name__ == "__main__":
    typer.run(main)
