"""The model cards say what the manifest says."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

import keras_attn
from keras_attn.applications import AttnResNet14Small
from keras_attn.weights import manifest
from zoo import cards

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
