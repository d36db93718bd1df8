"""What is kept of finished trainings: `zoo/results/training/NAME.{json,csv}`.

The JSON file holds the recipe, the command, the commit and the result; the CSV
file the history. NAME is that of the output folder,
`NETWORK.DATASET_RESOLUTION.seedN`.
"""

import csv
import dataclasses
import filecmp
import json
import shutil
from pathlib import Path

from keras_attn.replacing import replacing
from zoo import callbacks
from zoo import json_files
from zoo import train

FOLDER = Path("zoo/results/training")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        name: String, that of the output folder.
        network: String, what was trained: the name up to the first dot.
        seed: Integer.
        recipe: Dictionary, see `zoo.recipe`.
        started: Dictionary with the `command`, `commit` and, since it is
            kept, the `backend`.
        result: Dictionary of what `zoo.train.train` returns.
        history: List of dictionaries of floats, one an epoch.
    """

    name: str
    network: str
    seed: int
    recipe: dict
    started: dict
    result: dict
    history: list[dict]

    @property
    def pixels(self):
        """Integer, the height and width of the images."""
        return self.recipe["data"]["evaluation_size"]


def keep(folder):
    """Copy what is kept of the run in an output folder of `zoo.train`.

    Args:
        folder: Path.

    Returns:
        The path of the history.

    Raises:
        FileExistsError: if another training of this name is kept.
        FileNotFoundError: if the training is not finished.
    """
    record = record_of(folder)
    name = folder.name
    FOLDER.mkdir(parents=True, exist_ok=True)
    history = FOLDER / f"{name}.csv"
    new = folder / callbacks.HISTORY
    if history.is_file() and not filecmp.cmp(history, new, shallow=False):
        raise FileExistsError(
            f"{history} is of another training. Give {folder} another name, "
            "or remove that file to replace it."
        )
    with replacing(history) as unfinished:
        shutil.copy(new, unfinished)
    json_files.write(FOLDER / f"{name}.json", record)
    return history


def record_of(folder):
    """Return how a finished training was started, its recipe and its result.

    Args:
        folder: Path, an output folder of `zoo.train`.

    Raises:
        FileNotFoundError: if the training is not finished.
    """
    if not (folder / train.RESULT).is_file():
        raise FileNotFoundError(
            f"{folder} is no finished training: it has no {train.RESULT}"
        )
    return {
        "started": json.loads((folder / train.RUN).read_text()),
        "recipe": json.loads((folder / train.RECIPE).read_text()),
        "result": json.loads((folder / train.RESULT).read_text()),
    }


def kept():
    """Return every `Run` that is kept, as lists by the name of the data set,
    each by network and seed."""
    return by_data(
        _run(path.stem, json.loads(path.read_text()), path.with_suffix(".csv"))
        for path in FOLDER.glob("*.json")
    )


def by_data(runs):
    """Return lists of `Run` by the name of the data set, each by network and
    seed."""
    lists = {}
    for run in sorted(runs, key=lambda run: (run.network, run.seed, run.name)):
        lists.setdefault(run.recipe["data"]["name"], []).append(run)
    return lists


def read(folder):
    """Return the `Run` in an output folder of `zoo.train`.

    Raises:
        FileNotFoundError: if the training is not finished.
    """
    return _run(folder.name, record_of(folder), folder / callbacks.HISTORY)


def _run(name, record, history):
    return Run(
        name=name,
        network=name.partition(".")[0],
        seed=record["recipe"]["training"]["seed"],
        history=read_history(history),
        **record,
    )


def read_history(path):
    """Return the rows of a history as dictionaries of floats."""
    with open(path, newline="") as file:
        return [
            {key: float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]
