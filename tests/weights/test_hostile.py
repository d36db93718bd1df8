"""Files made to do harm are refused, and nothing happens."""

import copy
import json
import unicodedata
import zipfile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

import keras_attn
from keras_attn.weights import hub
from keras_attn.weights import load_weights
from keras_attn.weights import manifest
from tests.weights.conftest import description

SHARED_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def tiny_network():
    image = keras.Input((2,), name="image")
    x = keras.layers.Dense(3, name="body")(image)
    return keras.Model(image, keras.layers.Dense(2, name="predictions")(x))


@pytest.fixture
def weights_file(tmp_path):
    path = tmp_path / "a.weights.h5"
    tiny_network().save_weights(path)
    return path


def write_description(folder, **changes):
    path = folder / hub.DESCRIPTION
    path.write_bytes(description(b"weights", **changes))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../../outside.weights.h5"},
        {"file": "/etc/passwd"},
        {"file": "/tmp/a.weights.h5"},
        {"constructor": "os.system"},
        {"constructor": "__import__"},
        {"arguments": {"stem_strides": 1, "weights": "/tmp/a.weights.h5"}},
        {"arguments": {"stem_strides": 10**9}},
        {"arguments": {"stem_strides": 1, "attention": "gsa"}},
        {"bytes": 10_000_000_000},
        {"bytes": -1},
        {"sha256": "0"},
        {"input": {"size": 10**9}},
        {"metrics": {"a": {"val": {"images": 1, "top1": 7, "top5": 7}}}},
        {"hub": {"repository": "../../x", "revision": "0" * 40}},
        {"hub": {"repository": "org/name", "revision": "main"}},
        {"golden_output": {"top": []}},
        {"golden_output": {"top": [[2, 0.5]]}},
        {"summary": "\x1b]52;c;\x07"},
        {"metrics": {"\x1b[2J": {}}},
        {"metrics": {"a": {"\x1b[31m": {}}}},
        {"arguments": {"stem_strides": 2.0}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_description_that_is_not_one_is_refused(tmp_path, changes):
    path = write_description(tmp_path, **changes)
    with pytest.raises(ValueError, match="not a valid manifest") as error:
        manifest.read(path)
    assert len(str(error.value)) < 600
    assert str(error.value).isprintable()


def test_names_of_data_sets_do_not_command_the_terminal(tmp_path):
    document = json.loads(description(b"weights"))
    document["class_names"]["\x1b]0;x\x07\u202e"] = ["a"]
    path = tmp_path / hub.DESCRIPTION
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="not a valid manifest") as error:
        manifest.read(path)
    assert str(error.value).isprintable()


def test_names_in_weights_files_do_not_command_the_terminal(weights_file):
    with h5py.File(weights_file, "a") as file:
        file["layers/dense/vars/\x1b]0;x\x07"] = np.ones(1, "float32")
    with pytest.raises(ValueError, match="not in the network") as error:
        load_weights(tiny_network(), weights_file)
    assert str(error.value).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"class_names": {}, "weights": [NaN]}',
        b'{"class_names": {}, "weights": [1e400]}',
        b"9" * 10_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_json_is_refused(tmp_path, text):
    path = tmp_path / hub.DESCRIPTION
    path.write_bytes(text)
    with pytest.raises(ValueError, match="not a valid manifest"):
        manifest.read(path)


