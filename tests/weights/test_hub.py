"""Publishing to the Hub, and loading from it as people do."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi

import keras_attn
from keras_attn.weights import hub as hub_weights
from keras_attn.weights import manifest
from tests.weights.conftest import Client
from zoo import publish as publishing

WEIGHT = "expatt_resnet14_small.cifar100_32"
PUBLISH = """
import sys
from pathlib import Path
from keras_attn.weights import manifest
from tests.weights.conftest import Client
from zoo import publish as publishing
from zoo import publish
from zoo import manifest_file
manifest_file.PATH = path = Path(sys.argv[1])
manifest.manifest_path = lambda: path
publish.app(sys.argv[2:])
"""
LOAD = """
import sys
import keras_attn
classifier = keras_attn.load(sys.argv[1], verify=True)
print(classifier.metadata.id, classifier.metadata.hub["revision"])
"""
PLAIN_KERAS = """
import sys
import keras
import numpy as np
import keras_attn
model = keras.saving.load_model(sys.argv[1])
image = keras_attn.weights.golden_image(32)
print(*np.argsort(-model.predict(image, verbose=0)[0])[:3])
"""


@pytest.fixture(scope="module")
def published(hub_process, tmp_path_factory):
    """Publish a weight; return its commit and the manifest that names it."""
    folder = tmp_path_factory.mktemp("published")
    client = Client(hub_process.url, folder / "home")
    copy = folder / manifest.FILE_NAME
    shutil.copy(manifest.manifest_path(), copy)
    printed, errors = publish(client, copy)
    assert printed.startswith(f"hf://tester/{WEIGHT}@"), errors
    return printed.strip().rpartition("@")[2], copy


def publish(client, copy, *options, token="writer"):
    return client.run(
        PUBLISH, copy, WEIGHT, "--namespace", "tester", *options, HF_TOKEN=token
    )


def test_what_is_published_loads_by_its_address(hub, client, published):
    commit, _ = published
    hub.requests()
    printed, errors = client.run(LOAD, f"hf://tester/{WEIGHT}")
    assert printed.split() == [WEIGHT, commit], errors
    assert f"GET {hub_weights.WEIGHTS}" in hub.requests()
    address = f"hf://tester/{WEIGHT}@{commit}"
    printed, errors = client.run(LOAD, address, HF_HUB_OFFLINE="1")
    assert printed.split() == [WEIGHT, commit], errors
    assert hub.requests() == []


def test_plain_keras_loads_it(client, published):
    printed, errors = client.run(PLAIN_KERAS, f"hf://tester/{WEIGHT}")
    top = manifest.entry(WEIGHT).golden_output["top"]
    assert [int(number) for number in printed.split()] == [
        index for index, _ in top[:3]
    ], errors


def test_a_published_weight_is_pinned_and_found_by_its_id(client, published):
    """From the Hub where the repository and the wheel do not have it."""
    commit, copy = published
    entries = manifest.read(copy)
    assert entries[WEIGHT].hub == {
        "repository": f"tester/{WEIGHT}",
        "revision": commit,
    }
    others = {e.id for e in entries.values() if e.hub is None}
    assert others == set(keras_attn.list_models()) - {WEIGHT}
    elsewhere = f"""
from pathlib import Path
from keras_attn.weights import manifest
from tests.weights.conftest import Client
from zoo import publish as publishing
manifest.manifest_path = lambda: Path({str(copy)!r})
manifest.REPOSITORY = manifest.PACKAGE = Path({str(copy.parent)!r})
"""
    printed, errors = client.run(elsewhere + LOAD, WEIGHT)
    assert printed.split() == [WEIGHT, commit], errors


def test_publishing_again_makes_no_new_commit(client, published):
    commit, copy = published
    before = copy.read_bytes()
    printed, errors = publish(client, copy)
    assert printed.strip() == f"hf://tester/{WEIGHT}@{commit}", errors
    assert copy.read_bytes() == before


def test_a_repository_of_something_else_is_not_touched(hub, client, published):
    _, copy = published
    hub.push(f"other/{WEIGHT}", {"LICENSE": b"theirs"})
    arguments = copy, WEIGHT, "--namespace", "other"
    printed, errors = client.run(PUBLISH, *arguments, HF_TOKEN="writer")
    assert not printed and "not of keras-attn" in errors


def test_a_repository_becomes_what_the_folder_is(hub, tmp_path, monkeypatch):
    """Private if asked, or else what the namespace makes of new ones."""
    api = functools.partial(HfApi, endpoint=hub.url, token="writer")
    monkeypatch.setattr(publishing.huggingface_hub, "HfApi", api)
    (tmp_path / hub_weights.DESCRIPTION).write_text("{}")
    (tmp_path / "old.txt").write_text("old")
    publishing.upload(tmp_path, "open/a")
    publishing.upload(tmp_path, "closed/a", private=True)
    created = [each for each in hub.requests() if each.startswith("create")]
    assert created == ["create open/a None", "create closed/a private"]
    (tmp_path / "old.txt").rename(tmp_path / "new.txt")
    publishing.upload(tmp_path, "open/a")
    files = {hub_weights.DESCRIPTION, "new.txt"}
    assert set(api().list_repo_files("open/a")) == files


def test_a_downloaded_folder_loads_too(client, published, tmp_path):
    """Where there is no Hub: copied from a machine that has one."""
    code = (
        "import sys, huggingface_hub\n"
        "huggingface_hub.snapshot_download(sys.argv[1], local_dir=sys.argv[2])"
    )
    folder = tmp_path / "carried"
    client.run(code, f"tester/{WEIGHT}", folder)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert names == {
        "README.md",
        "config.json",
        f"{WEIGHT}.attention.jpg",
        f"{WEIGHT}.curve.png",
        "history.csv",
        hub_weights.DESCRIPTION,
        "metadata.json",
        hub_weights.WEIGHTS,
        "recipe.json",
    }
    classifier = keras_attn.load(folder, verify=True)
    assert len(classifier.class_names) == 100
    head = (folder / "README.md").read_text().split("---")[1]
    for line in (
        "library_name: keras",
        "pipeline_tag: image-classification",
        "license: apache-2.0",
        "model-index:",
    ):
        assert line in head
    assert f'load("hf://tester/{WEIGHT}")' in (folder / "README.md").read_text()
    (folder / hub_weights.WEIGHTS).write_bytes(b"other")
    with pytest.raises(ValueError, match="expected .* bytes"):
        keras_attn.load(folder)


def test_a_dry_run_shows_the_files_and_sends_nothing(hub, client, tmp_path):
    copy = tmp_path / manifest.FILE_NAME
    shutil.copy(manifest.manifest_path(), copy)
    before = copy.read_bytes()
    printed, errors = client.run(
        PUBLISH, copy, WEIGHT, "--namespace", "nobody", "--dry-run"
    )
    assert "model.weights.h5" in printed and "README.md" in printed, errors
    printed, errors = client.run(LOAD, f"hf://nobody/{WEIGHT}")
    assert "no such repository" in errors
    assert copy.read_bytes() == before


def test_a_token_that_cannot_publish_is_named(client):
    code = """
