"""Exported files: right numbers, without Keras, and clear errors."""

import io
import json
import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from typer.testing import CliRunner

import keras_attn
from keras_attn import command_line
from keras_attn.applications import AttnResNet
from keras_attn.exporting import export as exporting
from keras_attn.exporting import float32
from keras_attn.exporting import litert
from keras_attn.exporting import litert_converter
from keras_attn.exporting.description import describe
from keras_attn.weights import manifest
from tests.subprocesses import run_python

GSA = "gsa_resnet14_small.cifar100_32"
# Those of SE and position-wise attention are in CBAM.
ATTENTION = ["gsa", "expatt", "cram", "aa", "cbam"]
SIZE = 16


def images(count=8):
    random = np.random.default_rng(0)
    smooth = random.uniform(0, 255, (count, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    return smooth.astype("float32")


def new_network(attention):
    return AttnResNet(
        (1, 1),
        bottleneck=False,
        width=16,
        stem_strides=1,
        attention=attention,
        attention_stages=[2, 3] if attention else None,
        input_shape=(SIZE, SIZE, 3),
        classes=5,
    )


def network(attention):
    """A network with statistics of its own, as after a training."""
    model = new_network(attention)
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if weight.path.endswith("out_bn/gamma"):
            weight.assign(random.uniform(0.5, 1, weight.shape))
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for norm in norms:
        norm.momentum = 0  # the statistics of these images alone
    model(images(), training=True)
    return model


def answers(model):
    return np.asarray(model(images(), training=False))


def run_litert(path, pictures):
    interpreter = Interpreter(str(path))
    [image] = interpreter.get_input_details()
    interpreter.resize_tensor_input(image["index"], pictures.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(image["index"], pictures)
    interpreter.invoke()
    [output] = interpreter.get_output_details()
    operations = {op["op_name"] for op in interpreter._get_ops_details()}
    return interpreter.get_tensor(output["index"]), operations


def numbers_of_positions(model):
    return sum(
        size**2 * layer.key_dim
        for layer in model.layers
        if hasattr(layer, "TABLES")
        for size in layer.input.shape[1:3]
    )


@pytest.fixture
def converted_here(monkeypatch):
    """Where the converter's own process, which imports TensorFlow once more,
    is not what is tested."""

    def convert(*arguments):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nobody sees those of the process
            litert_converter.main(*map(str, arguments))

    monkeypatch.setattr(litert, "_convert", convert)


@pytest.mark.usefixtures("converted_here")
@pytest.mark.parametrize("attention", ATTENTION)
def test_every_attention_type_in_every_format(attention, tmp_path):
    import onnxruntime

    model = network(attention)
    expected = answers(model)
    assert expected.max() < 0.99, "saturated outputs would hide differences"
    assert np.ptp(expected, axis=0).max() > 0.02, "so would constant ones"

    folder = keras_attn.export(model, tmp_path / "saved")
    served = tf.saved_model.load(folder)
    outputs = served.serve(images())
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    [stored] = (folder / "variables").glob("variables.data*")
    assert stored.stat().st_size < 4.2 * model.count_params() + 30_000

    file = keras_attn.export(model, tmp_path / "a.tflite", format="litert")
    for count in (1, 8):
        outputs, operations = run_litert(file, images(8)[:count])
        np.testing.assert_allclose(outputs, expected[:count], atol=1e-4)
    for operation in operations:
        assert not operation.startswith(("Flex", "CUSTOM")), operation
    # No attention map is baked in (a quarter of a million numbers a head):
    # the file is little more than the weights, and a row of a positional
    # table for each pair of positions of an axis.
    numbers = model.count_params() + numbers_of_positions(model)
    assert file.stat().st_size < 4 * numbers + 50_000

    file = keras_attn.export(model, tmp_path / "a.onnx", format="onnx")
    session = onnxruntime.InferenceSession(file)
    [outputs] = session.run(None, {"image": images()})
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    domains = {node.domain for node in onnx.load(file).graph.node}
    assert domains <= {"", "ai.onnx"}


def test_operations_of_tensorflow_in_a_litert_file_are_found():
    """Should the converter let one in."""
    function = tf.function(
        tf.math.erf, input_signature=[tf.TensorSpec((1, 4), "float32")]
    ).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,
    ]
    with pytest.raises(ValueError, match="not built in: .*FlexErf"):
        litert_converter.check_operations(converter.convert())


@pytest.fixture(scope="module")
def in_float32(tmp_path_factory):
    """A network, its answers, and the size of its LiteRT file."""
    keras.utils.set_random_seed(0)
    model = network("expatt")
    path = tmp_path_factory.mktemp("float32") / "a.tflite"
    keras_attn.export(model, path, format="litert")
    return model, answers(model), path.stat().st_size


@pytest.mark.usefixtures("converted_here")
@pytest.mark.parametrize(
    ("quantize", "tolerance", "size"),
    # The answers to the next picture would be 0.18 away.
    [("float16", 0.002, 0.75), ("dynamic", 0.02, 0.55), ("int8", 0.06, 0.55)],
)
def test_quantized_files_are_smaller_and_near(
    in_float32, tmp_path, quantize, tolerance, size
):
    model, expected, whole_size = in_float32
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = keras_attn.export(
            model,
            tmp_path / "b.tflite",
            format="litert",
            quantize=quantize,
            representative_data=images(8) if quantize == "int8" else None,
        )
    said = any("int8 was not measured" in str(w.message) for w in caught)
    assert said == (quantize == "int8")
    outputs, operations = run_litert(file, images())
    np.testing.assert_allclose(outputs, expected, atol=tolerance)
    assert ("QUANTIZE" in operations) == (quantize == "int8")
    assert not {x for x in operations if x.startswith(("Flex", "CUSTOM"))}
    assert file.stat().st_size < size * whole_size
    beside = json.loads(file.with_suffix(".json").read_text())
    assert beside["quantize"] == quantize
    assert beside["input"]["height"] == SIZE


@pytest.mark.usefixtures("converted_here")
def test_int8_of_gsa_agrees_with_float32(tmp_path, monkeypatch):
    """GSA is the hardest: products of what no softmax has normalised."""
    # It loses less than the point from which there is a warning.
    monkeypatch.setattr(litert, "MOST_LOST_POINTS", 0.5)
    pictures = crops(32)
    expected = keras_attn.load(GSA).model.predict(pictures, verbose=0)
    with pytest.warns(UserWarning, match="was measured to lose 0.7 points"):
        file = export_int8(GSA, tmp_path / "a.tflite", crops(100, seed=1))
    outputs, _ = run_litert(file, pictures)
    agree = outputs.argmax(-1) == expected.argmax(-1)
    assert agree.mean() > 0.75
    assert np.abs(outputs - expected).mean() < 0.005  # of 100 classes


def export_int8(model, path, pictures, **arguments):
    return keras_attn.export(
        model,
        path,
        format="litert",
        quantize="int8",
        representative_data=pictures,
        **arguments,
    )


def crops(count, seed=0, size=32):
    """Squares cut from the example pictures, in many sizes."""
    random = np.random.default_rng(seed)
    files = sorted((manifest.REPOSITORY / "examples/images").glob("*.jpg"))
    pictures = []
    for index in range(count):
        with Image.open(files[index % len(files)]) as picture:
            side = random.integers(60, min(picture.size))
            left, top = (random.integers(x - side + 1) for x in picture.size)
            cut = picture.crop((left, top, left + side, top + side))
            pictures.append(np.asarray(cut.resize((size, size))))
    return np.stack(pictures).astype("float32")


READ = """
import sys
for absent in {absent}:
    sys.modules[absent] = None  # importing it is an error
import numpy as np
"""
SERVE = """
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
signatures = served.signatures
images = np.load(sys.argv[2])
floats = signatures["serving_default"](image=tf.constant(images, "float32"))
bytes_ = signatures["serve_uint8"](image=tf.constant(images))
files = [tf.io.encode_png(image) for image in images]
read = signatures["serve_encoded"](encoded=tf.stack(files))
best = np.sort(read["probabilities"])[:, ::-1][:, :5]
np.testing.assert_allclose(read["top_probabilities"], best)
np.save(sys.argv[3], [*floats.values(), *bytes_.values(),
                      read["probabilities"]])
print(read["top_classes"][0, 0].numpy().decode())
wide = tf.io.encode_jpeg(tf.constant(images[0]).numpy().repeat(3, 0))
print(signatures["serve_encoded"](encoded=[wide])["probabilities"].shape)
"""
LITERT = """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
image, = interpreter.get_input_details()
images = np.load(sys.argv[2]).astype("float32")
interpreter.resize_tensor_input(image["index"], images.shape)
interpreter.allocate_tensors()
interpreter.set_tensor(image["index"], images)
interpreter.invoke()
output, = interpreter.get_output_details()
np.save(sys.argv[3], interpreter.get_tensor(output["index"]))
"""
ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
images = np.load(sys.argv[2]).astype("float32")
np.save(sys.argv[3], session.run(None, {"image": images})[0])
print(session.get_modelmeta().custom_metadata_map["class_names"])
"""
WEIGHT = "expatt_resnet14_small.cifar100_32"


@pytest.fixture(scope="module")
def published():
    """A published network, pictures, and its answers."""
    classifier = keras_attn.load(WEIGHT)
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (4, 32, 32, 3), "uint8")
    return classifier, pictures, classifier.predict(pictures)


@pytest.mark.parametrize(
    ("format", "name", "code", "absent"),
    [
        ("saved_model", "served", SERVE, {"keras", "keras_attn"}),
        ("litert", "a.tflite", LITERT, {"keras", "keras_attn", "tensorflow"}),
        ("onnx", "a.onnx", ONNX, {"keras", "keras_attn", "tensorflow"}),
    ],
)
def test_files_need_neither_keras_nor_this_package(
    published, tmp_path, format, name, code, absent
):
    classifier, pictures, expected = published
    path = keras_attn.export(WEIGHT, tmp_path / name, format=format)
    np.save(tmp_path / "pictures.npy", pictures)
    printed = run_python(
        READ.format(absent=absent) + code,
        path,
        tmp_path / "pictures.npy",
        tmp_path / "outputs.npy",
    )
    outputs = np.load(tmp_path / "outputs.npy")
    for answer in outputs.reshape(-1, *expected.shape):
        np.testing.assert_allclose(answer, expected, atol=1e-4)
    if format == "saved_model":
        best = classifier.decode_predictions(expected, top=1)[0][0][1]
        assert printed.splitlines() == [best, "(1, 100)"]
        path = path / "assets.extra" / "keras_attn.json"
        assert "class_names" in json.loads(path.read_text())
    if format == "onnx":
        assert json.loads(printed) == list(classifier.class_names)
    if format == "litert":
        beside = json.loads((tmp_path / "a.json").read_text())
        assert beside["class_names"] == list(classifier.class_names)
        assert beside["name"] == WEIGHT


def test_files_with_pictures_are_prepared_as_keras_attn_does(
    published, tmp_path
):
    classifier, _, _ = published
    path = keras_attn.export(classifier, tmp_path / "served")
    picture = Image.open("examples/images/coffee.jpg").convert("RGB")
    content = io.BytesIO()
    picture.save(content, "PNG")
    served = tf.saved_model.load(path)
    answers = served.signatures["serve_encoded"](
        encoded=tf.constant([content.getvalue()])
    )
    [answer] = answers["probabilities"].numpy()
    [expected] = classifier.predict(picture)
    # The two resize alike, but not to the last bit.
    np.testing.assert_allclose(answer, expected, atol=0.05)
    assert answer.argmax() == expected.argmax()


def test_tools_for_saved_models_run_it(tmp_path):
    model = network("cram")
    path = keras_attn.export(model, tmp_path / "served")
    np.save(tmp_path / "images.npy", images())
    tool = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    command = [
        *("run", "--dir", path, "--tag_set", "serve"),
        *("--signature_def", "serving_default"),
        *("--inputs", f"image={tmp_path}/images.npy"),
        *("--outdir", tmp_path),
    ]
    done = subprocess.run(
        [*tool, *map(str, command)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    outputs = np.load(tmp_path / "output_0.npy")
    expected = answers(model)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_half_precision_becomes_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = network("gsa")
    keras.config.set_dtype_policy("float32")
    whole = new_network("gsa")
    whole.set_weights(half.get_weights())
    exported = float32.in_float32(half)
    np.testing.assert_allclose(answers(exported), answers(whole), atol=1e-5)


@pytest.mark.usefixtures("converted_here")
def test_a_file_of_half_precision_is_exported_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network("gsa")
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "half.keras")
    expected = answers(model)
    file = keras_attn.export(
        tmp_path / "half.keras", tmp_path / "a.tflite", format="litert"
    )
    outputs, _ = run_litert(file, images())
    np.testing.assert_allclose(outputs, expected, atol=0.03)


class Twice(keras.layers.Layer):
    """A layer of a user, who has not registered it."""

    def call(self, inputs):
        return 2 * inputs


@pytest.mark.parametrize(
    "layer", [Twice(), keras.layers.Lambda(lambda inputs: 2 * inputs)]
)
def test_layers_of_users_become_float32_too(layer):
    image = keras.Input((SIZE, SIZE, 3))
    half = keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16")
    outputs = keras.layers.GlobalAveragePooling2D()(layer(half(image)))
    model = keras.Model(image, outputs)
    expected = answers(model)
    whole = float32.in_float32(model)
    assert {layer.compute_dtype for layer in whole.layers} == {"float32"}
    np.testing.assert_allclose(answers(whole), expected, atol=1)
    assert np.ptp(expected) > 20


def test_inputs_of_half_precision_become_float32():
    """A sequential model makes its own in the precision of its first layer."""
    sequential = keras.Sequential(
        [keras.layers.Flatten(dtype="bfloat16"), keras.layers.Dense(2)]
    )
    sequential.build((None, 4, 4, 3))
    image = keras.Input((4, 4, 3), dtype="float16")
    functional = keras.Model(image, keras.layers.Flatten()(image))
    for model in (sequential, functional):
        assert model.inputs[0].dtype.endswith("float16")
        assert float32.in_float32(model).inputs[0].dtype == "float32"


def test_policies_that_are_no_floats_are_kept():
    image = keras.Input((4, 4, 3))
    small = keras.layers.Resizing(2, 2, dtype="uint8")(image)
    half = keras.layers.Conv2D(2, 1, dtype="mixed_bfloat16")(small)
    whole = float32.in_float32(keras.Model(image, half))
    assert [layer.dtype_policy.name for layer in whole.layers[1:]] == [
        "uint8",
        "float32",
    ]


@pytest.mark.usefixtures("converted_here")
def test_adapted_statistics_are_exported(tmp_path):
    image = keras.Input((SIZE, SIZE, 3))
    adapted = keras.layers.Normalization(dtype="float32")
    adapted.adapt(images())
    outputs = keras.layers.GlobalAveragePooling2D()(adapted(image))
    outputs = keras.layers.Dense(3, dtype="mixed_bfloat16")(outputs)
    model = keras.Model(image, outputs)
    expected = answers(model)
    file = keras_attn.export(model, tmp_path / "a.tflite", format="litert")
    outputs, _ = run_litert(file, images())
    np.testing.assert_allclose(outputs, expected, atol=0.05)
    assert np.abs(expected).max() < 20, "which pixels would exceed"


def test_a_sequential_model_is_exported(tmp_path):
    layers = [
        keras.Input((SIZE, SIZE, 3)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2),
    ]
    model = keras.Sequential(layers)
    expected = answers(model)
    served = tf.saved_model.load(keras_attn.export(model, tmp_path / "saved"))
    # Nothing says that it takes pictures as they are in files.
    assert set(served.signatures) == {
        "serve",
        "serving_default",
        "serve_uint8",
    }
    for names in (["cat", "dog"], None):
        classifier = keras_attn.Classifier(model, names)
        folder = keras_attn.export(classifier, tmp_path / "b", overwrite=True)
        signature = tf.saved_model.load(folder).signatures["serve_encoded"]
        has_names = "top_classes" in signature.structured_outputs
        assert has_names == (names is not None)
    np.testing.assert_allclose(served.serve(images()), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["grey", "segmenter", "named"])
def test_networks_that_are_no_classifiers_are_served(kind, tmp_path):
    image = keras.Input((SIZE, SIZE, 1 if kind == "grey" else 3))
    outputs = keras.layers.Conv2D(2, 3, padding="same")(image)
    if kind == "named":
        pooled = keras.layers.GlobalAveragePooling2D()(outputs)
        outputs = {"logits": keras.layers.Dense(2)(pooled)}
    folder = keras_attn.export(keras.Model(image, outputs), tmp_path / "saved")
    signatures = tf.saved_model.load(folder).signatures
    assert "serve_encoded" not in signatures
    [name] = signatures["serve"].structured_outputs
    assert name == ("logits" if kind == "named" else "output_0")
    said = json.loads((folder / "assets.extra/keras_attn.json").read_text())
    assert said["input"] == {"height": SIZE, "width": SIZE}
    assert "output" not in said


@pytest.fixture
def conversions(monkeypatch):
    """What would be converted to LiteRT: classifier, path, shape,
    quantization and representative pictures, a tuple each."""
    seen = []
    monkeypatch.setattr(litert, "write", lambda *given: seen.append(given))
    return seen


def test_what_was_trained_further_is_not_the_published_one(
    tmp_path, conversions
):
    classifier = keras_attn.load(WEIGHT)
    with pytest.warns(UserWarning, match="int8 was not measured"):
        export_int8(classifier, tmp_path / "a.tflite", crops(2))
    [(converted, _, shape, _, _)] = conversions
    assert describe(converted, shape)["name"] != WEIGHT


def test_what_was_published_at_another_size_is_not_the_published_one(
    tmp_path, conversions
):
    path = tmp_path / "a.tflite"
    for size, is_it in ((32, True), (40, False)):
        keras_attn.export(WEIGHT, path, format="litert", input_size=size)
        converted, _, shape, _, _ = conversions[-1]
        assert (describe(converted, shape)["name"] == WEIGHT) == is_it


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_arrays_of_any_type_and_size_are_representative(
    tmp_path, conversions, dtype
):
    pictures = np.full((3, 20, 30, 3), 77, dtype)
    path = tmp_path / "a.tflite"
    with pytest.warns(UserWarning, match="int8"):
        classifier = keras_attn.Classifier(flexible(), None)
        export_int8(classifier, path, pictures, input_size=SIZE)
    [(*_, seen)] = conversions
    expected = np.full((3, SIZE, SIZE, 3), 77, "float32")
    np.testing.assert_array_equal(seen, expected)
    assert seen.dtype == "float32"


def test_the_end_of_the_path_has_a_format_in_capitals_too(
    tmp_path, conversions
):
    keras_attn.export(flexible(), tmp_path / "A.TFLITE", input_size=SIZE)
    assert len(conversions) == 1


def test_pictures_for_int8_are_chosen_from_all(tmp_path, conversions):
    data = np.arange(1200)[:, None, None, None] * np.ones((SIZE, SIZE, 3))
    with pytest.warns(UserWarning, match="int8"):
        export_int8(flexible(), tmp_path / "a.tflite", data, input_size=SIZE)
    [(*_, seen)] = conversions
    chosen = seen[:, 0, 0, 0]
    assert len(chosen) <= 500 and chosen.max() > 1190
    assert len(set(np.diff(chosen))) == 1


@pytest.mark.usefixtures("converted_here")
def test_int8_of_a_fixed_batch_finds_its_ranges_by_batches(tmp_path):
    """Layers may have made the size of the batch a constant."""
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, strides=4)(image)
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(x))
    model = keras.Model(image, outputs)
    with pytest.warns(UserWarning, match="int8"):
        file = export_int8(
            model, tmp_path / "a.tflite", images(5), batch_size=2
        )
    expected = answers(model)[:2]
    outputs, _ = run_litert(file, images(8)[:2])
    assert outputs.shape == expected.shape
    atol = 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(outputs, expected, atol=atol)


@pytest.mark.usefixtures("converted_here")
def test_sizes_and_batches_can_be_fixed(tmp_path):
    file = keras_attn.export(
        WEIGHT,
        tmp_path / "a.tflite",
        format="litert",
        input_size=40,
        batch_size=2,
    )
    [image] = Interpreter(str(file)).get_input_details()
    assert list(image["shape_signature"]) == [2, 40, 40, 3]


def flexible():
    image = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, keras.layers.Dense(2)(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tflite"}, "format='tflite'"),
        ({"format": "litert"}, "ends in .tflite. Received: path="),
        ({"format": "onnx"}, "ends in .onnx"),
        ({"quantize": "int4"}, "quantize='int4'"),
        ({"quantize": "float16"}, "`quantize` is for LiteRT, .*path="),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"input_size": "32"}, "`input_size` must be a positive integer"),
        ({"quantize": "int8", "format": "litert"}, "ends in .tflite"),
        ({"model": "nothing"}, "no published weight"),
        ({"model": keras.Sequential()}, r"one image .* shapes \[\]"),
    ],
)
def test_arguments_that_do_not_fit_are_named(tmp_path, arguments, message):
    arguments = {"model": WEIGHT, "path": tmp_path / "a"} | arguments
    with pytest.raises(ValueError, match=message):
        keras_attn.export(**arguments)
    assert not list(tmp_path.iterdir())


def test_int8_without_pictures_is_an_error(tmp_path):
    path = tmp_path / "a.tflite"
    int8 = {"format": "litert", "quantize": "int8"}
    with pytest.raises(ValueError, match="needs `representative_data`"):
        keras_attn.export(WEIGHT, path, **int8)
    with pytest.raises(ValueError, match="at least one picture"):
        keras_attn.export(WEIGHT, path, **int8, representative_data=[])
    with pytest.raises(ValueError, match="a list or an array. Received: dict"):
        keras_attn.export(WEIGHT, path, **int8, representative_data={"a": 1})
    (tmp_path / "empty").mkdir()
    folder = str(tmp_path / "empty")
    with pytest.raises(ValueError, match="without images"):
        keras_attn.export(WEIGHT, path, **int8, representative_data=folder)
    size = manifest.entry(WEIGHT).input["size"]
    for largest in (0.0, 1.0):
        dark = np.full((2, size, size, 3), largest, "float32")
        with pytest.raises(ValueError, match=f"0 to 255. .* {largest:g}$"):
            keras_attn.export(WEIGHT, path, **int8, representative_data=dark)
    # It may take anything.
    for data in ("examples/images", np.zeros((2, SIZE, SIZE + 1, 3))):
        with pytest.raises(ValueError, match="for a `keras.Model` must be an"):
            keras_attn.export(
                flexible(),
                path,
                **int8,
                representative_data=data,
                input_size=SIZE,
            )


def test_int8_finds_its_ranges_at_the_size_that_is_asked_for(
    tmp_path, conversions
):
    """For a network of any size, which the end of the path has a format for."""
    model = keras_attn.Classifier(flexible(), ["cat", "dog"])
    with pytest.warns(UserWarning, match="int8 was not measured"):
        keras_attn.export(
            model,
            tmp_path / "a.tflite",
            quantize="int8",
            representative_data=[np.zeros((20, 30, 3), "uint8")],
            input_size=16,
        )
    [(_, _, shape, _, pictures)] = conversions
    assert shape[1:] == pictures.shape[1:] == (16, 16, 3)


def test_sizes_that_do_not_fit_are_an_error(tmp_path):
    path = tmp_path / "a.tflite"
    with pytest.raises(ValueError, match="pass `input_size`"):
        keras_attn.export(flexible(), path, format="litert")
    with pytest.raises(ValueError, match="built for 16 x 16 pixels"):
        model = new_network(None)
        keras_attn.export(model, path, format="litert", input_size=32)


def test_what_is_there_is_kept(tmp_path):
    for name in ("a.tflite", "a.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(FileExistsError, match=f"{name} exists"):
            keras_attn.export(WEIGHT, tmp_path / "a.tflite", format="litert")
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match="no folder"):
        keras_attn.export(WEIGHT, tmp_path / "nowhere" / "a")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "old").touch()
    with pytest.raises(FileExistsError, match="not a SavedModel"):
        keras_attn.export(WEIGHT, tmp_path / "saved", overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file, not a SavedModel"):
        keras_attn.export(WEIGHT, tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "file").unlink()
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(FileExistsError, match="is a folder, not a file"):
        path = tmp_path / "a.onnx"
        keras_attn.export(WEIGHT, path, format="onnx", overwrite=True)
    (tmp_path / "a.onnx").rmdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    with pytest.raises(FileExistsError, match="would be lost: old$"):
        keras_attn.export(flexible(), tmp_path / "saved", overwrite=True)
    (tmp_path / "saved" / "old").rename(tmp_path / "saved" / "assets")
    keras_attn.export(flexible(), tmp_path / "saved", overwrite=True)
    assert (tmp_path / "saved" / "assets").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.usefixtures("converted_here")
@pytest.mark.parametrize("end", ["", ".tflite", ".onnx"])
def test_what_is_exported_predicts(tmp_path, end):
    """Keras's layers of augmentation augment where nothing says otherwise."""
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.RandomFlip("vertical", seed=0),
            keras.layers.Dropout(0.5),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(2, SIZE),
            keras.layers.Flatten(),
        ]
    )
    expected = answers(model)
    path = keras_attn.export(model, tmp_path / f"a{end}")
    if end == ".tflite":
        outputs, _ = run_litert(path, images())
    elif end == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        [outputs] = session.run(None, {"image": images()})
    else:
        served = tf.saved_model.load(path)
        outputs = served.serve(images())
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)


