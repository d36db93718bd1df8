"""Fine-tune a pretrained classifier on classes of your own.

    python examples/fine_tune.py FOLDER --out mine.keras

FOLDER has one folder of images a class. `--data NAME` takes a data set of
tensorflow-datasets by its name instead, and FOLDER is where it is kept. First
the new classifier is trained on the frozen network, then both together, at a
tenth of the rate. The result is one file:

    keras-attn classify PICTURE --model mine.keras
    keras-attn export mine.keras --to mine.tflite
"""

import json
from pathlib import Path
from typing import Annotated

import keras
import tensorflow as tf
import typer

import keras_attn

SEED = 0


def main(
    folder: Annotated[Path, typer.Argument(help="One folder a class.")],
    out: Annotated[Path, typer.Option(help="A .keras file to write.")],
    model: Annotated[
        str, typer.Option(help="Id of a pretrained network, or hf://ORG/NAME.")
    ] = "cram_resnet18_small.tiny_imagenet_64",
    data: Annotated[
        str | None, typer.Option(help="Name of a data set, for TFDS.")
    ] = None,
    validation_folder: Annotated[
        Path | None,
        typer.Option(help="Default: a fifth of the images of FOLDER."),
    ] = None,
    head_epochs: Annotated[int, typer.Option(min=0)] = 5,
    body_epochs: Annotated[int, typer.Option(min=0)] = 15,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    learning_rate: Annotated[
        float, typer.Option(help="Of the new classifier.")
    ] = 1e-3,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Random weights, to compare with."),
    ] = False,
    mixed_precision: Annotated[
        bool, typer.Option("--mixed-precision", help="mixed_bfloat16")
    ] = False,
):
    """Fine-tune a pretrained classifier on classes of your own."""
    if out.suffix != ".keras" or not out.parent.is_dir():
        raise typer.BadParameter(f"--out {out}: no .keras file in a folder")
    keras.utils.set_random_seed(SEED)
    if mixed_precision:
        keras.config.set_dtype_policy("mixed_bfloat16")
    size = keras_attn.load(model).input_size
    if data:
        training, validation, names = from_tfds(data, folder, size)
    else:
        training, validation, names = from_folders(
            folder, validation_folder, size
        )
    training = augmented(training.shuffle(5000).batch(batch_size))
    validation = validation.batch(batch_size).prefetch(2)

    with tf.distribute.MirroredStrategy().scope():
        classifier = keras_attn.load(model, classes=names)
        network = classifier.model
        if from_scratch:
            forget(network)
        else:
            classifier.set_body_trainable(False)
            fit(network, training, validation, head_epochs, learning_rate)
            classifier.set_body_trainable(True)
            learning_rate /= 10
        fit(network, training, validation, body_epochs, learning_rate)
        loss, accuracy = network.evaluate(validation, verbose=0)
    classifier.save(out)
    print(json.dumps({"top1": round(accuracy, 4), "loss": round(loss, 4)}))


def from_folders(folder, validation_folder, size):
    """Return images for training and validation, and the class names."""
    arguments = {
        "image_size": size,
        "crop_to_aspect_ratio": True,
        "batch_size": None,
        "seed": SEED,
    }
    load = keras.utils.image_dataset_from_directory
    if validation_folder is None:
        training, validation = load(
            folder, validation_split=0.2, subset="both", **arguments
        )
    else:
        training = load(folder, **arguments)
        validation = load(
            validation_folder, class_names=training.class_names, **arguments
        )
    return training.cache(), validation.cache(), training.class_names


def from_tfds(name, folder, size):
    """The same, of a data set of tensorflow-datasets."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=folder)
    builder.download_and_prepare()
    splits = builder.info.splits
    last = next(s for s in ("validation", "test") if s in splits)

    def resized(image, label):
        return keras.ops.image.resize(
            image, size, antialias=True, crop_to_aspect_ratio=True
        ), label

    training, validation = (
        split.map(resized).cache()
        for split in builder.as_dataset(
            split=["train", last], as_supervised=True
        )
    )
    return training, validation, builder.info.features["label"].names


def augmented(batches):
    """Flip and shift the images of batches."""
    change = [
        keras.layers.RandomFlip("horizontal", seed=SEED, dtype="float32"),
        keras.layers.RandomTranslation(0.1, 0.1, seed=SEED, dtype="float32"),
    ]

    def changed(images, labels):
        for layer in change:
            images = layer(images, training=True)
        return images, labels

    return batches.map(changed, num_parallel_calls=2).prefetch(2)


def fit(model, training, validation, epochs, learning_rate):
    """Train what is trainable; keep the weights of the best epoch."""
    if epochs == 0:
        return
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    model.fit(
        training,
        validation_data=validation,
        epochs=epochs,
        shuffle=False,  # the batches are
        verbose=2,
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_accuracy", patience=5, restore_best_weights=True
            ),
            keras.callbacks.ReduceLROnPlateau(patience=2),
        ],
    )


def forget(model):
    """Give a network random weights."""
    config = model.get_config()
    fresh = model.__class__.from_config(config)
    model.set_weights(fresh.get_weights())


if __name__ == "__main__":
    typer.run(main)
