"""Weights on the Hugging Face Hub, through huggingface_hub and its cache.

An address is `hf://ORG/NAME`, or `hf://ORG/NAME@REVISION` with a branch, a tag
or a commit. The repository holds `keras_attn.json`, a manifest of one weight,
and its file, `model.weights.h5`. (`config.json` beside them is Keras's own, for
`keras.saving.load_model`; it is not read here.)
"""

import contextlib
import re
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
    description = _download(
        repository,
        DESCRIPTION,
        revision or DEFAULT_REVISION,
        MOST_BYTES_OF_DESCRIPTION,
    )
    commit = description.parent.name  # as the cache of the Hub has it
    return manifest.single_entry(
        description, hub={"repository": repository, "revision": commit}
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


def download_weights(entry):
    """Return the path of a published weight, downloaded if need be.

    Args:
        entry: A `keras_attn.weights.Entry` with a repository on the Hub.

    Raises:
        As `entry`.
    """
    return _download(
        entry.hub["repository"], WEIGHTS, entry.hub["revision"], entry.bytes
    )


def forget(path):
    """Remove a file from the cache, so that it is downloaded again."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _download(repository, name, revision, most_bytes):
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(
        repository, name, revision=revision
    )
    cached = Path(cached) if isinstance(cached, str) else None
    if cached and COMMIT.fullmatch(revision):
        return cached
    with _clear_errors(repository, name, revision):
        try:
            metadata = huggingface_hub.get_hf_file_metadata(
                huggingface_hub.hf_hub_url(repository, name, revision=revision),
                retry_on_errors=cached is None,
            )
        except _absent():
            raise
        except Exception:
            if cached:
                return cached  # the newest that was seen
            raise
        _check(metadata, most_bytes)
        try:
            path = huggingface_hub.hf_hub_download(
                repository, name, revision=revision
            )
        except OSError as error:
            if error.errno is not None:  # a full disk is full again
                raise
            # The client tries again after most failures, but not all.
            path = huggingface_hub.hf_hub_download(
                repository, name, revision=revision
            )
        return Path(path)


def _absent():
    from huggingface_hub import errors

    return (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.EntryNotFoundError,
    )


def _check(metadata, most_bytes):
    """Refuse what the cache would take as it comes: its size, and names of
    files in the headers of an answer."""
    if metadata.size is None or metadata.size > most_bytes:
        raise ValueError(
            f"the Hub announces {metadata.size} bytes, expected at most "
            f"{most_bytes}"
        )
    etag, commit = metadata.etag or "", metadata.commit_hash or ""
    if not re.fullmatch(r"[\w-]+", etag) or not COMMIT.fullmatch(commit):
        raise ValueError(
            f"the Hub answers with the malformed headers ETag: {etag!r}, "
            f"X-Repo-Commit: {commit!r}"
        )


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
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as e:
        raise FileNotFoundError(
            f"{what} is not in the cache, and the Hub cannot be asked for it: "
            f"{_reason(e)} With a network, `hf download {repository} "
            f"--revision {revision}` gets it into the cache."
        ) from e
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
