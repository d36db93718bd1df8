"""What a training shows and keeps while it runs."""

import csv
import math
import shutil

import h5py
import keras
import numpy as np

from keras_attn.replacing import replacing
from zoo import processes
from zoo.run_folder import BACKUP
from zoo.run_folder import BEST
from zoo.run_folder import HISTORY
from zoo.run_folder import LAST


def restore(model, out):
    """Load the backup of a stopped training, if there is one.

    Returns:
        Integer, the epoch to go on with.

    Raises:
        ValueError: if several processes were stopped at different epochs.
    """
    epoch = 0
    if (out / BACKUP).exists():
        with h5py.File(out / BACKUP) as file:
            epoch = int(file.attrs["epoch"])
    processes.check_same_epoch(epoch)
    if epoch:
        model.optimizer.build(model.trainable_variables)
        model.load_weights(out / BACKUP)
    return epoch


class Backup(keras.callbacks.Callback):
    """Write the weights and the state of the optimiser before each epoch.

    Unlike `keras.callbacks.BackupAndRestore`, the backup is one file with the
    epoch in it, so the two cannot disagree. It is written after all that the
    epoch before has left, so that nothing of that can be missing.
    """

    def __init__(self, out):
        super().__init__()
        self.out = out

    def on_epoch_begin(self, epoch, logs=None):
        with replacing(self.out / BACKUP) as unfinished:
            self.model.save_weights(unfinished)
            with h5py.File(unfinished, "a") as file:
                file.attrs["epoch"] = epoch


class KeepWeights(keras.callbacks.Callback):
    """Write the weights of the last and of the best epoch.

    A training that is killed after this and before the next epoch's backup
    repeats the epoch. If it comes out worse then, as it may where augmentations
    draw anew, the file of the best epoch is still of the first time.

    Args:
        out: Path of the folder of the run.
        network: The network without what trains it.
        best: Float, the best accuracy so far.
    """

    def __init__(self, out, network, best):
        super().__init__()
        self.out = out
        self.network = network
        self.best = best

    def on_epoch_end(self, epoch, logs=None):
        with replacing(self.out / LAST) as unfinished:
            self.network.save_weights(unfinished)
        if logs["val_top1"] > self.best:
            self.best = logs["val_top1"]
            with replacing(self.out / BEST) as unfinished:
                shutil.copy(self.out / LAST, unfinished)


class StopOnNaN(keras.callbacks.Callback):
    """Stop at once when the loss or a weight is not a finite number.

    A validation loss may be none: without the statistics of its own batch to
    hold it, a single image can overflow in a network that recovers from it.

    Args:
        out: Path of the folder of the run.

    Raises:
        ArithmeticError: before anything of this epoch is saved.
    """

    def __init__(self, out):
        super().__init__()
        self.out = out
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            self.stop(f"The loss became {logs['loss']}", f"batch {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        # What the last step did shows in no loss of its epoch.
        for weight in self.model.weights:
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                self.stop(f"{weight.path} is not finite", "the last batch")

    def stop(self, what, place):
        raise ArithmeticError(
            f"{what} in epoch {self.epoch + 1}, {place}. The weights of the "
            f"epoch before, if there was one, are in {self.out / LAST}."
        )


def all_of(out, network, recipe, first_epoch):
    """Return the callbacks of a training, in their order.

    Args:
        out: Path of the folder of the run.
        network: The network without what trains it.
        recipe: A recipe.
        first_epoch: Integer, the epoch that the training goes on with.
    """
    rows = _keep_epochs_before(first_epoch, out / HISTORY)
    best = max((float(row["val_top1"]) for row in rows), default=-math.inf)
    callbacks = [
        StopOnNaN(out),
        keras.callbacks.CSVLogger(out / HISTORY, append=True),
    ]
    if "ema_momentum" in recipe["training"]:
        # From the end of an epoch to the next the weights are the averages.
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    callbacks += [KeepWeights(out, network, best), Backup(out)]
    if keras.backend.backend() == "tensorflow":
        callbacks.append(keras.callbacks.TensorBoard(out / "tensorboard"))
    return callbacks


def _keep_epochs_before(epoch, history):
    """Cut the rows that a stopped run will write again; return the others."""
    if not history.exists():
        return []
    with open(history, newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)[:epoch]
    with (
        replacing(history) as unfinished,
        open(unfinished, "w", newline="") as file,
    ):
        if rows:
            writer = csv.DictWriter(file, reader.fieldnames)
            writer.writeheader()
            writer.writerows(rows)
    return rows
