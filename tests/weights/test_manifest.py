"""The manifest and its files: what can be recomputed is recomputed."""

import ast
import hashlib
import json
from pathlib import Path

import jsonschema
import keras
import numpy as np
import pytest

import keras_attn
from keras_attn import applications
from keras_attn.weights import files
from keras_attn.weights import golden
from keras_attn.weights import manifest
from tests.applications.common import small_network
from tests.subprocesses import run_python
from zoo import macs

IDS = keras_attn.list_models()
# Small and quick: for what holds for any.
WEIGHT = "cram_resnet14_small.cifar100_32"


def document():
    return json.loads(manifest.manifest_path().read_text("utf-8"))


def test_the_manifest_fits_its_schema():
    schema = manifest.schema()
    schema.check_schema(schema.schema)
    schema.validate(document())
    assert IDS


@pytest.mark.parametrize(
    "field, value",
    [
        ("sha256", "abc"),
        ("bytes", "many"),
        ("file", "../elsewhere.weights.h5"),
        ("constructor", "os.system"),
        ("metrics", {"tiny_imagenet": {"val": {"top1": 50}}}),
        ("bytes", 64.0),
        ("sha256", 64 * "0" + "\n"),
        ("summary", "\x1b[2J"),
        ("summary", "a\u2028b"),
        ("summary", "a\u202eb"),
        ("summary", "a\u2066b"),
        ("summary", "a\ud800b"),
        ("golden_output", {"top": [[-1, 0.5]]}),
    ],
)
def test_the_schema_refuses(field, value):
    bad = document()
    bad["weights"][0][field] = value
    with pytest.raises(jsonschema.ValidationError):
        manifest.schema().validate(bad)


@pytest.mark.parametrize("weight_id", IDS)
def test_a_file_is_the_one_in_the_manifest(weight_id):
    entry = manifest.entry(weight_id)
    path = files.locate(entry)
    assert path.stat().st_size == entry.bytes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    assert Path(entry.training["recipe"]).is_file()
    assert f" {entry.training['recipe']} " in entry.training["command"]
    assert Path(entry.training["history"]).is_file()


@pytest.mark.parametrize("weight_id", IDS)
def test_a_weight_is_what_the_manifest_says(weight_id):
    classifier = keras_attn.load(weight_id, verify=True)
    entry, model = classifier.metadata, classifier.model
    size = entry.input["size"]
    assert macs.trainable_parameters(model) == entry.parameters
    assert macs.count(model, (size, size, 3)) == entry.macs
    assert model.output_shape == (None, len(entry.class_names))


@pytest.mark.parametrize("weight_id", IDS)
def test_plain_keras_reads_the_file_too(weight_id):
    """Guards the layout: Keras matches by running numbers, not by names."""
    entry = manifest.entry(weight_id)
    size = entry.input["size"]
    model = getattr(applications, entry.constructor)(
        **entry.arguments,
        input_shape=(size, size, 3),
        classes=len(entry.class_names),
    )
    model.load_weights(files.locate(entry))
    golden.check(model, entry)


GOLDEN = """
import sys
import keras_attn
from keras_attn.weights import golden
for name in sys.argv[1:]:
    classifier = keras_attn.load(name)

    def compiled(image, training):
        return classifier.model.predict_on_batch(image)

    golden.check(compiled, classifier.metadata)
"""


def test_golden_outputs_hold_on_jax():
    run_python(GOLDEN, *IDS, backend="jax")


def test_a_tag_is_enough_for_the_constructor():
    weight_id = "cram_resnet18_small.tiny_imagenet_64"
    model = applications.CRAMResNet18Small(weights="tiny_imagenet_64")
    golden.check(model, manifest.entry(weight_id))


def test_the_places_in_a_published_weight_are_not_changed():
    with pytest.raises(ValueError, match="stem_strides=2"):
        applications.CRAMResNet18Small(
            weights="tiny_imagenet_64", stem_strides=1
        )
    with pytest.raises(ValueError, match="attention_stages"):
        applications.CRAMResNet18Small(
            weights="tiny_imagenet_64", attention_stages=[3]
        )


@pytest.mark.parametrize("factor", [1.5, np.nan])
def test_verification_notices_a_changed_weight(factor):
    classifier = keras_attn.load(WEIGHT)
    kernel = classifier.model.get_layer("predictions").kernel
    kernel.assign(factor * kernel)
    with pytest.raises(ValueError, match="golden output"):
        golden.check(classifier.model, classifier.metadata)


def test_verification_notices_each_kernel_that_is_turned():
    """One layer may weigh little, but more than other machines do."""
    classifier = keras_attn.load(WEIGHT)
    kernels = [
        weight for weight in classifier.model.weights if len(weight.shape) > 1
    ]
    for kernel in kernels:
        value = np.array(kernel)
        kernel.assign(np.flip(value))
        with pytest.raises(ValueError, match="golden output"):
            golden.check(classifier.model, classifier.metadata)
        kernel.assign(value)
    golden.check(classifier.model, classifier.metadata)


