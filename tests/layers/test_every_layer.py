"""What all attention layers promise alike."""

import importlib.util
import inspect
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_attn import layers
from tests.layers.common import CASES
from tests.layers.common import CHANNELS
from tests.layers.common import HEIGHT
from tests.layers.common import WIDTH
from tests.layers.common import assert_close
from tests.layers.common import built
from tests.layers.common import gradients
from tests.layers.common import make_inputs
from tests.layers.common import make_layer
from tests.layers.common import randomize
from tests.layers.common import to_channels_first
from tests.layers.common import to_numpy
from tests.subprocesses import run_python

every_case = pytest.mark.parametrize("case", CASES)
every_layer = pytest.mark.parametrize(
    "layer_class, config",
    [
        (layers.RectangularAttention2D, {}),
        (layers.GlobalSelfAttention2D, {"filters": 8}),
        (layers.ExplicitAttention2D, {"filters": 8}),
        (layers.PositionwiseAttention2D, {}),
        (layers.ChannelAttention2D, {}),
        (layers.RelativeSelfAttention2D, {"filters": 8, "key_filters": 8}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)

# The largest error that rounding to the compute dtype explains, relative to
# the largest output.
POLICIES = {"mixed_float16": 3e-3, "mixed_bfloat16": 2e-2}


def expected_shape(case, batch, height, width):
    _, _, strides, channels = CASES[case]
    height, width = (
        None if size is None else (size + strides - 1) // strides
        for size in (height, width)
    )
    return (batch, height, width, channels)


def unknown_size_model(layer):
    inputs = keras.Input((None, None, CHANNELS))
    return keras.Model(inputs, layer(inputs))


def test_the_cases_cover_every_public_layer():
    tested = {layer_class.__name__ for layer_class, *_ in CASES.values()}
    # ReZero goes around another layer: tests/layers/test_rezero.py.
    assert tested | {"ReZero"} == set(layers.__all__)


@every_case
def test_a_frozen_layer_that_is_made_anew_is_frozen_whole(case):
    """As in a loaded model: also the layers inside of it."""
    layer = make_layer(case)
    count = len(unknown_size_model(layer).trainable_weights)
    layer.trainable = False
    again = type(layer).from_config(layer.get_config())
    model = unknown_size_model(again)
    assert model.weights and not model.trainable_weights
    again.trainable = True
    assert len(model.trainable_weights) == count


@every_case
def test_output_has_the_computed_and_documented_shape(case):
    layer = make_layer(case)
    inputs = make_inputs()
    expected = expected_shape(case, 2, HEIGHT, WIDTH)
    assert layer.compute_output_shape(inputs.shape) == expected
    assert tuple(layer(inputs).shape) == expected
    symbolic = make_layer(case)(keras.Input((HEIGHT, WIDTH, CHANNELS)))
    assert symbolic.shape == (None, *expected[1:])


@every_case
def test_channels_first_shape_is_the_transposed_one(case):
    layer = make_layer(case, data_format="channels_first")
    batch, height, width, channels = expected_shape(case, 2, HEIGHT, WIDTH)
    shape = layer.compute_output_shape((2, CHANNELS, HEIGHT, WIDTH))
    assert shape == (batch, channels, height, width)
    shape = layer.compute_output_shape((None, CHANNELS, None, None))
    assert shape == (None, channels, None, None)


@every_case
def test_one_model_runs_on_maps_of_unknown_size(case):
    layer = make_layer(case)
    model = unknown_size_model(layer)
    randomize(layer)
    assert model.output_shape == expected_shape(case, None, None, None)
    run = model
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        spec = tf.TensorSpec((None, None, None, CHANNELS))
        run = tf.function(model, input_signature=[spec])
    for batch, height, width in ((2, 5, 7), (1, 6, 4)):
        inputs = make_inputs(height, width)[:batch]
        outputs = run(ops.convert_to_tensor(inputs))
        expected = expected_shape(case, batch, height, width)
        assert tuple(outputs.shape) == expected
        assert_close(outputs, to_numpy(layer(inputs)))


@every_case
def test_config_rebuilds_an_equal_layer(case):
    layer = make_layer(case, name="attention", trainable=False)
    config = layer.get_config()
    twin = type(layer).from_config(json.loads(json.dumps(config)))
    assert twin.get_config() == config
    inputs = make_inputs()
    built(layer, inputs.shape)
    twin.build(inputs.shape)
    twin.set_weights(layer.get_weights())
    assert_close(twin(inputs), to_numpy(layer(inputs)), 1e-6)


@every_case
def test_config_holds_every_argument(case):
    layer_class, config, _, _ = CASES[case]
    layer = make_layer(case, data_format="channels_first")
    stored = layer.get_config()
    arguments = set(inspect.signature(layer_class.__init__).parameters)
    assert arguments - {"self", "kwargs"} <= set(stored)
    for argument, value in config.items():
        assert stored[argument] == value
    assert stored["data_format"] == "channels_first"


@every_layer
def test_registered_under_the_package_name(layer_class, config):
    name = keras.saving.get_registered_name(layer_class)
    assert name == f"keras_attn>{layer_class.__name__}"
    layer = layer_class(**config)
    serialized = keras.saving.serialize_keras_object(layer)
    restored = keras.saving.deserialize_keras_object(serialized)
    assert type(restored) is layer_class
    assert restored.get_config() == layer.get_config()


@every_case
def test_channels_first_equals_transposed_channels_last(case):
    inputs = make_inputs()
    last = built(make_layer(case, data_format="channels_last"), inputs.shape)
    transposed = to_channels_first(inputs)
    first = make_layer(case, data_format="channels_first")
    first.build(transposed.shape)
    first.set_weights(last.get_weights())
    expected = to_channels_first(to_numpy(last(inputs)))
    assert_close(first(transposed), expected, 1e-6)
    described = last.describe_attention(inputs, (2, 3))
    assert described
    for field, values in first.describe_attention(transposed, (2, 3)).items():
        assert_close(values, to_numpy(described[field]), 1e-6)


@every_case
@pytest.mark.parametrize("policy", POLICIES)
def test_attention_is_shown_in_float32(case, policy):
    layer = make_layer(case, dtype=policy)
    inputs = ops.cast(make_inputs(), layer.compute_dtype)
    built(layer, inputs.shape)
    for values in layer.describe_attention(inputs, (4, 6)).values():
        assert keras.backend.standardize_dtype(values.dtype) == "float32"
        assert np.all(np.isfinite(to_numpy(values)))


@every_case
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_integers_are_taken_as_numbers(case, dtype):
    """Keras casts floats only: a gate from 0 to 1 was zero among integers."""
    layer = make_layer(case)
    integers = np.abs(50 * make_inputs()).astype(dtype)
    built(layer, integers.shape)
    expected = to_numpy(layer(integers.astype("float32")))
    assert np.abs(expected).max() > 1
    outputs = layer(ops.convert_to_tensor(integers))
    assert keras.backend.standardize_dtype(outputs.dtype) == "float32"
    assert_close(outputs, expected, 1e-6)
    shown = layer.describe_attention(ops.convert_to_tensor(integers), (1, 2))
    wanted = layer.describe_attention(integers.astype("float32"), (1, 2))
    for field, values in wanted.items():
        assert_close(shown[field], to_numpy(values), 1e-5)


# Position-wise attention takes any number of them.
@pytest.mark.parametrize("case", [c for c in CASES if "positionwise" not in c])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_other_channels_than_it_was_built_with_are_an_error(case, data_format):
    layer = make_layer(case, data_format=data_format)
    shapes = [
        (CHANNELS + more, 5, 7)
        if data_format == "channels_first"
        else (5, 7, CHANNELS + more)
        for more in (0, 1)
    ]
    layer(keras.Input(shapes[0]))
    with pytest.raises(ValueError, match=f"{CHANNELS}.*shape"):
        layer(keras.Input(shapes[1]))


@pytest.mark.parametrize("case", ["global", "relative"])
def test_a_layer_that_lacked_a_size_can_be_built_with_one(case):
    """And has no variables left over from the first try."""
    layer = make_layer(case, max_size=None)
    with pytest.raises(ValueError, match="max_size"):
        layer(keras.Input((None, None, CHANNELS)))
    fresh = make_layer(case, max_size=None)
    for either in (layer, fresh):
        either(keras.Input((5, 7, CHANNELS)))
    assert [weight.name for weight in layer.weights] == [
        weight.name for weight in fresh.weights
    ]


@pytest.mark.parametrize("case", ["global", "relative"])
def test_a_map_too_large_for_the_tables_is_an_error_before_it_runs(case):
    layer = make_layer(case, max_size=None)
    layer(keras.Input((5, 7, CHANNELS)))
    layer(keras.Input((4, 6, CHANNELS)))
    for size in ((6, 7), (5, 8)):
        with pytest.raises(ValueError, match="larger than the table"):
            layer(keras.Input((*size, CHANNELS)))


@pytest.mark.parametrize("query", [(5, 0), (0, 7), (-1, 0), (0, -1)])
@pytest.mark.parametrize("case", ["global", "gaussian", "cauchy", "relative"])
def test_a_query_beyond_the_map_is_an_error(case, query):
    layer = built(make_layer(case), (None, HEIGHT, WIDTH, CHANNELS))
    methods = ["query_attention"]
    if case == "global":
        methods.append("position_attention")
    for method in methods:
        with pytest.raises(ValueError, match=f"query=.{query[0]}, {query[1]}"):
            getattr(layer, method)(make_inputs(), query)


@every_layer
def test_data_format_defaults_to_the_configured_one(layer_class, config):
    configured = keras.config.image_data_format()
    try:
        for data_format in ("channels_first", "channels_last"):
            keras.config.set_image_data_format(data_format)
            assert layer_class(**config).data_format == data_format
    finally:
        keras.config.set_image_data_format(configured)


def mixed_precision_outputs(case, policy, inputs, training=False):
    """Return the outputs in mixed and in full precision, same weights."""
    exact = built(make_layer(case), inputs.shape)
    mixed = make_layer(case, dtype=policy)
    mixed.build(inputs.shape)
    mixed.set_weights(exact.get_weights())
    outputs = mixed(inputs, training=training)
    dtype = keras.backend.standardize_dtype(outputs.dtype)
    assert dtype == keras.DTypePolicy(policy).compute_dtype
    outputs = to_numpy(outputs)
    assert np.all(np.isfinite(outputs))
    return outputs, to_numpy(exact(inputs, training=training))


@every_case
@pytest.mark.parametrize("policy", POLICIES)
def test_mixed_precision_is_close_to_float32(case, policy):
    outputs, expected = mixed_precision_outputs(case, policy, make_inputs())
    assert_close(outputs, expected, POLICIES[policy])


@every_case
@pytest.mark.parametrize("policy", POLICIES)
def test_mixed_precision_survives_large_inputs(case, policy):
    # Batch norm uses the statistics of the batch: with any others the
    # position part of global attention, cubic in its inputs, has results
    # that float16 cannot hold.
    outputs, expected = mixed_precision_outputs(
        case, policy, 50 * make_inputs(), training=True
    )
    error = np.mean(np.abs(outputs - expected))
    # On average: rounded logits this large may turn a softmax around.
    assert error <= 3 * POLICIES[policy] * np.mean(np.abs(expected))


@pytest.mark.parametrize(
    "case, attributes",
    [
        ("global", ["column_norm"]),
        ("positionwise", ["convolution", "norm"]),
        ("channel", ["reduce", "expand"]),
    ],
)
def test_inner_layers_take_the_dtype_policy(case, attributes):
    layer = make_layer(case, dtype="mixed_bfloat16")
    layer.build((None, HEIGHT, WIDTH, CHANNELS))
    for attribute in attributes:
        inner = getattr(layer, attribute)
        assert inner.dtype_policy.name == "mixed_bfloat16"


@every_case
def test_every_gradient_is_the_slope_that_differences_show(case):
    """In each column of each weight: queries, keys and values share a kernel,
    and a part of it that does nothing would hide among the others. But for
    the channels that a ReLU cuts off."""
    inputs = make_inputs()
    layer = built(make_layer(case), inputs.shape)
    random = np.random.default_rng(3)
    direction = random.normal(size=layer.compute_output_shape(inputs.shape))
    direction = direction.astype("float32")

    def loss(inputs):
        return ops.sum(layer(inputs, training=True) * direction)

    image = keras.Variable(inputs, name="inputs")
    weights = [*layer.trainable_variables, image]
    grads = gradients(loss, layer, inputs)
    for weight, grad in zip(weights, grads, strict=True):
        assert np.any(np.abs(grad) > 1e-6), weight.path
        value = to_numpy(weight)
        for column in range(value.shape[-1]):
            if not case.startswith("channel"):
                assert np.any(np.abs(grad[..., column]) > 1e-6), column
            step = np.zeros_like(value)
            step[..., column] = 3e-3 * random.normal(size=value.shape[:-1])
            ends = []
            for moved in (value - step, value + step):
                weight.assign(moved)
                ends.append(to_numpy(loss(image)))
            weight.assign(value)
            np.testing.assert_allclose(
                2 * np.sum(grad * step),
                ends[1] - ends[0],
                rtol=2e-2,
                atol=2e-5,
                err_msg=f"{weight.path}, column {column}",
            )


@every_layer
def test_inputs_of_another_rank_are_an_error(layer_class, config):
    with pytest.raises(ValueError, match="rank 4|ndim=4"):
        layer_class(**config)(np.zeros((2, 5, 8), "float32"))
    with pytest.raises(ValueError, match="rank 4|ndim=4"):
        layer_class(**config)(keras.Input((2, 5, 5, 8)))
    layer = layer_class(**config)
    with pytest.raises(ValueError, match="rank 4"):
        layer.build((2, 5, 8))
    layer.build((2, 5, 5, 8))
    with pytest.raises(ValueError, match="ndim=4"):
        layer(np.zeros((2, 5, 8), "float32"))


@every_layer
def test_unknown_channels_are_an_error(layer_class, config):
    with pytest.raises(ValueError, match="known number of channels"):
        layer_class(**config, data_format="channels_last").build(
            (None, 5, 5, None)
        )
    with pytest.raises(ValueError, match="known number of channels"):
        layer_class(**config, data_format="channels_first").build(
            (None, None, 5, 5)
        )


@every_layer
def test_unknown_data_format_is_an_error_that_names_it(layer_class, config):
    message = "data_format.*data_format='channels_middle'"
    with pytest.raises(ValueError, match=message):
        layer_class(**config, data_format="channels_middle")


@pytest.mark.parametrize(
    "layer_class, config, argument",
    [
        (layers.GlobalSelfAttention2D, {"filters": 6}, "filters"),
        (layers.ExplicitAttention2D, {"filters": 6}, "filters"),
        (
            layers.RelativeSelfAttention2D,
            {"filters": 6, "key_filters": 8},
            "filters",
        ),
        (
            layers.RelativeSelfAttention2D,
            {"filters": 8, "key_filters": 6},
            "key_filters",
        ),
    ],
)
def test_channels_must_be_divisible_by_the_heads(layer_class, config, argument):
    message = f"`{argument}`.*`num_heads`.*{argument}=6, num_heads=4"
    with pytest.raises(ValueError, match=message):
        layer_class(**config, num_heads=4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory of saved models, and the outputs that they must give."""
    directory = tmp_path_factory.mktemp("saved")
    inputs = make_inputs()
    np.save(directory / "inputs.npy", inputs)
    expected = {}
    for case in CASES:
        layer = make_layer(case)
        model = unknown_size_model(layer)
        randomize(layer)
        expected[case] = to_numpy(model(inputs))
        model.save(directory / f"{case}.keras")
        model.save_weights(directory / f"{case}.weights.h5")
    return directory, expected


def reload(directory, backend, *arguments):
    script = pathlib.Path(__file__).with_name("reload_layers.py")
    run_python(script.read_text(), directory, *arguments, backend=backend)
    with np.load(directory / f"{backend}.npz") as outputs:
        return dict(outputs)


@pytest.fixture(scope="module")
def reloaded(saved):
    return reload(saved[0], keras.backend.backend(), "weights")


@pytest.fixture(scope="module")
def reloaded_elsewhere(saved):
    backends = {"tensorflow": "jax", "jax": "tensorflow"}
    other = backends[keras.backend.backend()]
    if importlib.util.find_spec(other) is None:
        pytest.skip(f"{other} is not installed")
    return reload(saved[0], other)


@every_case
def test_fresh_process_loads_a_saved_model(saved, reloaded, case):
    assert_close(reloaded[f"{case}/keras"], saved[1][case], 1e-6)


@every_case
def test_fresh_process_loads_saved_weights(saved, reloaded, case):
    expected = saved[1][case]
    assert not np.allclose(reloaded[f"{case}/fresh"], expected, atol=1e-2)
    assert_close(reloaded[f"{case}/weights"], expected, 1e-6)


@every_case
def test_the_other_backend_gives_the_same(saved, reloaded_elsewhere, case):
    assert_close(reloaded_elsewhere[f"{case}/keras"], saved[1][case], 1e-4)


@pytest.mark.parametrize(
    "layer_class, argument",
    [
        (layers.GlobalSelfAttention2D, "strides"),
        (layers.GlobalSelfAttention2D, "max_size"),
        (layers.ExplicitAttention2D, "strides"),
        (layers.PositionwiseAttention2D, "kernel_size"),
        (layers.ChannelAttention2D, "reduction"),
        (layers.RelativeSelfAttention2D, "max_size"),
        (layers.GlobalSelfAttention2D, "filters"),
        (layers.GlobalSelfAttention2D, "num_heads"),
        (layers.ExplicitAttention2D, "filters"),
        (layers.ExplicitAttention2D, "num_heads"),
        (layers.RelativeSelfAttention2D, "filters"),
        (layers.RelativeSelfAttention2D, "key_filters"),
        (layers.RelativeSelfAttention2D, "num_heads"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, 1.5, 8.0, True, "8"])
def test_sizes_that_are_not_positive_integers_are_named(
    layer_class, argument, value
):
    needed = {"filters": 8, "key_filters": 8}
    known = inspect.signature(layer_class).parameters
    needed = {name: size for name, size in needed.items() if name in known}
    with pytest.raises(ValueError, match=f"`{argument}`.*{argument}={value!r}"):
        layer_class(**needed | {argument: value})


@pytest.mark.parametrize(
    "layer_class, sizes",
    [
        (layers.GlobalSelfAttention2D, ["filters", "num_heads", "max_size"]),
        (layers.ExplicitAttention2D, ["filters", "strides"]),
        (layers.RelativeSelfAttention2D, ["filters", "key_filters"]),
        (layers.PositionwiseAttention2D, ["kernel_size"]),
        (layers.ChannelAttention2D, ["reduction"]),
    ],
)
def test_integers_of_numpy_are_sizes_too(layer_class, sizes):
    config = layer_class(**dict.fromkeys(sizes, np.int64(8))).get_config()
    assert json.loads(json.dumps({name: config[name] for name in sizes}))


@pytest.mark.parametrize("case", ["global", "relative"])
def test_tables_start_with_their_standard_deviation(case):
    layer = make_layer(case, max_size=300)
    layer.build((None, 5, 7, 6))
    for table in (layer.column_table, layer.row_table):
        assert to_numpy(table).std() == pytest.approx(
            layer.key_dim**-0.5, rel=0.15
        )


@pytest.mark.parametrize("case", ["global", "relative"])
def test_the_first_step_of_adam_is_no_longer_than_its_rate(case):
    """It was for tables, whose rows came in pieces that were squared."""
    layer = make_layer(case)
    inputs = keras.Input((HEIGHT, WIDTH, CHANNELS))
    model = keras.Model(inputs, layer(inputs))
    randomize(layer)
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    before = [to_numpy(weight) for weight in model.trainable_weights]
    model.train_on_batch(make_inputs(), np.ones((2, *model.output_shape[1:])))
    for weight, old in zip(model.trainable_weights, before):
        steps = np.abs(to_numpy(weight) - old)
        assert 0 < steps.max() <= 1.01e-3, weight.path


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("case", ["global", "relative"])
def test_a_map_that_turns_out_too_large_gives_no_numbers(case, jit_compile):
    """Where its size is not known before; XLA would take the last rows."""
    layer = make_layer(case, max_size=6)
    inputs = keras.Input((None, None, CHANNELS))
    model = keras.Model(inputs, layer(inputs))
    randomize(layer)
    sizes = tf.TensorSpec((None, None, None, CHANNELS))
    call = tf.function(
        lambda features: model(features, training=False),
        input_signature=[sizes],
        jit_compile=jit_compile,
    )
    for size in (5, 6):
        assert np.isfinite(call(make_inputs(size, size))).all()
    try:
        outputs = call(make_inputs(8, 8))
    except tf.errors.InvalidArgumentError:
        return
    assert np.isnan(outputs).all()


SHOWN = {
    "global": ["attention_map", "query_attention", "position_attention"],
    "gaussian": ["query_attention"],
    "relative": ["attention_map", "query_attention"],
    "rectangular": ["attention_map", "rectangles"],
    "positionwise": ["attention_map"],
    "channel": ["channel_weights"],
}


@pytest.mark.parametrize(
    ("case", "method"),
    [(case, method) for case in SHOWN for method in SHOWN[case]],
)
def test_what_cannot_be_shown_is_told(case, method):
    """Not by what happens to fail inside; of a symbolic tensor, nothing would
    fail, and the weights would be lost."""
    query = [(0, 0)] if method.endswith("_attention") else []
    layer = make_layer(case)
    show = getattr(layer, method)
    inputs = make_inputs()
    with pytest.raises(ValueError, match="has no weights yet"):
        show(inputs, *query)
    built(layer, inputs.shape)
    with pytest.raises(ValueError, match="keras_attn.attention_maps"):
        show(keras.Input(inputs.shape[1:]), *query)
    with pytest.raises(ValueError, match=r"`inputs` must be .* rank 4.*shape="):
        show(inputs[0], *query)
    if case != "positionwise":
        with pytest.raises(ValueError, match=r"`inputs` must be .* channels"):
            show(inputs[..., :2], *query)
    for wrong in (5, (1,), (1, 2, 3), (1.5, 2), ("a", "b")):
        if query:
            with pytest.raises(ValueError, match="must be two integers"):
                show(inputs, wrong)
