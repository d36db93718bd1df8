"""The trainer: what it writes, how it goes on, how it stops."""

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from keras_attn.weights import load_weights
from tests.zoo.common import ONE_SIZE
from tests.zoo.common import RECIPE
from tests.zoo.common import history
from tests.zoo.common import small_recipe
from zoo import callbacks
from zoo import data
from zoo import json_files
from zoo import network
from zoo import recipe as recipes
from zoo import run_folder
from zoo import train


@pytest.fixture(autouse=True)
def collected():
    """A training that failed leaves cycles, which slow down the next one."""
    yield
    gc.collect()


def command(*arguments):
    return [sys.executable, "-m", "zoo.train", *map(str, arguments)]


def test_a_training_writes_what_it_promises(data_dir, tmp_path, monkeypatch):
    recipe = small_recipe()
    evaluated = []
    evaluation_batches = data.evaluation_batches

    def counted(split, size, *arguments, **options):
        evaluated.append((len(split), size))
        return evaluation_batches(split, size, *arguments, **options)

    monkeypatch.setattr(data, "evaluation_batches", counted)
    run = tmp_path / "run"
    path = Path("zoo/recipes/a.toml")
    train.start(run, path, recipe, ["training.seed=0"])
    result = train.train(recipe, data_dir, run)

    assert sorted(path.name for path in run.iterdir()) == [
        "best.weights.h5",
        "history.csv",
        "last.weights.h5",
        "recipe.json",
        "result.json",
        "run.json",
        "tensorboard",
    ]
    rows = history(run)
    assert [row["epoch"] for row in rows] == [0, 1]
    assert {"top1", "top5", "loss", "val_top1", "val_loss"} <= set(rows[0])
    assert json.loads((run / "result.json").read_text()) == result
    assert result["top1"] == pytest.approx(rows[1]["val_top1"], abs=1e-4)
    assert result["best_top1"] >= result["top1"]
    assert result["seconds_per_epoch"] > 0
    assert evaluated == [(6, 16)]  # all validation images, in their size
    assert json.loads((run / "recipe.json").read_text()) == recipe
    assert json.loads((run / "run.json").read_text())["command"] == (
        "python -m zoo.train zoo/recipes/a.toml --set training.seed=0 "
        "--data-dir DIR --out DIR"
    )
    with pytest.raises(FileExistsError, match="finished"):
        train.start(run, tmp_path / "a.toml", recipe, [])


def test_another_recipe_does_not_go_on_with_a_training(tmp_path):
    train.start(tmp_path, tmp_path / "a.toml", small_recipe(), [])
    other = small_recipe(training={"seed": 1})
    # So far nothing was trained: a first try may have failed.
    train.start(tmp_path, tmp_path / "a.toml", other, [])
    assert json.loads((tmp_path / "recipe.json").read_text()) == other
    (tmp_path / run_folder.BACKUP).touch()
    with pytest.raises(ValueError, match="another recipe"):
        train.start(tmp_path, tmp_path / "a.toml", small_recipe(), [])


def test_another_commit_does_not_go_on_with_a_training(tmp_path):
    recipe = small_recipe()
    train.start(tmp_path, tmp_path / "a.toml", recipe, [])
    (tmp_path / run_folder.BACKUP).touch()
    train.start(tmp_path, tmp_path / "a.toml", recipe, [])
    started = json.loads((tmp_path / "run.json").read_text())
    json_files.write(tmp_path / "run.json", started | {"commit": 40 * "0"})
    with pytest.raises(ValueError, match="another commit"):
        train.start(tmp_path, tmp_path / "a.toml", recipe, [])


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    """Wherever the training is started, and with or without git."""
    commit = train._commit()
    monkeypatch.chdir(tmp_path)
    assert train._commit() == commit != ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert train._commit() == ""


