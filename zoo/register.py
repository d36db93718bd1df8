"""Turn a finished training into a published weight.

    python -m zoo.register RUN_DIR ID --data-dir DIR

Writes `zoo/weights/ID.weights.h5` (matrices and kernels in float16, vectors in
float32), measures that very file on the validation images, and enters
everything into `weights_manifest.json`.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated

import h5py
import jsonschema
import keras
import numpy as np
import typer

from keras_attn.replacing import replacing
from keras_attn.weights import golden
from keras_attn.weights import load_weights
from keras_attn.weights import manifest
from zoo import data
from zoo import evaluate
from zoo import macs
from zoo import manifest_file
from zoo import recipe as recipes
from zoo import run_folder
from zoo import runs
from zoo import variants
from zoo.data_sets import DATA_SETS

WEIGHTS = Path("zoo/weights")
METRICS = "images", "top1", "top5"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def register(run, weight_id, data_dir):
    """Enter the weight of a run into the manifest; return the entry.

    Args:
        run: Path of the output folder of `zoo.train`.
        weight_id: String, `architecture.dataset_resolution`.
        data_dir: Path, see `zoo.data.load`.

    Raises:
        FileNotFoundError: if the training is not finished.
        ValueError: if the published recipe of this id is not the one that was
            run, if it was not run from a commit, if its attention is not the
            package's, if the cards cannot describe the data set, or it has
            other classes than the manifest says; and as `zoo.runs.keep` does.
            Nothing is replaced then.
    """
    record = run_folder.read(run)
    recipe = _recipe(run, record, weight_id)
    _check_attention(recipe["model"]["arguments"].get("attention"))
    data_set, size = recipe["data"]["name"], recipe["data"]["evaluation_size"]
    if data_set not in DATA_SETS:
        raise ValueError(
            f"Describe the data set {data_set} in zoo.data_sets first, "
            "for the cards and tables"
        )
    split = data.load(data_set, data_dir, "val")
    _check_class_names(weight_id, data_set, split.class_names)
    model = run_folder.load_network(run, classifier_activation="softmax")
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    file = WEIGHTS / f"{weight_id}.weights.h5"
    with replacing(file) as unfinished:
        save_compactly(model, unfinished)
        load_weights(model, unfinished)
        measured, _ = evaluate.measure(
            model.predict_on_batch,
            data.evaluation_batches(split, size),
            split.class_names,
        )
        measured = {key: measured[key] for key in METRICS}
        entry = {
            "id": weight_id,
            "file": file.name,
            **_network(recipe, model, unfinished),
            "class_names": data_set,
            "metrics": {data_set: {"val": measured}},
            "training": _training(run, record, weight_id),
        }
        document = _with(entry, data_set, split.class_names)
        runs.keep(run)
    manifest_file.write(document)
    return entry


def _network(recipe, model, file):
    """Return what the manifest says about the network and its file."""
    size = recipe["data"]["evaluation_size"]
    arguments = dict(recipe["model"]["arguments"])
    del arguments["classes"]  # the class names tell
    probabilities = model(golden.golden_image(size), training=False)
    return {
        "summary": recipe["summary"],
        "constructor": recipe["model"]["constructor"],
        "arguments": arguments,
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "parameters": macs.trainable_parameters(model),
        "macs": macs.count(model, (size, size, 3)),
        "input": {
            "size": size,
            "resize": "shorter side",
            "crop": "center",
            "interpolation": "bilinear",
            "pixel_range": [0, 255],
        },
        "keras": {
            "made_with": keras.version(),
            "tested_with": f">={keras.version()}",
        },
        "licence": "Apache-2.0",
        "paper": recipe["paper"],
        "golden_output": {
            "top": golden.most_probable(np.asarray(probabilities)[0])
        },
        "hub": None,
    }


def _training(run, record, weight_id):
    """Return what the manifest says about how the weight was made."""
    started = record["started"]
    return {
        "recipe": recipes.split_command(started["command"])[0],
        "seed": record["recipe"]["training"]["seed"],
        "command": started["command"],
        "commit": started["commit"],
        "history": str(runs.history_of(run.name)),
        "evaluation_command": (
            f"python -m zoo.evaluate {weight_id} --data-dir DIR"
        ),
    }


def _recipe(run, record, weight_id):
    """Return the published recipe, which must be the one that was run."""
    started = record["started"]
    if not re.fullmatch("[0-9a-f]{40}", started["commit"]):
        raise ValueError(
            f"{run} was not trained from a commit. Its {run_folder.RUN} says: "
            f"commit={started['commit']!r}"
        )
    published = recipes.read(
        recipes.FOLDER / f"{weight_id}.toml", started["overrides"]
    )
    for table in recipes.TABLES:
        if published.get(table) != record["recipe"].get(table):
            raise ValueError(
                f"The table [{table}] of the recipe of {weight_id} is not the "
                f"one that {run} was trained with"
            )
    return published


def _check_attention(attention):
    if attention in variants.VARIANTS:
        raise ValueError(
            f"{attention} is in zoo.variants only, so that the package could "
            "not load its weights: make it one of the package's "
            "ATTENTION_TYPES first"
        )


def save_compactly(model, file):
    """Save weights with everything but vectors and scalars in float16."""
    whole = file.with_name(f"whole_{file.name}")

    def copy(name, item):
        if isinstance(item, h5py.Group):
            copied = target.require_group(name)
            copied.attrs.update(item.attrs)
        else:
            dtype = "float16" if item.ndim > 1 else item.dtype
            target[name] = item[()].astype(dtype)

    model.save_weights(whole)
    with h5py.File(whole) as source, h5py.File(file, "w") as target:
        source.visititems(copy)
    whole.unlink()


def _check_class_names(weight_id, data_set, class_names):
    """Raise a `ValueError` if other weights have other names for a data set."""
    document = manifest_file.read()
    known = document["class_names"].get(data_set)
    others = [
        weight["id"]
        for weight in document["weights"]
        if weight["class_names"] == data_set and weight["id"] != weight_id
    ]
    if others and known != class_names:
        raise ValueError(
            f"The manifest has other classes for the data set {data_set}, "
            f"those of {others[0]}: {known[:3]}... "
            f"Received: {class_names[:3]}..."
        )


def _with(entry, data_set, class_names):
    """Return the manifest with an entry, which replaces that of its id."""
    document = manifest_file.read()
    document["class_names"][data_set] = class_names
    others = [old for old in document["weights"] if old["id"] != entry["id"]]
    document["weights"] = sorted([*others, entry], key=lambda e: e["id"])
    manifest.schema().validate(document)
    return document


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="Output folder of zoo.train.")],
    weight_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="architecture.dataset_resolution"),
    ],
    data_dir: Annotated[Path, typer.Option(help="Where the data set is.")],
):
    """Turn a finished training into a published weight."""
    try:
        entry = register(run, weight_id, data_dir)
    except jsonschema.ValidationError as error:
        raise SystemExit(
            f"zoo.register: {error.json_path}: {error.message}"
        ) from None
    except (OSError, ValueError) as error:
        raise SystemExit(f"zoo.register: {error}") from None
    print(json.dumps(entry["metrics"], indent=1))


if __name__ == "__main__":
    app()
