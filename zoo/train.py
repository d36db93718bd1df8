"""Train a network from a recipe.

    python -m zoo.train RECIPE --data-dir DIR --out DIR

Writes `history.csv`, `recipe.toml` and `last.weights.h5` to the output
folder. A stopped run continues where it was when started again.
"""

import argparse
import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import keras

from keras_attn import applications
from zoo import data


def build_model(recipe):
    """Return the network of a recipe: images of any size to logits."""
    constructor = getattr(applications, recipe["model"]["constructor"])
    return constructor(
        **recipe["model"]["arguments"],
        input_shape=(None, None, 3),
        classifier_activation=None,
    )


def compile_model(model, training, steps_per_epoch):
    warmup_steps = training["warmup_epochs"] * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=training["epochs"] * steps_per_epoch - warmup_steps,
        warmup_target=training["peak_learning_rate"],
        warmup_steps=warmup_steps,
    )
    optimizer = keras.optimizers.SGD(
        schedule,
        momentum=training["momentum"],
        nesterov=True,
        weight_decay=training["weight_decay"],
    )
    optimizer.exclude_from_weight_decay(
        var_names=["gamma", "beta", "bias", "saliency", "radius"]
    )
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=training["label_smoothing"]
        ),
        metrics=[
            keras.metrics.CategoricalAccuracy(name="top1"),
            keras.metrics.TopKCategoricalAccuracy(5, name="top5"),
        ],
    )


def train(recipe, data_dir, out):
    """Train, or go on training, and return the Keras history."""
    finished = out / "last.weights.h5"
    if finished.exists():
        raise FileExistsError(
            f"The training is finished: {finished} exists. Choose another "
            "--out to train again."
        )
    training = recipe["training"]
    keras.utils.set_random_seed(training["seed"])
    keras.config.set_dtype_policy(recipe["model"]["dtype_policy"])
    name = recipe["data"]["name"]
    images, labels, class_names = data.load(name, data_dir, "train")
    validation = data.load(name, data_dir, "val")
    classes = len(class_names)

    steps_per_epoch = len(images) // training["batch_size"]
    model = build_model(recipe)
    compile_model(model, training, steps_per_epoch)
    backup = out / "backup"
    history = model.fit(
        data.training_batches(
            images,
            labels,
            classes,
            recipe["data"],
            training,
            first_epoch=_first_epoch(backup),
        ),
        epochs=training["epochs"],
        steps_per_epoch=steps_per_epoch,
        shuffle=False,
        validation_data=data.evaluation_batches(*validation[:2], classes),
        callbacks=[
            keras.callbacks.BackupAndRestore(backup, double_checkpoint=True),
            keras.callbacks.CSVLogger(out / "history.csv", append=True),
            keras.callbacks.TerminateOnNaN(),
        ],
        verbose=2,
    )
    if len(history.epoch) == 0 or history.epoch[-1] + 1 < training["epochs"]:
        raise ArithmeticError(
            f"The loss was not a number: see {out / 'history.csv'}. No "
            "weights were written."
        )
    unfinished = out / "unfinished.weights.h5"
    model.save_weights(unfinished)
    os.replace(unfinished, finished)
    return history


def _first_epoch(backup):
    metadata = backup / "training_metadata.json"
    if not metadata.is_file():
        return 0
    return json.loads(metadata.read_text())["epoch"]


def record_run(out, arguments):
    """Write down the command and the commit that a run was started with."""
    if (out / "run.json").exists():
        return
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    command = f"python -m zoo.train {arguments.recipe} --data-dir DIR --out DIR"
    run = {"command": command, "commit": commit}
    (out / "run.json").write_text(json.dumps(run))


def main():
    parser = argparse.ArgumentParser(prog="python -m zoo.train")
    parser.add_argument("recipe", type=Path, help="a file of zoo/recipes")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    arguments.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(arguments.recipe, arguments.out / "recipe.toml")
    record_run(arguments.out, arguments)
    recipe = tomllib.loads(arguments.recipe.read_text())
    train(recipe, arguments.data_dir, arguments.out)


if __name__ == "__main__":
    main()
