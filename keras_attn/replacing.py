"""Write files whole, or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Give a place to write to, which takes the place of `path` at the end.

    If the block raises, what was written is removed, and `path` is as it was.

    Args:
        path: Path of the file to write.

    Yields:
        A path beside it, with the same suffix.
    """
    path = Path(path)
    unfinished = path.with_name(f"unfinished_{path.name}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
