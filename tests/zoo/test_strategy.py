"""Several devices and several processes train as one does."""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.subprocesses import TWO_DEVICES
from tests.subprocesses import WITHOUT_TENSORFLOW
from tests.subprocesses import run_python
from tests.zoo.common import ONE_SIZE
from tests.zoo.common import history
from tests.zoo.common import small_recipe
from zoo import network
from zoo import run_folder
from zoo import strategy
from zoo import train

# A recipe on two devices.
TRAINED = f"""{TWO_DEVICES}
import json, sys
from pathlib import Path
data_dir, out, recipe = sys.argv[1:]
from zoo import strategy, train
synchronize = strategy.synchronize_batch_norm

def in_scope(network):
    print(tf.distribute.get_strategy().num_replicas_in_sync, "replicas")
    synchronize(network)

strategy.synchronize_batch_norm = in_scope
Path(out).mkdir()
train.train(json.loads(recipe), Path(data_dir), Path(out))
"""


def test_several_processes_need_data_parallel(monkeypatch):
    """Each would train alone, and all write to the same place."""
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    for name in ("mirrored", "none", None):
        with pytest.raises(ValueError, match="--strategy data-parallel"):
            strategy.begin(name)


def test_devices_that_cannot_share_a_batch_are_an_error(monkeypatch):
    train._check_shares(128, 10_001, 8)  # the last batch may be uneven
    with pytest.raises(ValueError, match="3 devices.*batch_size=128"):
        train._check_shares(128, 9_999, 3)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    train._check_shares(128, 10_000, 8)
    with pytest.raises(ValueError, match="8 devices.*10001 validation images"):
        train._check_shares(128, 10_001, 8)


def recipe(dtype_policy, attention="gsa"):
    recipe = small_recipe(
        model={"dtype_policy": dtype_policy},
        data=ONE_SIZE,
        # Few small steps: what differs by rounding has no time to grow.
        training={"peak_learning_rate": 0.01},
    )
    recipe["model"]["arguments"] |= {
        "attention": attention,
        "attention_stages": [2, 3],
    }
    return recipe


@pytest.mark.parametrize(
    ("attention", "dtype_policy"),
    [
        # Batch normalisation also inside of the layers; sizes do not change.
        ("gsa", "float32"),
        ("gsa", "mixed_bfloat16"),
        # Adds to the loss, from two stages.
        ("cram", "float32"),
    ],
)
def test_two_devices_train_as_one_does(
    data_dir, tmp_path, attention, dtype_policy
):
    settings = recipe(dtype_policy, attention)
    # Seven validation images, which are 2 + 2 and 2 + 1.
    table = data_dir / "val" / "val_annotations.txt"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([*rows, rows[0]]))
    (tmp_path / "one").mkdir()
    train.train(settings, data_dir, tmp_path / "one")
    printed = run_python(
        TRAINED, data_dir, tmp_path / "two", json.dumps(settings)
    )
    assert "2 replicas" in printed
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    tolerance = 1e-4 if dtype_policy == "float32" else 2e-2
    assert len(one) == len(two) == 2
    for single, mirrored in zip(one, two):
        if attention != "cram":  # see zoo.strategy.synchronize_batch_norm
            assert mirrored["loss"] == pytest.approx(
                single["loss"], rel=tolerance
            )
        if dtype_policy == "float32":
            assert mirrored["val_loss"] == pytest.approx(
                single["val_loss"], rel=2e-3
            )
            assert mirrored["val_top1"] == pytest.approx(single["val_top1"])
    if dtype_policy == "float32":
        single, mirrored = network.build(settings), network.build(settings)
        single.load_weights(tmp_path / "one" / run_folder.LAST)
        mirrored.load_weights(tmp_path / "two" / run_folder.LAST)
        for ours, theirs in zip(mirrored.weights, single.weights):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


