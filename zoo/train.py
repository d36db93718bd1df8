"""Train a network from a recipe.

    python -m zoo.train RECIPE --data-dir DIR [--out DIR]

Writes to the output folder: the recipe with its overrides (`recipe.json`), the
command, commit and backend (`run.json`), `history.csv`, `tensorboard/` (on
TensorFlow), the weights of the last and the best epoch, and at the end
`result.json`. A stopped run goes on after its last whole epoch when it is
started again.
"""

import json
import math
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated
from typing import Literal

import typer

from zoo import json_files
from zoo import processes
from zoo import recipe as recipes
from zoo import run_folder

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    recipe: Annotated[Path, typer.Argument(help="A file of zoo/recipes.")],
    data_dir: Annotated[Path, typer.Option(help="Where the data set is.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder for the results.",
            show_default="runs/RECIPE.seedN",
        ),
    ] = None,
    overrides: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="TABLE.KEY=VALUE",
            help="Replace a value of the recipe. May be given several times.",
        ),
    ] = (),
    strategy: Annotated[
        Literal["mirrored", "data-parallel", "none"] | None,
        typer.Option(
            help="mirrored: tf.distribute.MirroredStrategy over all visible "
            "devices, the default on TensorFlow; data-parallel: "
            "keras.distribution.DataParallel over those of all processes, the "
            "default on JAX; none: one device."
        ),
    ] = None,
):
    """Train a network from a recipe, or go on with a training."""
    try:
        settings = recipes.read(recipe, overrides)
        seed = settings["training"]["seed"]
        out = out or Path("runs") / f"{recipe.stem}.seed{seed}"
        out = processes.folder(out)
        start(out, recipe, settings, overrides, strategy)
        train(settings, data_dir, out, strategy)
    except (ArithmeticError, OSError, ValueError) as error:
        raise SystemExit(f"zoo.train: {error}") from None


