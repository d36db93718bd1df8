"""The model cards say what the manifest says."""

import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

import keras_attn
from keras_attn.applications import AttnResNet14Small
from keras_attn.weights import manifest
from tests.zoo.common import finished_run
from zoo import cards
from zoo import runs

PUBLISHED = pytest.mark.parametrize("weight_id", keras_attn.list_models())


@PUBLISHED
def test_the_card_is_the_one_of_the_manifest(weight_id):
    """If not: python -m zoo.cards"""
    picture = Path(f"zoo/cards/{weight_id}.attention.jpg")
    text = cards.card(manifest.entry(weight_id), picture.is_file())
    assert (cards.CARDS / f"{weight_id}.md").read_text("utf-8") == text
    for part in text.split("](")[1:]:
        target = part.partition(")")[0]
        if not target.startswith("http"):
            assert (cards.CARDS / target).stat().st_size > 5000


def test_a_card_tells_what_other_seeds_came_to(tmp_path, monkeypatch):
    """The published one may be the luckiest. Other sizes are other networks."""
    monkeypatch.setattr(runs, "FOLDER", tmp_path / "kept")
    for seed, size, top1 in ((0, 16, 0.7), (1, 16, 0.6), (2, 32, 0.5)):
        name = f"plain_resnet.cifar100_{size}.seed{seed}"
        runs.keep(finished_run(tmp_path / name, top1, seed, size=size))
    history = {"history": "results/plain_resnet.cifar100_16.seed0.csv"}
    told = cards._other_seeds("cifar100", history)
    assert "With seed 1 top-1 is" in told and "60.00%" in told
    assert "70.00%" not in told and "50.00%" not in told


def test_a_card_tells_the_limits_in_its_own_recipe(tmp_path, monkeypatch):
    """Not those of the recipe that its command names."""
    recipes = tmp_path / "recipes"
    shutil.copytree(cards.recipes.FOLDER, recipes)
    entry = manifest.entry("cram_mirrored_crops_resnet14_small.cifar100_32")
    own = recipes / f"{entry.id}.toml"
    limit = 'limits = ["It was trained on Tiny-ImageNet, which has no cups."]'
    own.write_text(f"{limit}\n{own.read_text()}")
    monkeypatch.setattr(cards.recipes, "FOLDER", recipes)
    told = cards.card(entry, has_attention=False)
    assert "- It was trained on Tiny-ImageNet, which has no cups." in told


def test_no_name_is_broken_at_its_hyphen(monkeypatch):
    """Markdown makes a space of the end of a line."""
    limits = [f"{'x' * length} Tiny-ImageNet" for length in range(60, 80)]
    monkeypatch.setattr(cards.recipes, "read", lambda _: {"limits": limits})
    entry = manifest.entry("resnet14_small.cifar100_32")
    assert cards._limits(entry, "cifar100").count("Tiny-ImageNet") == 20


@PUBLISHED
def test_the_hub_can_read_its_metadata(weight_id):
    card = ModelCard.load(cards.CARDS / f"{weight_id}.md")
    assert card.data.library_name == "keras"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.license == "apache-2.0"
    entry = manifest.entry(weight_id)
    [splits] = entry.metrics.values()
    values = [result.metric_value for result in card.data.eval_results]
    assert values == [splits["val"]["top1"], splits["val"]["top5"]]
    assert yaml.safe_load(card.data.to_yaml())["model-index"]


@pytest.mark.parametrize(
    "attention, looks",
    [(None, False), ("se", False), ("positionwise", True), ("gsa", True)],
)
def test_there_is_a_picture_where_there_is_a_map(attention, looks, tmp_path):
    """One layer, many, none, and one that weighs channels only."""
    model = AttnResNet14Small(attention, input_shape=(32, 32, 3), classes=3)
    classifier = keras_attn.Classifier(model, ["a", "b", "c"])
    file = tmp_path / "attention.jpg"
    assert cards.draw_attention(classifier, file) == looks
    assert file.is_file() == looks
