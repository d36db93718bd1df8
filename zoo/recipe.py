"""Recipes: TOML files, one a network and data set.

A recipe that begins with `like = "OTHER.toml"` is that other recipe of the
same folder with its own values instead, so that networks can be compared
under one recipe.
"""

import tomllib
from pathlib import Path

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
        ValueError: for a file that is not TOML, or a malformed override.
    """
    path = Path(path)
    try:
        recipe = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"The recipe {path} is not TOML: {error}") from None
    if "like" in recipe:
        recipe = _merged(read(path.with_name(recipe.pop("like"))), recipe)
    for override in overrides:
        _set(recipe, override)
    return recipe


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
    place[name] = _value(text)


def _value(text):
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
