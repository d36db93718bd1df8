"""The networks that studies look at: published ones and those of trainings."""

from pathlib import Path

import keras_attn
from keras_attn.weights import manifest
from zoo import recipe as recipes
from zoo import run_folder


def opened(source):
    """Return a name, the network, its recipe, and how it was trained.

    Args:
        source: Id of a published network, or output folder of `zoo.train`.

    Raises:
        FileNotFoundError: if a training is not finished.
        ValueError: if there is no such network.
    """
    folder = Path(source)
    if not folder.is_dir():
        entry = manifest.entry(str(source))
        recipe = recipes.of_command(entry.training["command"])
        return entry.id, keras_attn.load(entry.id).model, recipe, entry.training
    record = run_folder.read(folder)
    trained = run_folder.load_network(folder)
    return folder.name, trained, record["recipe"], record["started"]
