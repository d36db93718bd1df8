"""The latency of the networks of the comparison, one image at a time."""

import itertools

from rich.progress import Progress

from zoo import runs
from zoo.benchmark import tables
from zoo.benchmark import timing

DATA = "cifar100"
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
    recipes = {run.network: run.recipe for run in runs.kept(DATA)}
    rounds, seconds = (1, 0.0) if quick else (ROUNDS, SECONDS)
    names = list(recipes)[: 2 if quick else None]
    times = {name: [] for name in names}
    calls = {name: _inference(recipes[name]) for name in names}
    turns = list(itertools.product(range(rounds), names))
    with Progress(transient=True) as progress:
        for _, name in progress.track(turns, description="latency"):
            times[name] += timing.durations(calls[name], seconds)
    rows = [
        {
            "network": name,
            "image": recipes[name]["data"]["evaluation_size"],
            **timing.summary(times[name]),
        }
        for name in names
    ]
    tables.write(path, rows, dtype="float32", batch=1)


def _inference(recipe):
    import tensorflow as tf

    from zoo import network

    size = recipe["data"]["evaluation_size"]
    model = network.build(recipe, size)
    image = tf.random.uniform((1, size, size, 3), maxval=255)
    call = tf.function(lambda: model(image, training=False))
    call()  # compiles
    return call