@pytest.mark.parametrize("place", range(5))
def test_each_golden_probability_may_differ_by_two_thousandths(place):
    entry = manifest.entry(WEIGHT)
    top = entry.golden_output["top"]
    right = np.zeros(len(entry.class_names))
    for index, probability in top:
        right[index] = probability

    def answering(difference):
        answer = right.copy()
        answer[top[place][0]] += difference
        return Answering(answer)

    for difference in (-0.0019, 0.0019):
        golden.check(answering(difference), entry)
    for difference in (-0.0021, 0.0021):
        with pytest.raises(ValueError, match="expected"):
            golden.check(answering(difference), entry)


class Answering:
    dtype_policy = keras.DTypePolicy("float32")

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, images, training):
        return self.answer[None]


def test_a_changed_file_is_refused_before_it_is_loaded(monkeypatch, tmp_path):
    entry = manifest.entry(WEIGHT)
    content = bytearray(files.locate(entry).read_bytes())
    monkeypatch.setattr(manifest, "REPOSITORY", tmp_path / "repository")
    monkeypatch.setattr(manifest, "PACKAGE", tmp_path / "package")
    with pytest.raises(FileNotFoundError, match=entry.file):
        files.locate(entry)
    bundled = tmp_path / "package" / "weights" / "bundled"
    bundled.mkdir(parents=True)
    (bundled / entry.file).write_bytes(content)
    assert files.locate(entry) == bundled / entry.file
    content[len(content) // 2] ^= 1
    (bundled / entry.file).write_bytes(content)
    with pytest.raises(ValueError, match="sha256"):
        files.locate(entry)
    (bundled / entry.file).write_bytes(content[:-1])
    with pytest.raises(ValueError, match=f"{entry.bytes} bytes"):
        files.locate(entry)


def test_a_folder_does_not_take_the_place_of_a_published_weight(
    monkeypatch, tmp_path
):
    """A clone of its repository, say, in the folder one works in."""
    (tmp_path / WEIGHT).mkdir()
    (tmp_path / WEIGHT / "keras_attn.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert keras_attn.load(WEIGHT).metadata == manifest.entry(WEIGHT)
    with pytest.raises(ValueError, match="not a valid manifest"):
        keras_attn.load(tmp_path / WEIGHT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="a folder with keras_attn.json"):
        keras_attn.load(tmp_path / "empty")


@pytest.mark.parametrize("name", [WEIGHT, "mine/", "mine.weights.h5"])
def test_what_is_missing_is_not_taken_for_a_published_weight(tmp_path, name):
    path = f"{tmp_path}/{name}"
    with pytest.raises(FileNotFoundError, match=f"no file or folder {path}"):
        keras_attn.load(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"weights": [{"id": "a"}], "class_names": {}}']
)
def test_a_broken_manifest_is_named(tmp_path, text):
    path = tmp_path / "weights_manifest.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="not a valid manifest"):
        manifest.read(path)


def test_golden_images_never_change():
    image = golden.golden_image(64)
    assert image.shape == (1, 64, 64, 3) and image.dtype == np.uint8
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    assert digest.startswith("42b6cc97bada1766")


def test_other_classes_and_sizes_load():
    classifier = keras_attn.load(WEIGHT, classes=3, input_shape=(40, 56, 3))
    assert classifier.model.output_shape == (None, 3)
    pictures = np.zeros((2, 50, 50, 3), "uint8")
    assert classifier.predict(pictures).shape == (2, 3)
    assert classifier.predict(pictures[0]).shape == (1, 3)
    with pytest.raises(ValueError, match="at least one"):
        classifier.predict([])
    assert classifier.load_report.reinitialized
    assert classifier.class_names is None
    with pytest.raises(ValueError, match="no names"):
        classifier.decode_predictions(np.ones((1, 3)))


def test_verification_of_a_changed_network_is_refused():
    with pytest.raises(ValueError, match="classes=3"):
        keras_attn.load(WEIGHT, classes=3, verify=True)


def test_listing():
    assert keras_attn.list_models("CRAM*") == [
        name for name in IDS if name.startswith("cram")
    ]
    assert keras_attn.list_models("nothing*") == []
    constructors = keras_attn.list_models("*resnet50", pretrained=False)
    assert constructors == [
        "AAResNet50",
        "AttnResNet50",
        "CRAMResNet50",
        "ExpAttResNet50",
        "GSAResNet50",
    ]


def test_importing_leaves_heavy_optional_packages_out():
    code = (
        "import sys, keras\n"
        # Keras itself imports huggingface_hub where it is installed.
        "before = set(sys.modules)\n"
        "import keras_attn\n"
        "heavy = {'matplotlib', 'pandas', 'huggingface_hub', 'typer',"
        " 'tensorflow_datasets', 'keras_cv', 'PIL'}\n"
        "loaded = heavy & (set(sys.modules) - before)\n"
        "assert not loaded, loaded"
    )
    run_python(code)


def test_predictions_are_decoded_in_order():
    classifier = keras_attn.load(WEIGHT)
    count = len(classifier.class_names)
    predictions = np.zeros((1, count))
    predictions[0, 3], predictions[0, 1] = 0.7, 0.3
    assert classifier.decode_predictions(predictions, top=2) == [
        [
            (3, classifier.class_names[3], 0.7),
            (1, classifier.class_names[1], 0.3),
        ]
    ]
    with pytest.raises(ValueError, match=r"\(1, 5\)"):
        classifier.decode_predictions(np.zeros((1, 5)))


def test_a_fine_tuned_classifier_keeps_its_names(tmp_path):
    classifier = keras_attn.load(WEIGHT, classes=["cat", "dog"])
    assert classifier.class_names == ("cat", "dog")
    pictures = np.zeros((1, *classifier.input_size, 3), "uint8")
    expected = classifier.predict(pictures)
    classifier.save(tmp_path / "mine.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.keras"]
    code = (
        "import sys, numpy as np, keras, keras_attn\n"
        "mine = keras_attn.load(sys.argv[1])\n"
        "pictures = np.zeros((1, *mine.input_size, 3), 'uint8')\n"
        "answers = mine.predict(pictures, verbose=0)\n"
        "print(mine.decode_predictions(answers, top=1))\n"
        "keras.saving.load_model(sys.argv[1])"
    )
    printed = run_python(code, tmp_path / "mine.keras")
    [[(index, name, probability)]] = ast.literal_eval(printed.strip())
    assert (index, name) == (expected[0].argmax(), ("cat", "dog")[index])
    assert probability == pytest.approx(expected.max(), abs=1e-5)


@pytest.mark.filterwarnings("ignore:The object being serialized includes a")
@pytest.mark.parametrize("of_whom", ["keras", "a function", "a lambda"])
def test_a_classifier_loads_without_the_loss_it_was_trained_with(
    tmp_path, of_whom
):
    """Compiled if Keras knows the loss, and to predict in either case."""
    classifier = keras_attn.Classifier(
        small_network(None, blocks_per_stage=(1,), classes=2), ["cat", "dog"]
    )

    def of_ones_own(y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_true - y_pred))

    losses = {
        "keras": "mean_squared_error",
        "a function": of_ones_own,
        "a lambda": lambda y_true, y_pred: of_ones_own(y_true, y_pred),
    }
    classifier.model.compile("adam", losses[of_whom])
    pictures = np.zeros((1, *classifier.input_size, 3), "uint8")
    classifier.model.fit(pictures, np.eye(2)[:1], verbose=0)
    classifier.save(tmp_path / "mine.keras")
    mine = keras_attn.load(tmp_path / "mine.keras")
    np.testing.assert_allclose(
        mine.predict(pictures), classifier.predict(pictures), atol=1e-5
    )
    assert mine.class_names == ("cat", "dog")
    assert mine.model.compiled == (of_whom == "keras")


