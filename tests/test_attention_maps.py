"""What the attention layers of a model do, asked of the whole model."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_attn
from keras_attn import applications
from keras_attn.applications import attention_types
from keras_attn.layers import ChannelAttention2D
from keras_attn.layers import ExplicitAttention2D
from keras_attn.layers import GlobalSelfAttention2D
from keras_attn.layers import PositionwiseAttention2D
from keras_attn.layers import RectangularAttention2D
from keras_attn.layers import RelativeSelfAttention2D
from keras_attn.layers import ReZero
from keras_attn.maps import LayerAttention
from tests.applications.common import randomize
from tests.applications.common import small_network
from tests.applications.common import some_images
from tests.layers.common import to_numpy
from tests.subprocesses import WITHOUT_TENSORFLOW
from tests.subprocesses import run_python

FIELDS = {
    RectangularAttention2D: {"map", "rectangles"},
    PositionwiseAttention2D: {"map"},
    GlobalSelfAttention2D: {"map", "query_map", "position_map"},
    RelativeSelfAttention2D: {"map", "query_map"},
    ExplicitAttention2D: {"query_map", "radius"},
    ChannelAttention2D: {"channel_weights"},
}
ALL_FIELDS = set().union(*FIELDS.values())


def attention_layers(model):
    return [layer for layer in model.layers if type(layer) in FIELDS]


def inputs_and_outputs(model, layer, images):
    probe = keras.Model(model.input, [layer.input, layer.output])
    return [to_numpy(x) for x in probe(images, training=False)]


def gated_model(size=(12, 16)):
    """A position-wise gate and a rectangle, at a half of the size."""
    inputs = keras.Input((*size, 3), name="image")
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(inputs)
    x = PositionwiseAttention2D(3, name="gate")(x)
    x = RectangularAttention2D(0.7, name="rectangle")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    randomize(model)
    return model


def images_of(model, count=3):
    generator = np.random.default_rng(3)
    shape = (count, *model.input_shape[1:])
    return generator.normal(size=shape).astype("float32")


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("attention", attention_types.ATTENTION_TYPES)
def test_every_attention_type_shows_what_its_layers_do(attention, bottleneck):
    """One result a layer, with just the fields that are documented."""
    model = small_network(attention, bottleneck)
    randomize(model)
    images = some_images()
    results = keras_attn.attention_maps(model, images, query=(5, 9))
    expected = attention_layers(model)
    assert [result.name for result in results] == [x.name for x in expected]
    assert expected
    for result, layer in zip(results, expected):
        features, outputs = inputs_and_outputs(model, layer, images)
        size = features.shape[1:3]
        assert result.layer_type == type(layer).__name__
        assert result.image_size == (16, 16)
        assert result.map_size == size
        assert result.query == (5, 9)
        assert list(result.maps) == [
            field
            for field in ("map", "query_map", "position_map")
            if field in FIELDS[type(layer)]
        ]
        for field in ALL_FIELDS:
            values = getattr(result, field)
            assert (values is not None) == (field in FIELDS[type(layer)])
            if values is None:
                continue
            assert isinstance(values, np.ndarray)
            assert values.dtype == np.float32
            if field.endswith("map"):
                assert values.shape == (2, *size)
                assert values.min() >= 0
        check_values(result, layer, features, outputs)


def check_values(result, layer, features, outputs):
    """Against what the layer does to its inputs, or says itself."""
    pixel = [at * size // 16 for at, size in zip((5, 9), result.map_size)]
    if isinstance(layer, (RectangularAttention2D, PositionwiseAttention2D)):
        gated = features * result.map[..., None]
        np.testing.assert_allclose(outputs, gated, atol=1e-4, rtol=1e-4)
    elif isinstance(layer, ChannelAttention2D):
        gated = features * result.channel_weights[:, None, None]
        np.testing.assert_allclose(outputs, gated, atol=1e-4, rtol=1e-4)
    else:
        weights = to_numpy(layer.query_attention(features, pixel))
        expected = np.abs(weights).mean(axis=1)
        np.testing.assert_allclose(result.query_map, expected, rtol=1e-4)
    if isinstance(layer, RectangularAttention2D):
        np.testing.assert_allclose(
            result.rectangles, to_numpy(layer.rectangles(features)), atol=1e-5
        )
    if isinstance(layer, ExplicitAttention2D):
        radius = to_numpy(layer.radius) * 16 / features.shape[1]
        np.testing.assert_allclose(result.radius, radius, rtol=1e-6)
    if isinstance(layer, (RelativeSelfAttention2D, GlobalSelfAttention2D)):
        expected = to_numpy(layer.attention_map(features))
        np.testing.assert_allclose(result.map, expected, rtol=1e-4)
    if isinstance(layer, GlobalSelfAttention2D):
        weights = to_numpy(layer.position_attention(features, pixel))
        expected = np.abs(weights).mean(axis=1)
        np.testing.assert_allclose(result.position_map, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "name, count",
    [
        ("AAResNet14Small", 8),
        ("CRAMResNet14Small", 1),
        ("ExpAttResNet14Small", 8),
        ("GSAResNet14Small", 12),
    ],
)
def test_networks_of_the_papers(name, count):
    model = getattr(applications, name)(input_shape=(32, 32, 3), classes=5)
    results = keras_attn.attention_maps(model, some_images(2, 32))
    assert len(results) == count


def test_a_large_radius_is_told_in_pixels_of_the_image():
    inputs = keras.Input((24, 32, 3))
    x = layers.AveragePooling2D(4)(inputs)
    layer = ExplicitAttention2D(4, initial_radius=2.5, num_heads=2)
    model = keras.Model(inputs, layer(x))
    [result] = keras_attn.attention_maps(model, images_of(model))
    np.testing.assert_allclose(result.radius, [10.0, 10.0], rtol=1e-5)


def test_images_go_through_in_batches_with_the_same_result():
    model = model_of_every_layer()
    images = images_of(model, 5)
    whole = keras_attn.attention_maps(model, images)
    parts = keras_attn.attention_maps(model, images, batch_size=2)
    for one, other in zip(whole, parts, strict=True):
        for field in FIELDS[getattr(keras_attn.layers, one.layer_type)]:
            values = getattr(one, field)
            assert len(values) == 5 or field == "radius"
            np.testing.assert_allclose(
                getattr(other, field), values, rtol=1e-4, atol=1e-5
            )
    channels, gate, *_ = whole
    assert not np.allclose(gate.map[0], gate.map[1])
    assert not np.allclose(
        channels.channel_weights[0], channels.channel_weights[1]
    )


def test_channels_first_shows_the_same():
    def model_in(data_format, shape):
        inputs = x = keras.Input(shape)
        for layer in (
            ChannelAttention2D(2, data_format=data_format),
            PositionwiseAttention2D(3, data_format=data_format),
            RectangularAttention2D(0.7, data_format=data_format),
            ExplicitAttention2D(3, strides=2, data_format=data_format),
            GlobalSelfAttention2D(4, num_heads=2, data_format=data_format),
        ):
            x = layer(x)
        return keras.Model(inputs, x)

    last = model_in("channels_last", (12, 16, 3))
    randomize(last)
    first = model_in("channels_first", (3, 12, 16))
    first.set_weights(last.get_weights())
    images = images_of(last)
    expected = keras_attn.attention_maps(last, images, (11, 15))
    found = keras_attn.attention_maps(
        first, np.moveaxis(images, -1, 1), (11, 15)
    )
    for one, other in zip(expected, found, strict=True):
        assert other.image_size == one.image_size == (12, 16)
        assert other.map_size == one.map_size
        for field in FIELDS[getattr(keras_attn.layers, one.layer_type)]:
            np.testing.assert_allclose(
                getattr(other, field),
                getattr(one, field),
                rtol=1e-4,
                atol=1e-4,
            )


def test_images_go_through_once_and_not_beyond_the_last_attention():
    calls = []

    class Counting(layers.Layer):
        def call(self, inputs):
            calls.append(self.name)
            return inputs

    inputs = keras.Input((6, 6, 3))
    x = Counting(name="before")(inputs)
    for index in range(3):
        x = PositionwiseAttention2D(3, name=f"gate{index}")(x)
    model = keras.Model(inputs, Counting(name="after")(x))
    calls.clear()
    assert len(keras_attn.attention_maps(model, images_of(model))) == 3
    assert calls == ["before"]


def bilinear(values, height, width):
    """Interpolate between the centres of pixels, one by one."""
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5) * values.shape[0] / height - 0.5
            x = (j + 0.5) * values.shape[1] / width - 0.5
            for row in (int(np.floor(y)), int(np.floor(y)) + 1):
                for column in (int(np.floor(x)), int(np.floor(x)) + 1):
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    inside = (
                        np.clip(row, 0, values.shape[0] - 1),
                        np.clip(column, 0, values.shape[1] - 1),
                    )
                    result[i, j] += share * values[inside]
    return result


def test_resized_interpolates_the_maps_to_the_images():
    model = gated_model((12, 16))
    for result in keras_attn.attention_maps(model, images_of(model)):
        resized = result.resized()
        assert resized.map.shape == (3, 12, 16)
        assert resized.map.dtype == np.float32
        for values, small in zip(resized.map, result.map):
            expected = bilinear(small, 12, 16)
            np.testing.assert_allclose(values, expected, atol=1e-5)
        assert result.map.shape == (3, 6, 8)
        assert resized.query_map is None


@pytest.mark.parametrize("size", [(12, 16), (32, 8), (10, 10)])
def test_corners_are_those_of_the_rectangle_in_pixels(size):
    model = gated_model(size)
    *_, result = keras_attn.attention_maps(model, images_of(model))
    corners = result.corners()
    assert corners.shape == (3, 4, 2)
    # The maps are half as large here: lengths keep their proportions.
    unit = max(size) / 2
    for found, rectangle in zip(corners, result.rectangles):
        x, y, long, short, angle = rectangle
        center = [size[1] / 2 + x * unit, size[0] / 2 + y * unit]
        np.testing.assert_allclose(found.mean(axis=0), center, rtol=1e-5)
        first, second = found[0] - found[1], found[1] - found[2]
        np.testing.assert_allclose(np.hypot(*first), 2 * long * unit, rtol=1e-4)
        np.testing.assert_allclose(
            np.hypot(*second), 2 * short * unit, rtol=1e-4
        )
        along = np.array([np.cos(angle), np.sin(angle)])
        np.testing.assert_allclose(
            first, 2 * long * unit * along, atol=1e-3 * unit
        )
        assert abs(np.dot(first, second)) < 1e-3 * unit**2


@pytest.mark.parametrize("height, width", [(5, 16), (13, 5)])
def test_a_rectangle_as_large_as_its_map_is_as_large_as_the_image(
    height, width
):
    """Also where the map, rounded up, has other proportions."""
    map_size = (height + 1) // 2, (width + 1) // 2
    along, across = np.array(map_size[::-1]) / max(map_size)
    result = LayerAttention(
        name="a",
        layer_type="RectangularAttention2D",
        image_size=(height, width),
        map_size=map_size,
        query=(0, 0),
        rectangles=np.array([[0, 0, along, across, 0]]),
    )
    [corners] = result.corners()
    expected = [[width, height], [0, height], [0, 0], [width, 0]]
    np.testing.assert_allclose(corners, expected, atol=1e-5)


def test_only_rectangles_have_corners():
    model = gated_model()
    gate, _ = keras_attn.attention_maps(model, images_of(model))
    with pytest.raises(ValueError, match="'gate' of type Positionwise"):
        gate.corners()


def test_a_query_is_a_pixel_of_the_image():
    inputs = keras.Input((12, 16, 3))
    x = layers.AveragePooling2D(2)(inputs)
    model = keras.Model(inputs, ExplicitAttention2D(4, initial_radius=0.3)(x))
    images = images_of(model)
    for query, pixel in (
        ((0, 0), (0, 0)),
        ((11, 15), (5, 7)),
        ((4, 9), (2, 4)),
        (None, (3, 4)),
    ):
        [result] = keras_attn.attention_maps(model, images, query)
        largest = np.unravel_index(result.query_map[0].argmax(), (6, 8))
        assert tuple(largest) == pixel


def test_inserted_layers_are_seen_beside_their_shortcut():
    model = gated_model()
    both = keras.Sequential(
        [ChannelAttention2D(2, name="se"), PositionwiseAttention2D(3, name="p")]
    )
    new = keras_attn.insert_attention(model, both, "conv")
    images = images_of(model)
    results = keras_attn.attention_maps(new, images)
    names = ["conv_attention/se", "conv_attention/p", "gate", "rectangle"]
    assert [result.name for result in results] == names
    before = keras_attn.attention_maps(model, images)
    for one, other in zip(before, results[2:], strict=True):
        np.testing.assert_allclose(other.map, one.map, atol=1e-6)
    inner = new.get_layer("conv_attention").layer
    features = keras.Model(new.input, new.get_layer("conv").output)(images)
    expected = inner.layers[0].channel_weights(features)
    np.testing.assert_allclose(
        results[0].channel_weights, to_numpy(expected), atol=1e-6
    )
    expected = inner.layers[1].attention_map(inner.layers[0](features))
    np.testing.assert_allclose(results[1].map, to_numpy(expected), atol=1e-6)


def test_the_scale_of_a_shortcut_is_told():
    """At zero, an inserted layer changes nothing, wherever it looks."""
    model = gated_model()
    gate = PositionwiseAttention2D(3)
    new = keras_attn.insert_attention(model, gate, "conv")
    new.get_layer("conv_attention").scale.assign(-0.5)
    inserted, *others = keras_attn.attention_maps(new, images_of(new))
    assert inserted.layer_type == "PositionwiseAttention2D"
    assert inserted.scale == -0.5
    assert inserted.resized().scale == -0.5
    assert [other.scale for other in others] == [None, None]


def test_the_scale_is_that_of_all_shortcuts_around_a_layer():
    model = gated_model()
    both = keras.Sequential(
        [ReZero(ChannelAttention2D(2)), ChannelAttention2D(2)]
    )
    new = keras_attn.insert_attention(model, both, "conv")
    outer = new.get_layer("conv_attention")
    first, second, *_ = keras_attn.attention_maps(new, images_of(new))
    assert first.scale == second.scale == 0
    outer.scale.assign(-0.5)
    outer.layer.layers[0].scale.assign(3)
    first, second, *_ = keras_attn.attention_maps(new, images_of(new))
    assert (first.scale, second.scale) == (-1.5, -0.5)


def test_maps_are_computed_in_the_precision_of_their_layer():
    """Keys that exceed float16 are the reason to give a layer float32."""
    image = keras.Input((8, 8, 3), dtype="float16")
    layer = GlobalSelfAttention2D(8, dtype="float32")
    model = keras.Model(image, layer(image))
    layer.kernel.assign(1e3 * layer.kernel)
    images = images_of(model).astype("float16")
    [result] = keras_attn.attention_maps(model, images)
    expected = layer.attention_map(images.astype("float32"))
    np.testing.assert_allclose(result.map, to_numpy(expected), atol=1e-6)


def test_a_layer_that_is_called_with_a_named_argument_is_seen():
    image = keras.Input((8, 8, 3))
    gate = PositionwiseAttention2D(3)
    model = keras.Model(image, gate(inputs=2 * image))
    images = images_of(model)
    [result] = keras_attn.attention_maps(model, images)
    expected = gate.attention_map(2 * images)
    np.testing.assert_allclose(result.map, to_numpy(expected), atol=1e-6)


def test_a_model_that_is_called_with_inputs_by_name_gets_them_so():
    right, left = (keras.Input((8, 8, 3), name=n) for n in ("right", "left"))
    gated = PositionwiseAttention2D(3, name="gate")(right - 3 * left)
    inner = keras.Model([right, left], gated, name="inner")
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, inner({"left": image, "right": image**2}))
    images = images_of(model)
    [result] = keras_attn.attention_maps(model, images)
    expected = inner.get_layer("gate").attention_map(images**2 - 3 * images)
    np.testing.assert_allclose(result.map, to_numpy(expected), atol=1e-5)
    # Also where the model itself has them by name.
    inner = keras.Model({"left": left, "right": right}, gated)
    model = keras.Model(image, inner({"right": image**2, "left": image}))
    [again] = keras_attn.attention_maps(model, images)
    np.testing.assert_allclose(again.map, result.map, atol=1e-6)


class Halved(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs / 2, training=training, mask=mask)


@pytest.mark.parametrize("inside", [False, True])
def test_a_model_that_does_not_do_what_its_graph_says_is_refused(inside):
    model = gated_model()
    model = Halved(model.input, model.output)
    if inside:
        image = keras.Input(model.input_shape[1:])
        model = keras.Model(image, model(image))
    with pytest.raises(ValueError, match="Halved has a `call` of its own"):
        keras_attn.attention_maps(model, images_of(model))


def test_models_inside_models_and_layers_that_are_called_twice():
    body = gated_model()
    shared = PositionwiseAttention2D(3, name="shared")
    inputs = keras.Input((12, 16, 3))
    x = shared(shared(inputs))
    head = keras.Sequential([layers.ReLU()], name="head")
    model = keras.Model(inputs, head(body(x)))
    # Another call of the same layer, which is no part of the model.
    shared(keras.Input((4, 4, 3)))
    randomize(model)
    images = images_of(model)

    results = keras_attn.attention_maps(model, images)

    assert [result.name for result in results] == [
        "shared",
        "shared:2",
        f"{body.name}/gate",
        f"{body.name}/rectangle",
    ]
    once = shared(images)
    expected = [
        shared.attention_map(images),
        shared.attention_map(once),
        *[inner.map for inner in keras_attn.attention_maps(body, shared(once))],
    ]
    for result, values in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.map, to_numpy(values), atol=1e-5)


def test_mixed_precision_and_sequential_models():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3),
            GlobalSelfAttention2D(8),
            PositionwiseAttention2D(),
        ]
    )
    results = keras_attn.attention_maps(model, images_of(model))
    assert len(results) == 2
    for result in results:
        assert result.map.dtype == np.float32
        assert np.all(np.isfinite(result.map))


class Hiding(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = PositionwiseAttention2D(name="hidden")

    def call(self, inputs):
        return self.inner(inputs)


def two_inputs():
    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    return keras.Model(inputs, PositionwiseAttention2D()(layers.Add()(inputs)))


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda: small_network(None), "no attention"),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 3)), Hiding()]),
            "hidden inside of the layer 'hiding.*Hiding",
        ),
        (lambda: keras.Sequential([Hiding()]), "`model` must be.*built"),
        (lambda: PositionwiseAttention2D(), "`model` must be"),
        (two_inputs, "`model` must have one input.*2 inputs"),
    ],
)
def test_models_that_cannot_be_shown_are_told(model, message):
    with pytest.raises(ValueError, match=message):
        keras_attn.attention_maps(model(), np.zeros((1, 8, 8, 3), "float32"))


@pytest.mark.parametrize(
    "shape, query, message",
    [
        ((12, 16, 3), None, r"`images`.*\(12, 16, 3\)"),
        ((0, 12, 16, 3), None, r"`images`.*\(0, 12, 16, 3\)"),
        ((1, 12, 16, 3), (12, 0), r"`query`.*12 rows.*16 col.*query=\(12, 0\)"),
        ((1, 12, 16, 3), (0, -1), r"`query`.*query=\(0, -1\)"),
    ],
)
def test_bad_arguments_are_named(shape, query, message):
    with pytest.raises(ValueError, match=message):
        keras_attn.attention_maps(gated_model(), np.zeros(shape), query)


def model_of_every_layer():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
    for layer in (
        ChannelAttention2D(2),
        PositionwiseAttention2D(3),
        RectangularAttention2D(margin=0.7),
        ExplicitAttention2D(4),
        RelativeSelfAttention2D(4, 4, num_heads=2),
        GlobalSelfAttention2D(4, num_heads=2),
    ):
        x = layer(x)
    model = keras.Model(inputs, x)
    randomize(model)
    return model


ON_JAX = """
import keras
import numpy as np
import keras_attn

