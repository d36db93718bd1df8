"""Where a weights file is, and whether it is the right one."""

import hashlib

from keras_attn.weights import hub
from keras_attn.weights import manifest


def locate(entry):
    """Return the verified file of a weight.

    A weight of the package's own manifest is looked for in the repository
    (`zoo/weights`) and in the installed package, then, as all others, on the
    Hub. A file in the cache of the Hub that is not the right one is downloaded
    once more.

    Args:
        entry: A `keras_attn.weights.Entry`.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: if the file is in none of these places.
        ValueError: if its size or sha256 is not the manifest's.
        PermissionError, ConnectionError, OSError: if it cannot be downloaded.
    """
    folders = (
        manifest.REPOSITORY / "zoo" / "weights",
        manifest.PACKAGE / "weights" / "bundled",
    )
    if entry == manifest.entries().get(entry.id):
        for folder in folders:
            if (folder / entry.file).is_file():
                return verified(folder / entry.file, entry)
    if entry.hub is None:
        places = ", ".join(str(folder) for folder in folders)
        raise FileNotFoundError(
            f"The weights file {entry.file} of {entry.id} is not published on "
            f"the Hub, and in none of: {places}"
        )
    path = hub.download_weights(entry)
    try:
        return verified(path, entry)
    except ValueError:
        hub.forget(path)
    path = hub.download_weights(entry)
    try:
        return verified(path, entry)
    except ValueError:
        hub.forget(path)
        raise


def verified(path, entry):
    """Return `path` if it has the size and hash that the manifest states."""
    size = path.stat().st_size
    if size != entry.bytes:
        raise ValueError(
            f"{path} is not the weight {entry.id}: expected {entry.bytes} "
            f"bytes. Received: {size} bytes"
        )
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != entry.sha256:
        raise ValueError(
            f"{path} is not the weight {entry.id}: expected sha256 "
            f"{entry.sha256}. Received: {sha256}"
        )
    return path
