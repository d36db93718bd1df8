"""Draw where every attention layer of a network looks.

    pip install -e ".[plot]"
    python examples/see_attention.py PICTURE... --out where.png

For self-attention (`--model gsa_...`, `expatt_...`, `aa_...`), `--query 16 16`
draws what the pixel in row 16 and column 16 of the network's own image attends
to, instead of what all pixels together do. With `--model` given twice, the
second comes below the first: a network before and after fine-tuning.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

import keras_attn
from keras_attn import explanation
from keras_attn import images as image_files


def main(
    pictures: Annotated[
        list[Path], typer.Argument(help="Image files, or folders of them.")
    ],
    out: Annotated[Path, typer.Option(help="The picture to write.")],
    model: Annotated[
        list[str], typer.Option(help="Whatever keras_attn.load takes.")
    ] = ("cram_resnet18_small.tiny_imagenet_64",),
    layers: Annotated[
        list[str] | None,
        typer.Option(help="Names or patterns like 'conv4*'. Default: all."),
    ] = None,
    query: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="ROW COLUMN", help="In the network's image."),
    ] = None,
):
    """Draw where every attention layer of a network looks."""
    suffixes = ".jpg", ".jpeg", ".png"
    if out.suffix.lower() not in suffixes or not out.parent.is_dir():
        raise typer.BadParameter(f"--out {out}: no .jpg or .png in a folder")
    pictures = [file for path in pictures for file in image_files.find(path)]
    figures = [draw(each, pictures, layers or "*", query) for each in model]
    width = max(figure.width for figure in figures)
    height = sum(figure.height for figure in figures)
    whole = Image.new("RGB", (width, height), "white")
    top = 0
    for figure in figures:
        whole.paste(figure, (0, top))
        top += figure.height
    whole.save(out)


def draw(model, pictures, layers, query):
    """Return the attention of one network as a picture."""
    classifier = keras_attn.load(model)
    images = np.stack([classifier.prepare(picture) for picture in pictures])
    probabilities = classifier.predict(images, verbose=0)
    captions = None
    if classifier.class_names:
        best = classifier.decode_predictions(probabilities, top=1)
        captions = [f"{name}, {share:.0%}" for [(_, name, share)] in best]
    size = explanation.tile_size(*classifier.input_size)
    figure = keras_attn.plot_attention(
        classifier.model,
        images,
        layers,
        query,
        captions=captions,
        pictures=[sharp(picture, *size) for picture in pictures],
    )
    figure.set_dpi(80)
    figure.canvas.draw()
    return Image.fromarray(np.array(figure.canvas.buffer_rgba())[..., :3])


def sharp(picture, width, height):
    """Return what the network sees of a picture, in more pixels."""
    whole = image_files.read(picture)
    return np.asarray(image_files.resize_and_crop(whole, height, width))


if __name__ == "__main__":
    typer.run(main)
