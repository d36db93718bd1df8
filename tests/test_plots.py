"""Figures of attention: what is drawn, where, and that it can be read."""

import sys

import keras
import matplotlib
import numpy as np
import pytest
from keras import layers

import keras_attn
from keras_attn.layers import ChannelAttention2D
from keras_attn.layers import ExplicitAttention2D
from keras_attn.layers import GlobalSelfAttention2D
from keras_attn.layers import PositionwiseAttention2D
from keras_attn.layers import RectangularAttention2D
from keras_attn.layers import ReZero
from tests.applications.common import randomize

SIZE = (12, 16)


@pytest.fixture(autouse=True)
def no_window():
    from matplotlib import pyplot

    backend = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(backend)


def model_of(*attention):
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(inputs)
    for layer in attention:
        x = layer(x)
    model = keras.Model(inputs, x)
    randomize(model)
    return model


def every_kind():
    return model_of(
        ChannelAttention2D(2, name="channels"),
        PositionwiseAttention2D(3, name="gate"),
        RectangularAttention2D(0.7, name="rectangle"),
        ExplicitAttention2D(4, name="explicit"),
        GlobalSelfAttention2D(4, num_heads=2, name="global"),
    )


def some_images(count):
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (count, *SIZE, 3), dtype="uint8")


def drawn(figure):
    """Return the axes with something on them, by rows."""
    return [axes for axes in figure.axes if axes.has_data()]


def titles(figure):
    return [axes.get_title().split("\n")[0] for axes in drawn(figure)]


def test_several_images_have_a_row_each():
    figure = keras_attn.plot_attention(
        every_kind(), some_images(3), captions=["one", "two", "three"]
    )
    row = ["gate", "rectangle", "explicit", "global"]
    assert titles(figure) == ["one", *row, "two", *row, "three", *row]
    lefts = [round(axes.get_position().x0, 3) for axes in drawn(figure)]
    assert lefts == lefts[:5] * 3


def test_one_image_fills_a_grid():
    gates = [PositionwiseAttention2D(3, name=f"gate{i}") for i in range(6)]
    figure = keras_attn.plot_attention(model_of(*gates), some_images(1))
    assert titles(figure) == ["", *[f"gate{i}" for i in range(6)]]
    rows = {round(axes.get_position().y0, 3) for axes in drawn(figure)}
    assert len(rows) == 3


@pytest.mark.parametrize(
    "chosen, expected",
    [
        ("G*", ["gate", "global"]),
        ("rectangle", ["rectangle"]),
        (["gate", "*cit"], ["gate", "explicit"]),
    ],
)
def test_layers_are_chosen_by_name_or_pattern(chosen, expected):
    figure = keras_attn.plot_attention(
        every_kind(), some_images(1), layers=chosen
    )
    assert titles(figure)[1:] == expected


def test_the_map_lies_over_the_picture_in_pixels_of_the_image():
    model, images = every_kind(), some_images(2)
    results = keras_attn.attention_maps(model, images)
    pictures = np.repeat(np.repeat(images, 5, axis=1), 5, axis=2)
    figure = keras_attn.plot_attention(
        model, images, layers="gate", pictures=pictures
    )
    for index in range(2):
        colors, panel = drawn(figure)[2 * index : 2 * index + 2]
        picture, attention = panel.get_images()
        for image in (colors.get_images()[0], picture, attention):
            assert image.get_extent() == [0, SIZE[1], SIZE[0], 0]
        np.testing.assert_array_equal(
            colors.get_images()[0].get_array(), pictures[index]
        )
        assert picture.get_array().shape == (60, 80)
        assert 0.3 <= attention.get_alpha() <= 0.7  # Both can be seen.
        values = results[1].map[index]
        np.testing.assert_array_equal(attention.get_array(), values)
        assert values.max() > 1.1 * values.min()
        assert attention.get_clim() == (values.min(), values.max())
        assert f"{values.max():.2g}" in panel.get_title()


