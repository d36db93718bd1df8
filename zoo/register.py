"""Turn a finished training into a published weight.

    python -m zoo.register RUN_DIR ID --data-dir DIR

Writes `zoo/weights/ID.weights.h5` (matrices and kernels in float16, vectors in
float32), measures that very file on the validation images, and enters
everything into `weights_manifest.json`.
"""

import argparse
import hashlib
import json
import os
import shutil
import tomllib
from pathlib import Path

import h5py
import jsonschema
import keras
import numpy as np

from keras_attn import applications
from keras_attn.weights import golden
from keras_attn.weights import load_weights
from keras_attn.weights import manifest
from zoo import data
from zoo import evaluate
from zoo import macs

WEIGHTS = Path("zoo/weights")
HISTORIES = Path("zoo/results/training")
SCHEMA = Path(__file__).with_name("weights_manifest.schema.json")
RECIPES = Path("zoo/recipes")


def register(run, weight_id, data_dir):
    """Enter the weight of a run into the manifest; return the entry."""
    recipe = _recipe(run, weight_id)
    data_set, size = recipe["data"]["name"], recipe["data"]["evaluation_size"]
    images, labels, class_names = data.load(data_set, data_dir, "val")
    model = build(recipe, size)
    load_weights(model, run / "last.weights.h5")
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    file = WEIGHTS / f"{weight_id}.weights.h5"
    save_compactly(model, file)
    load_weights(model, file)

    history = HISTORIES / f"{weight_id}.csv"
    history.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(run / "history.csv", history)
    probabilities = model(golden.golden_image(size), training=False)
    entry = {
        "id": weight_id,
        "summary": recipe["summary"],
        "constructor": recipe["model"]["constructor"],
        "arguments": {
            name: value
            for name, value in recipe["model"]["arguments"].items()
            if name != "classes"
        },
        "file": file.name,
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
        "class_names": data_set,
        "metrics": {
            data_set: {"val": evaluate.accuracies(model, images, labels)}
        },
        "training": {
            "recipe": str(RECIPES / f"{weight_id}.toml"),
            "seed": recipe["training"]["seed"],
            "history": str(history),
            "evaluation_command": (
                f"python -m zoo.evaluate {weight_id} --data-dir DIR"
            ),
            **json.loads((run / "run.json").read_text()),
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
    _enter(entry, data_set, class_names)
    return entry


def _recipe(run, weight_id):
    """Return the published recipe, which must be the one that was run."""
    recipe = tomllib.loads((RECIPES / f"{weight_id}.toml").read_text())
    ran = tomllib.loads((run / "recipe.toml").read_text())
    for table in ("data", "model", "training"):
        if recipe[table] != ran[table]:
            raise ValueError(
                f"The table [{table}] of the recipe of {weight_id} is not the "
                f"one that {run} was trained with"
            )
    return recipe


def build(recipe, size):
    """Return the network of a recipe, with probabilities as its output."""
    constructor = getattr(applications, recipe["model"]["constructor"])
    return constructor(
        **recipe["model"]["arguments"], input_shape=(size, size, 3)
    )


def save_compactly(model, file):
    """Save weights with everything but vectors and scalars in float16."""
    whole = file.with_name(f"whole_{file.name}")
    compact = file.with_name(f"compact_{file.name}")
    model.save_weights(whole)

    def copy(name, item):
        if isinstance(item, h5py.Group):
            copied = target.require_group(name)
            copied.attrs.update(item.attrs)
        else:
            dtype = "float16" if item.ndim > 1 else item.dtype
            target[name] = item[()].astype(dtype)

    with h5py.File(whole) as source, h5py.File(compact, "w") as target:
        source.visititems(copy)
    whole.unlink()
    os.replace(compact, file)


def _enter(entry, data_set, class_names):
    path = Path(manifest.FILE_NAME)
    document = {"class_names": {}, "weights": []}
    if path.is_file():
        document = json.loads(path.read_text("utf-8"))
    document["class_names"][data_set] = class_names
    others = [old for old in document["weights"] if old["id"] != entry["id"]]
    document["weights"] = sorted([*others, entry], key=lambda e: e["id"])
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    os.replace(unfinished, path)


def main():
    parser = argparse.ArgumentParser(prog="python -m zoo.register")
    parser.add_argument("run", type=Path, help="output folder of zoo.train")
    parser.add_argument("id", help="architecture.dataset_resolution")
    parser.add_argument("--data-dir", type=Path, required=True)
    arguments = parser.parse_args()
    entry = register(arguments.run, arguments.id, arguments.data_dir)
    print(json.dumps(entry["metrics"], indent=1))


if __name__ == "__main__":
    main()