# What only two devices can get wrong, in a plain `fit` with an incomplete
# last batch: 11 images, 4 a step, so the last step has 3.
REPLICAS = f"""{TWO_DEVICES}
import sys
import numpy as np
import keras
from keras_attn.applications import AttnResNet
from zoo import strategy
keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
# The replicas see different things: the first half of each batch is dark.
images = random.uniform(0, 50, (11, 16, 16, 3)).astype("float32")
images[2::4] += 200
images[3::4] += 200
labels = np.arange(11) % 3

def build(weights=None):
    return AttnResNet((1, 1), bottleneck=False, width=16, attention="gsa",
                      stem_strides=2, input_shape=(16, 16, 3), classes=3,
                      weights=weights)

def trained(synchronised):
    model = build()
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy",
                  metrics=["accuracy"])
    if synchronised:
        strategy.synchronize_batch_norm(model)
    model.fit(images, labels, batch_size=4, epochs=2, verbose=0, shuffle=False)
    return model

def apart(model):
    replicas = [weight.value.values for weight in model.weights]
    return max(np.abs(one.numpy() - two.numpy()).max() for one, two in replicas)

with strategy.begin():
    assert tf.distribute.get_strategy().num_replicas_in_sync == 2
    drifted = apart(trained(synchronised=False))
    model = trained(synchronised=True)
predicted = model.predict(images, batch_size=4, verbose=0)
assert predicted.shape == (11, 3)
_, accuracy = model.evaluate(images, labels, batch_size=4, verbose=0)
model.save_weights(sys.argv[1])
again = build(sys.argv[1]).predict(images, verbose=0)
right = (again.argmax(1) == labels).mean()
np.testing.assert_allclose(accuracy, right, atol=1e-6)
print(apart(model), np.abs(predicted - again).max(), drifted)
"""


def test_replicas_stay_together_and_are_what_is_saved(tmp_path):
    printed = run_python(REPLICAS, tmp_path / "a.weights.h5")
    apart, lost, drifted = map(float, printed.split()[-3:])
    assert apart < 1e-6 and lost < 1e-4
    assert drifted > 1e-2  # what is not synchronised


IN_PROCESSES = (
    WITHOUT_TENSORFLOW
    + """
import json
from pathlib import Path
data_dir, out, recipe = sys.argv[1:]
from zoo import processes, train
out = processes.folder(Path(out))
out.mkdir(parents=True, exist_ok=True)
train.train(json.loads(recipe), Path(data_dir), out)
if processes.count() > 1:
    processes.check_same_epoch(3)
    try:
        processes.check_same_epoch(processes.index())
    except ValueError as error:
        assert "different epochs: [0, 1]" in str(error)
    else:
        raise AssertionError("backups of different epochs were not noticed")
"""
)


# Once, before the second epoch; then the training goes on.
STOPPED = """
from zoo import callbacks, train
begin, trained = callbacks.Backup.on_epoch_begin, train.train

def stop(self, epoch, logs=None):
    begin(self, epoch, logs)
    if epoch == 1:
        callbacks.Backup.on_epoch_begin = begin
        raise KeyboardInterrupt

def train_twice(*arguments):
    try:
        trained(*arguments)
        raise AssertionError("the training was not stopped")
    except KeyboardInterrupt:
        trained(*arguments)

callbacks.Backup.on_epoch_begin = stop
train.train = train_twice
"""

# One process that sees two devices: batches, the last one too, are shared.
TWO_OF_JAX = """
import os
os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"
from zoo import data
data.EVALUATION_BATCH = 5
"""


def test_two_devices_of_jax_train_as_one_does(data_dir, tmp_path):
    settings = json.dumps(recipe("float32"))
    for name, before in (("one", ""), ("two", TWO_OF_JAX)):
        code = WITHOUT_TENSORFLOW + before + IN_PROCESSES
        code += "import jax; print(jax.devices())"
        printed = run_python(
            code, data_dir, tmp_path / name, settings, backend="jax"
        )
    assert printed.count("CpuDevice") == 2
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    for alone, together in zip(one, two, strict=True):
        for key in ("loss", "top1", "val_loss", "val_top1"):
            assert together[key] == pytest.approx(alone[key], rel=1e-4), key


def test_two_processes_train_as_one_does_on_jax(data_dir, tmp_path):
    settings = json.dumps(recipe("float32"))
    run_python(
        WITHOUT_TENSORFLOW + STOPPED + IN_PROCESSES,
        *(data_dir, tmp_path / "one", settings),
        backend="jax",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", IN_PROCESSES),
                *(str(data_dir), str(tmp_path / "two"), settings),
            ],
            env={
                **os.environ,
                "KERAS_BACKEND": "jax",
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": "--xla_backend_optimization_level=0",
                "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
                "KERAS_DISTRIBUTION_PROCESS_ID": str(process),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(2)
    ]
    for process in both:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    assert len(two) == 2
    for alone, together in zip(one, two):
        for key in ("loss", "top1", "val_loss", "val_top1"):
            assert together[key] == pytest.approx(alone[key], rel=1e-4), key
    assert json.loads((tmp_path / "two" / "result.json").read_text())
    assert history(tmp_path / "two" / "process1") == two
