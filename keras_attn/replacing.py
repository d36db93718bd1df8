"""Write files whole, or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Give a place to write to, which takes the place of `path` at the end.

    If the block raises, what was written is removed, and `path` is as it was.
    A process that is killed leaves the folder `unfinished_*` behind. Several
    may write at once: the last to finish has its file there.

    Args:
        path: Path of the file to write.

    Yields:
        A path of the same name, in a new folder beside it; beside its target,
        if it is a link.

    Raises:
        FileNotFoundError: if the folder of `path` does not exist.
    """
    target = Path(os.path.realpath(path))  # of a link, which stays
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: there is no folder {target.parent}"
        )
    with tempfile.TemporaryDirectory(
        prefix="unfinished_", dir=target.parent
    ) as folder:
        unfinished = Path(folder) / Path(path).name
        yield unfinished
        os.replace(unfinished, target)
