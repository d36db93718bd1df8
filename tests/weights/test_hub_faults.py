"""Downloads that go wrong end in the right file or in a clear error.

Each test uses huggingface_hub's own client, in processes of its own, against
a server on loopback. None lets a wrong or half file stay where a later call
would trust it.
"""

import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from keras_attn.weights import hub as hub_weights
from tests.weights.conftest import description

NUMBERS = itertools.count()
CONTENT = np.random.default_rng(0).bytes(300_000)

# Without Keras, which these need not.
LOCATE = """
import sys
sys.argv[0] = "keras-attn"
from keras_attn.weights import files, published
try:
    print(files.locate(published(sys.argv[1])))
except (OSError, ValueError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""

SMALL_FILES_ONLY = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
"""


@pytest.fixture
def address(hub):
    """A published weight of one test alone."""
    name = f"weight-{next(NUMBERS)}"
    commit = hub.push(
        f"tester/{name}",
        {
            hub_weights.DESCRIPTION: description(CONTENT),
            hub_weights.WEIGHTS: CONTENT,
        },
    )
    hub.requests()
    return f"hf://tester/{name}@{commit}"


def located(client, address, code=LOCATE, **variables):
    """Return the file that a process found, or `None`, and its errors."""
    found, errors = client.run(code, address, **variables)
    return Path(found.strip()) if found else None, errors


def assert_right(client, address, **variables):
    path, errors = located(client, address, **variables)
    assert path is not None, errors
    assert path.read_bytes() == CONTENT
    assert client.home in path.parents


def assert_fails(client, address, *messages, **variables):
    """The last line says what; others are the client's, of its retries."""
    path, errors = located(client, address, **variables)
    assert path is None, path
    last = errors.strip().splitlines()[-1]
    for message in messages:
        assert message in last
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("fault", "method"),
    [
        ("cut", "GET"),
        ("truncated", "GET"),
        ("wrong_bytes", "GET"),
        ("stalled", "GET"),
        ("broken", "HEAD"),
        ("broken", "GET"),
    ],
)
def test_what_goes_wrong_once_is_tried_again(
    hub, client, address, fault, method
):
    hub.fault(fault, method=method, times=1)
    assert_right(client, address)


@pytest.mark.parametrize(
    ("fault", "method", "message"),
    [
        ("cut", "GET", "ConnectionError: model.weights.h5 of hf://tester/"),
        ("truncated", "GET", "ConnectionError: model.weights.h5 of hf://"),
        ("wrong_bytes", "GET", "ValueError: "),
        ("missing", "HEAD", "FileNotFoundError: model.weights.h5 of hf://"),
        ("broken", "HEAD", "ConnectionError: model.weights.h5 of hf://tester/"),
        ("stalled", "GET", "ConnectionError: model.weights.h5 of hf://tester/"),
        (
            "huge",
            "HEAD",
            "announces 10000000000 bytes, expected at most 300000",
        ),
        ("escaping_etag", "HEAD", "malformed headers ETag: '../../../escaped'"),
        ("escaping_commit", "HEAD", "X-Repo-Commit: '../../../escaped'"),
    ],
)
def test_what_stays_wrong_is_an_error_and_leaves_nothing(
    hub, client, address, fault, method, message
):
    hub.fault(fault, method=method, times=1000)
    assert_fails(client, address, message)
    outside = {path.name for path in client.home.parent.iterdir()}
    assert outside == {client.home.name}
    assert not list(client.home.parent.rglob("*escaped*"))
    hub.heal()
    assert_right(client, address)


def test_a_huge_file_is_not_even_asked_for(hub, client, address):
    hub.fault("huge", method="HEAD")
    assert_fails(client, address, "10000000000 bytes")
    assert f"GET {hub_weights.WEIGHTS}" not in hub.requests()


def test_a_file_in_the_cache_needs_no_network(hub, client, address):
    assert_right(client, address)
    assert hub.requests()
    assert_right(client, address)
    assert_right(client, address, HF_HUB_OFFLINE="1")
    assert_right(client, address, HF_ENDPOINT="http://127.0.0.1:9")
    assert hub.requests() == []


def test_a_branch_is_asked_for_and_else_taken_from_the_cache(hub, client):
    def push(content):
        files = {
            hub_weights.DESCRIPTION: description(content),
            hub_weights.WEIGHTS: content,
        }
        return hub.push("tester/moving", files)

    push(b"first")
    path, _ = located(client, "hf://tester/moving")
    assert path.read_bytes() == b"first"
    push(b"second")
    path, _ = located(client, "hf://tester/moving")
    assert path.read_bytes() == b"second"
    path, _ = located(client, "hf://tester/moving", HF_HUB_OFFLINE="1")
    assert path.read_bytes() == b"second"


def test_offline_without_the_file_says_what_to_do(hub, client, address):
    repository, commit = hub_weights.parse(address)
    assert_fails(
        client,
        address,
        "FileNotFoundError: keras_attn.json of",
        "not in the cache",
        f"`hf download {repository} --revision {commit}`",
        HF_HUB_OFFLINE="1",
    )
    assert hub.requests() == []


@pytest.mark.parametrize(
    "address",
    ["hf://tester/nobody_made_this", "hf://tester/nobody_made_this@abc"],
)
def test_an_unknown_repository_is_named(client, address):
    assert_fails(client, address, "no such repository", "HF_TOKEN")


def test_an_unknown_revision_is_named(client, address):
    repository, _ = hub_weights.parse(address)
    unknown = f"hf://{repository}@{'0' * 40}"
    assert_fails(client, unknown, "FileNotFoundError", "no such revision")


@pytest.mark.parametrize("damage", ["flipped", "half", "empty"])
def test_a_file_damaged_in_the_cache_is_downloaded_again(
    hub, client, address, damage
):
    path, _ = located(client, address)
    content = {
        "flipped": CONTENT[:9] + bytes([CONTENT[9] ^ 1]) + CONTENT[10:],
        "half": CONTENT[: len(CONTENT) // 2],
        "empty": b"",
    }[damage]
    path.resolve().write_bytes(content)
    assert_right(client, address)


def test_a_damaged_file_is_not_used_offline(client, address):
    path, _ = located(client, address)
    path.resolve().write_bytes(b"-" + CONTENT[1:])
    assert_fails(client, address, "not in the cache", HF_HUB_OFFLINE="1")
    assert_right(client, address)


def test_two_processes_at_once_both_get_it(hub, client, address):
    hub.fault("slow", times=2)
    both = [client.start(LOCATE, address) for _ in range(2)]
    for process in both:
        found, errors = process.communicate(timeout=60)
        assert Path(found.strip()).read_bytes() == CONTENT, errors


def test_a_killed_download_is_finished_by_the_next(hub, client, address):
    hub.fault("slow")
    process = client.start(LOCATE, address)
    while not list(client.home.rglob("*.incomplete")):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert_right(client, address)


def test_a_full_disk_is_named(client, address):
    path, errors = located(client, address, SMALL_FILES_ONLY + LOCATE)
    assert path is None
    assert errors.startswith("OSError: ") and "too large" in errors
    assert "model.weights.h5 of hf://tester/" in errors
    assert len(errors.strip().splitlines()) == 1
    assert_right(client, address)