@pytest.mark.parametrize(
    "classes",
    [
        *("cat", [0, 1], np.arange(2), ["a", "tab\tin it"]),
        *(["a", letter] for letter in "\x9b\u2028\u202e\u2066\ud800"),
    ],
)
def test_names_of_classes_are_strings_without_control_characters(classes):
    """Before a training, not when its result is saved or loaded."""
    with pytest.raises(ValueError, match=r"classes.*Received: "):
        keras_attn.load(WEIGHT, classes=classes)


def test_what_a_classifier_cannot_be_saved_with_is_refused_first():
    model = keras_attn.load(WEIGHT, classes=2).model
    with pytest.raises(ValueError, match="Received: interpolation='lanczos'"):
        keras_attn.Classifier(model, ["a", "b"], interpolation="lanczos")
    with pytest.raises(ValueError, match="Received: class_names='ab'"):
        keras_attn.Classifier(model, "ab")
    with pytest.raises(ValueError, match="Received: classes=2.0"):
        keras_attn.load(WEIGHT, classes=2.0)


def test_classes_may_come_from_numpy(tmp_path):
    classifier = keras_attn.load(WEIGHT, classes=np.array(["cat", "dog"]))
    classifier.save(tmp_path / "mine.keras")
    mine = keras_attn.load(tmp_path / "mine.keras")
    assert mine.class_names == ("cat", "dog")
    classifier = keras_attn.load(WEIGHT, classes=np.int64(3))
    assert classifier.model.output_shape == (None, 3)
    with pytest.raises(ValueError, match="each of 3 classes. Received: 2"):
        keras_attn.Classifier(classifier.model, ("cat", "dog"))


