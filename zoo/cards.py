"""Model cards of the published weights, made from the manifest.

    python -m zoo.cards

Writes `zoo/cards/ID.md`, the training curve beside it and, where there is
attention, what the network looks at.
"""

import textwrap
from pathlib import Path

import numpy as np
import typer
import yaml
from huggingface_hub import EvalResult
from huggingface_hub import ModelCardData

import keras_attn
from keras_attn import explanation
from keras_attn.images import read
from keras_attn.images import resize_and_crop
from keras_attn.replacing import replacing
from keras_attn.weights import manifest
from zoo import plots
from zoo import recipe as recipes
from zoo import run_folder
from zoo import runs
from zoo.data_sets import DATA_SETS

CARDS = Path("zoo/cards")
PICTURES = sorted(Path("examples/images").glob("*.jpg"))

TEXT = """\
---
{metadata}
---

# {id}

{summary}

A network of keras-attn, after [the paper]({paper}).

## Use

```python
import keras_attn

classifier = keras_attn.load("{address}")
probabilities = classifier.predict("picture.jpg")
print(classifier.decode_predictions(probabilities, top=3))
```

`classifier.model` is a functional `keras.Model`: {size} x {size} pixels from 0
to 255 in, probabilities of {classes} classes out. The preprocessing is inside.

## Measured

| data | images | top-1 | top-5 |
|---|---|---|---|
| {data}, {split} images | {images:,} | {top1:.2%} | {top5:.2%} |

{parameters:.2f} million parameters, {macs:.0f} million multiply-adds an image,
{megabytes:.1f} MB. By `{evaluation_command}`, on this very file.

## Training

Command: `{command}`, seed {seed}, commit `{commit}`. Its settings:

```yaml
{recipe}
```

![Accuracy by epoch]({id}.curve.png)
{attention}
## Limits

{limits}
- It knows the {classes} classes of {data} and gives one of them to any
  picture. Its probabilities are not calibrated.
- It was trained on pictures of {size} x {size} pixels; details below that are
  lost to it.
- Which people, places and things the data shows was not examined for bias.

## Licence

The weights are under {licence}. {terms}
"""

