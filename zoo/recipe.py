"""Recipes: TOML files, one a network and data set.

A recipe that begins with `like = "OTHER.toml"` is that other recipe of the
same folder with its own values instead, so that networks can be compared
under one recipe. `recipe.schema.json` tells what a recipe may say.
"""

import itertools
import shlex
import tomllib
from pathlib import Path

import jsonschema

FOLDER = Path("zoo/recipes")
SCHEMA = Path(__file__).with_name("recipe.schema.json")
CROPS = ("crop_area", "crop_aspect_ratio", "crop_padding")
TABLES = ("data", "augmentation", "model", "equivariance", "training")


def read(path, overrides=()):
    """Return a recipe as a dictionary of tables.

    Args:
        path: Path of a TOML file.
        overrides: Sequence of strings such as `"training.seed=1"` or
            `"model.arguments.attention='gsa'"`. The value is TOML, or else a
            string.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is not TOML, a malformed override,
            what the schema does not allow, two ways to crop or none, phases
            that are not in the order of their epochs, or a warm-up as long
            as the training.
    """
    recipe = _read(Path(path))
    for override in overrides:
        _set(recipe, override)
    _check(recipe, path)
    return recipe


def of_command(command):
    """Return the recipe that a command ran, see `split_command`."""
    return read(*split_command(command))


def split_command(command):
    """Return the path of the recipe that a command ran, and its overrides.

    Args:
        command: String, `python -m zoo.train RECIPE ...` as a run and the
            manifest have it, with any `--set TABLE.KEY=VALUE`, and after any
            variable of the environment.
    """
    words = shlex.split(command)
    path, *options = words[words.index("zoo.train") + 1 :]
    overrides = [
        value
        for option, value in itertools.pairwise(options)
        if option == "--set"
    ]
    return path, overrides


def _read(path, derived=()):
    if path in derived:
        raise ValueError(f"The recipe {path} inherits from itself")
    try:
        recipe = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"The recipe {path} is not TOML: {error}") from None
    if "like" in recipe:
        base = path.with_name(recipe.pop("like"))
        recipe = _merged(_read(base, (*derived, path)), recipe)
    return recipe


def _check(recipe, path):
    from keras_attn.weights import manifest  # with it, Keras

    validator = manifest.schema(SCHEMA)
    error = jsonschema.exceptions.best_match(validator.iter_errors(recipe))
    if error:
        place = ".".join(map(str, error.absolute_path)) or "the top"
        raise ValueError(
            f"The recipe {path} is wrong at {place}: {error.message}"
        )
    crops = sorted(key for key in recipe["data"] if key in CROPS)
    if crops not in (["crop_padding"], ["crop_area", "crop_aspect_ratio"]):
        raise ValueError(
            f"The recipe {path} must have either data.crop_padding, or "
            "data.crop_area and data.crop_aspect_ratio. Received: "
            f"{', '.join(crops) or 'none'}"
        )
    begins = [phase["from_epoch"] for phase in recipe["data"]["training_sizes"]]
    if begins != sorted(set(begins)):
        raise ValueError(
            f"The recipe {path} must have its data.training_sizes in the order "
            f"of the epochs. Received: from_epoch={begins}"
        )
    training = recipe["training"]
    if training["warmup_epochs"] >= training["epochs"]:
        raise ValueError(
            f"The recipe {path} has no epoch after those of its warm-up. "
            f"Received: training.epochs={training['epochs']}, "
            f"training.warmup_epochs={training['warmup_epochs']}"
        )


def _merged(base, own):
    both = {**base, **own}
    for key in base.keys() & own.keys():
        if isinstance(base[key], dict) and isinstance(own[key], dict):
            both[key] = _merged(base[key], own[key])
    return both


def _set(recipe, override):
    key, equals, text = override.partition("=")
    *tables, name = key.split(".")
    if not equals or not tables or tables[0] not in TABLES:
        raise ValueError(
            "`--set` takes TABLE.KEY=VALUE, the table being one of "
            f"{TABLES}. Received: {override!r}"
        )
    place = recipe
    for table in tables:
        place = place.setdefault(table, {})
        if not isinstance(place, dict):
            raise ValueError(
                f"{table} is a value of the recipe, which has nothing inside. "
                f"Received: --set {override}"
            )
    place[name] = _value(text)


def _value(text):
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
