"""The output folder of a training, and what is in it."""

import csv
import json

RECIPE = "recipe.json"
RUN = "run.json"
HISTORY = "history.csv"
BACKUP = "backup.weights.h5"
LAST = "last.weights.h5"
BEST = "best.weights.h5"
RESULT = "result.json"


def read(folder):
    """Return how a finished training was started, its recipe and its result.

    Args:
        folder: Path, an output folder of `zoo.train`.

    Raises:
        FileNotFoundError: if the training is not finished.
    """
    if not (folder / RESULT).is_file():
        raise FileNotFoundError(
            f"{folder} is not a finished training: it has no {RESULT}"
        )
    return {
        "started": json.loads((folder / RUN).read_text("utf-8")),
        "recipe": read_recipe(folder),
        "result": json.loads((folder / RESULT).read_text("utf-8")),
    }


def read_recipe(folder):
    """Return the recipe of a training, which need not be finished."""
    return json.loads((folder / RECIPE).read_text("utf-8"))


def read_history(path):
    """Return the rows of a history as dictionaries of floats."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {key: float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def load_network(folder, weights=LAST, classifier_activation=None):
    """Return the network of a training, with weights of it.

    Args:
        folder: Path, an output folder of `zoo.train`.
        weights: String, the name of a file of weights in it.
        classifier_activation: As for the constructors.
    """
    from keras_attn.weights import load_weights
    from zoo import network

    recipe = read_recipe(folder)
    size = recipe["data"]["evaluation_size"]
    trained = network.build(recipe, size, classifier_activation)
    load_weights(trained, folder / weights)
    return trained
