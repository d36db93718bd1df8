"""The named constructors: signatures, names, sizes."""

import csv
import inspect
import re
import types

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_attn import applications
from keras_attn.applications import attention_types
from keras_attn.applications import constructors
from keras_attn.weights import stored_classes
from zoo import macs
from zoo import sizes

CONSTRUCTORS = [
    name
    for name in applications.__all__
    if name not in ("AttentionType", "AttnResNet")
]
KERAS_ARGUMENTS = [
    "include_top",
    "weights",
    "input_tensor",
    "input_shape",
    "pooling",
    "classes",
    "classifier_activation",
    "name",
]


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_names_say_the_attention_and_the_depth(name):
    """By the docstrings, which are made of what is built: large networks
    need not be built for it."""
    constructor = getattr(applications, name)
    paper, depth, small = re.fullmatch(
        r"(.+)ResNet(\d+)(Small)?", name
    ).groups()
    prefix = "" if paper == "Attn" else f"{paper.lower()}_"
    weight_id = f"{prefix}resnet{depth}{'_small' if small else ''}.TAG"
    assert f'"{weight_id}"' in constructor.__doc__
    if paper == "Attn":
        blocks, kind = re.match(
            r"ResNet of ([\d, ]+) (\w+) blocks", constructor.__doc__
        ).groups()
        per_block = {"basic": 2, "bottleneck": 3}[kind]
        blocks = map(int, blocks.split(", "))
        assert per_block * sum(blocks) + 2 == int(depth)


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_signatures_are_those_of_keras_applications(name):
    constructor = getattr(applications, name)
    parameters = list(inspect.signature(constructor).parameters)

    assert constructor.__name__ == name
    assert [p for p in parameters if p in KERAS_ARGUMENTS] == KERAS_ARGUMENTS
    assert ("attention" in parameters) == name.startswith("AttnResNet")
    for parameter in parameters:
        assert f"        {parameter}: " in constructor.__doc__


def test_the_papers_networks_exist():
    expected = {
        *(f"AttnResNet{d}" for d in (18, 26, 34, 38, 50, 101, 152)),
        *(f"GSAResNet{d}" for d in (26, 38, 50, 101)),
        *(f"ExpAttResNet{d}" for d in (50, 101, 152)),
        *(f"CRAMResNet{d}" for d in (18, 34, 50)),
        *(f"AAResNet{d}" for d in (34, 50, 101, 152)),
    }
    assert expected <= set(CONSTRUCTORS)


@pytest.mark.parametrize("name", [n for n in CONSTRUCTORS if "Small" in n])
def test_small_networks_end_at_an_eighth_of_the_size(name):
    model = getattr(applications, name)(
        include_top=False, input_shape=(32, 32, 3)
    )
    assert model.output_shape[1:3] == (4, 4)


def test_a_paper_network_is_the_general_one_with_its_attention():
    own = applications.CRAMResNet18Small(input_shape=(32, 32, 3), classes=5)
    general = applications.AttnResNet18Small(
        "cram", input_shape=(32, 32, 3), classes=5
    )
    assert own.name == general.name == "cram_resnet18_small"
    assert [layer.name for layer in own.layers] == [
        layer.name for layer in general.layers
    ]


def test_stages_given_to_a_published_weight_must_be_its_own():
    """They may be said although its entry in the manifest leaves them out."""
    weights = "tiny_imagenet_64"
    given = applications.CRAMResNet18Small(
        weights=weights, attention_stages=[4]
    )
    silent = applications.CRAMResNet18Small(weights=weights)
    assert [layer.name for layer in given.layers] == [
        layer.name for layer in silent.layers
    ]
    with pytest.raises(ValueError, match="Received: attention_stages=4$"):
        applications.CRAMResNet18Small(weights=weights, attention_stages=4)
    with pytest.raises(ValueError, match=r"attention_stages=\[4\]. Rec"):
        applications.CRAMResNet18Small(weights=weights, attention_stages=[3])
    with pytest.raises(ValueError, match="stem_strides=2. Rec"):
        applications.CRAMResNet18Small(weights=weights, stem_strides=0)


