"""Short trainings, to see what a change of the recipe or the network brings."""

import keras

from zoo import macs
from zoo import network
from zoo import run_folder

NOT_CHANGES = "training.epochs=", "training.seed="


def measure(folders):
    """Return a row for each finished training.

    Args:
        folders: Paths, output folders of `zoo.train`.

    Returns:
        A list of dictionaries: `name` of the folder, `recipe`, the other
        `changes` (`--set`) of it, `epochs`, `seed`, trainable `parameters`,
        top-1 of the last epoch on training images (`training_top1`, as they
        are augmented) and validation images (`top1`), and the `commit`.

    Raises:
        FileNotFoundError: if a training is not finished.
    """
    return [_row(folder) for folder in folders]


def _row(folder):
    record = run_folder.read(folder)
    started, recipe = record["started"], record["recipe"]
    last = run_folder.read_history(folder / run_folder.HISTORY)[-1]
    changes = [
        override
        for override in started["overrides"]
        if not override.startswith(NOT_CHANGES)
    ]
    model = network.build(recipe, recipe["data"]["evaluation_size"])
    parameters = macs.trainable_parameters(model)
    keras.utils.clear_session()
    return {
        "name": folder.name,
        "recipe": started["recipe"].removesuffix(".toml"),
        "changes": " ".join(changes),
        "epochs": recipe["training"]["epochs"],
        "seed": recipe["training"]["seed"],
        "parameters": parameters,
        "training_top1": round(last["top1"], 4),
        "top1": record["result"]["top1"],
        "commit": started["commit"],
    }
