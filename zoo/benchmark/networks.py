"""ResNet-50 with each attention type against keras.applications."""

import itertools

from rich.progress import Progress

from zoo import tables
from zoo.benchmark import timing

PEER = "keras.applications.ResNet50"
ATTENTIONS = (None, "expatt", "cram", "gsa", "aa", "positionwise", "se", "cbam")
SIZE = 224
CASES = (  # dtype, mode, batch
    ("float32", "forward", 1),
    ("float32", "forward", 16),
    ("float32", "step", 16),
    ("bfloat16", "step", 16),
)
ROUNDS = 3
SECONDS = 3.0


def run(path, quick):
    """Measure all networks in turns and write the results to `path`.

    Args:
        path: Path of the CSV file.
        quick: Boolean, whether to measure small images only.
    """
    import keras

    size, rounds, seconds = (32, 1, 0.0) if quick else (SIZE, ROUNDS, SECONDS)
    networks = build_functions(size, ATTENTIONS[:1] if quick else ATTENTIONS)
    rows = []
    for dtype, mode, batch in CASES[1:3] if quick else CASES:
        policy = "mixed_bfloat16" if dtype == "bfloat16" else dtype
        keras.config.set_dtype_policy(policy)
        rows += _measure(networks, size, rounds, seconds, dtype, mode, batch)
        tables.write(path, rows, image=f"{size} x {size}")
    keras.config.set_dtype_policy("float32")


def build_functions(size, attentions):
    """Return functions that build the networks, by name."""
    import keras

    from keras_attn.applications import AttnResNet50

    shape = (size, size, 3)
    networks = {
        PEER: lambda: keras.applications.ResNet50(
            weights=None, input_shape=shape
        )
    }
    for attention in attentions:
        networks[f"AttnResNet50({attention})"] = lambda attention=attention: (
            AttnResNet50(attention=attention, input_shape=shape)
        )
    return networks


def _measure(networks, size, rounds, seconds, dtype, mode, batch):
    calls, times = {}, {}
    rows = {}
    with Progress(transient=True) as progress:
        total = len(networks) * (1 + rounds)
        task = progress.add_task(f"{dtype} {mode} {batch}", total=total)
        for name, build in networks.items():
            model = build()
            call = calls[name] = compiled_call(model, mode, size, batch)
            call()
            rows[name] = {
                "network": name,
                "dtype": dtype,
                "mode": mode,
                "batch": batch,
                "parameters": model.count_params(),
            }
            progress.advance(task)
        for _, (name, call) in itertools.product(range(rounds), calls.items()):
            times.setdefault(name, []).extend(timing.durations(call, seconds))
            progress.advance(task)
    for name, results in times.items():
        rows[name].update(timing.summary(results))
    peer, plain = PEER, "AttnResNet50(None)"
    for row in rows.values():
        best = row["best_ms"]
        row["over_keras_resnet50"] = round(best / rows[peer]["best_ms"], 3)
        row["over_plain"] = round(best / rows[plain]["best_ms"], 3)
    return list(rows.values())


def compiled_call(model, mode, size, batch):
    """Return one inference or one training step, as Keras compiles them."""
    import keras
    import numpy as np
    import tensorflow as tf

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch, size, size, 3))
    images = tf.constant(images, "float32")
    labels = tf.constant(generator.integers(0, 1000, batch))
    if mode == "forward":
        return tf.function(lambda: model(images, training=False))
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        "sparse_categorical_crossentropy",
    )
    model.optimizer.build(model.trainable_variables)
    return tf.function(lambda: model.train_step((images, labels)))
