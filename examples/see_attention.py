"""Draw where every attention layer of a network looks.

    pip install -e ".[plot]"
    python examples/see_attention.py PICTURE... --out where.png

For self-attention (`--model gsa_...`, `expatt_...`, `aa_...`), `--query 16 16`
draws what the pixel in row 16 and column 16 of the network's own image attends
to, instead of what all pixels together do.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from PIL import ImageOps

import keras_attn

SHOWN = 384  # pixels


def main(
    pictures: Annotated[list[Path], typer.Argument(help="Image files.")],
    out: Annotated[Path, typer.Option(help="The picture to write.")],
    model: Annotated[
        str, typer.Option(help="Whatever keras_attn.load takes.")
    ] = "cram_resnet18_small.tiny_imagenet_64",
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
    classifier = keras_attn.load(model)
    images = np.stack([classifier.prepare(picture) for picture in pictures])
    probabilities = classifier.predict(images, verbose=0)
    best = classifier.decode_predictions(probabilities, top=1)
    figure = keras_attn.plot_attention(
        classifier.model,
        images,
        layers or "*",
        query,
        captions=[f"{name}, {share:.0%}" for [(_, name, share)] in best],
        pictures=[sharp(picture) for picture in pictures],
    )
    figure.savefig(out, dpi=80)


def sharp(picture):
    """Return what the network sees of a picture, in more pixels."""
    whole = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")
    return np.asarray(ImageOps.fit(whole, (SHOWN, SHOWN)))


if __name__ == "__main__":
    typer.run(main)