def test_another_backend_does_not_go_on_with_a_training(tmp_path):
    """It would augment the images in another way."""
    recipe = small_recipe()
    train.start(tmp_path, Path("a.toml"), recipe, [], "none")
    (tmp_path / run_folder.BACKUP).touch()
    started = json.loads((tmp_path / "run.json").read_text())
    assert started["command"].startswith(
        "python -m zoo.train a.toml --strategy none"
    )
    json_files.write(tmp_path / "run.json", started | {"backend": "jax"})
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax.*tensorflow"):
        train.start(tmp_path, Path("a.toml"), recipe, [])


def test_the_command_of_another_backend_names_it():
    """And no folder of this machine."""
    path = Path("my net.toml").absolute()
    command = train._command(path, ["a=[1, 2]"], None, "jax")
    assert command == (
        "KERAS_BACKEND=jax python -m zoo.train 'my net.toml' "
        "--set 'a=[1, 2]' --data-dir DIR --out DIR"
    )


def test_the_average_of_the_weights_is_what_is_kept(data_dir, tmp_path):
    """With a momentum of nearly one the average stays where it began."""
    recipe = small_recipe(
        data=ONE_SIZE, training={"ema_momentum": 0.999999, "seed": 3}
    )
    train.train(recipe, data_dir, tmp_path)
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.utils.set_random_seed(recipe["training"]["seed"])
    start = network.build(recipe)
    kept = network.build(recipe)
    load_weights(kept, tmp_path / "last.weights.h5")
    for before, after in zip(start.trainable_weights, kept.trainable_weights):
        np.testing.assert_allclose(before, after, atol=1e-4)
    moved = network.build(recipe)
    recipe["training"].pop("ema_momentum")
    (tmp_path / "plain").mkdir()
    train.train(recipe, data_dir, tmp_path / "plain")
    load_weights(moved, tmp_path / "plain" / "last.weights.h5")
    assert any(
        np.abs(np.subtract(a, b)).max() > 1e-3
        for a, b in zip(start.trainable_weights, moved.trainable_weights)
    )


@pytest.mark.parametrize(("loss", "written"), [(1.5, 1.5), ("inf", None)])
def test_the_result_is_that_of_the_last_epoch(tmp_path, loss, written):
    """Of a validation loss that overflowed it has none: JSON knows none."""
    (tmp_path / "a.csv").write_text(
        f"epoch,val_loss,val_top1,val_top5\n0,2.0,0.5,0.7\n1,{loss},0.4,0.8\n"
    )
    assert train._result(tmp_path / "a.csv", 3.14) == {
        "top1": 0.4,
        "top5": 0.8,
        "loss": written,
        "best_top1": 0.5,
        "seconds_per_epoch": 3.1,
    }