def test_a_weight_goes_into_an_attention_type_of_ones_own():
    own = attention_types.AttentionType(
        mixing=attention_types.explicit_attention
    )
    arguments = {
        "weights": "expatt_resnet14_small.cifar100_32",
        "attention_stages": [3, 4],
    }
    model = applications.AttnResNet14Small(own, **arguments)
    assert model.load_report.loaded and not model.load_report.left_out
    with pytest.raises(ValueError, match=r"attention_stages=\[3, 4\]. Rec"):
        applications.AttnResNet14Small(
            own, **arguments | {"attention_stages": [2, 3, 4]}
        )


def test_an_unknown_attention_is_told_before_its_weights():
    with pytest.raises(ValueError, match="Received: attention='gas'"):
        applications.AttnResNet14Small("gas", weights="cifar100_32")


@pytest.mark.parametrize("attention", [None, "gsa"])
def test_a_published_weight_must_be_of_the_attention_type(attention):
    weights = "positionwise_resnet14_small.cifar100_32"
    with pytest.raises(ValueError, match=f"'positionwise'.*{attention}"):
        applications.AttnResNet14Small(attention, weights=weights)
    plain = applications.AttnResNet14Small(weights="resnet14_small.cifar100_32")
    assert plain.load_report.loaded


def test_the_attention_of_a_weight_is_known_whatever_its_id():
    entry = types.SimpleNamespace(
        id="mine.cifar100_32", constructor="CRAMResNet14Small", arguments={}
    )
    constructors.check_attention(entry, "cram")
    with pytest.raises(ValueError, match="'cram'. Received: attention=None"):
        constructors.check_attention(entry, None)


def test_an_unknown_argument_is_a_type_error():
    with pytest.raises(TypeError, match="attention"):
        applications.CRAMResNet18(attention="gsa")


def test_every_row_of_the_size_table_holds_or_is_explained():
    with open(sizes.RESULTS) as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(sizes.PUBLISHED)
    may_deviate = {"AAResNet34", "AAResNet101", "AAResNet152"}
    for name, row in rows.items():
        holds = (
            abs(float(row["parameter_deviation"].rstrip("%"))) <= 0.5
            and abs(float(row["gflops_deviation"].rstrip("%"))) <= 1
        )
        assert holds or (name in may_deviate and row["explanation"]), row
        assert "unexplained" not in row["explanation"]


@pytest.mark.parametrize("name", sizes.PUBLISHED)
def test_the_size_table_is_what_the_code_builds(name):
    with open(sizes.RESULTS) as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    built = {key: str(value) for key, value in sizes.row(name).items()}
    assert built == rows[name]


def test_the_readme_has_the_figures_of_the_size_table():
    readme = (sizes.RESULTS.parents[2] / "README.md").read_text()
    with open(sizes.RESULTS) as file:
        for row in csv.DictReader(file):
            name = row["network"].replace("AttnResNet", "ResNet")
            name = name.replace("AttResNet", "Att-ResNet")
            name = name.replace("GSAResNet", "GSA-ResNet")
            name = name.replace("AAResNet", "AA-ResNet")
            name = name.replace("ResNet", "ResNet-")
            columns = (
                "parameters_m",
                "published_parameters_m",
                "gflops",
                "published_gflops",
            )
            figures = " | ".join(row[column] for column in columns)
            assert f"| {name} | {figures} |" in readme


@pytest.mark.parametrize(
    "attention, parameters", [("se", 28_088_024), ("cbam", 28_089_624)]
)
def test_channel_gates_have_the_published_parameters(attention, parameters):
    model = applications.AttnResNet50(attention)
    assert macs.trainable_parameters(model) == parameters


