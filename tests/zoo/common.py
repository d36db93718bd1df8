"""A small recipe, and helpers of several tests."""

import tomllib

from zoo import json_files
from zoo import run_folder
from zoo import train

RECIPE = """
paper = "https://example.org"
summary = "A test."
[data]
name = "tiny_imagenet"
evaluation_size = 16
training_sizes = [{ from_epoch = 0, size = 12 }, { from_epoch = 1, size = 16 }]
crop_area = [0.35, 1.0]
crop_aspect_ratio = [0.75, 1.333]
[model]
constructor = "AttnResNet"
dtype_policy = "mixed_bfloat16"
[model.arguments]
blocks_per_stage = [1, 1]
bottleneck = false
width = 16
stem_strides = 2
classes = 3
attention = "cram"
attention_stages = [2]
[training]
seed = 0
epochs = 2
batch_size = 4
peak_learning_rate = 0.1
warmup_epochs = 1
momentum = 0.9
weight_decay = 1e-3
label_smoothing = 0.1
"""


# Each size is traced anew, which takes most of the time of so small a training.
ONE_SIZE = {"training_sizes": [{"from_epoch": 0, "size": 16}]}


def small_recipe(**tables):
    """Return the recipe with other values in its tables."""
    recipe = tomllib.loads(RECIPE)
    for table, values in tables.items():
        recipe.setdefault(table, {}).update(values)
    return recipe


def history(run):
    """Return the rows of a training, with numbers in them."""
    return run_folder.read_history(run / run_folder.HISTORY)


def finished_run(
    folder,
    top1,
    seed=0,
    attention=None,
    size=16,
    overrides=(),
    data="cifar100",
):
    """Write what a training leaves in its folder, and return the folder."""
    recipe = small_recipe(
        training={"seed": seed},
        data={"name": data, "evaluation_size": size},
    )
    recipe["model"]["arguments"]["attention"] = attention
    if attention is None:
        del recipe["model"]["arguments"]["attention_stages"]
    train.start(folder, folder / "a.toml", recipe, [*overrides])
    columns = "epoch,loss,top1,val_top1"
    (folder / "history.csv").write_text(
        f"{columns}\n0,2.0,0.2,0.1\n1,1.0,0.95,{top1}\n"
    )
    result = {"top1": top1, "top5": 0.9, "best_top1": top1}
    json_files.write(folder / run_folder.RESULT, result)
    return folder
