"""The picture of `keras-attn classify --explain`."""

import numpy as np
import pytest
from PIL import Image
from PIL import ImageDraw

import keras_attn
from keras_attn import explanation
from keras_attn.applications import attention_types
from keras_attn.layers import ChannelAttention2D
from tests.applications.common import randomize
from tests.applications.common import small_network
from tests.applications.common import some_images

WITH_MAPS = sorted(set(attention_types.ATTENTION_TYPES) - {"se"})


def draw(model, count=2):
    images = some_images(count)
    pictures = [Image.new("RGB", (40, 40), "white")] * count
    grid = explanation.draw(model, images, pictures, ["name"] * count)
    tiles = np.asarray(grid)[explanation.CAPTION :, : explanation.TILE]
    return grid, tiles[: explanation.TILE]


@pytest.mark.parametrize("attention", WITH_MAPS)
def test_every_attention_type_with_a_map_darkens_the_picture(attention):
    model = small_network(attention, attention_stages=[3])
    randomize(model)
    grid, tile = draw(model)
    side = explanation.TILE
    assert grid.size == (2 * side, side + explanation.CAPTION)
    attended = keras_attn.attention_maps(model, some_images())[-1]
    values = attended.query_map if attention == "expatt" else attended.map
    # Where the map is largest, the white picture stays (almost) white.
    row, column = np.unravel_index(values[0].argmax(), values[0].shape)
    cell = side // len(values[0])
    middle = tile[int((row + 0.5) * cell), int((column + 0.5) * cell)]
    assert middle.max() > 200
    assert tile.min() < middle.min()


@pytest.mark.parametrize(
    "attention, message",
    [
        ("se", "channels, not to places"),
        (None, "has no attention"),
    ],
)
def test_what_has_no_map_is_told(attention, message):
    with pytest.raises(ValueError, match=message):
        draw(small_network(attention))


def test_pictures_keep_the_proportions_that_the_network_sees():
    model = small_network("cram", input_shape=(8, 16, 3))
    images = np.zeros((1, 8, 16, 3), "uint8")
    picture = Image.new("RGB", (20, 10), "black")
    grid = explanation.draw(model, images, [picture], ["name"])
    tile = np.asarray(grid)[explanation.CAPTION :]
    assert tile.shape[:2] == (explanation.TILE, explanation.TILE)
    # Below it, the paper is white.
    assert not (tile[: explanation.TILE // 2] == 255).all(axis=2).any()
    assert (tile[explanation.TILE // 2 :] == 255).all()


def test_the_rectangle_is_where_its_corners_are():
    model = small_network("cram")
    randomize(model)
    _, tile = draw(model)
    [result] = keras_attn.attention_maps(model, some_images())
    corners = result.corners()[0] * explanation.TILE / 16
    seen = 0
    for start, end in zip(corners, np.roll(corners, 1, axis=0)):
        for x, y in np.linspace(start, end, 20).round().astype(int):
            if min(x, y) > 3 and max(x, y) < explanation.TILE - 3:
                colors = tile[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
                assert explanation.RECTANGLE_COLOR in map(tuple, colors)
                seen += 1
    assert seen > 10


def test_each_picture_has_its_own_map_rectangle_and_caption():
    model = small_network("cram")
    randomize(model)
    images, white = some_images(2), Image.new("RGB", (40, 40), "white")
    names = ["one", "two"]
    grid = np.asarray(explanation.draw(model, images, [white] * 2, names), int)
    tiles = np.split(grid, 2, axis=1)
    for index, tile in enumerate(tiles):
        one = slice(index, index + 1)
        alone = explanation.draw(model, images[one], [white], names[one])
        assert np.abs(tile - np.asarray(alone, int)).max() <= 1
    assert np.abs(tiles[0] - tiles[1])[explanation.CAPTION :].max() > 10


def test_the_last_layer_with_a_map_is_shown():
    """Layers of channels, which have none, may follow."""
    model = small_network("positionwise", attention_stages=[3, 4])
    gate = ChannelAttention2D(2)
    for network in (
        model,
        keras_attn.insert_attention(model, gate, "conv4_attention"),
    ):
        attention, _ = explanation._last_maps(network, some_images())
        assert attention.name == "conv4_attention"


def test_a_quarter_of_the_brightness_remains_where_attention_is_zero():
    """Everywhere, if the whole map is zero."""
    white = Image.new("RGB", (40, 40), "white")
    half = np.array([[0.0, 0, 0.3, 0.3]])
    for attention, left, right in ((half, 63, 255), (0 * half, 63, 63)):
        pixels = np.asarray(explanation._darken(white, attention))
        assert (pixels[:, :5] == left).all() and (pixels[:, 35:] == right).all()


def test_a_row_has_four_pictures_at_most():
    grid, _ = draw(small_network("cram"), 17)
    row = explanation.TILE + explanation.CAPTION
    assert grid.size == (4 * explanation.TILE, 5 * row)


def test_long_captions_keep_their_ends_and_to_their_tiles():
    model = small_network("cram")
    white = [Image.new("RGB", (40, 40), "white")] * 2
    long = "Great spotted woodpecker" * 5
    for second in ("b", long):
        captions = [f"{long} (87%)", second]
        grid = explanation.draw(model, some_images(2), white, captions)
        caption = np.asarray(grid)[: explanation.CAPTION]
        drawn = np.flatnonzero((caption < 128).any(axis=(0, 2)))
        assert drawn.min() < explanation.TILE < drawn.max()
        between = explanation.TILE - 5, explanation.TILE + 6
        assert not ((between[0] < drawn) & (drawn < between[1])).any()
    pen = ImageDraw.Draw(grid)
    assert explanation._shortened("a (87%)", pen) == "a (87%)"
    assert explanation._shortened(captions[0], pen).endswith("(87%)")


def test_the_third_picture_is_below_the_first():
    model = small_network("cram")
    randomize(model)
    images, white = some_images(3), Image.new("RGB", (40, 40), "white")
    grid = explanation.draw(model, images, [white] * 3, ["name"] * 3)
    alone = explanation.draw(model, images[2:], [white], ["name"])
    width, height = alone.size
    assert grid.size == (2 * width, 2 * height)
    third = grid.crop((0, height, width, 2 * height))
    difference = np.asarray(third, int) - np.asarray(alone, int)
    assert np.abs(difference).max() <= 1
    assert (np.asarray(grid)[height:, width:] == 255).all()
