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
    first, one inside for each other. Saving takes all of them."""
    return out / f"process{index()}" if index() else out
