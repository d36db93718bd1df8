"""What is kept of finished trainings: `zoo/results/training/NAME.{json,csv}`.

The JSON file holds the recipe, the command, the commit and the result; the CSV
file the history. NAME is that of the output folder,
`NETWORK.DATASET_RESOLUTION.seedN`.
"""

import dataclasses
import filecmp
import json
import shutil
from pathlib import Path

from keras_attn.replacing import replacing
from zoo import json_files
from zoo import recipe as recipes
from zoo import run_folder

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

    Raises:
        FileExistsError: if another training of this name is kept.
        FileNotFoundError: if the training is not finished.
        ValueError: if it and those of this network that are kept differ in
            more than their seed.
    """
    record = run_folder.read(folder)
    name = folder.name
    history = history_of(name)
    new = folder / run_folder.HISTORY
    if history.is_file() and not filecmp.cmp(history, new, shallow=False):
        raise FileExistsError(
            f"{history} is of another training. Give {folder} another name, "
            "or remove that file to replace it."
        )
    run = _run(name, record, new)
    others = kept().get(run.recipe["data"]["name"], [])
    by_network([run, *(other for other in others if other.name != name)])
    FOLDER.mkdir(parents=True, exist_ok=True)
    with replacing(history) as unfinished:
        shutil.copy(new, unfinished)
    json_files.write(FOLDER / f"{name}.json", record)


def history_of(name):
    """Return the path of the history of a run that is kept, by its name."""
    return FOLDER / f"{name}.csv"


def kept():
    """Return every `Run` that is kept, as lists by the name of the data set,
    each by network and seed."""
    lists = {}
    for path in sorted(FOLDER.glob("*.json")):
        record = json.loads(path.read_text())
        run = _run(path.stem, record, history_of(path.stem))
        lists.setdefault(run.recipe["data"]["name"], []).append(run)
    for runs in lists.values():
        runs.sort(key=lambda run: (run.network, run.seed, run.name))
    return lists


def by_network(kept):
    """Return the runs on a data set as lists by network and size of images.

    Raises:
        ValueError: if runs of one network differ in more than their seed.
    """
    lists = {}
    for run in kept:
        lists.setdefault((run.network, run.pixels), []).append(run)
    for seeds in lists.values():
        _check_seeds(seeds)
    return lists


def _check_seeds(seeds):
    """Raise a `ValueError` unless runs differ in their seed, and only in it."""
    if len({run.seed for run in seeds}) < len(seeds):
        raise ValueError(
            f"Two trainings of {seeds[0].network} have the same seed. Give "
            "what is another network or recipe another name, before the first "
            "dot."
        )
    first, *others = map(_without_seed, seeds)
    if any(other != first for other in others):
        raise ValueError(
            f"The trainings of {seeds[0].network} have different recipes or "
            "backends. Give them different names, before the first dot."
        )


def _without_seed(run):
    """Return what a training depends on, but for the seed."""
    tables = {key: run.recipe.get(key) for key in recipes.TABLES}
    tables["training"] = run.recipe["training"] | {"seed": None}
    # The first ones do not say it, and were trained on TensorFlow.
    return tables, run.started.get("backend", "tensorflow")


def _run(name, record, history):
    return Run(
        name=name,
        network=name.partition(".")[0],
        seed=record["recipe"]["training"]["seed"],
        history=run_folder.read_history(history),
        **record,
    )
