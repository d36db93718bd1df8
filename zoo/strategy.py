"""One device, all devices of a machine, or several machines.

On TensorFlow the devices of one machine are a `tf.distribute.MirroredStrategy`.
On JAX the devices of any number of processes are one
`keras.distribution.DataParallel`; processes find each other through Keras's
variables `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `_NUM_PROCESSES`, `_PROCESS_ID`.
"""

import contextlib

import keras

from zoo import processes

BACKENDS = {"mirrored": "tensorflow", "data-parallel": "jax"}


def begin(strategy=None):
    """Prepare the devices; return the context to build a model in.

    Args:
        strategy: `"mirrored"`, `"data-parallel"`, `"none"` for one device, or
            `None` for what the backend has.

    Raises:
        ValueError: if the strategy is another backend's, or has no use for
            several processes.
    """
    backend = keras.backend.backend()
    if strategy is None:
        names = [name for name in BACKENDS if BACKENDS[name] == backend]
        strategy = (*names, "none")[0]
    if BACKENDS.get(strategy, backend) != backend:
        raise ValueError(
            f"--strategy {strategy} needs KERAS_BACKEND={BACKENDS[strategy]}. "
            f"The backend is {backend}."
        )
    if processes.count() > 1 and strategy != "data-parallel":
        raise ValueError(
            f"--strategy {strategy} trains in one process, but "
            f"KERAS_DISTRIBUTION_NUM_PROCESSES={processes.count()}. Several "
            "need --strategy data-parallel and KERAS_BACKEND=jax."
        )
    if strategy == "mirrored":
        import tensorflow as tf

        return tf.distribute.MirroredStrategy().scope()
    if strategy == "data-parallel":
        _share_batches()
    return contextlib.nullcontext()


def _share_batches():
    if processes.count() > 1:
        keras.distribution.initialize()
    if len(keras.distribution.list_devices()) > 1:
        # Each process makes its own part of a batch (see zoo.data).
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)


def sharing_devices():
    """Return how many devices share each batch, in the context of `begin`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    return distribution.device_mesh.devices.size if distribution else 1


def synchronize_batch_norm(model):
    """Let replicas share the statistics of a batch, where there are several.

    Otherwise their moving statistics drift apart, and the first one's are
    saved. This is set for the training only and in no saved configuration,
    since other backends, which need it not, refuse it.

    Replicas take turns then in the middle of a step. Keras has one list for
    what all of them add to the loss, so that the loss that `fit` shows has it
    once for each replica. What they learn from has it once.
    """
    if keras.backend.backend() != "tensorflow":
        return
    if sharing_devices() == 1:
        return
    # No public name reaches the layers inside of layers.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
