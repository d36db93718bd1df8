"""Figures of where a network looks. They need matplotlib."""

import fnmatch
import math
import textwrap

import numpy as np

from keras_attn.maps import attention_maps

PANEL = 2.6  # inches
TITLE = 0.5  # inches
LONGEST_ROW = 4  # panels of one image; more fill a square
LONGEST_LINE = 38  # letters of a title
COLOR_MAP = "inferno"
OPACITY = 0.55
LEAST_DIFFERENCE = 0.02  # between the darkest and the brightest colour
LINE_COLOR = "#00e5ff"

# What the title says of the maps of a pixel.
TITLES = {
    "query_map": "from the cross",
    "position_map": "from the cross, by position",
}


def plot_attention(
    model, images, layers="*", query=None, captions=None, pictures=None
):
    """Draw where the attention layers of a model look.

    Each panel shows the attention of one layer over the image in grey: dark
    where the attention is least, yellow where it is most. The title tells
    these two values; differences of less than 2 % do not reach yellow. A
    rectangle of `RectangularAttention2D` is outlined as far as it lies on the
    image. `ChannelAttention2D` has no map and is left out. Of a layer inside
    `ReZero` the title tells the scale, too: at 0 it changes nothing yet.

    Args:
        model: A `keras.Model`, as for `keras_attn.attention_maps`.
        images: Array `(batch, height, width, channels)` as the model takes
            it. One image fills a grid with its layers, several have a row
            each.
        layers: Name of a layer, or shell-style pattern of the names such as
            `"conv5*"` (upper and lower case are the same), or a list of
            these.
        query: Row and column of a pixel of the images, which a cross marks,
            to draw what self-attention gives this pixel: for GSA, by content
            and by position. Without it, what all pixels attend to is drawn;
            of `ExplicitAttention2D`, whose map is the same function of the
            distance everywhere, and of GSA without content, the attention of
            the pixel in the middle.
        captions: List of strings, one for each image.
        pictures: Array or list of arrays `(height, width, 3)`, or with one
            channel, to draw instead of `images`, in any resolution: pixels
            from 0 to 255, or floating-point numbers from 0 to 1. Needed where
            the model takes other pixels than these, or channels first.

    Returns:
        A `matplotlib.figure.Figure` of pyplot's, which keeps it until
        `pyplot.close(figure)`.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: as `keras_attn.attention_maps` does, and if no layer with
            a map is called `layers`, there is not one of `captions` or
            `pictures` for each image, or a picture has another shape.
    """
    pyplot = _import_pyplot()
    pictures = images if pictures is None else pictures
    captions = [""] * len(images) if captions is None else captions
    _check_one_each("captions", captions, images)
    _check_one_each("pictures", pictures, images)
    pictures = [_in_colour(picture) for picture in pictures]
    attentions = attention_maps(model, images, query)
    panels = [
        (attention, field)
        for attention in _choose(attentions, layers)
        for field in _fields(attention, query)
    ]
    figure, rows = _grid(pyplot, len(images), len(panels) + 1)
    for index, (axes, picture) in enumerate(zip(rows, pictures)):
        size = attentions[0].image_size
        _draw_picture(axes[0], picture, size)
        caption = textwrap.fill(captions[index], LONGEST_LINE)
        axes[0].set_title(caption, fontsize=9)
        for panel, (attention, field) in zip(axes[1:], panels):
            grey = picture @ np.array([0.299, 0.587, 0.114])
            _draw_picture(panel, grey, size)
            _draw_attention(panel, attention, field, index)
    return figure


def _import_pyplot():
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "plot_attention needs matplotlib: pip install keras-attn[plot]"
        ) from error
    return pyplot


def _check_one_each(argument, values, images):
    if len(values) != len(images):
        raise ValueError(
            f"`{argument}` must have one entry for each of the {len(images)} "
            f"images. Received: {argument} with {len(values)} entries"
        )


def _in_colour(picture):
    """Return a picture as a uint8 array `(height, width, 3)`."""
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[-1] not in (1, 3):
        raise ValueError(
            "`pictures`, or else `images`, must have the shape (height, width, "
            f"3) or (height, width, 1) each. Received: shape={picture.shape}"
        )
    if picture.dtype.kind == "f" and picture.max() <= 1:
        picture = 255 * picture
    picture = picture.clip(0, 255).astype("uint8")
    return np.broadcast_to(picture, (*picture.shape[:2], 3))


def _choose(attentions, patterns):
    """Return those with a map whose names match."""
    drawable = [a for a in attentions if _fields(a, query=None)]
    names = [patterns] if isinstance(patterns, str) else patterns
    chosen = [
        attention
        for attention in drawable
        if any(
            fnmatch.fnmatchcase(attention.name.lower(), name.lower())
            for name in names
        )
    ]
    if not chosen:
        raise ValueError(
            "`layers` must name attention layers with a map, of which the "
            f"model has: {', '.join(a.name for a in drawable) or 'none'}. "
            f"Received: layers={patterns!r}"
        )
    return chosen


def _fields(attention, query):
    """Return the maps of a layer to draw."""
    fields = list(attention.maps)
    of_query = [field for field in fields if field in TITLES]
    if query is not None and of_query:
        return of_query
    return fields[:1]


def _grid(pyplot, images, panels):
    """Return a figure, and the axes of the panels of each image."""
    columns = panels
    if images == 1 and panels > LONGEST_ROW:
        columns = math.ceil(math.sqrt(panels))
    rows = math.ceil(panels / columns)
    figure, axes = pyplot.subplots(
        images * rows,
        columns,
        figsize=(PANEL * columns, (PANEL + TITLE) * images * rows),
        squeeze=False,
        layout="constrained",
    )
    for panel in axes.flat:
        panel.set_axis_off()
    return figure, axes.reshape(images, rows * columns)


def _draw_picture(axes, picture, size):
    height, width = size
    axes.imshow(
        picture, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0)
    )


def _draw_attention(axes, attention, field, index):
    height, width = attention.image_size
    values = attention.maps[field][index]
    low, high = values.min(), values.max()
    axes.imshow(
        values,
        cmap=COLOR_MAP,
        vmin=low,
        # Smaller differences would only look like some.
        vmax=max(high, low * (1 + LEAST_DIFFERENCE), 1e-9),
        alpha=OPACITY,
        interpolation="bicubic",
        extent=(0, width, height, 0),
    )
    lowest = 0 if low < high / 1000 else low
    title = f"{lowest:.2g} to {high:.2g}"
    if field in TITLES:
        row, column = attention.query
        axes.plot(column + 0.5, row + 0.5, "+", color=LINE_COLOR, markersize=9)
        title = f"{TITLES[field]}: {title}"
    if attention.scale is not None:
        title = f"{title}, scale {attention.scale:.2g}"
    if attention.rectangles is not None:
        corners = attention.corners()[index]
        axes.fill(*corners.T, fill=False, edgecolor=LINE_COLOR, linewidth=2)
    name = textwrap.fill(attention.name, LONGEST_LINE)
    axes.set_title(f"{name}\n{title}", fontsize=8)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
