"""Downloads that go wrong end in the right file or in a clear error.

Each test uses huggingface_hub's own client, in processes of its own, against
a server on loopback. None lets a wrong or half file stay where a later call
would trust it.
"""

import itertools
import os
import signal
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
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

# The client waits between its tries, longer each time, and for whole seconds.
IMPATIENT = """
import time
import huggingface_hub.constants
time.sleep = lambda seconds: None
huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT = 0.2
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
    assert_says(errors, *messages)


def assert_says(errors, *messages):
    last = errors.strip().splitlines()[-1]
    for message in messages:
        assert message in last
    assert "Traceback" not in errors


FILES = pytest.mark.parametrize(
    "file", [hub_weights.WEIGHTS, hub_weights.DESCRIPTION]
)


@FILES
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
    hub, client, address, file, fault, method
):
    hub.fault(fault, file, method=method, times=1)
    assert_right(client, address)


LASTING = [
    ("cut", "GET", "ConnectionError: {file} of hf://tester/"),
    ("truncated", "GET", "ConnectionError: {file} of hf://tester/"),
    ("wrong_bytes", "GET", "{file}"),
    ("broken", "HEAD", "FileNotFoundError: {file} of hf://tester/"),
    ("stalled", "GET", "ConnectionError: {file} of hf://tester/"),
    ("missing", "HEAD", "FileNotFoundError: {file} of hf://tester/"),
    ("huge", "HEAD", "announces 10000000000 bytes, expected at most"),
    ("escaping_etag", "HEAD", "malformed header ETag: '../../../escaped'"),
    ("escaping_commit", "HEAD", "malformed header X-Repo-Commit"),
]


@pytest.mark.parametrize(
    ("file", "fault", "method", "message"),
    [
        (file, *fault)
        for file in (hub_weights.WEIGHTS, hub_weights.DESCRIPTION)
        for fault in LASTING
    ],
)
def test_what_stays_wrong_is_an_error_and_leaves_nothing(
    hub, client, address, file, fault, method, message
):
    hub.fault(fault, file, method=method, times=1000)
    path, errors = located(client, address, IMPATIENT + LOCATE)
    assert path is None, path
    assert_says(errors, message.format(file=file))
    outside = {path.name for path in client.home.parent.iterdir()}
    assert outside <= {client.home.name}
    assert not list(client.home.parent.rglob("*escaped*"))
    hub.heal()
    assert_right(client, address)


@pytest.mark.parametrize("first", ["truncated", "wrong_bytes"])
def test_every_answer_is_checked(hub, client, address, first):
    """Not only the first one about a file that is asked for again."""
    hub.fault(first)
    hub.fault("escaping_etag", method="HEAD", times=1000, after=1)
    path, _ = located(client, address)
    assert hub.requests().count(f"HEAD {hub_weights.WEIGHTS}") > 1
    assert path is None, path
    assert not list(client.home.parent.rglob("*escaped*"))


def test_a_client_in_place_of_another_is_guarded_too():
    """As the client makes one when a connection is refused."""
    hooks = huggingface_hub.get_session().event_hooks
    huggingface_hub.close_session()
    with hub_weights._guarded(10):
        huggingface_hub.close_session()
        check = huggingface_hub.get_session().event_hooks["response"][-1]
        for headers in ({"ETag": '"../../x"'}, {"Content-Length": "11"}):
            with pytest.raises(ValueError, match="the Hub"):
                check(types.SimpleNamespace(headers=headers))
    assert huggingface_hub.get_session().event_hooks == hooks
    huggingface_hub.close_session()
    with hub_weights._guarded(10):
        pass
    assert huggingface_hub.get_session().event_hooks == hooks
    huggingface_hub.close_session()
    assert huggingface_hub.get_session().event_hooks == hooks


def test_downloads_of_other_threads_are_not_judged():
    huggingface_hub.close_session()
    with hub_weights._guarded(10), ThreadPoolExecutor() as threads:
        check = huggingface_hub.get_session().event_hooks["response"][-1]
        answer = types.SimpleNamespace(headers={"Content-Length": "11"})
        assert threads.submit(check, answer).result() is None
        with pytest.raises(ValueError, match="announces 11 bytes"):
            check(answer)
    huggingface_hub.close_session()


def test_two_threads_leave_the_client_as_it_was():
    """What one download may bring is no limit for later ones."""
    hooks = huggingface_hub.get_session().event_hooks
    entered, leave, left = (threading.Event() for _ in range(3))

    def first():
        with hub_weights._guarded(1):
            entered.set()
            leave.wait()
        left.set()

    def second():
        entered.wait()
        threading.Timer(0.1, leave.set).start()
        with hub_weights._guarded(2):
            left.wait()  # without a lock it would be here before

    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(first), threads.submit(second)]:
            done.result()
    assert huggingface_hub.get_session().event_hooks == hooks


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


def test_a_malformed_name_is_named(client):
    """Which the Hub's own client checks."""
    assert_fails(client, "hf://tester/a--b", "is refused: Cannot have --")


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


def test_a_damaged_description_is_downloaded_again(client, address):
    path, _ = located(client, address)
    description_file = path.with_name(hub_weights.DESCRIPTION).resolve()
    text = description_file.read_bytes()
    description_file.write_bytes(text.replace(b'"cat"', b'"cow"'))
    assert_right(client, address)
    assert description_file.read_bytes() == text


def test_a_damaged_file_is_not_used_offline(client, address):
    path, _ = located(client, address)
    path.resolve().write_bytes(b"-" + CONTENT[1:])
    assert_fails(client, address, "expected sha256", HF_HUB_OFFLINE="1")
    assert_right(client, address)


def test_a_damaged_description_is_not_used_offline(client, address):
    path, _ = located(client, address)
    description_file = path.with_name(hub_weights.DESCRIPTION).resolve()
    text = description_file.read_bytes()
    description_file.write_bytes(text.replace(b'"cat"', b'"cow"'))
    assert_fails(client, address, "is damaged", HF_HUB_OFFLINE="1")


def test_without_symbolic_links_in_the_cache_it_is_the_same(client, address):
    links = {"HF_HUB_DISABLE_SYMLINKS": "1"}
    path, errors = located(client, address, **links)
    assert path and not path.is_symlink(), errors
    path.write_bytes(b"-" + CONTENT[1:])
    assert_right(client, address, **links)


def test_two_processes_at_once_both_get_it(hub, client, address):
    hub.fault("slow", times=2)
    both = [client.start(LOCATE, address) for _ in range(2)]
    for process in both:
        found, errors = process.communicate(timeout=60)
        assert Path(found.strip()).read_bytes() == CONTENT, errors


def test_after_a_killed_download_the_next_is_right(hub, client, address):
    hub.fault("slow")
    process = client.start(LOCATE, address)
    while f"GET {hub_weights.WEIGHTS}" not in hub.requests():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)  # half of it has come
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert_right(client, address)


def test_a_full_disk_is_named(client, address):
    path, errors = located(client, address, SMALL_FILES_ONLY + LOCATE)
    assert path is None
    assert errors.startswith("OSError: ") and "too large" in errors
    assert "model.weights.h5 of hf://tester/" in errors
    assert_right(client, address)
