"""A Hub on loopback, and processes that use it as users do."""

import copy
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub import HfApi

from keras_attn.weights import hub as hub_weights
from keras_attn.weights import manifest


@dataclasses.dataclass
class Hub:
    """A running `tests.weights.hub_server`."""

    url: str

    def push(self, repository, files):
        """Make a repository of files `{path: bytes}`; return its commit."""
        api = HfApi(endpoint=self.url, token="writer")
        api.create_repo(repository, exist_ok=True)
        operations = [
            CommitOperationAdd(path, content) for path, content in files.items()
        ]
        commit = api.create_commit(repository, operations, commit_message="-")
        return commit.oid

    def fault(
        self, fault, file=hub_weights.WEIGHTS, method="GET", times=1, after=0
    ):
        """Let answers about a file go wrong, after some that are right."""
        asked = {
            "fault": fault,
            "file": file,
            "method": method,
            "times": times,
            "after": after,
        }
        self._ask("POST", "/faults", json.dumps(asked).encode())

    def heal(self):
        self._ask("POST", "/heal")

    def requests(self):
        """Return what was asked for since the last time."""
        return json.loads(self._ask("GET", "/requests"))

    def _ask(self, method, path, body=None):
        request = urllib.request.Request(
            self.url + path, data=body, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()


@pytest.fixture(scope="session")
def hub_process(tmp_path_factory):
    port_file = tmp_path_factory.mktemp("hub") / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.weights.hub_server", str(port_file)],
        stderr=subprocess.DEVNULL,
    )
    while not port_file.exists():
        assert process.poll() is None
        time.sleep(0.05)
    yield Hub(f"http://127.0.0.1:{port_file.read_text()}")
    process.terminate()
    process.wait()


@pytest.fixture
def hub(hub_process):
    hub_process.heal()
    hub_process.requests()
    return hub_process


@pytest.fixture
def client(hub, tmp_path):
    """Run Python with an empty cache of the Hub; see `Client`."""
    return Client(hub.url, tmp_path / "home")


@dataclasses.dataclass
class Client:
    """Processes with one cache.

    Attributes:
        url: The Hub's.
        home: The folder of the cache, HF_HOME.
    """

    url: str
    home: Path

    def environment(self, **variables):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.home),
            "HF_HUB_ETAG_TIMEOUT": "2",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **variables,
        }

    def start(self, code, *arguments, **variables):
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code, *arguments, **variables):
        """Return what a process printed, and its errors."""
        process = self.start(code, *arguments, **variables)
        return process.communicate(timeout=300)


def description(content, **changes):
    """Return the `keras_attn.json` of a weight that is `content`.

    Args:
        content: Bytes of the weights file.
        **changes: Other values of its entry.
    """
    document = json.loads(manifest.manifest_path().read_text("utf-8"))
    fields = copy.deepcopy(document["weights"][0])
    fields |= {
        "id": "cram_resnet14_small.test_16",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "golden_output": {"top": [[0, 0.75], [1, 0.25]]},
        "hub": None,
        **changes,
    }
    names = {fields["class_names"]: ["cat", "dog"]}
    document = {"class_names": names, "weights": [fields]}
    return json.dumps(document).encode()
