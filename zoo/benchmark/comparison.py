"""The latency of the networks of the comparison, one image at a time."""

import itertools

from rich.progress import Progress

from zoo import runs
from zoo import tables
from zoo.benchmark import timing

ROUNDS = 5
SECONDS = 2.0


def run(path, quick):
    """Measure all networks in turns and write the results to `path`.

    Args:
        path: Path of the CSV file.
        quick: Boolean, whether to measure one round of two networks only.
    """
    import keras

    keras.config.set_dtype_policy("float32")
    recipes = {
        (data, run.network, run.pixels): run.recipe
        for data, kept in runs.kept().items()
        for run in kept
    }
    if not recipes:
        raise FileNotFoundError(f"No trainings are kept in {runs.FOLDER}")
    rounds, seconds = (1, 0.0) if quick else (ROUNDS, SECONDS)
    cases = list(recipes)[: 2 if quick else None]
    times = {case: [] for case in cases}
    calls = {case: _inference(recipes[case]) for case in cases}
    turns = list(itertools.product(range(rounds), cases))
    with Progress(transient=True) as progress:
        for _, case in progress.track(turns, description="latency"):
            times[case] += timing.durations(calls[case], seconds)
    rows = [
        {
            "data": data,
            "network": network,
            "pixels": pixels,
            **timing.summary(durations),
        }
        for (data, network, pixels), durations in times.items()
    ]
    tables.write(path, rows, dtype="float32", batch=1)


def _inference(recipe):
    import tensorflow as tf

    from zoo import network

    tf.get_logger().setLevel("ERROR")  # Each network is a new function.
    size = recipe["data"]["evaluation_size"]
    model = network.build(recipe, size)
    image = tf.random.uniform((1, size, size, 3), maxval=255)
    call = tf.function(lambda: model(image, training=False))
    call()  # compiles
    return call