def test_class_names_that_are_not_there_are_named(tmp_path):
    document = json.loads(description(b"weights"))
    document["weights"][0]["class_names"] = "nowhere"
    path = tmp_path / hub.DESCRIPTION
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="no class names 'nowhere'"):
        manifest.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"constructor": "EvilResNet50"}, "constructor='EvilResNet50'"),
        (
            {
                "constructor": "AttnResNet50",
                "arguments": {"stem_strides": 4, "attention": "evil"},
            },
            "attention='evil'",
        ),
    ],
)
def test_another_network_is_refused_before_its_weights_are_fetched(
    tmp_path, monkeypatch, changes, message
):
    write_description(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        keras_attn.load(tmp_path)
    entry = manifest.single_entry(tmp_path / hub.DESCRIPTION)
    monkeypatch.setattr(hub, "entry", lambda address: entry)
    with pytest.raises(ValueError, match=message):
        keras_attn.load("hf://org/name")


def test_a_description_is_of_one_weight(tmp_path):
    document = json.loads(description(b"weights"))
    document["weights"] = []
    (tmp_path / hub.DESCRIPTION).write_text(json.dumps(document))
    with pytest.raises(ValueError, match="one weight. It has 0"):
        keras_attn.load(tmp_path)


def _outside(path):
    """Another file, with what the attacker wants to be read."""
    secret = path.with_name("secret.h5")
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.ones((2, 3), "float32")
    return secret


def external_link(file, path):
    file["layers/dense/vars/0"] = h5py.ExternalLink(_outside(path), "/kernel")


def soft_link(file, path):
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense/vars/1")


def external_storage(file, path):
    file.create_dataset(
        "layers/dense/vars/0",
        (2, 3),
        "float32",
        external=[(str(_outside(path)), 0, 24)],
    )


def virtual(file, path):
    layout = h5py.VirtualLayout((2, 3), "float32")
    layout[:] = h5py.VirtualSource(_outside(path), "kernel", (2, 3))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def compressed_bomb(file, path):
    file.create_dataset(
        "layers/dense/vars/0",
        data=np.zeros((2_000_000, 3), "float32"),
        compression="gzip",
    )


def sparse_bomb(file, path):
    file.create_dataset(
        "layers/dense/vars/0", (2**50, 3), "float32", chunks=(1024, 3)
    )


def large_chunks(file, path):
    """Reading one takes far more memory than the array."""
    file.create_dataset(
        "layers/dense/vars/0",
        data=np.ones((2, 3), "float32"),
        maxshape=(None, None),
        chunks=(2048, 2048),
        compression="gzip",
    )


def never_written(file, path):
    file.create_dataset("layers/dense/vars/0", (3, 2), "float32")


def strings(file, path):
    file["layers/dense/vars/0"] = ["a", "b"]


def nothing(file, path):
    file["layers/dense/vars/0"] = h5py.Empty("float32")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (external_link, "'layers/dense/vars/0' is a ExternalLink"),
        (soft_link, "'layers/dense/vars/0' is a SoftLink"),
        (external_storage, "is in another place"),
        (virtual, "is in another place"),
        (compressed_bomb, "is stored in chunks"),
        (sparse_bomb, "is stored in chunks"),
        (large_chunks, "is stored in chunks"),
        (never_written, "needs 24 bytes, but 0 are stored"),
        (strings, "not an array of numbers"),
        (nothing, "not an array of numbers"),
    ],
)
def test_weights_files_with_more_than_weights_are_refused(
    weights_file, harm, message
):
    with h5py.File(weights_file, "a") as file:
        del file["layers/dense/vars/0"]
        harm(file, weights_file)
    network = tiny_network()
    before = [np.array(weight) for weight in network.weights]
    with pytest.raises(ValueError, match=message):
        load_weights(network, weights_file)
    for weight, old in zip(network.weights, before):
        np.testing.assert_array_equal(weight, old)


def no_dtype(values):
    return values.astype("float16").view("V2"), {}


def two_dtypes(values):
    return values, {"dtype": np.array([b"bfloat16", b"x"])}


def another_dtype(values):
    return values, {"dtype": "bfloat16"}


@pytest.mark.parametrize("harm", [no_dtype, two_dtypes, another_dtype])
def test_a_file_says_no_more_than_its_numbers(weights_file, harm):
    """Attributes of its own would stop Keras half-way."""
    with h5py.File(weights_file, "a") as file:
        values, attributes = harm(file["layers/dense_1/vars/0"][()])
        del file["layers/dense_1/vars/0"]
        file["layers/dense_1/vars/0"] = values
        file["layers/dense_1/vars/0"].attrs.update(attributes)
    load_weights(tiny_network(), weights_file)


def test_wrong_shapes_are_named(weights_file):
    with h5py.File(weights_file, "a") as file:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = np.ones((3, 2), "float32")
    with pytest.raises(ValueError, match=r"body/0: expected shape \(2, 3\)"):
        load_weights(tiny_network(), weights_file)


def test_keras_files_with_code_in_them_are_refused(tmp_path):
    """A Lambda layer would run it."""
    harmed = tmp_path / "harmed"
    image = keras.Input((2,))

    def harm(x, place=str(harmed)):
        open(place, "w").close()
        return x

    code = keras.layers.Lambda(harm)
    model = keras.Model(image, code(image))
    model.save(tmp_path / "a.keras")
    harmed.unlink()
    with pytest.raises(ValueError, match="a.keras cannot be loaded"):
        keras_attn.load(tmp_path / "a.keras")
    assert not harmed.exists()


