"""What a recipe is made of."""

from pathlib import Path

import numpy as np
import pytest

from keras_attn import applications
from keras_attn.weights import manifest
from tests.zoo.common import RECIPE
from tests.zoo.common import small_recipe
from zoo import network
from zoo import recipe

PUBLISHED = sorted(Path("zoo/recipes").glob("*.toml"))


def test_overrides_are_toml_or_text(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(RECIPE)
    read = recipe.read(
        path,
        [
            "training.seed=7",
            "training.ema_momentum=0.5",
            "model.arguments.attention=gsa",
            "model.arguments.attention_stages=[3]",
            "augmentation.mixup_alpha=0.2",
        ],
    )
    assert read["training"]["seed"] == 7
    assert read["training"]["ema_momentum"] == 0.5
    assert read["training"]["epochs"] == 2
    arguments = read["model"]["arguments"]
    assert arguments["attention"] == "gsa" and arguments["classes"] == 3
    assert arguments["attention_stages"] == [3]
    assert read["augmentation"] == {"mixup_alpha": 0.2}


def test_a_command_tells_its_recipe_with_the_overrides(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(RECIPE)
    command = (
        f"KERAS_BACKEND=jax python -m zoo.train {path} "
        "--strategy none --set training.seed=1 --set "
        "'model.arguments.attention_stages=[2, 3]' --data-dir DIR --out DIR"
    )
    read = recipe.of_command(command)
    assert read["training"]["seed"] == 1
    assert read["model"]["arguments"]["attention_stages"] == [2, 3]


@pytest.mark.parametrize(
    "override",
    ["seed=1", "training.seed", "other.a=1", "training.seed.first=1"],
)
def test_a_malformed_override_is_an_error(tmp_path, override):
    path = tmp_path / "a.toml"
    path.write_text(RECIPE)
    with pytest.raises(ValueError, match=override):
        recipe.read(path, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.ema=0.5", "wrong at training: .*'ema'"),
        ("training.epochs=many", "wrong at training.epochs: 'many'"),
        ("training.epochs=2.0", "wrong at training.epochs: 2.0"),
        (
            "data.crop_padding=4",
            "either data.crop_padding, or .*Received: crop_area, crop_asp.*, c",
        ),
        ("data.crop_padding_mode=symmetric", "'crop_padding' is a dependency"),
        ("data.crop_area=[0.0, 1.0]", "wrong at data.crop_area.0: 0.0"),
        ("data.training_sizes=[{from_epoch=1,size=16}]", "from_epoch: 0 was"),
        ("data.training_sizes=[{from_epoch=0,sise=16}]", "training_sizes.0"),
        ("data.training_sizes=[{size=16}]", "training_sizes.0"),
        (
            "data.training_sizes=[{from_epoch=0,size=16},{from_epoch=1}]",
            "training_sizes.1: 'size' is",
        ),
        (
            "data.training_sizes=[{from_epoch=0,size=16},"
            "{from_epoch=2,size=16},{from_epoch=1,size=16}]",
            r"in the order of the epochs.*\[0, 2, 1\]",
        ),
        ("augmentation.cutmix_alpha=2.0", "cutmix_alpha: 2.0 is greater"),
        ("augmentation.cutmix=1.0", "wrong at augmentation: .*'cutmix'"),
        ("equivariance.scale=1.1", "wrong at equivariance: 'center_weight'"),
        ("model.dtype_policy=bfloat", "wrong at model.dtype_policy: 'bfloat'"),
        ("training.warmup_epochs=2", "training.epochs=2, .*warmup_epochs=2"),
    ],
)
def test_what_a_recipe_cannot_say_is_an_error(tmp_path, override, message):
    path = tmp_path / "a.toml"
    path.write_text(RECIPE)
    with pytest.raises(ValueError, match=message) as raised:
        recipe.read(path, [override])
    assert "\n" not in str(raised.value)


def test_a_recipe_crops_in_one_way_only(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(RECIPE)  # with `crop_area`
    padding = ["data.crop_padding=4", "data.crop_padding_mode=symmetric"]
    with pytest.raises(ValueError, match="have either data.crop_padding, or"):
        recipe.read(path, padding)


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (["crop_area"], "Received: crop_aspect_ratio$"),
        (["crop_area", "crop_aspect_ratio"], "Received: none$"),
    ],
)
def test_a_recipe_without_a_whole_way_to_crop_is_an_error(
    tmp_path, without, message
):
    path = tmp_path / "a.toml"
    lines = RECIPE.splitlines()
    kept = [line for line in lines if line.split(" =")[0] not in without]
    path.write_text("\n".join(kept))
    with pytest.raises(ValueError, match=message):
        recipe.read(path)


