"""Trainings in several processes, as Keras's environment variables tell."""

import os


def count():
    """Return how many processes train together."""
    return int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", 1))


def index():
    """Return which of them this is, from 0."""
    return int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0))


def folder(out):
    """Return the folder that this process writes to: the given one for the
    first, one inside it for each of the others. All of them must save."""
    return out / f"process{index()}" if index() else out


def check_same_epoch(epoch):
    """Raise an error unless all processes are about to begin this epoch.

    Each has a backup of its own: they may be stopped between two of them.

    Args:
        epoch: Integer.

    Raises:
        ValueError: in all of them.
    """
    if count() == 1:
        return
    from jax.experimental import multihost_utils

    epochs = multihost_utils.process_allgather(epoch).tolist()
    if len(set(epochs)) > 1:
        raise ValueError(
            f"The processes were stopped at different epochs: {epochs}. Copy "
            "the backup and the history of one of them to the others' folders"
        )
