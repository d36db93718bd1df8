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
    path = here(entry)
    if path is not None:
        return verified(path, entry)
    if entry.hub is None:
        raise FileNotFoundError(
            f"The weights file {entry.file} of {entry.id} is not published on "
            f"the Hub, and in none of: {', '.join(map(str, _folders()))}"
        )
    try:
        return verified(hub.download_weights(entry), entry)
    except WrongFileError as wrong:
        try:
            path = hub.download_weights(entry, again=True)
        except (OSError, ValueError) as error:
            raise wrong from error
    return verified(path, entry)


def here(entry):
    """Return the file of a weight that came with the package, or `None`."""
    if entry != manifest.entries().get(entry.id):
        return None
    paths = [folder / entry.file for folder in _folders()]
    return next((path for path in paths if path.is_file()), None)


def _folders():
    return (
        manifest.REPOSITORY / "zoo" / "weights",
        manifest.PACKAGE / "weights" / "bundled",
    )


class WrongFileError(ValueError):
    """A weights file is not the one that the manifest describes."""


def verified(path, entry):
    """Return `path` if it has the size and hash that the manifest states."""
    size = path.stat().st_size
    if size != entry.bytes:
        raise WrongFileError(
            f"{path} is not the weight {entry.id}: expected {entry.bytes} "
            f"bytes. Received: {size} bytes"
        )
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != entry.sha256:
        raise WrongFileError(
            f"{path} is not the weight {entry.id}: expected sha256 "
            f"{entry.sha256}. Received: {sha256}"
        )
    return path