def test_a_recipe_can_be_like_another(tmp_path):
    (tmp_path / "base.toml").write_text(RECIPE)
    own = 'like = "base.toml"\nsummary = "Own."\n[training]\nepochs = 9\n'
    (tmp_path / "own.toml").write_text(own)
    base = recipe.read(tmp_path / "base.toml")
    merged = recipe.read(tmp_path / "own.toml")
    assert merged.pop("summary") == "Own." and base.pop("summary") == "A test."
    assert merged["training"].pop("epochs") == 9
    assert base["training"].pop("epochs") == 2
    assert merged == base


def test_a_recipe_cannot_be_like_itself(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'like = "{other}.toml"')
    with pytest.raises(ValueError, match="a.toml inherits from itself"):
        recipe.read(tmp_path / "a.toml")


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "a.toml").write_text("[data\n")
    with pytest.raises(ValueError, match="a.toml is not TOML"):
        recipe.read(tmp_path / "a.toml")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_recipes_build_and_state_their_command(path):
    read = recipe.read(path)
    head = path.read_text().partition("\n\n")[0]
    assert f"python -m zoo.train zoo/recipes/{path.name}" in head
    assert f"--out runs/{path.stem}.seed{read['training']['seed']}\n" in head
    assert "minutes" in head
    if path.stem in manifest.entries():
        [metrics] = manifest.entry(path.stem).metrics.values()
        [metrics] = metrics.values()  # of the only split
        top1, top5 = (100 * metrics[name] for name in ("top1", "top5"))
        assert f"Top-1 {top1:.2f} %, top-5 {top5:.2f} %" in head
    assert hasattr(applications, read["model"]["constructor"])
    size = read["data"]["evaluation_size"]
    model = network.build(read, size)
    assert model.input_shape == (None, size, size, 3)
    assert model.output_shape == (None, read["model"]["arguments"]["classes"])


@pytest.mark.parametrize("attention", ["cram", "expatt"])
@pytest.mark.parametrize("optimizer", [None, "sgd", "adamw"])
def test_a_step_is_that_of_the_optimiser_of_the_recipe(optimizer, attention):
    """The first one; only the kernels of convolutions and classifier shrink,
    not what has a unit."""
    training = {"peak_learning_rate": 0.1, "weight_decay": 0.3}
    training |= {"warmup_epochs": 0, "momentum": 0.5}
    if optimizer:
        training["optimizer"] = optimizer
    made = small_recipe(training=training)
    made["model"]["arguments"]["attention"] = attention
    model = network.build(made)
    own = "radius" if attention == "expatt" else "saliency"
    assert any(own in weight.path for weight in model.trainable_weights)
    before = [np.array(weight) for weight in model.trainable_weights]
    network.prepare(model, made["training"], steps_per_epoch=10)
    gradients = [2 * np.ones_like(weight) for weight in before]
    model.optimizer.apply(gradients, model.trainable_weights)
    step = 0.1 if optimizer == "adamw" else 0.1 * (2 + 0.5 * 2)
    for old, weight in zip(before, model.trainable_weights):
        is_kernel = weight.path.endswith("kernel") and own not in weight.path
        shrunk = old * (1 - 0.1 * 0.3) if is_kernel else old
        np.testing.assert_allclose(weight, shrunk - step, atol=1e-5)


def test_the_rate_rises_then_falls_as_a_cosine():
    made = small_recipe(training={"epochs": 10, "warmup_epochs": 2})
    model = network.build(made)
    network.prepare(model, made["training"], steps_per_epoch=5)
    rate = model.optimizer._learning_rate
    rates = [float(rate(step)) for step in (0, 5, 10, 20, 30, 40, 50)]
    falling = [0.05 * (1 + np.cos(np.pi * part / 4)) for part in range(5)]
    np.testing.assert_allclose(rates, [0, 0.05, *falling], atol=1e-6)


def test_labels_are_smoothed_as_the_recipe_says():
    made = small_recipe(training={"label_smoothing": 0.3})
    model = network.build(made)
    network.prepare(model, made["training"], steps_per_epoch=1)
    logits = np.float32([[2, -1, 0.5]])
    loss = model.compute_loss(y=np.float32([[1, 0, 0]]), y_pred=logits)
    log_probabilities = logits - np.log(np.exp(logits).sum())
    expected = -np.sum([[0.8, 0.1, 0.1]] * log_probabilities)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_fifth_best_class_counts_for_top5_and_the_sixth_does_not():
    made = small_recipe()
    made["model"]["arguments"]["classes"] = 10
    model = network.build(made)
    network.prepare(model, made["training"], steps_per_epoch=1)
    images = np.full((2, 16, 16, 3), 100, "uint8")
    best = np.argsort(-np.asarray(model(images))[0])
    for rank, top5 in ((0, 1), (4, 1), (5, 0)):
        labels = np.eye(10, dtype="float32")[best[[rank, rank]]]
        measured = model.test_on_batch(images, labels, return_dict=True)
        model.reset_metrics()
        assert measured["top5"] == top5
        assert measured["top1"] == (rank == 0)
