"""What is measured of a weight in each format, and where it goes."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import keras_attn
from zoo import export_matrix
from zoo import tables
from zoo.data import sources

WEIGHT = "resnet14_small.cifar100_32"
KEPT = "another.cifar100_32"


@pytest.fixture
def some_data(monkeypatch):
    """Stripes and noise, labelled by what the network says of most of it."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, 4, 4, 3), "uint8")
    images = images.repeat(10, axis=1).repeat(10, axis=2)  # to be resized
    labels = keras_attn.load(WEIGHT).predict(images).argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % 100

    def load(name, folder, split):
        assert (name, folder) == ("cifar100", "here")
        return sources.ArraySplit(
            images=images,
            labels=labels,
            class_names=[str(label) for label in range(100)],
        )

    monkeypatch.setattr(export_matrix.data_sets, "load", load)


@pytest.mark.parametrize("data", ["cifar100", "cifar100=", "other=here"])
def test_each_weight_needs_its_data_set_before_any_is_measured(data):
    with pytest.raises(SystemExit, match=f"{WEIGHT} needs --data cifar100=DIR"):
        export_matrix.app([WEIGHT, "--data", data], standalone_mode=False)


def test_rows_and_manifest_have_what_was_measured(
    some_data, tmp_path, monkeypatch
):
    shutil.copy("weights_manifest.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_matrix, "SECONDS", 0.05)
    monkeypatch.setattr(export_matrix, "REPRESENTATIVES", 12)
    formats = {
        name: export_matrix.FORMATS[name]
        for name in ("litert", "litert int8", "onnx")
    }
    monkeypatch.setattr(export_matrix, "FORMATS", formats)
    columns = "bytes largest_difference images median_ms operations"
    kept = {"id": KEPT, "format": "keras", "top1": 0.5} | dict.fromkeys(
        columns.split(), 1
    )
    tables.write(export_matrix.RESULTS, [kept])

    done = CliRunner().invoke(
        export_matrix.app, [WEIGHT, "--data", "cifar100=here"]
    )
    assert done.exit_code == 0, done.exception
    other, *rows = tables.read(export_matrix.RESULTS)[0]
    assert other == kept
    assert [row["format"] for row in rows] == ["keras", *formats]
    for row in rows:
        assert row["id"] == WEIGHT and row["images"] == 12
        assert row["bytes"] > 1e6 and row["median_ms"] > 0
    whole, exact, int8, onnx = rows
    assert whole["top1"] == exact["top1"] == onnx["top1"] == 0.75
    assert 0 < exact["largest_difference"] < 1e-4
    assert 1e-4 < int8["largest_difference"] < 0.5
    assert int8["bytes"] < exact["bytes"] / 3
    assert "CONV_2D" in int8["operations"] and "Conv" in onnx["operations"]

    document = json.loads((tmp_path / "weights_manifest.json").read_text())
    [entry] = [e for e in document["weights"] if e["id"] == WEIGHT]
    assert entry["int8"] == {
        "images": 12,
        "float32_top1": exact["top1"],
        "top1": int8["top1"],
    }