def test_the_best_epoch_is_kept_beside_the_last(tmp_path):
    """Of all: also of those before a training went on."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    (tmp_path / run_folder.HISTORY).write_text("epoch,val_top1\n0,0.4\n")
    made = callbacks.all_of(tmp_path, model, {"training": {}}, 1)
    [keep] = [c for c in made if isinstance(c, callbacks.KeepWeights)]
    for epoch, top1 in enumerate((0.3, 0.6, 0.5), 1):
        model.layers[0].kernel.assign([[epoch]])
        keep.on_epoch_end(epoch, {"val_top1": top1})
        assert (tmp_path / run_folder.BEST).exists() == (epoch > 1)
    for name, epoch in ((run_folder.BEST, 2), (run_folder.LAST, 3)):
        model.load_weights(tmp_path / name)
        assert float(model.layers[0].kernel[0, 0]) == epoch


def a_bad_loss(callback, number, logs):
    return {**logs, "loss": float("nan")}


def a_bad_step(callback, number, logs):
    kernel = callback.model.trainable_weights[0]
    kernel.assign(np.full(kernel.shape, np.inf))
    return logs


def a_bad_average(callback, number, logs):
    variance = callback.model.get_layer("conv1_bn").moving_variance
    variance.assign(np.full(variance.shape, np.inf))
    return logs


@pytest.mark.parametrize(
    ("event", "break_it", "message"),
    [
        ("on_train_batch_end", a_bad_loss, "became nan in epoch 2, batch 1"),
        ("on_epoch_end", a_bad_step, "conv1_conv/kernel is not .* epoch 2"),
        ("on_epoch_end", a_bad_average, "moving_variance is not .* epoch 2"),
    ],
)
def test_what_is_not_finite_stops_and_keeps_the_last_weights(
    data_dir, tmp_path, monkeypatch, event, break_it, message
):
    healthy = getattr(callbacks.StopOnNaN, event)

    def in_second_epoch(self, number, logs=None):
        if self.epoch == 1:
            logs = break_it(self, number, logs)
        healthy(self, number, logs)

    monkeypatch.setattr(callbacks.StopOnNaN, event, in_second_epoch)
    with pytest.raises(ArithmeticError, match=message):
        train.train(small_recipe(data=ONE_SIZE), data_dir, tmp_path)
    assert not (tmp_path / "result.json").exists()
    assert len(history(tmp_path)) == 1
    with h5py.File(tmp_path / "last.weights.h5") as file:
        file.visititems(
            lambda name, item: (
                np.testing.assert_(np.isfinite(item[()]).all())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )


def test_a_rate_that_is_far_too_high_ends_in_a_clear_message(
    data_dir, tmp_path
):
    recipe = small_recipe(
        data=ONE_SIZE,
        training={"peak_learning_rate": 1e30, "warmup_epochs": 0},
    )
    with pytest.raises(ArithmeticError, match="The loss became"):
        train.train(recipe, data_dir, tmp_path)


def test_a_killed_training_goes_on_to_the_same_result(data_dir, tmp_path):
    """kill -9 in the middle of an epoch loses that epoch only."""
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("epochs = 2", "epochs = 4"))
    runs = tmp_path / "whole", tmp_path / "killed"
    runs[0].mkdir()
    train.train(recipes.read(path), data_dir, runs[0])
    arguments = command(path, "--data-dir", data_dir, "--out", runs[1])
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWER, *arguments[3:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (runs[1] / "in_epoch_2").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(history(runs[1])) == 2
    assert not (runs[1] / "result.json").exists()

    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    assert "Epoch 3/4" in done.stdout and "Epoch 2/4" not in done.stdout
    whole, resumed = history(runs[0]), history(runs[1])
    assert [row["epoch"] for row in resumed] == [0, 1, 2, 3]
    for one, other in zip(whole, resumed):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3)
    assert not list(runs[1].glob("unfinished_*"))
    assert not (runs[1] / "backup.weights.h5").exists()


EQUIVARIANCE = {
    "center_weight": 1.0,
    "extents_weight": 2.0,
    "angle_weight": 3.0,
    "rotation": 30,
    "scale": 1.2,
    "translation": 0.1,
}


@pytest.mark.parametrize(
    "tables",
    [
        {"training": {"ema_momentum": 0.5}},
        {"training": {"optimizer": "adamw"}},
        # The loss scale is too high at first: the optimiser leaves out steps.
        {"model": {"dtype_policy": "mixed_float16"}},
        {"equivariance": EQUIVARIANCE},
    ],
    ids=["ema", "adamw", "float16", "equivariance"],
)
def test_a_training_stopped_before_it_kept_its_weights_repeats_the_epoch(
    data_dir, tmp_path, monkeypatch, tables
):
    """Its history has the epoch already, its folder not the weights."""
    recipe = small_recipe(data=ONE_SIZE, **tables)
    runs = tmp_path / "whole", tmp_path / "stopped"
    for run in runs:
        run.mkdir()
    train.train(recipe, data_dir, runs[0])
    with monkeypatch.context() as patched:
        keep = callbacks.KeepWeights.on_epoch_end

        def stop(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt
            keep(self, epoch, logs)

        patched.setattr(callbacks.KeepWeights, "on_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            train.train(recipe, data_dir, runs[1])
    assert len(history(runs[1])) == 2
    clock = itertools.count(step=60)
    monkeypatch.setattr(train, "time", SimpleNamespace(time=clock.__next__))
    result = train.train(recipe, data_dir, runs[1])
    assert result["seconds_per_epoch"] == 60  # only one was left
    for row, again in zip(*map(history, runs), strict=True):
        assert again == pytest.approx(row, rel=1e-3)
    networks = [network.build(recipe) for _ in runs]
    for built, run in zip(networks, runs):
        load_weights(built, run / "last.weights.h5")
    for one, other in zip(*(built.weights for built in networks)):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)


def test_every_augmentation_trains_in_mixed_precision(
    data_dir, tmp_path, monkeypatch
):
    """Of the network alone: what makes its batches does not round them."""
    seen = []
    all_of = callbacks.all_of

    def before_it_trains(out, trained, *arguments):
        seen.append((trained, keras.config.dtype_policy().name))
        return all_of(out, trained, *arguments)

    monkeypatch.setattr(callbacks, "all_of", before_it_trains)
    recipe = small_recipe(
        data=ONE_SIZE,
        augmentation={
            "rand_augment_magnitude": 0.5,
            "cutmix_alpha": 1.0,
            "mixup_alpha": 0.2,
        },
    )
    train.train(recipe, data_dir, tmp_path)
    assert len(history(tmp_path)) == 2
    [(trained, policy)] = seen
    assert trained.get_layer("conv1_conv").compute_dtype == "bfloat16"
    assert policy == "float32"


@pytest.mark.parametrize(
    ("batch_size", "classes", "message"),
    [
        (16, 3, "15 images.*batch_size=16"),
        (4, 5, "5 classes, the data set 3"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data_is_an_error(
    data_dir, tmp_path, batch_size, classes, message
):
    recipe = small_recipe(training={"batch_size": batch_size})
    recipe["model"]["arguments"]["classes"] = classes
    with pytest.raises(ValueError, match=message):
        train.train(recipe, data_dir, tmp_path)


def test_runs_have_a_place_unless_one_is_given(tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    places = []
    monkeypatch.setattr(
        train, "train", lambda recipe, data_dir, out, _: places.append(out)
    )
    arguments = ["a.toml", "--data-dir", ".", "--set", "training.seed=3"]
    train.app(arguments, standalone_mode=False)
    assert places == [Path("runs/a.seed3")]
    assert (tmp_path / "runs/a.seed3/recipe.json").is_file()


# The trainer, which waits in the second batch of the third epoch.
SLOWER = """
import sys, time
from zoo import callbacks, train
from pathlib import Path
checked = callbacks.StopOnNaN.on_train_batch_end

