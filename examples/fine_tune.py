"""Fine-tune a pretrained classifier on classes of your own.

    python examples/fine_tune.py FOLDER --out mine.keras

FOLDER has one folder of images a class. `--data NAME` takes a data set of
tensorflow-datasets by its name instead, and FOLDER is where it is kept. First
the new classifier is trained on the frozen network, then both together, at a
tenth of the rate. The result is one file:

    keras-attn classify PICTURE --model mine.keras
    keras-attn export mine.keras --to mine.tflite

and beside it, in `mine.history.csv`, what was measured in each epoch. All
images are kept in memory, at the size that the network takes.
"""

import json
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
import typer

import keras_attn
from keras_attn import images

SPLITS = {"train", "training", "val", "valid", "validation", "test"}


def main(
    folder: Annotated[
        Path,
        typer.Argument(
            help="One folder a class; with --data, where TFDS keeps its data."
        ),
    ],
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
        float,
        typer.Option(help="Of the new classifier; a tenth of it for the body."),
    ] = 1e-3,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Random weights, to compare with."),
    ] = False,
    mixed_precision: Annotated[
        bool, typer.Option("--mixed-precision", help="mixed_bfloat16")
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Of split, classifier and augmentation.")
    ] = 0,
):
    """Fine-tune a pretrained classifier on classes of your own."""
    if out.suffix != ".keras" or not out.parent.is_dir():
        raise typer.BadParameter(f"--out {out}: no .keras file in a folder")
    if data and validation_folder:
        raise typer.BadParameter("--validation-folder goes without --data")
    head_epochs = 0 if from_scratch else head_epochs
    if not head_epochs + body_epochs:
        raise typer.BadParameter("there must be an epoch to train")
    keras.utils.set_random_seed(seed)
    if mixed_precision:
        keras.config.set_dtype_policy("mixed_bfloat16")
    prepare = keras_attn.load(model).prepare
    if data:
        training, validation, names = from_tfds(data, folder, prepare)
    else:
        training, validation, names = from_folders(
            folder, validation_folder, prepare, seed
        )
    training = training.shuffle(len(training))
    training = augmented(training.batch(batch_size))
    validation = validation.batch(batch_size).prefetch(2)

    history = out.with_suffix(".history.csv")
    history.unlink(missing_ok=True)
    log = keras.callbacks.CSVLogger(history, append=True)
    strategy = tf.distribute.MirroredStrategy()
    if from_scratch:  # Each device would learn statistics of its own.
        strategy = tf.distribute.get_strategy()
    with strategy.scope():
        classifier = keras_attn.load(model, classes=names)
        network = classifier.model
        if from_scratch:
            forget(network)
        else:
            classifier.set_body_trainable(False)
            epochs = range(head_epochs)
            fit(network, training, validation, epochs, learning_rate, log)
            learning_rate /= 10
            if body_epochs:  # what the optimiser has trained is what loads
                classifier.set_body_trainable(True)
        epochs = range(head_epochs, head_epochs + body_epochs)
        fit(network, training, validation, epochs, learning_rate, log)
        loss, accuracy = network.evaluate(validation, verbose=0)
    if not np.isfinite(loss):
        raise SystemExit(f"The loss is {loss}: nothing was saved")
    classifier.save(out)
    print(json.dumps({"top1": round(accuracy, 4), "loss": round(loss, 4)}))


def from_folders(folder, validation_folder, prepare, seed):
    """Return images for training and validation, and the class names."""
    names = classes_in(folder)
    if not names:
        raise typer.BadParameter(f"{folder}: no folders of classes")
    if set(names) <= SPLITS and classes_in(folder / names[0]):
        raise typer.BadParameter(
            f"{folder}: its folders are not classes, but hold them. Give "
            f"{folder / names[0]}"
        )
    if validation_folder and classes_in(validation_folder) != names:
        raise typer.BadParameter(
            f"{validation_folder}: its classes are not those of {folder}"
        )
    training, validation = [], []
    for label, name in enumerate(names):
        files = images.find(folder / name)
        if validation_folder is not None:
            held_out = images.find(validation_folder / name)
        else:
            files = np.random.default_rng(seed).permutation(files)
            held_out, files = np.split(files, [len(files) // 5])
        if not len(files) or not len(held_out):
            raise typer.BadParameter(
                f"{folder / name}: too few images to hold out a fifth"
            )
        training += [(file, label) for file in files]
        validation += [(file, label) for file in held_out]

    def read(examples):
        files, labels = zip(*examples)
        prepared = np.stack([prepare(file) for file in files])
        return tf.data.Dataset.from_tensor_slices((prepared, list(labels)))

    return read(training), read(validation), names


def classes_in(folder):
    return sorted(x.name for x in folder.glob("[!.]*") if x.is_dir())


def from_tfds(name, folder, prepare):
    """The same, of a data set of tensorflow-datasets."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=folder)
    builder.download_and_prepare()
    split = ["train[:80%]", "train[80%:]"]
    for other in ("test", "validation"):
        if other in builder.info.splits:
            split = ["train", other]

    def read(part):
        prepared, labels = [], []
        for picture, label in part.as_numpy_iterator():
            # A grey one has one channel.
            picture = np.broadcast_to(picture, (*picture.shape[:2], 3))
            prepared.append(prepare(picture))
            labels.append(label)
        return tf.data.Dataset.from_tensor_slices((np.stack(prepared), labels))

    training, validation = map(
        read, builder.as_dataset(split=split, as_supervised=True)
    )
    return training, validation, builder.info.features["label"].names


def augmented(batches):
    """Flip and shift the images of batches."""
    change = [
        keras.layers.RandomFlip("horizontal", dtype="float32"),
        keras.layers.RandomTranslation(0.1, 0.1, dtype="float32"),
    ]

    def changed(images, labels):
        for layer in change:
            images = layer(images, training=True)
        return images, labels

    return batches.map(changed, num_parallel_calls=2).prefetch(2)


def fit(model, training, validation, epochs, learning_rate, log):
    """Train what is trainable, at a rate that falls to zero."""
    if not epochs:
        return
    rate = keras.optimizers.schedules.CosineDecay(
        learning_rate, len(epochs) * len(training)
    )
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    model.fit(
        training,
        validation_data=validation,
        initial_epoch=epochs.start,
        epochs=epochs.stop,
        shuffle=False,  # the batches are
        verbose=2,
        callbacks=[log, keras.callbacks.TerminateOnNaN()],
    )


def forget(model):
    """Give a network random weights."""
    config = model.get_config()
    fresh = model.__class__.from_config(config)
    model.set_weights(fresh.get_weights())


if __name__ == "__main__":
    typer.run(main)
