"""Weights on the Hugging Face Hub, through huggingface_hub and its cache.

An address is `hf://ORG/NAME`, or `hf://ORG/NAME@REVISION` with a branch, a tag
or a commit. The repository holds `keras_attn.json`, a manifest of one weight,
and its file, `model.weights.h5`. (`config.json` beside them is Keras's own, for
`keras.saving.load_model`; it is not read here.)
"""

import contextlib
import hashlib
import os
import re
import threading
from pathlib import Path

from keras_attn.weights import manifest

SCHEME = "hf://"
ADDRESS = re.compile(
    r"hf://(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?"
)
COMMIT = re.compile("[0-9a-f]{40}")
DEFAULT_REVISION = "main"
DESCRIPTION = "keras_attn.json"
WEIGHTS = "model.weights.h5"
MOST_BYTES_OF_DESCRIPTION = 1_000_000
# The client is one for the whole process, and so is what it refuses.
GUARD = threading.Lock()


def entry(address):
    """Return the `Entry` of an address.

    Without a revision, or with the one of the manifest, the weight of a
    repository in the manifest is the manifest's. Else the description is read
    from the Hub, and its entry names the commit that it came from.

    Args:
        address: String, see above.

    Raises:
        ValueError: for a malformed address or description.
        FileNotFoundError, PermissionError, ConnectionError, OSError: if the
            description cannot be downloaded.
    """
    repository, revision = parse(address)
    for known in manifest.entries().values():
        pinned = known.hub or {}
        if pinned.get("repository") == repository and revision in (
            None,
            pinned["revision"],
        ):
            return known
    description = _description(repository, revision or DEFAULT_REVISION)
    commit = description.parent.name  # as the cache of the Hub has it
    return manifest.single_entry(
        description, hub={"repository": repository, "revision": commit}
    )


def _description(repository, revision):
    """Return a description that is what its commit holds."""
    arguments = repository, DESCRIPTION, revision, MOST_BYTES_OF_DESCRIPTION
    path = _download(*arguments)
    if _is_as_committed(path):
        return path
    damage = ValueError(
        f"{DESCRIPTION} of {SCHEME}{repository}@{revision} is damaged: its "
        "content does not have the hash that git knows it by"
    )
    try:
        path = _download(*arguments, again=True)
    except (OSError, ValueError) as error:
        raise damage from error
    if not _is_as_committed(path):
        raise damage
    return path


def _is_as_committed(path):
    """Compare with the hash in git, by which the cache names a small file.

    Where the cache is without symbolic links, there is nothing to compare.
    """
    name = path.resolve().name
    if not COMMIT.fullmatch(name):
        return True
    content = path.read_bytes()
    return (
        name == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    )


def parse(address):
    """Return the repository and the revision, or `None`, of an address."""
    match = ADDRESS.fullmatch(address)
    if match is None or ".." in address:
        raise ValueError(
            "An address on the Hub is hf://ORG/NAME or hf://ORG/NAME@REVISION. "
            f"Received: {address!r}"
        )
    return match["repository"], match["revision"]


def download_weights(entry, again=False):
    """Return the path of a published weight, downloaded if need be.

    Args:
        entry: A `keras_attn.weights.Entry` with a repository on the Hub.
        again: Boolean, whether to download it although it is in the cache.

    Raises:
        As `entry`.
    """
    return _download(
        entry.hub["repository"],
        WEIGHTS,
        entry.hub["revision"],
        entry.bytes,
        again,
    )


def _download(repository, name, revision, most_bytes, again=False):
    import huggingface_hub

    def download():
        path = huggingface_hub.hf_hub_download(
            repository, name, revision=revision, force_download=again
        )
        return Path(path)

    with _clear_errors(repository, name, revision), _guarded(most_bytes):
        if again:
            _forget_copy(repository, name, revision)
        try:
            return download()
        except OSError as error:
            if not _may_pass(error):
                raise
        # The client tries again after most failures, but not after these.
        return download()


def _forget_copy(repository, name, revision):
    """Remove a file that is no link, which the client would not replace."""
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(
        repository, name, revision=revision
    )
    if isinstance(cached, str) and not os.path.islink(cached):
        os.unlink(cached)


def _may_pass(error):
    """Whether a body was cut short, or the server had an error of its own."""
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code >= 500
    return type(error) is OSError and error.errno is None


@contextlib.contextmanager
def _guarded(most_bytes):
    """Refuse answers whose headers the cache would take as they come: sizes,
    and what becomes the names of files."""
    import huggingface_hub

    def check(answer):
        if threading.get_ident() != thread:
            return  # somebody else's download
        headers = answer.headers
        for name in ("Content-Length", "X-Linked-Size"):
            if int(headers.get(name, 0)) > most_bytes:
                raise ValueError(
                    f"the Hub announces {headers[name]} bytes, expected at "
                    f"most {most_bytes}"
                )
        for name in ("ETag", "X-Linked-Etag", "X-Repo-Commit"):
            value = headers.get(name, "").removeprefix("W/").strip('"')
            if not re.fullmatch(r"[\w:+=-]*", value):
                raise ValueError(
                    f"the Hub answers with a malformed header {name}: {value!r}"
                )

    before = []
    thread = threading.get_ident()

    def guard(session):
        hooks = session.event_hooks
        before.append((session, hooks))
        session.event_hooks = hooks | {"response": [*hooks["response"], check]}
        return session

    with GUARD:
        guard(huggingface_hub.get_session())
        try:
            with _every_new_session(guard):
                yield
        finally:
            for session, hooks in before:
                session.event_hooks = hooks


@contextlib.contextmanager
def _every_new_session(guard):
    """Guard what the client makes after a connection was refused."""
    from huggingface_hub.utils import _http

    # The public function to set this would end the present session, and none
    # tells what it was.
    factory = getattr(_http, "_GLOBAL_CLIENT_FACTORY", None)
    _http._GLOBAL_CLIENT_FACTORY = lambda: guard(factory())
    try:
        yield
    finally:
        _http._GLOBAL_CLIENT_FACTORY = factory


@contextlib.contextmanager
def _clear_errors(repository, name, revision):
    """Say in one line what went wrong with which file."""
    from huggingface_hub import errors

    what = f"{name} of {SCHEME}{repository}@{revision}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"{what}: its owners grant access on the Hub, to those who log in "
            "with `hf auth login` or HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{what}: there is no such repository on the Hub, or it is "
            "private, which needs `hf auth login` or HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"{what}: the repository has no such revision"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{what}: the repository has no such file"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{what} is not in the cache, and the Hub cannot be reached. With "
            f"a network, `hf download {repository} --revision {revision}` "
            f"gets it into the cache. ({_reason(error.__cause__ or error)})"
        ) from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise PermissionError(f"{what}: {_reason(error)}") from error
        raise ConnectionError(
            f"{what} could not be downloaded: {_reason(error)}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{what} is refused: {error}") from error
    except OSError as error:
        if error.errno is None:  # the client's own errors have no number
            raise ConnectionError(
                f"{what} could not be downloaded: {_reason(error)}"
            ) from error
        raise OSError(error.errno, f"{what}: {error.strerror}") from error
    except Exception as error:  # of the transports, of which there are several
        raise ConnectionError(
            f"{what} could not be downloaded: {_reason(error)}"
        ) from error


def _reason(error):
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