def test_operations_that_onnx_has_not_are_named(tmp_path):
    image = keras.Input((8, 8, 3))
    smaller = keras.layers.Resizing(4, 4, antialias=True)(image)
    model = keras.Model(image, smaller)
    with pytest.raises(ValueError, match="ONNX has no operation .*Translate"):
        keras_attn.export(model, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_operations_that_litert_has_not_are_named(tmp_path):
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.ops.erf(image))
    with pytest.raises(ValueError, match=r"no built-in operation .*tf\.Erf"):
        keras_attn.export(model, tmp_path / "a.tflite", format="litert")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    """On Windows, while another program has one of the files open."""
    old, new = tmp_path / "a", tmp_path / "unfinished" / "a"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "file").write_text(folder.parent.name)

    def refuse(source, target):
        raise PermissionError("in use")

    monkeypatch.setattr(exporting.os, "replace", refuse)
    with pytest.raises(PermissionError, match="in use"):
        exporting._move(tmp_path / "unfinished", tmp_path)
    assert (old / "file").read_text() == tmp_path.name


@pytest.mark.parametrize("there", [True, False])
def test_files_that_belong_together_are_replaced_together(
    tmp_path, monkeypatch, there
):
    names = "a.json", "a.tflite"
    (tmp_path / "unfinished").mkdir()
    for name in names:
        (tmp_path / "unfinished" / name).write_text("new")
        if there:
            (tmp_path / name).write_text("old")
    replace, replaced = os.replace, []

    def stopped(source, target):
        if replaced:
            raise KeyboardInterrupt
        replaced.append(target)
        replace(source, target)

    monkeypatch.setattr(exporting.os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        exporting._move(tmp_path / "unfinished", tmp_path)
    assert len(replaced) == 1
    left = {path.name: path for path in tmp_path.iterdir() if path.is_file()}
    assert sorted(left) == (list(names) if there else [])
    assert all(path.read_text() == "old" for path in left.values())


def test_a_folder_is_back_when_the_user_stops_its_replacement(
    tmp_path, monkeypatch
):
    for place in (tmp_path / "a", tmp_path / "unfinished" / "a"):
        place.mkdir(parents=True)
        (place / "file").write_text(place.parent.name)

    def stopped(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting.os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        exporting._move(tmp_path / "unfinished", tmp_path)
    assert (tmp_path / "a" / "file").read_text() == tmp_path.name


def test_what_came_during_the_conversion_is_kept(tmp_path, monkeypatch):
    def convert(classifier, path, shape):
        path.write_text("converted")
        (tmp_path / "a.onnx").write_text("mine")

    monkeypatch.setattr(exporting.onnx, "write", convert)
    with pytest.raises(FileExistsError, match="a.onnx exists"):
        keras_attn.export(WEIGHT, tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_text() == "mine"


def test_a_converter_that_was_killed_is_told(tmp_path, monkeypatch):
    converter = tmp_path / "converter.py"
    converter.write_text(
        "import os, sys; print('I0000 a log', file=sys.stderr, flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    monkeypatch.setattr(exporting.litert, "CONVERTER", converter)
    with pytest.raises(OSError, match="ended by signal 9"):
        exporting.litert._convert("a")


def test_a_full_disk_is_an_oserror_and_leaves_nothing(tmp_path):
    code = """
import resource, sys
import keras_attn
classifier = keras_attn.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
for format, name in (
    ("saved_model", "a"), ("litert", "a.tflite"), ("onnx", "a.onnx")
):
    try:
        keras_attn.export(classifier, f"{sys.argv[2]}/{name}", format)
    except OSError as error:
        print("refused", error)
"""
    printed = run_python(code, WEIGHT, tmp_path)
    assert printed.count("refused") == 3, printed
    assert not list(tmp_path.iterdir())


def test_the_command_writes_files_of_their_kinds(tmp_path):
    file = tmp_path / "a.onnx"
    command = ["export", WEIGHT, "--to"]

    def run(*arguments, status):
        done = CliRunner().invoke(
            command_line.app, [*command, *map(str, arguments)]
        )
        assert done.exit_code == status, done.output
        return done.stderr.strip()

    assert "Written" in run(file, status=0) and file.is_file()
    assert run(file, status=1).endswith("to replace it.")
    int8 = tmp_path / "a.tflite", "--quantize", "int8"
    assert "--quantize int8 needs --data" in run(*int8, status=1)
    said = run(*int8, "--data", "examples/images", status=0)
    details = json.loads((tmp_path / "a.json").read_text())
    assert details["quantize"] == "int8"
    assert "measured" not in said  # which a warning would say


def test_pictures_are_scaled_as_the_classifier_says(tmp_path):
    """Also after it was saved, and in a SavedModel, which serves files."""
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Flatten()(image) / 255)
    names = [str(label) for label in range(48)]
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256, (10, 10, 3), "uint8"))
    content = io.BytesIO()
    picture.save(content, "PNG")
    answers = {}
    for interpolation in ("bilinear", "bicubic"):
        classifier = keras_attn.Classifier(
            model, names, None, None, interpolation
        )
        resampling = Image.Resampling[interpolation.upper()]
        expected = np.asarray(picture.resize((4, 4), resampling))
        np.testing.assert_array_equal(classifier.prepare(picture), expected)
        path = tmp_path / f"{interpolation}.keras"
        classifier.save(path)
        saved = keras_attn.load(path)
        assert saved.interpolation == interpolation
        served = keras_attn.export(saved, tmp_path / interpolation)
        served = tf.saved_model.load(served).signatures["serve_encoded"]
        [answer] = served(tf.constant([content.getvalue()]))["probabilities"]
        np.testing.assert_allclose(255 * answer, expected.ravel(), atol=3)
        answers[interpolation] = expected.astype(int)
        described = describe(saved, (None, 4, 4, 3))
        assert described["input"]["interpolation"] == interpolation
    # So that none could pass for the other.
    assert np.abs(answers["bilinear"] - answers["bicubic"]).max() > 2 * 3


@pytest.mark.parametrize("name", ["a.h5", "a.keras"])
def test_a_saved_model_is_not_called_like_a_file(tmp_path, name):
    with pytest.raises(ValueError, match=f"is a folder, not a .*{name}"):
        keras_attn.export(WEIGHT, tmp_path / name)


def test_exporting_needs_tensorflow_and_channels_last(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(keras.backend, "backend", lambda: "jax")
        with pytest.raises(ValueError, match="backend is 'jax'"):
            keras_attn.export(WEIGHT, tmp_path / "a")
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="Exporting works with channels l"):
            keras_attn.export(WEIGHT, tmp_path / "a")
    finally:
        keras.config.set_image_data_format("channels_last")