@pytest.mark.parametrize(
    "given, expected",
    [
        (lambda images: images / 255, lambda images: images),
        (lambda images: images.astype("float32"), lambda images: images),
        (lambda images: images // 200, lambda images: images // 200),
        (lambda images: images[..., :1], lambda images: images[..., [0] * 3]),
    ],
    ids=["from 0 to 1", "float", "dark", "grey"],
)
def test_pictures_of_other_ranges_and_channels_are_drawn(given, expected):
    images = some_images(1)
    figure = keras_attn.plot_attention(
        every_kind(), images, layers="gate", pictures=given(images)
    )
    [picture] = drawn(figure)[0].get_images()
    np.testing.assert_allclose(
        picture.get_array().astype(int), expected(images)[0], atol=1
    )
    [grey, _] = drawn(figure)[1].get_images()
    assert grey.get_clim() == (0, 255)  # as dark as the picture


def test_the_rectangle_is_outlined_and_does_not_stretch_the_panel():
    model, images = every_kind(), some_images(2)
    result = keras_attn.attention_maps(model, images)[2]
    figure = keras_attn.plot_attention(model, images, layers="rectangle")
    for index, panel in enumerate(drawn(figure)[1::2]):
        [outline] = panel.patches
        np.testing.assert_allclose(
            outline.get_xy()[:4], result.corners()[index]
        )
        assert panel.get_xlim() == (0, SIZE[1])
        assert panel.get_ylim() == (SIZE[0], 0)


def test_a_query_draws_its_own_maps_and_a_cross():
    model, images = every_kind(), some_images(1)
    *_, result = keras_attn.attention_maps(model, images, query=(3, 10))
    figure = keras_attn.plot_attention(
        model, images, layers="*l*", query=(3, 10)
    )
    panels = drawn(figure)[1:]
    assert titles(figure)[1:] == ["rectangle", "explicit", "global", "global"]
    assert not panels[0].lines
    for panel in panels[1:]:
        [cross] = panel.lines
        assert cross.get_xdata() == [10.5]
        assert cross.get_ydata() == [3.5]
    for panel, values in zip(
        panels[2:], (result.query_map, result.position_map)
    ):
        np.testing.assert_array_equal(
            panel.get_images()[1].get_array(), values[0]
        )
    assert "by position" in panels[3].get_title()


def test_the_title_tells_the_scale_of_a_shortcut():
    gate = PositionwiseAttention2D(3)
    model = model_of(ReZero(gate, name="first"), PositionwiseAttention2D(3))
    model.get_layer("first").scale.assign(-0.25)
    _, first, second = drawn(keras_attn.plot_attention(model, some_images(1)))
    assert first.get_title().endswith(", scale -0.25")
    assert "scale" not in second.get_title()


def test_titles_lie_on_the_figure_and_apart():
    """Long names, as insertion makes them, are broken."""
    name = "convnext_tiny_stage_2_block_8_identity_attention_of_all"
    gates = [PositionwiseAttention2D(3, name=f"{name}{i}") for i in range(3)]
    caption = "a class whose name is as long as this one, and unsure, 12%"
    figure = keras_attn.plot_attention(
        model_of(*gates), some_images(2), captions=["a caption", caption]
    )
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in drawn(figure)]
    pictures = [axes.get_window_extent() for axes in drawn(figure)]
    assert len(boxes) == 8
    for index, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        others = boxes[:index] + boxes[index + 1 :] + pictures
        assert not any(box.overlaps(other) for other in others)


def test_a_map_without_differences_can_be_drawn():
    layer = RectangularAttention2D(margin=1e4, name="rectangle")
    figure = keras_attn.plot_attention(model_of(layer), some_images(1))
    figure.draw_without_rendering()
    _, panel = drawn(figure)
    assert panel.get_title() == "rectangle\n1 to 1"
    # Differences of rounding are not blown up to the whole range of colours.
    low, high = panel.get_images()[1].get_clim()
    assert 0.01 < high - low < 0.03


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"layers": "rect"}, "`layers`.*gate, rectangle.*layers='rect'"),
        ({"layers": "channels"}, "`layers`.*layers='channels'"),
        ({"captions": ["a"]}, "`captions`.*2 images.*1 entries"),
        ({"pictures": some_images(3)}, "`pictures`.*2 images.*3 entries"),
        (
            {"pictures": some_images(2).transpose(0, 3, 1, 2)},
            r"`pictures`.*\(height, width, 3\).*shape=\(3, 12, 16\)",
        ),
        ({"model": model_of(ChannelAttention2D(2))}, "has: none"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments, message):
    arguments = {
        "model": every_kind(),
        "images": some_images(2),
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        keras_attn.plot_attention(**arguments)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install keras-attn\[plot\]"):
        keras_attn.plot_attention(every_kind(), some_images(1))
