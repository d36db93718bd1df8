"""From images to a registered weight, on a data set made here."""

import json
from pathlib import Path

import jsonschema
import keras
import numpy as np
import pytest

from keras_attn.applications import CRAMResNet14Small
from keras_attn.weights import golden
from keras_attn.weights import load_weights
from keras_attn.weights import manifest
from tests.zoo.common import RECIPE
from zoo import json_files
from zoo import recipe as recipes
from zoo import register
from zoo import run_folder
from zoo import train

OVERRIDES = ["training.seed=3"]
PUBLISHED = """
like = "base.toml"
[model]
constructor = "AttnResNet14Small"
arguments = { attention = "cram", attention_stages = [3] }
"""


def test_a_recipe_becomes_a_registered_weight(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weight_id = "cram_resnet14_small.test_16"
    published = Path("zoo/recipes") / f"{weight_id}.toml"
    published.parent.mkdir(parents=True)
    base = RECIPE.partition("[model.arguments]")
    base = base[0] + "arguments = { classes = 3, stem_strides = 2 }\n"
    base += RECIPE[RECIPE.index("[training]") :]
    (published.parent / "base.toml").write_text(base)
    published.write_text(PUBLISHED)
    run = tmp_path / "run"
    recipe = recipes.read(published, OVERRIDES)
    drafted = published.parent / "drafts" / "cram.toml"
    train.start(run, drafted, recipe, OVERRIDES)
    train.train(recipe, data_dir, run)
    keras.config.set_dtype_policy("float32")

    started = json.loads((run / run_folder.RUN).read_text())
    json_files.write(run / run_folder.RUN, started | {"commit": ""})
    with pytest.raises(ValueError, match="not trained from a commit"):
        register.register(run, weight_id, data_dir)
    json_files.write(run / run_folder.RUN, started | {"commit": 40 * "0"})
    published.write_text(f"{PUBLISHED}[training]\nepochs = 3")
    with pytest.raises(ValueError, match=r"\[training\]"):
        register.register(run, weight_id, data_dir)
    # Weights that the package could not load: its own types are not variants.
    variant = PUBLISHED.replace('"cram"', '"cram_identity"')
    published.write_text(variant)
    known = json.loads((run / run_folder.RECIPE).read_text())
    json_files.write(
        run / run_folder.RECIPE, recipes.read(published, OVERRIDES)
    )
    with pytest.raises(ValueError, match="cram_identity is in zoo.variants"):
        register.register(run, weight_id, data_dir)
    json_files.write(run / run_folder.RECIPE, known)
    assert not Path("zoo/weights").exists()
    published.write_text(PUBLISHED)
    (run / run_folder.BEST).unlink()  # what is published is the last epoch
    entry = register.register(run, weight_id, data_dir)

    document = json.loads(Path(manifest.FILE_NAME).read_text())
    manifest.schema().validate(document)
    assert document["weights"] == [json.loads(json.dumps(entry))]
    assert document["class_names"]["tiny_imagenet"] == ["red", "green", "blue"]
    assert entry["metrics"]["tiny_imagenet"]["val"]["images"] == 6
    assert entry["training"]["seed"] == 3
    assert "--set training.seed=3" in entry["training"]["command"]
    assert entry["training"]["recipe"] == str(drafted)
    file = Path("zoo/weights") / entry["file"]
    assert file.stat().st_size == entry["bytes"] < 7_000_000
    assert entry["arguments"]["attention_stages"] == [3]
    assert entry["input"]["interpolation"] == "bilinear"
    model = CRAMResNet14Small(
        attention_stages=[3], classes=3, input_shape=(16, 16, 3)
    )
    load_weights(model, file)
    answer = np.asarray(model(golden.golden_image(16), training=False))[0]
    for index, probability in entry["golden_output"]["top"]:
        assert abs(answer[index] - probability) < 2e-6  # of this very file
    last = CRAMResNet14Small(
        attention_stages=[3], classes=3, input_shape=(16, 16, 3)
    )
    load_weights(last, run / run_folder.LAST)
    for ours, theirs in zip(model.weights, last.weights):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)

    # A manifest that it would spoil is left alone, as is the file.
    path = Path(manifest.FILE_NAME)
    other = entry | {"id": "other_resnet14_small.test_16"}
    names = {"tiny_imagenet": ["a", "b", "c"]}
    json_files.write(path, {"class_names": names, "weights": [other]})
    before = file.read_bytes(), path.read_bytes()
    kept = sorted(Path("zoo/results/training").iterdir())
    kept[0].unlink()
    with pytest.raises(
        ValueError, match="those of other_resnet.*'a', 'b', 'c'"
    ):
        register.register(run, weight_id, data_dir)
    assert before == (file.read_bytes(), path.read_bytes())
    assert not kept[0].exists()
    json_files.write(path, document)
    before = file.read_bytes(), path.read_bytes()
    monkeypatch.setattr(register.macs, "count", lambda *arguments: -1)
    with pytest.raises(jsonschema.ValidationError):
        register.register(run, weight_id, data_dir)
    assert before == (file.read_bytes(), path.read_bytes())
    monkeypatch.setattr(register, "DATA_SETS", {})
    with pytest.raises(ValueError, match="tiny_imagenet in zoo.data_sets"):
        register.register(run, weight_id, data_dir)


def test_compact_files_hold_halves_and_whole_vectors(tmp_path):
    model = CRAMResNet14Small(input_shape=(16, 16, 3), classes=2)
    model.save_weights(tmp_path / "whole.weights.h5")
    compact = tmp_path / "compact.weights.h5"
    register.save_compactly(model, compact)

    other = CRAMResNet14Small(input_shape=(16, 16, 3), classes=2)
    load_weights(other, compact)

    for ours, theirs in zip(other.weights, model.weights):
        exact = len(theirs.shape) < 2
        np.testing.assert_allclose(
            ours, theirs, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-6
        )
    whole = (tmp_path / "whole.weights.h5").stat().st_size
    assert compact.stat().st_size < 0.55 * whole
    assert len(list(tmp_path.iterdir())) == 2