def wait(self, batch, logs=None):
    checked(self, batch, logs)
    if self.epoch == 2 and batch == 1:
        (self.out / "in_epoch_2").touch()
        time.sleep(600)

callbacks.StopOnNaN.on_train_batch_end = wait
sys.argv[0] = "zoo.train"
train.app()
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.toml"], "missing.toml"),
        (["{recipe}", "--set", "epochs=3"], "TABLE.KEY=VALUE"),
        (["{recipe}"], "--data-dir"),
        (["{recipe}", "--set", "training.epochs=1"], "after those of its warm"),
        (["{recipe}", "--set", "model.constructor=VGG"], "'VGG'"),
        (["{recipe}", "--set", "model.arguments.atention=gsa"], "'atention'"),
        (["{recipe}", "--set", "model.arguments.width=wide"], "AttnResNet: "),
        (
            ["{recipe}", "--set", "model.arguments.blocks_per_stage=3"],
            "AttnResNet: ",
        ),
        (
            ["{recipe}", "--set", "model.arguments.attention=['gsa']"],
            "AttnResNet: ",
        ),
        (["{recipe}", "--strategy", "data-parallel"], "KERAS_BACKEND=jax"),
    ],
)
def test_mistakes_are_one_line(data_dir, tmp_path, arguments, message):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    arguments = [argument.format(recipe=recipe) for argument in arguments]
    data_dir = tmp_path if message == "--data-dir" else data_dir
    folder = ["--data-dir", str(data_dir), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as stopped:
        train.app([*arguments, *folder], standalone_mode=False)
    assert str(stopped.value).startswith("zoo.train: ")
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)
