"""Pictures of where a network looks."""

import math

import keras
import numpy as np
from PIL import Image
from PIL import ImageDraw

TILE = 384  # pixels
CAPTION = 24  # pixels
RECTANGLE_COLOR = (255, 200, 0)
DARKEST = 0.25  # What remains of the brightness where attention is zero.


def attention_layer(model):
    """Return the last layer of a model that can tell where it looks.

    Raises:
        ValueError: if no layer can.
    """
    for layer in reversed(model.layers):
        if hasattr(layer, "attention_map"):
            return layer
    raise ValueError(
        f"The network {model.name!r} has no attention that depends on the "
        "image, so there is nothing to show"
    )


def attend(model, images):
    """Return where a model looks.

    Args:
        model: A network of `keras_attn.applications` with an attention that
            depends on the image.
        images: uint8 array `(pictures, height, width, 3)`.

    Returns:
        The attention maps, float32 `(pictures, map height, map width)`, and
        the rectangles `(pictures, 5)` as in
        `RectangularAttention2D.rectangles`, or `None` for other layers.
    """
    layer = attention_layer(model)
    features = keras.Model(model.input, layer.input)(images, training=False)
    maps = keras.ops.convert_to_numpy(layer.attention_map(features))
    rectangles = None
    if hasattr(layer, "rectangles"):
        rectangles = keras.ops.convert_to_numpy(layer.rectangles(features))
    return maps, rectangles


def draw(model, images, pictures, captions):
    """Draw pictures with what the network does not look at darkened.

    Args:
        model: As for `attend`.
        images: uint8 array `(pictures, height, width, 3)`, what the network
            sees.
        pictures: The same as `PIL.Image.Image`, in any resolution.
        captions: A string for each picture.

    Returns:
        A `PIL.Image.Image`: the pictures in a grid.
    """
    maps, rectangles = attend(model, images)
    columns = min(4, math.ceil(math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    grid = Image.new("RGB", (columns * TILE, rows * (TILE + CAPTION)), "white")
    for index, (picture, attention) in enumerate(zip(pictures, maps)):
        tile = _darken(picture, attention)
        if rectangles is not None:
            _outline(tile, rectangles[index])
        left = index % columns * TILE
        top = index // columns * (TILE + CAPTION)
        grid.paste(tile, (left, top + CAPTION))
        ImageDraw.Draw(grid).text(
            (left + 6, top + 4), captions[index], fill="black", font_size=14
        )
    return grid


def _darken(picture, attention):
    picture = picture.resize((TILE, TILE), Image.Resampling.BICUBIC)
    # A mask is used as it is, a distribution by its largest value.
    attention = attention / max(attention.max(), 1e-12)
    attention = Image.fromarray(attention.astype("float32")).resize(
        (TILE, TILE), Image.Resampling.BICUBIC
    )
    light = DARKEST + (1 - DARKEST) * np.clip(attention, 0, 1)
    pixels = np.asarray(picture) * light[..., None]
    return Image.fromarray(pixels.astype("uint8"))


def _outline(tile, rectangle):
    center_x, center_y, long, short, angle = rectangle
    cos, sin = math.cos(angle), math.sin(angle)
    corners = []
    for u, v in (
        (long, short),
        (-long, short),
        (-long, -short),
        (long, -short),
    ):
        x = center_x + u * cos - v * sin
        y = center_y + u * sin + v * cos
        # One unit is half of the side, the origin is the centre.
        corners.append(((x + 1) * TILE / 2, (y + 1) * TILE / 2))
    ImageDraw.Draw(tile).polygon(corners, outline=RECTANGLE_COLOR, width=3)