class Pickled:
    """Unpickling it would write a file."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return open, (str(self.place), "w")


def test_keras_files_with_pickles_in_them_are_refused(tmp_path):
    harmed = tmp_path / "harmed"
    tiny_network().save(tmp_path / "good.keras")
    np.savez(
        tmp_path / "model.weights.npz",
        **{"layers/dense/vars": np.array([Pickled(harmed)], object)},
    )
    harmed.unlink(missing_ok=True)
    with (
        zipfile.ZipFile(tmp_path / "good.keras") as good,
        zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad,
    ):
        for name in ("config.json", "metadata.json"):
            bad.writestr(name, good.read(name))
        bad.write(tmp_path / "model.weights.npz", "model.weights.npz")
    with pytest.raises(ValueError, match="bad.keras cannot be loaded"):
        keras_attn.load(tmp_path / "bad.keras")
    assert not harmed.exists()


def test_what_is_no_keras_file_is_named(tmp_path):
    (tmp_path / "a.keras").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="a.keras cannot be loaded"):
        keras_attn.load(tmp_path / "a.keras")
    with pytest.raises(FileNotFoundError, match="no file .*b.keras"):
        keras_attn.load(tmp_path / "b.keras")


VALUES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text(max_size=20)
    | strategies.sampled_from(["../x", "/etc/passwd", "GSAResNet50", 10**10]),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=5), inner)
    ),
    max_leaves=5,
)


def places(value, prefix=()):
    """Yield the path of each value inside of a document."""
    yield prefix
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from places(value[key], (*prefix, key))


# What makes a terminal write in the other direction.
DIRECTIONS = ["LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"]
DOCUMENT = json.loads(description(b"weights"))
PLACES = [place for place in places(DOCUMENT) if place]


@SHARED_FOLDER
@given(place=strategies.sampled_from(PLACES), value=VALUES)
def test_a_changed_description_is_refused_or_harmless(tmp_path, place, value):
    document = copy.deepcopy(DOCUMENT)
    *outer, last = place
    inside = document
    for key in outer:
        inside = inside[key]
    inside[last] = value
    path = tmp_path / f"{hash(json.dumps(document))}.json"
    path.write_text(json.dumps(document))
    try:
        entries = manifest.read(path)
    except ValueError as error:
        assert "not a valid manifest" in str(error)
        return
    for entry in entries.values():
        assert "/" not in entry.file and entry.file.endswith(".weights.h5")
        assert 0 < entry.bytes <= 4e9 and 8 <= entry.input["size"] <= 1024
        assert entry.constructor.isalnum()
        assert set(entry.arguments) <= {
            "stem_strides",
            "attention",
            "attention_stages",
        }
        for letter in "".join(entry.class_names):
            assert unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp")
            assert unicodedata.bidirectional(letter) not in DIRECTIONS
        for index, probability in entry.golden_output["top"]:
            assert index in range(len(entry.class_names))
            assert 0 <= probability <= 1
        assert type(entry.input["size"]) is int


@SHARED_FOLDER
@given(
    damage=strategies.lists(
        strategies.tuples(
            strategies.integers(0, 10**6), strategies.integers(0, 255)
        ),
        min_size=1,
        max_size=20,
    ),
    end=strategies.integers(0, 10**6) | strategies.none(),
)
def test_a_damaged_weights_file_is_refused_or_loads(weights_file, damage, end):
    """No hash guards the files of users. Numbers may have changed, but a file
    loads as a whole or not at all."""
    content = bytearray(weights_file.read_bytes())
    for position, value in damage:
        content[position % len(content)] = value
    damaged = weights_file.with_name("damaged.weights.h5")
    damaged.write_bytes(content[: end and end % len(content)])
    network = tiny_network()
    before = [np.array(weight) for weight in network.weights]
    try:
        report = load_weights(network, damaged)
    except ValueError:
        for weight, old in zip(network.weights, before):
            np.testing.assert_array_equal(weight, old)
        return
    assert len(report.loaded) + len(report.reinitialized) == len(before)