def test_multiply_adds_of_a_known_network():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    x = keras.layers.Flatten()(x)
    model = keras.Model(image, keras.layers.Dense(10)(x))
    assert macs.count(model, (8, 8, 3)) == 64 * 4 * 27 + 256 * 10


def test_multiply_adds_that_are_not_known_are_an_error():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.DepthwiseConv2D(3)(image))
    with pytest.raises(ValueError, match="DepthwiseConv2dNative"):
        macs.count(model, (8, 8, 3))


def test_classes_are_those_of_the_weights_unless_others_are_given(tmp_path):
    small = {"input_shape": (16, 16, 3)}
    path = tmp_path / "ten.weights.h5"
    ten = applications.AttnResNet14Small(classes=10, **small)
    ten.save_weights(path)
    model = applications.AttnResNet14Small(weights=path, **small)
    assert model.output_shape == (None, 10)
    assert not model.load_report.reinitialized
    other = applications.AttnResNet14Small(weights=path, classes=7, **small)
    assert other.load_report.reinitialized and other.output_shape == (None, 7)
    body = applications.AttnResNet14Small(include_top=False, **small)
    body.save_weights(tmp_path / "body.weights.h5")
    with pytest.raises(ValueError, match="predictions/0: missing"):
        applications.AttnResNet14Small(
            weights=tmp_path / "body.weights.h5", **small
        )
    (tmp_path / "damaged.weights.h5").write_bytes(b"no")
    with pytest.raises(ValueError, match="not a readable weights file"):
        applications.AttnResNet14Small(weights=tmp_path / "damaged.weights.h5")


def test_a_classifier_without_numbers_says_nothing_of_classes(tmp_path):
    """Its shape could ask for any amount of memory."""
    path = tmp_path / "a.weights.h5"
    applications.AttnResNet14Small(
        classes=2, input_shape=(16, 16, 3)
    ).save_weights(path)
    with h5py.File(path, "a") as file:
        [group] = [
            g
            for g in file["layers"].values()
            if g["vars"].attrs.get("name") == "predictions"
        ]
        del group["vars/0"]
        group.create_dataset("vars/0", (0, 10**12), "float32")
    assert stored_classes(path) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "`classes` must be a positive integer.*classes=0"),
        ({"classes": 2.5}, "`classes` must be a positive integer"),
        ({"width": "a"}, "`width` must be a positive integer.*width='a'"),
        ({"blocks_per_stage": 3}, "must be a list of integers.*=3"),
        ({"blocks_per_stage": [1, 0]}, "`blocks_per_stage` must be a positive"),
        ({"stem_strides": 2.0}, "must be 1, 2 or 4. .*stem_strides=2.0"),
        ({"stem_strides": "2"}, "must be 1, 2 or 4. .*stem_strides='2'"),
        ({"input_shape": 32}, "must have three entries.*input_shape=32"),
        ({"input_tensor": np.zeros((1, 8, 8, 3))}, "Keras tensor of rank 4"),
        ({"input_tensor": keras.Input((8, 3))}, "Keras tensor of rank 4"),
    ],
)
def test_arguments_that_are_no_numbers_or_images_are_named(arguments, message):
    arguments = {"blocks_per_stage": [1]} | arguments
    with pytest.raises(ValueError, match=message):
        applications.AttnResNet(**arguments)


@pytest.mark.parametrize(
    "shape", [tf.TensorShape([32, 32, 3]), np.array([32, 32, 3]), [32, 32, 3]]
)
def test_shapes_and_blocks_are_any_sequences(shape):
    model = applications.AttnResNet(
        np.array([1, 1]), width=8, input_shape=shape, classes=2
    )
    assert model.input_shape == (None, 32, 32, 3)


def test_integers_of_numpy_are_integers():
    two, three = np.int64([2, 3])
    model = applications.AttnResNet(
        [two], stem_strides=two, width=8 * two, classes=three
    )
    assert model.output_shape == (None, 3)
    assert model.input_shape == (None, 64, 64, 3)