def test_names_of_classes_may_be_in_any_language():
    names = ("می\u200cشود", "caf\xe9\xa0noir", "\u3000", "👩\u200d🔬")
    classifier = keras_attn.load(WEIGHT, classes=names)
    assert classifier.class_names == names
    with pytest.raises(ValueError, match=r"Received: 'a\\nb' in \('a', "):
        keras_attn.load(WEIGHT, classes=("a", "a\nb"))


def test_a_classifier_is_saved_in_a_keras_file_only(tmp_path):
    classifier = keras_attn.load(WEIGHT)
    with pytest.raises(ValueError, match="mine.h5"):
        classifier.save(tmp_path / "mine.h5")
    assert not list(tmp_path.iterdir())


def test_a_network_of_any_size_takes_no_pictures():
    classifier = keras_attn.load(WEIGHT, input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="which size its images have"):
        classifier.predict("examples/images/cat.jpg")


@pytest.mark.parametrize("attention", [None, "gsa"])
def test_a_frozen_body_does_not_move(attention):
    """Not its statistics either, nor those inside of attention layers."""
    model = applications.AttnResNet14Small(
        attention, input_shape=(16, 16, 3), classes=2
    )
    classifier = keras_attn.Classifier(model, ("cat", "dog"))
    images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3))

    def moved():
        before = [np.array(weight) for weight in model.weights]
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.train_on_batch(images, np.array([0, 1, 0, 1]))
        return {
            weight.path
            for weight, old in zip(model.weights, before)
            if np.any(np.array(weight) != old)
        }

    classifier.set_body_trainable(False)
    assert {path.split("/")[-2] for path in moved()} == {"predictions"}
    model.trainable = False  # which no layer's own setting overrules
    classifier.set_body_trainable(True)
    now = moved()
    assert any("conv1_conv" in path for path in now)
    assert not any("_bn" in path or "norm" in path for path in now)


def test_a_body_that_is_not_known_is_not_frozen_with_its_head():
    image = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(2, name="dense")(pooled))
    with pytest.raises(ValueError, match="no layer called 'predictions'"):
        keras_attn.Classifier(model, None).set_body_trainable(False)
    assert model.get_layer("dense").trainable


def test_a_loaded_classifier_fine_tunes():
    classifier = keras_attn.load(WEIGHT, classes=2)
    images = np.zeros((4, *classifier.input_size, 3), "uint8")
    images[::2] = 255
    labels = np.array([0, 1, 0, 1])
    classifier.model.compile(
        keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy"
    )
    first = classifier.model.train_on_batch(images, labels)
    for _ in range(5):
        last = classifier.model.train_on_batch(images, labels)
    assert last < first


def test_as_many_other_classes_begin_with_a_random_classifier(caplog):
    published = keras_attn.load(WEIGHT)
    names = [f"mine {index}" for index in range(len(published.class_names))]
    for classes, kept in (
        (names, False),
        (list(published.class_names), True),
        (len(names), True),
    ):
        classifier = keras_attn.load(WEIGHT, classes=classes)
        pairs = zip(
            *(
                x.model.get_layer("predictions").get_weights()
                for x in (classifier, published)
            )
        )
        assert [np.array_equal(*pair) for pair in pairs] == [kept, kept]
        assert ("reinitialized" in str(classifier.load_report)) != kept
        assert ("reinitialized" in caplog.text) != kept
        caplog.clear()
    assert classifier.class_names == published.class_names


@pytest.mark.parametrize(
    "arguments", [{"classes": 2}, {"input_shape": (8, 8, 3)}, {"verify": True}]
)
def test_a_file_of_keras_is_loaded_as_it_is(tmp_path, arguments):
    with pytest.raises(ValueError, match="a.keras is loaded as it is"):
        keras_attn.load(tmp_path / "a.keras", **arguments)


def test_loading_needs_channels_last():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="works with channels last"):
            keras_attn.load(WEIGHT)
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("top", [0, -1, 2.5])
def test_there_is_at_least_one_best_class(top):
    classifier = keras_attn.load(WEIGHT)
    with pytest.raises(ValueError, match="`top` must be a positive integer"):
        classifier.decode_predictions(np.zeros((1, 100)), top=top)


def test_what_is_no_classifier_has_no_names_of_classes():
    image = keras.Input((2,))
    two = keras.Model(image, [keras.layers.Dense(2)(image)] * 2)
    for model in (two, keras.Sequential([keras.layers.Dense(2)]), "a"):
        with pytest.raises(
            ValueError, match=r"one output, `\(batch, classes\)`"
        ):
            keras_attn.Classifier(model, ["a", "b"])
