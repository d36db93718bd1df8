"""Pictures of where a network looks."""

import math

import numpy as np
from PIL import Image
from PIL import ImageDraw

from keras_attn.maps import attention_maps

TILE = 384  # pixels
CAPTION = 24  # pixels
FONT = 14  # pixels
LAST_LETTERS = len(" (100%)")
RECTANGLE_COLOR = (255, 200, 0)
DARKEST = 0.25  # What remains of the brightness where attention is zero.


def draw(model, images, pictures, captions):
    """Draw pictures with what the network does not look at darkened.

    Where it looks most keeps its brightness, whatever the value there. Shows
    the last attention layer that has a map. For ExpAtt, whose map is the same
    function of the distance everywhere, that of the pixel in the middle.

    Args:
        model: A model as for `keras_attn.attention_maps`.
        images: uint8 array `(pictures, height, width, 3)`, what the network
            sees.
        pictures: The same as `PIL.Image.Image`, in any resolution.
        captions: A string for each picture. What is wider than a tile loses
            letters before the last few.

    Returns:
        A `PIL.Image.Image`: the pictures in a grid.

    Raises:
        ValueError: if the network has no attention with a map.
    """
    attention, maps = _last_maps(model, images)
    size = tile_size(*images.shape[1:3])
    columns = min(4, math.ceil(math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    grid = Image.new("RGB", (columns * TILE, rows * (TILE + CAPTION)), "white")
    for index, picture in enumerate(pictures):
        tile = _darken(
            picture.resize(size, Image.Resampling.BICUBIC), maps[index]
        )
        if attention.rectangles is not None:
            _outline(tile, attention.corners()[index], attention.image_size)
        left = index % columns * TILE
        top = index // columns * (TILE + CAPTION)
        grid.paste(tile, (left, top + CAPTION))
        pen = ImageDraw.Draw(grid)
        caption = _shortened(captions[index], pen)
        pen.text((left + 6, top + 4), caption, fill="black", font_size=FONT)
    return grid


def check_attends(model):
    """Raise a `ValueError` for what `draw` could not draw of a model.

    Args:
        model: A model as for `draw`, with a known size of its images.
    """
    _last_maps(model, np.zeros((1, *model.input_shape[1:]), "uint8"))


def tile_size(height, width):
    """Return the width and height in a tile of what has these proportions."""
    scale = TILE / max(height, width)
    return round(scale * width), round(scale * height)


def _shortened(caption, pen):
    short, kept = caption, len(caption) - LAST_LETTERS
    while pen.textlength(short, font_size=FONT) > TILE - 12:
        kept -= 1
        short = f"{caption[:kept]}...{caption[-LAST_LETTERS:]}"
    return short


def _last_maps(model, images):
    for attention in reversed(attention_maps(model, images)):
        if attention.maps:
            return attention, next(iter(attention.maps.values()))
    raise ValueError(
        f"The attention of the network {model.name!r} gives weights to "
        "channels, not to places, so there is nothing to show"
    )


def _darken(picture, attention):
    # The values of a distribution over all pixels are small.
    attention = attention / max(attention.max(), 1e-12)
    attention = Image.fromarray(attention.astype("float32"))
    attention = attention.resize(picture.size, Image.Resampling.BICUBIC)
    light = DARKEST + (1 - DARKEST) * np.clip(attention, 0, 1)
    pixels = np.asarray(picture) * light[..., None]
    return Image.fromarray(pixels.astype("uint8"))


def _outline(tile, corners, image_size):
    height, width = image_size
    corners = corners * [tile.width / width, tile.height / height]
    ImageDraw.Draw(tile).polygon(
        [tuple(corner) for corner in corners], outline=RECTANGLE_COLOR, width=3
    )