import os
from zoo import publish
for token in ("", "reader", "stranger"):
    os.environ["HF_TOKEN"] = token
    try:
        publish.check_token()
    except PermissionError as error:
        print(error)
"""
    printed, errors = client.run(code)
    absent, reader, stranger = printed.splitlines()
    assert "there is no token: log in with `hf auth login`" in absent, errors
    assert "the token may only read" in reader
    assert "the Hub refuses the token (401)" in stranger


def test_unknown_ids_stop_before_anything_goes_up():
    with pytest.raises(SystemExit, match="no published weight 'resnet1'"):
        publishing.app(
            [WEIGHT, "resnet1", "--namespace", "tester"], standalone_mode=False
        )


def test_addresses_are_read():
    commit = "0" * 40
    parse = hub_weights.parse
    assert parse("hf://org/name") == ("org/name", None)
    assert parse(f"hf://org/na.me_1@{commit}") == ("org/na.me_1", commit)
    assert parse("hf://org/name@refs/pr/1") == ("org/name", "refs/pr/1")
    for bad in (
        "hf://name",
        "hf://../name",
        "hf://org/..",
        "hf://org/name@../../x",
        "hf://org/name/file",
        "hf://org/name@",
        "hf:///org/name",
    ):
        with pytest.raises(ValueError, match="hf://ORG/NAME"):
            parse(bad)


def test_constructors_take_addresses(client, published):
    code = """
import sys
from keras_attn.applications import ExpAttResNet14Small
model = ExpAttResNet14Small(weights=sys.argv[1], include_top=False)
print(model.output_shape, len(model.load_report.left_out))
"""
    printed, errors = client.run(code, f"hf://tester/{WEIGHT}")
    assert printed.split()[-1] == "2", errors


def test_the_command_line_takes_addresses(client, published):
    code = "import sys, runpy; sys.argv[0] = 'keras-attn'; "
    code += "runpy.run_module('keras_attn', run_name='__main__')"
    picture = Path("examples/images/coffee.jpg")
    printed, errors = client.run(
        code, "classify", picture, "--model", f"hf://tester/{WEIGHT}", "--json"
    )
    assert len(json.loads(printed)[0]["predictions"]) == 5, errors
    printed, errors = client.run(code, "info", f"hf://tester/{WEIGHT}")
    assert WEIGHT in printed, errors


def test_an_address_in_the_manifest_is_the_weight_of_the_manifest(monkeypatch):
    """Without a revision, or with its own; another is asked for."""
    own = {"repository": "org/a", "revision": 40 * "1"}
    pinned = dataclasses.replace(manifest.entry(WEIGHT), hub=own)
    entries = {"b": manifest.entry(WEIGHT), WEIGHT: pinned}
    monkeypatch.setattr(manifest, "entries", lambda: entries)
    asked = []

    def description(repository, revision):
        asked.append((repository, revision))
        raise FileNotFoundError

    monkeypatch.setattr(hub_weights, "_description", description)
    for address in ("hf://org/a", f"hf://org/a@{40 * '1'}"):
        assert hub_weights.entry(address) is pinned
    assert not asked
    for address in (f"hf://org/a@{40 * '2'}", "hf://org/c", "hf://other/a"):
        with pytest.raises(FileNotFoundError):
            hub_weights.entry(address)
    assert asked == [
        ("org/a", 40 * "2"),
        ("org/c", hub_weights.DEFAULT_REVISION),
        ("other/a", hub_weights.DEFAULT_REVISION),
    ]