ATTENTION = """
## Where it looks

![Pictures and what the network looks at]({id}.attention.jpg)

Drawn as by `keras-attn classify --explain` if one layer has attention, else by
`keras_attn.plot_attention`, which gives the least and the largest value of each
layer's map.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main():
    """Write the model cards of all published weights."""
    CARDS.mkdir(exist_ok=True)
    try:
        for weight_id in keras_attn.list_models():
            _write(manifest.entry(weight_id))
    except (OSError, ValueError) as error:
        raise SystemExit(f"zoo.cards: {error}") from None


def _write(entry):
    classifier = keras_attn.load(entry.id)
    picture = CARDS / f"{entry.id}.attention.jpg"
    draws = draw_attention(classifier, picture)
    if not draws:
        picture.unlink(missing_ok=True)
    _draw_curve(entry)
    with replacing(CARDS / f"{entry.id}.md") as unfinished:
        unfinished.write_text(card(entry, has_attention=draws), "utf-8")


def card(entry, has_attention, address=None):
    """Return the model card of a weight as Markdown with YAML metadata.

    Args:
        entry: A `keras_attn.weights.Entry`.
        has_attention: Boolean, whether there is a picture of its attention.
        address: String to load it by. Defaults to its id.
    """
    [(data_set, splits)] = entry.metrics.items()
    about = DATA_SETS[data_set]
    measured = splits["val"]
    recipe = recipes.of_command(entry.training["command"])
    return TEXT.format(
        metadata=_metadata(entry, about, measured),
        id=entry.id,
        address=address or entry.id,
        summary=entry.summary,
        paper=entry.paper,
        size=entry.input["size"],
        classes=len(entry.class_names),
        data=about.name,
        split=about.split,
        **measured,
        parameters=entry.parameters / 1e6,
        macs=entry.macs / 1e6,
        megabytes=entry.bytes / 1e6,
        evaluation_command=entry.training["evaluation_command"],
        command=entry.training["command"],
        seed=entry.training["seed"],
        commit=entry.training["commit"],
        recipe=_settings(recipe),
        limits=_limits(entry, data_set),
        attention=ATTENTION.format(id=entry.id) if has_attention else "",
        licence=entry.licence,
        terms=about.terms,
    )


def _metadata(entry, data_set, measured):
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=data_set.hub_name,
            dataset_name=data_set.name,
            dataset_split=data_set.split,
            metric_type="accuracy",
            metric_name=name,
            metric_value=measured[key],
        )
        for name, key in (
            ("top-1 accuracy", "top1"),
            ("top-5 accuracy", "top5"),
        )
    ]
    return ModelCardData(
        model_name=entry.id,
        library_name="keras",
        pipeline_tag="image-classification",
        license=entry.licence.lower(),
        datasets=[data_set.hub_name],
        metrics=["accuracy"],
        tags=["keras-attn", "attention"],
        eval_results=results,
    ).to_yaml()


def _settings(recipe):
    settings = {
        table: recipe[table] for table in recipes.TABLES if table in recipe
    }
    return yaml.safe_dump(settings, sort_keys=False).strip()


def _limits(entry, data_set):
    """Return what this network cannot do as items of a Markdown list."""
    one = "One training, the last epoch, whichever was best."
    own = recipes.read(recipes.FOLDER / f"{entry.id}.toml").get("limits", ())
    wrapper = textwrap.TextWrapper(
        79, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )
    limits = [one + _other_seeds(data_set, entry.training), *own]
    return "\n".join(map(wrapper.fill, limits))


def _other_seeds(data_set, training):
    name = Path(training["history"]).stem
    for seeds in runs.by_network(runs.kept().get(data_set, ())).values():
        if name in (run.name for run in seeds):
            return "".join(
                f" With seed {run.seed} top-1 is {run.result['top1']:.2%}."
                for run in seeds
                if run.name != name
            )
    return ""


def _draw_curve(entry):
    history = run_folder.read_history(entry.training["history"])
    plots.curve(history, CARDS / f"{entry.id}.curve.png")


def draw_attention(classifier, file):
    """Draw what a network looks at in the example pictures.

    Args:
        classifier: A `keras_attn.Classifier`.
        file: Path of the JPEG file to write.

    Returns:
        Boolean, whether it looks anywhere. If not, nothing is written.
    """
    images = np.stack([classifier.prepare(picture) for picture in PICTURES])
    try:
        attentions = keras_attn.attention_maps(classifier.model, images)
    except ValueError:  # no attention at all
        return False
    with_map = [attention for attention in attentions if attention.maps]
    if not with_map:  # that of channels only
        return False
    if len(with_map) == 1:
        _draw_pictures(classifier, images, file)
    else:
        _draw_layers(classifier, images[:1], file)
    return True


def _draw_pictures(classifier, images, file):
    """Draw the attention of one layer to each picture."""
    predictions = classifier.predict(PICTURES, verbose=0)
    best = classifier.decode_predictions(predictions, top=1)
    drawn = explanation.draw(
        classifier.model,
        images=images,
        pictures=[_sharp(picture) for picture in PICTURES],
        captions=[f"{name} ({share:.0%})" for [(_, name, share)] in best],
    )
    drawn.save(file, quality=85)


def _draw_layers(classifier, images, file):
    """Draw the attention of each layer to the first picture."""
    picture = _sharp(PICTURES[0])
    figure = keras_attn.plot_attention(
        classifier.model, images, pictures=[np.asarray(picture)]
    )
    figure.savefig(file, dpi=80, pil_kwargs={"quality": 85})


def _sharp(file):
    return resize_and_crop(read(file), explanation.TILE, explanation.TILE)


if __name__ == "__main__":
    app()