folder = sys.argv[1]
arrays = dict(np.load(f"{folder}/arrays.npz"))
model = keras.saving.load_model(f"{folder}/model.keras")
for result in keras_attn.attention_maps(model, arrays.pop("images"), (5, 2)):
    shown = vars(result.resized())
    for field in FIELDS:
        if shown[field] is not None:
            np.testing.assert_allclose(
                shown[field], arrays.pop(f"{result.name}/{field}"),
                rtol=1e-3, atol=1e-4,
            )
assert not arrays
assert "tensorflow" not in sys.modules
"""


def test_jax_without_tensorflow_shows_the_same(tmp_path):
    model = model_of_every_layer()
    model.save(tmp_path / "model.keras")
    arrays = {"images": images_of(model)}
    for result in keras_attn.attention_maps(model, arrays["images"], (5, 2)):
        shown = vars(result.resized())
        for field in ALL_FIELDS:
            if shown[field] is not None:
                arrays[f"{result.name}/{field}"] = shown[field]
    assert len(arrays) == 1 + sum(map(len, FIELDS.values()))
    np.savez(tmp_path / "arrays.npz", **arrays)
    fields = f"FIELDS = {sorted(ALL_FIELDS)}\n"
    run_python(WITHOUT_TENSORFLOW + fields + ON_JAX, tmp_path, backend="jax")


@pytest.mark.parametrize("query", [5, (1,), (1, 2, 3), (1.7, 2.2)])
def test_a_query_that_is_no_pixel_is_an_error(query):
    model = small_network("gsa", blocks_per_stage=(1,))
    with pytest.raises(ValueError, match="`query` must be two integers"):
        keras_attn.attention_maps(model, some_images(), query)


def test_batches_have_at_least_one_image():
    model = small_network("gsa", blocks_per_stage=(1,))
    with pytest.raises(ValueError, match="`batch_size` must be a positive"):
        keras_attn.attention_maps(model, some_images(), batch_size=0)
