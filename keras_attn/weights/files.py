"""Where a weights file is, and whether it is the right one."""

import hashlib
import os
from pathlib import Path

from keras_attn.weights import manifest


def locate(entry):
    """Return the verified file of a manifest entry.

    Looks in the repository (`zoo/weights`), in the installed package, and in
    the user's cache, `models/keras_attn` below `KERAS_HOME` (by default
    `~/.keras`).

    Args:
        entry: A `keras_attn.weights.Entry`.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: if the file is in none of these places.
        ValueError: if its size or sha256 is not the manifest's.
    """
    keras_home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    folders = (
        manifest.REPOSITORY / "zoo" / "weights",
        manifest.PACKAGE / "weights" / "bundled",
        keras_home / "models" / "keras_attn",
    )
    for folder in folders:
        if (folder / entry.file).is_file():
            return verified(folder / entry.file, entry)
    places = ", ".join(str(folder) for folder in folders)
    raise FileNotFoundError(
        f"The weights file {entry.file} of {entry.id} is in none of: {places}"
    )


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
