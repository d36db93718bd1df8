"""`keras-attn`, as people type it."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import keras_attn
from keras_attn import command_line
from keras_attn import explanation
from keras_attn.applications import AttnResNet14Small

CAT = Path("examples/images/cat.jpg")
COFFEE = Path("examples/images/coffee.jpg")
runner = CliRunner()


def run(*arguments, status=0):
    result = runner.invoke(command_line.app, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return result


def test_classify_prints_a_table():
    result = run("classify", CAT, "--top", 3)
    lines = result.stdout.splitlines()
    assert lines[0] == str(CAT)
    assert sum("%" in line for line in lines) == 3
    assert "espresso" in run("classify", COFFEE, "--top", 1).stdout


def test_classify_prints_json():
    answers = json.loads(run("classify", CAT, CAT, "--json").stdout)
    assert [answer["image"] for answer in answers] == [str(CAT)] * 2
    predictions = answers[0]["predictions"]
    assert len(predictions) == 5
    probabilities = [p["probability"] for p in predictions]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1


def test_the_shipped_coffee_is_an_espresso():
    answers = json.loads(run("classify", COFFEE, "--json").stdout)
    best = answers[0]["predictions"][0]
    assert best["name"] == "espresso"
    assert best["probability"] > 0.5


def test_explain_draws_a_picture(tmp_path):
    picture = tmp_path / "where.png"
    result = run("classify", CAT, CAT, "--explain", picture)
    assert str(picture.name) in result.stderr.replace("\n", "")
    with Image.open(picture) as image:
        assert image.size[0] > image.size[1]
        assert np.asarray(image).std() > 10
    assert list(tmp_path.iterdir()) == [picture]


def test_explain_draws_the_first_pictures_only(tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "MOST_EXPLAINED", 1)
    picture = tmp_path / "where.png"
    result = run("classify", CAT, COFFEE, "--explain", picture)
    assert "shows the first 1 images" in result.stderr.replace("\n", " ")
    with Image.open(picture) as image:
        assert image.size[0] == explanation.TILE


def test_explain_shows_the_part_that_the_network_sees(tmp_path, monkeypatch):
    """Of a picture twice as wide as high, for a network of that shape, all."""
    model = AttnResNet14Small("cram", input_shape=(16, 32, 3), classes=2)
    keras_attn.Classifier(model, ["a", "b"]).save(tmp_path / "wide.keras")
    Image.new("RGB", (60, 30)).save(tmp_path / "wide.png")
    drawn = []

    def draw(model, images, pictures, captions):
        drawn.extend(pictures)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(explanation, "draw", draw)
    model, where = tmp_path / "wide.keras", tmp_path / "where.png"
    run("classify", tmp_path / "wide.png", "--model", model, "--explain", where)
    [picture] = drawn
    assert picture.width == 2 * picture.height


def test_names_of_files_do_not_command_the_terminal(tmp_path):
    picture = tmp_path / "a\x1b[2Jb.jpg"
    shutil.copy(CAT, picture)
    result = run("classify", picture, "--explain", tmp_path / "a\x1bb.png")
    assert "\x1b" not in result.output
    assert "a[2Jb.jpg" in result.stdout


def test_explain_draws_attention_that_is_the_same_everywhere(tmp_path):
    picture = tmp_path / "where.png"
    model = "expatt_resnet14_small.cifar100_32"
    run("classify", CAT, "--model", model, "--explain", picture)
    with Image.open(picture) as image:
        assert np.asarray(image).std() > 10


def test_explain_tells_of_a_network_without_attention(tmp_path):
    picture = tmp_path / "where.png"
    model = "resnet14_small.cifar100_32"
    result = run(
        "classify", CAT, "--model", model, "--explain", picture, status=1
    )
    assert "no attention" in result.stderr and result.stdout == ""
    assert not picture.exists()


def test_folders_are_classified_whole_and_in_order(tmp_path):
    count = 2 * command_line.BATCH_SIZE + 2  # Three batches.
    for index in range(count):
        shutil.copy((CAT, COFFEE)[index % 2], tmp_path / f"{index:03}.jpg")
    answers = json.loads(run("classify", tmp_path, "--json").stdout)
    names = [Path(answer["image"]).name for answer in answers]
    assert names == [f"{index:03}.jpg" for index in range(count)]
    found = [answer["predictions"][0]["name"] for answer in answers]
    assert set(found[1::2]) == {"espresso"}
    assert "espresso" not in found[::2]


def test_bad_images_get_a_line_each_and_the_others_an_answer(tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    empty = tmp_path / "empty"
    empty.mkdir()
    missing = tmp_path / "missing.jpg"

    result = run("classify", bad, CAT, missing, empty, "--json", status=1)

    assert len(json.loads(result.stdout)) == 1
    lines = [
        line for line in result.stderr.splitlines() if "keras-attn" in line
    ]
    assert len(lines) == 3
    for name, line in (("bad.jpg", 1), ("missing.jpg", 2), ("empty", 0)):
        assert name in lines[line]


def test_a_path_that_must_not_be_looked_at_is_a_bad_image():
    result = run("classify", "x" * 300, CAT, "--json", status=1)
    assert len(json.loads(result.stdout)) == 1
    assert "File name too long" in result.stderr


def test_an_image_without_probabilities_gets_a_line_the_others_an_answer(
    tmp_path,
):
    """As of a network of half precision that one picture makes overflow."""
    image = keras.Input((8, 8, 3))
    dark = 255 - keras.layers.GlobalMaxPooling2D()(image)
    outputs = keras.ops.softmax(1 / dark)  # of infinities, for white
    names = ["red", "green", "blue"]
    keras_attn.Classifier(keras.Model(image, outputs), names).save(
        tmp_path / "a.keras"
    )
    for name, color in {"white": (255,) * 3, "red": (250, 9, 9)}.items():
        Image.new("RGB", (9, 9), color).save(tmp_path / f"{name}.png")
    result = run(
        *("classify", tmp_path, "--model", tmp_path / "a.keras", "--json"),
        status=1,
    )
    [answer] = json.loads(result.stdout)
    assert answer["image"].endswith("red.png")
    assert answer["predictions"][0]["name"] == "red"
    assert "white.png: the network's outputs are no prob" in result.stderr


def test_an_unknown_model_is_one_line_with_the_nearest():
    result = run("classify", CAT, "--model", "cram_resnet.tiny", status=1)
    assert "Nearest: cram_resnet18_small.tiny_imagenet_64" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("channels", "make", "message"),
    [
        (1, keras.layers.Flatten(), "does not classify pictures"),
        (3, keras.layers.Conv2D(2, 1), "does not classify pictures"),
        (3, keras.layers.GlobalMaxPooling2D(), "no probabilities"),
        (
            3,
            lambda x: keras.layers.GlobalMaxPooling2D()(x) * float("nan"),
            "no probabilities",
        ),
    ],
    ids=["one channel", "maps", "numbers", "none"],
)
def test_another_kind_of_model_is_told_in_a_line(
    tmp_path, channels, make, message
):
    image = keras.Input((8, 8, channels))
    model = keras.Model(image, make(image))
    names = [str(label) for label in range(model.output_shape[-1])]
    keras_attn.Classifier(model, names).save(tmp_path / "a.keras")
    result = run("classify", CAT, "--model", tmp_path / "a.keras", status=1)
    assert message in result.stderr and result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["where.txt", "where.psd", "nowhere/where.png"]
)
def test_a_picture_that_cannot_be_written_fails_early(tmp_path, name):
    result = run("classify", CAT, "--explain", tmp_path / name, status=1)
    assert result.stdout == ""
    assert "--explain" in result.stderr


def test_an_image_is_not_overwritten_by_its_explanation(tmp_path):
    picture = tmp_path / "cat.jpg"
    shutil.copy(CAT, picture)
    run("classify", picture, "--explain", picture, status=1)
    assert picture.read_bytes() == CAT.read_bytes()


def test_list_and_info():
    listed = run("list", "cram*").stdout
    assert "2.8" in listed and "%" in listed
    assert "nothing*" in run("list", "nothing*", status=1).stderr

    weight_id = "cram_resnet18_small.tiny_imagenet_64"
    facts = json.loads(run("info", weight_id, "--json").stdout)
    assert facts["id"] == weight_id
    assert len(facts["class_names"]) == 200
    assert facts["sha256"] in run("info", weight_id).stdout.replace(
        "\n", ""
    ).replace(" ", "").replace("│", "")
    assert "Nearest" in run("info", "cram", status=1).stderr


@pytest.mark.parametrize(
    ("words", "is_command"),
    [
        (["keras-attn", "list"], True),
        (["/bin/keras-attn.exe", "list"], True),
        (["keras-attn-train.py"], False),
        (["python", "-m", "keras_attn", "list"], True),
        (["python", "-Im", "keras_attn"], True),
        (["python", "-mkeras_attn"], True),
        (["python", "-mpytest"], False),
        (["python", "-m", "pytest", "keras_attn"], False),
    ],
)
def test_only_the_command_does_without_the_layers(
    monkeypatch, words, is_command
):
    """Others find them registered for `keras.saving`."""
    by_module = any("m" in word for word in words[1:2] if word[0] == "-")
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", ["-m" if by_module else words[0]])
    assert keras_attn._is_command() == is_command


def test_the_version_is_that_of_the_package():
    assert run("--version").stdout.strip() == keras_attn.__version__
    assert importlib.metadata.version("keras-attn") == keras_attn.__version__


def test_help_names_every_command():
    text = run("--help").stdout
    for command in ("classify", "list", "info", "export"):
        assert command in text


def run_command(*arguments):
    """Run the command in a process of its own, as a shell does."""
    environment = dict(os.environ)
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )


def test_tensorflow_says_nothing():
    done = run_command("-m", "keras_attn", "classify", CAT, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)


def test_outputs_of_other_encodings_get_their_answers(tmp_path, monkeypatch):
    """As of redirected outputs on Windows."""
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    picture = tmp_path / "kaffee_☕.jpg"
    shutil.copy(COFFEE, picture)
    done = run_command("-m", "keras_attn", "classify", picture)
    assert done.returncode == 0, done.stderr
    assert "kaffee_?.jpg" in done.stdout and "espresso" in done.stdout
    assert "##" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["classify", "--help"]]
)
def test_help_and_list_do_not_wait_for_keras(arguments):
    done = run_command("-X", "importtime", "-m", "keras_attn", *arguments)
    assert done.returncode == 0, done.stderr
    modules = {line.split("|")[-1].strip() for line in done.stderr.split("\n")}
    assert "keras_attn.command_line" in modules
    assert not {"keras", "tensorflow"} & modules


@pytest.mark.parametrize(
    ("size", "names", "message"),
    [(8, None, "no class names"), (None, ["a", "b"], "which size")],
)
def test_a_model_that_lacks_something_is_told_in_a_line(
    tmp_path, size, names, message
):
    image = keras.Input((size, size, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(2)(pooled))
    path = tmp_path / "a.keras"
    if names is None:
        model.save(path)
    else:
        keras_attn.Classifier(model, names).save(path)
    result = run("classify", CAT, "--model", path, status=1)
    assert message in result.stderr and result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1


def test_info_of_a_file_is_refused_in_a_line(tmp_path):
    result = run("info", tmp_path / "a.keras", status=1)
    assert "neither an id nor hf://ORG/NAME" in " ".join(result.stderr.split())


def test_export_passes_on_what_it_is_told(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        keras_attn, "export", lambda *args, **kwargs: given.append(kwargs)
    )
    to = tmp_path / "a.tflite"
    run("export", "a", "--to", to)
    run(
        *("export", "a", "--to", to, "--input-size", 40, "--batch-size", 2),
        *("--quantize", "float16", "--overwrite"),
    )
    assert given[0] == {
        "quantize": None,
        "representative_data": None,
        "input_size": None,
        "batch_size": None,
        "overwrite": False,
    }
    assert given[1] == {
        "quantize": "float16",
        "representative_data": None,
        "input_size": 40,
        "batch_size": 2,
        "overwrite": True,
    }