def start(out, path, recipe, overrides, strategy=None):
    """Write down the recipe, the command, commit and backend of a run.

    Raises:
        FileExistsError: if the training in `out` is finished.
        ValueError: if it has begun with another recipe, commit or backend.
    """
    import keras

    if (out / run_folder.RESULT).exists():
        raise FileExistsError(
            f"The training in {out} is finished: it has a "
            f"{run_folder.RESULT}. Choose another --out to train again."
        )
    commit, backend = _commit(), keras.backend.backend()
    if (out / run_folder.BACKUP).exists():
        if run_folder.read_recipe(out) != recipe:
            raise ValueError(
                f"The training in {out} was started with another recipe: see "
                f"its {run_folder.RECIPE}. Choose another --out."
            )
        started = json.loads((out / run_folder.RUN).read_text())
        if started["commit"] != commit:
            raise ValueError(
                f"The training in {out} was started from another commit. Check "
                f"that out, or choose another --out. Expected: "
                f"{started['commit']}. Received: {commit}"
            )
        if started["backend"] != backend:
            raise ValueError(
                f"The training in {out} was started on another backend, with "
                "other augmentations. Expected: "
                f"KERAS_BACKEND={started['backend']}. Received: {backend}"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    run = {
        "recipe": path.name,
        "overrides": list(overrides),
        "command": _command(path, overrides, strategy, backend),
        "commit": commit,
        "backend": backend,
    }
    json_files.write(out / run_folder.RUN, run)
    json_files.write(out / run_folder.RECIPE, recipe)


def _command(path, overrides, strategy, backend):
    """Return the command of a run, without the folders of one machine."""
    environment = (
        [] if backend == "tensorflow" else [f"KERAS_BACKEND={backend}"]
    )
    options = [option for each in overrides for option in ("--set", each)]
    if strategy:
        options += ["--strategy", strategy]
    command = [
        *(*environment, "python", "-m", "zoo.train"),
        *(Path(os.path.relpath(path)).as_posix(), *options),
        *("--data-dir", "DIR", "--out", "DIR"),
    ]
    return shlex.join(command)


def _commit():
    """Return the commit of the code, `-dirty` with changes, or nothing."""
    describe = ["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(
            ["git", *describe],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:  # no git
        return ""
    return done.stdout.strip()


def train(recipe, data_dir, out, strategy=None):
    """Train, or go on training, and return the result.

    Args:
        recipe: A recipe, see `zoo.recipe`.
        data_dir: Path, see `zoo.data.load`.
        out: Path of an existing folder for the results.
        strategy: See `zoo.strategy.begin`.

    Returns:
        A dictionary of the metrics of the last epoch on the validation
        images, the best top-1 of any epoch, and the seconds an epoch took.

    Raises:
        ArithmeticError: if the loss becomes infinite or is not a number.
        FileNotFoundError, ValueError: for missing data or a bad recipe.
    """
    import keras

    from zoo import callbacks
    from zoo import data
    from zoo import network as networks
    from zoo import strategy as strategies

    training = recipe["training"]
    keras.utils.set_random_seed(training["seed"])
    scope = strategies.begin(strategy)
    name = recipe["data"]["name"]
    split = data.load(name, data_dir, "train")
    validation = data.load(name, data_dir, "val")
    steps_per_epoch = len(split) // training["batch_size"]
    with scope:
        devices = strategies.sharing_devices()
        keras.config.set_dtype_policy(recipe["model"]["dtype_policy"])
        network = networks.build(recipe)
        keras.config.set_dtype_policy("float32")  # images are not rounded
        _check_fit(network, split, training["batch_size"])
        _check_shares(training["batch_size"], len(validation), devices)
        model = networks.with_constraints(network, recipe)
        networks.prepare(model, training, steps_per_epoch)
        strategies.synchronize_batch_norm(network)
        first_epoch = callbacks.restore(model, out)
    part = processes.index(), processes.count()
    writers = callbacks.all_of(out, network, recipe, first_epoch)
    begin = time.time()
    try:
        model.fit(
            data.training_batches(split, recipe, first_epoch, part),
            initial_epoch=first_epoch,
            epochs=training["epochs"],
            steps_per_epoch=steps_per_epoch,
            shuffle=False,
            validation_data=data.evaluation_batches(
                validation,
                recipe["data"]["evaluation_size"],
                part,
                devices=devices,
            ),
            callbacks=writers,
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except BaseException:
        for writer in writers:
            writer.on_train_end()  # closes its files
        raise
    seconds = time.time() - begin
    epochs = training["epochs"] - first_epoch
    result = _result(out / run_folder.HISTORY, seconds / epochs)
    json_files.write(out / run_folder.RESULT, result)
    (out / run_folder.BACKUP).unlink()
    return result


def _check_fit(network, split, batch_size):
    classes = network.output_shape[-1]
    if classes != len(split.class_names):
        raise ValueError(
            f"The network of the recipe has {classes} classes, the data set "
            f"{len(split.class_names)}: set model.arguments.classes"
        )
    if len(split) < batch_size:
        raise ValueError(
            f"The data set has {len(split)} images, which is less than one "
            f"batch. Received: training.batch_size={batch_size}"
        )


def _check_shares(batch_size, validation_images, devices):
    """Raise a `ValueError` for batches that devices cannot share equally. The
    last one of the validation images may be uneven on TensorFlow."""
    import keras

    if batch_size % devices:
        raise ValueError(
            f"{devices} devices cannot share a batch equally. "
            f"Received: training.batch_size={batch_size}"
        )
    if validation_images % devices and keras.backend.backend() == "jax":
        raise ValueError(
            f"{devices} devices cannot share {validation_images} validation "
            "images equally, which JAX needs: take another number of devices"
        )


def _result(history, seconds_per_epoch):
    rows = run_folder.read_history(history)
    last = rows[-1]
    loss = last["val_loss"]
    return {
        "top1": round(last["val_top1"], 4),
        "top5": round(last["val_top5"], 4),
        "loss": round(loss, 4) if math.isfinite(loss) else None,
        "best_top1": round(max(row["val_top1"] for row in rows), 4),
        "seconds_per_epoch": round(seconds_per_epoch, 1),
    }


if __name__ == "__main__":
    app()
