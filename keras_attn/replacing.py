"""Write files whole, or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Give a place to write to, which takes the place of `path` at the end.

    If the block raises, what was written is removed, and `path` is as it was.
    Several may write at once: the last to finish has its file there.

    Args:
        path: Path of the file to write.

    Yields:
        A path of the same name, in a new folder beside it.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(
        prefix="unfinished_", dir=path.parent
    ) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        os.replace(unfinished, path)
