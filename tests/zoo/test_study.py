"""What is measured of trained networks."""

import inspect
import itertools
import json
import runpy
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_attn.applications import AttnResNet
from keras_attn.layers import ExplicitAttention2D
from keras_attn.layers import GlobalSelfAttention2D
from keras_attn.layers import PositionwiseAttention2D
from keras_attn.layers import RectangularAttention2D
from tests.zoo.common import ONE_SIZE
from tests.zoo.common import finished_run
from tests.zoo.common import small_recipe
from zoo import data
from zoo import equivariance
from zoo import markdown
from zoo import network
from zoo import tables
from zoo.data.sources import tiny_imagenet_boxes
from zoo.study import __main__ as command
from zoo.study import changes
from zoo.study import content
from zoo.study import equivariance as equivariance_study
from zoo.study import faithfulness
from zoo.study import fine_tuning
from zoo.study import networks
from zoo.study import parts
from zoo.study import radii
from zoo.study import radius_effect
from zoo.study import rectangles as study
from zoo.study import segmentation


def test_boxes_are_read_with_their_outer_edges(data_dir):
    boxes = tiny_imagenet_boxes(data_dir)
    np.testing.assert_array_equal(boxes, np.tile([0, 0, 10, 10], (6, 1)))


def test_the_overlap_is_that_of_the_areas():
    """Axis-parallel rectangles, whose overlap is known."""
    size = 64
    box = np.array([[16.0, 16.0, 48.0, 48.0]])
    same = np.array([[0, 0, 0.5, 0.5, 0]])
    turned = np.array([[0, 0, 0.5, 0.5, np.pi / 2]])
    half = np.array([[0, 0, 0.5, 0.25, 0]])
    upright = np.array([[0, 0, 0.5, 0.25, np.pi / 2]])
    right = np.array([[0.5, 0, 0.5, 0.5, 0]])
    apart = np.array([[0.9, 0, 0.1, 0.1, 0]])
    for rectangle, overlap in (
        (same, 1),
        (turned, 1),
        (half, 0.5),
        (upright, 0.5),
        (right, 1 / 3),
        (apart, 0),
    ):
        measured = study.intersection_over_union(rectangle, box, size)
        assert measured[0] == pytest.approx(overlap, abs=0.02)


def test_a_turned_square_overlaps_in_an_octagon():
    box = np.array([[16.0, 16.0, 48.0, 48.0]])
    diamond = np.array([[0, 0, 0.5, 0.5, np.pi / 4]])
    octagon = 8 * (np.sqrt(2) - 1) * 0.25  # of half extent 0.5
    expected = octagon / (2 - octagon)
    measured = study.intersection_over_union(diamond, box)
    assert measured[0] == pytest.approx(expected, abs=0.03)


def test_long_turned_rectangles_overlap_as_their_corners_say():
    """Against the sides of a polygon, tried on a finer grid."""
    box = np.array([[10.0, 20.0, 60.0, 34.0]])
    for angle in (np.pi / 4, -0.6, 2.0):
        rectangle = np.array([[0.1, -0.2, 0.7, 0.2, angle]])
        measured = study.intersection_over_union(rectangle, box)
        assert measured[0] == pytest.approx(
            _polygon_overlap(rectangle[0], box[0]), abs=0.02
        )


def _polygon_overlap(rectangle, box, size=64, points=256):
    x, y, long, short, angle = rectangle
    axis = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-axis[1], axis[0]])
    corners = [
        np.array([x, y]) + a * long * axis + b * short * across
        for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))
    ]
    left, top, right, bottom = box / size * 2 - 1
    inside = np.zeros((2, points, points), bool)
    ticks = (np.arange(points) + 0.5) / points * 2 - 1
    for row, high in enumerate(ticks):
        for column, wide in enumerate(ticks):
            sides = [
                (end[0] - start[0]) * (high - start[1])
                - (end[1] - start[1]) * (wide - start[0])
                for start, end in zip(corners, corners[1:] + corners[:1])
            ]
            inside[0, row, column] = min(sides) >= 0
            inside[1, row, column] = (
                left <= wide <= right and top <= high <= bottom
            )
    both, either = inside.all(0).sum(), inside.any(0).sum()
    return both / either


def test_centers_are_in_boxes_where_they_should_be():
    boxes = np.array([[0.0, 0, 32, 32]] * 3)
    rectangles = np.array(
        [[-0.5, -0.5, 1, 1, 0], [0.1, -0.5, 1, 1, 0], [-0.1, -0.1, 1, 1, 0]]
    )
    assert list(study.center_in_box(rectangles, boxes)) == [True, False, True]


def test_half_of_the_image_is_still_a_small_box():
    boxes = np.array([[0.0, 0, 8, 16], [0, 0, 8, 17], [0, 0, 16, 16]])
    subsets = study.subsets(boxes, size=16)
    assert list(subsets["all"]) == [True, True, True]
    assert list(subsets["up to half of the image"]) == [True, False, False]


def test_the_best_size_is_that_of_the_largest_overlap_in_each_subset():
    """The object fills the image, but for a quarter of the pictures."""
    boxes = np.array([[0.0, 0, 64, 64]] * 3 + [[16, 16, 48, 48]])
    candidates = {
        "whole": np.array([[0.0, 0, 1, 1, 0]] * 4),
        "quarter": np.array([[0.0, 0, 0.5, 0.5, 0]] * 4),
    }
    everything, small = study._best("middle", candidates, boxes)
    assert everything["size"] == "whole" and small["size"] == "quarter"
    assert everything["mean_iou"] == pytest.approx((3 + 1 / 4) / 4, abs=1e-4)
    assert small["mean_iou"] == 1
    assert (everything["images"], small["images"]) == (4, 1)


def test_the_middle_is_tried_in_every_size_and_shape(data_dir, monkeypatch):
    tried = {}

    def best(name, candidates, boxes):
        tried.update(candidates)
        return []

    monkeypatch.setattr(study, "_best", best)
    monkeypatch.setattr(study, "HALF_EXTENTS", np.array([0.5, 1.0]))
    assert study.measure([], data_dir) == []
    extents = {tuple(rectangles[0, 2:4]) for rectangles in tried.values()}
    assert extents == {(0.5, 0.5), (0.5, 1), (1, 0.5), (1, 1)}


def test_rectangles_of_networks_are_scaled_to_their_best_size(
    data_dir, monkeypatch
):
    """In their extents only, and those of each network for themselves."""
    boxes = np.array([[12.0, 16, 20, 32]] * 6)
    fitting = np.array([[-0.5, -0.25, 0.25, 0.125, np.pi / 2]] * 6)
    twice, halved = fitting * [1, 1, 2, 2, 1], fitting * [1, 1, 0.5, 0.5, 1]
    found = {
        "a": {"a": twice, "a, of other images": fitting},
        "b": {"b, sum of the features": halved},
    }
    monkeypatch.setattr(study, "tiny_imagenet_boxes", lambda _: boxes)
    monkeypatch.setattr(study, "load_for", lambda images, name: name)
    monkeypatch.setattr(
        study, "_rectangles", lambda name, model, images: found[model]
    )
    monkeypatch.setattr(study, "HALF_EXTENTS", np.array([0.5]))
    monkeypatch.setattr(study, "FACTORS", np.array([0.5, 1, 2]))
    columns = ("rectangle", "size", "center_in_box", "mean_iou")
    measured = [
        tuple(row[column] for column in columns)
        for row in study.measure(["a", "b"], data_dir)
        if row["boxes"] == "all"
    ]
    assert measured[1:] == [
        ("a", "as trained", 1, 0.25),
        ("a", "best: 0.5 x", 1, 1),
        ("a, of other images", "best: 1.0 x", 1, 1),
        ("b, sum of the features", "best: 2.0 x", 1, 1),
    ]


def test_rectangles_have_those_of_other_images_beside_them(monkeypatch):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    gate = RectangularAttention2D(margin=1.0)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(gate(x))
    model = keras.Model(inputs, x)
    gate.saliency_kernel.assign([[2.0], [0.0], [0.0]])  # sees red only
    images = np.zeros((6, 16, 16, 3), "float32")
    for index, image in enumerate(images):
        image[2 * index : 2 * index + 4, :4, 0] = 255
        image[:4, 8:, 1] = 255
    rectangles = study._rectangles("a", model, images)
    names = ["a", "a, of other images", "a, sum of the features"]
    assert list(rectangles) == names
    own, others, sums = rectangles.values()
    assert (np.diff(own[:, 1]) > 0.01).all()  # they go down with the red
    np.testing.assert_array_equal(np.sort(own[:, 1]), np.sort(others[:, 1]))
    assert (own != others).any()
    assert (sums[:, 0] > own[:, 0] + 0.05).all()  # the green counts, too

    ungated = keras.Model(
        inputs, keras.layers.GlobalAveragePooling2D(name="avg_pool")(inputs)
    )
    [(name, same)] = study._rectangles("b", ungated, images / 255).items()
    assert name == "b, sum of the features"
    np.testing.assert_allclose(same, sums, atol=1e-5)


def test_the_kept_radii_are_those_of_the_published_weight():
    weight_id = "expatt_resnet14_small.cifar100_32"
    rows, _ = tables.read(tables.RESULTS / "radii.csv")
    assert radii.measure([weight_id]) == [
        row for row in rows if row["id"] == weight_id
    ]


# Three of the nine pixels of a map: the upper right one, and its neighbours.
CORNER = np.array([[1.0, 0, 3, 2]])


def test_pixels_are_in_a_box_that_holds_their_middle():
    rows, columns = np.nonzero(faithfulness.inside(CORNER, 3)[0])
    assert list(zip(rows, columns)) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    narrow = np.array([[0.6, 0, 2.4, 3]])
    assert faithfulness.inside(narrow, 3)[0].sum(axis=0).tolist() == [0, 3, 0]


def test_the_pointing_game_shares_a_tie():
    hit, miss, shared, nothing = np.zeros((4, 3, 3))
    hit[0, 2], hit[2, 0] = 2, 1
    miss[0, 0], miss[0, 2] = 2, 1
    shared[0, 0] = shared[0, 2] = shared[1, 2] = 2
    maps = np.stack([hit, miss, shared, nothing])
    boxes = np.repeat(CORNER, 4, axis=0)
    np.testing.assert_allclose(
        faithfulness.pointing_game(maps, boxes), [1, 0, 2 / 3, 4 / 9]
    )


def test_the_energy_is_the_share_of_the_sum():
    maps = np.stack([np.arange(9.0).reshape(3, 3), np.zeros((3, 3))])
    boxes = np.repeat(CORNER, 2, axis=0)
    np.testing.assert_allclose(
        faithfulness.energy(maps, boxes), [(1 + 2 + 4 + 5) / 36, 4 / 9]
    )


def test_ties_decide_between_equal_pixels_only():
    maps = np.array([[[1.0, 2], [2, 0]], [[1, 1], [1, 1]]])
    ties = np.array([[[9.0, 1], [2, 8]], [[1, 4], [3, 2]]])
    assert faithfulness.descending_ranks(maps, ties).tolist() == [
        [[2, 1], [0, 3]],
        [[3, 0], [1, 2]],
    ]


def test_rearranged_maps_keep_their_values():
    maps = np.array([[[5.0, 6], [7, 8]]])
    keys = np.array([[[1.0, 2], [2, 0]]])
    ties = np.array([[[0.0, 1], [2, 0]]])
    rearranged = faithfulness.rearranged(maps, keys, ties)
    assert rearranged.tolist() == [[[6, 7], [8, 5]]]


def test_areas_of_a_probability_that_is_a_weighted_sum():
    """Of as many pixels as are exchanged after 1, 3, 5 ... of them."""
    pixels = 2 * faithfulness.STEPS
    ranks = np.arange(pixels)[::-1].reshape(1, 2, -1)
    first, last, each = np.zeros((3, *ranks.shape, 1))
    first[ranks == 0] = 1
    last[ranks == pixels - 1] = 1
    each[:] = 1 / pixels
    for weights, deletion in ((first, 0), (last, 1), (each, 0.5)):

        def probability(pictures, weights=weights):
            return (weights * pictures).sum(axis=(1, 2, 3))

        white, black = np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1))
        for before, after, area in (
            (white, black, deletion),
            (black, white, 1 - deletion),
        ):
            measured = faithfulness.area_under_curve(
                probability, before, after, ranks
            )
            np.testing.assert_allclose(measured, [area])


def test_errors_are_those_of_the_differences():
    """Values that differ a lot, and always by about the same."""
    scores = {"energy": np.array([0.2, 0.5, 0.95, 9.0])}
    reference = {"energy": np.array([0.1, 0.4, 0.75, 0.0])}
    chosen = np.array([True, True, True, False])
    row = faithfulness.means(scores, reference, chosen)
    # Of the differences 0.1, 0.1, 0.2, over the root of 3.
    error = np.sqrt(2) / 30 / np.sqrt(3)
    assert row == {
        "images": 3,
        "energy": 0.55,
        "energy_error": pytest.approx(error, abs=5e-5),
    }


def test_grad_cam_is_that_of_the_definition():
    """Gradients by differences through the head, resizing by Pillow."""
    model = AttnResNet(
        (1, 1),
        bottleneck=False,
        width=8,
        stem_strides=2,
        input_shape=(16, 16, 3),
        classes=3,
        classifier_activation=None,
    )
    images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3))
    images = images.astype("float32")
    classes = np.array([0, 1, 2, 1])
    pool, classifier = model.layers[-2:]
    features = keras.Model(model.inputs, pool.input).predict(images, verbose=0)
    head = keras.Sequential([pool, classifier])
    maps = faithfulness._grad_cam(model, images, classes)
    assert maps.shape == (4, 16, 16) and maps.max(axis=(1, 2)).min() > 0
    assert maps.min() == 0
    _, height, width, channels = features.shape
    for image, label, result in zip(features, classes, maps):
        expected = np.zeros((height, width))
        for channel in range(channels):
            higher, lower = image.copy(), image.copy()
            higher[..., channel] += 1
            lower[..., channel] -= 1
            logits = head(np.stack([higher, lower])).numpy()
            slope = (logits[0, label] - logits[1, label]) / 2
            expected += slope / (height * width) * image[..., channel]
        expected = Image.fromarray(np.float32(np.maximum(expected, 0)))
        expected = expected.resize((16, 16), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(result, np.asarray(expected), atol=1e-5)


def test_blurring_keeps_what_is_even_and_spreads_a_point():
    even = np.full((1, 16, 16, 3), 7.0)
    np.testing.assert_allclose(faithfulness.blurred(even), even)
    point = np.zeros((1, 16, 16, 3))
    point[0, 8, 8, 1] = 1
    spread = faithfulness.blurred(point)[0]
    assert spread[..., [0, 2]].max() == 0
    # The Gaussian of deviation 2: one deviation from the middle.
    ratio = spread[8, 10, 1] / spread[8, 8, 1]
    assert ratio == pytest.approx(np.exp(-0.5), rel=0.05)


def test_smooth_noise_is_highest_anywhere():
    noise = faithfulness.smooth_noise(np.random.default_rng(0), (4000, 16, 16))
    assert np.corrcoef(noise[:, 8, 8], noise[:, 8, 9])[0, 1] > 0.9
    highest = noise.reshape(4000, -1).argmax(axis=-1)
    halves = [highest // 16 < 8, highest % 16 < 8]
    in_the_middle = np.isin(highest // 16, range(4, 12)) & np.isin(
        highest % 16, range(4, 12)
    )
    assert np.mean(halves, axis=-1) == pytest.approx([0.5, 0.5], abs=0.03)
    assert in_the_middle.mean() == pytest.approx(0.25, abs=0.03)


def color_network():
    """Red, green or blue, with a rectangle around what is bright."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = RectangularAttention2D(margin=1.0, saliency_initializer="ones")(x)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = keras.layers.Dense(3, activation="softmax", name="predictions")(x)
    model = keras.Model(inputs, x)
    model.layers[-1].set_weights([8 * np.eye(3), np.zeros(3)])
    return model


def test_maps_of_a_network_that_needs_the_object_are_better_than_others():
    """A coloured square in a corner, on black."""
    boxes = np.array([[0.0, 0, 8, 8], [8, 0, 16, 8], [8, 8, 16, 16]])
    images = (
        255
        * faithfulness.inside(boxes, 16)[..., None]
        * np.eye(3)[:, None, None]
    )
    rows = faithfulness.compare(color_network(), images, np.arange(3), boxes)
    assert [row["images"] for row in rows] == [3] * len(rows)
    by_map = {row["map"]: row for row in rows if row["boxes"] == "all"}
    other, box = by_map["attention of another image"], by_map["annotated box"]
    assert box["pointing_game"] == box["energy"] == 1
    for name in ("attention", "Grad-CAM"):
        good = by_map[name]
        assert good["pointing_game"] == 1
        assert good["energy"] > other["energy"] + 0.05
        assert good["deletion"] < other["deletion"] - 0.05
        assert good["insertion"] > other["insertion"]
    assert by_map["Grad-CAM"]["energy"] > 0.99
    # Black is zero in all channels.
    assert by_map["sum of the features"]["energy"] == 1
    assert other["pointing_game"] == 0
    errors = [key for key in other if key.endswith("_error")]
    assert errors and not any(other[key] for key in errors)


def test_maps_that_do_not_look_have_the_values_of_those_that_do():
    """The highest in the middle, or where smooth noise is highest."""
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    boxes = np.array([[0.0, 0, 8, 8]] * 2)
    noise, ties = random.normal(size=(2, 2, 16, 16))
    maps = faithfulness._maps(
        color_network(), images, np.arange(2), boxes, noise, ties
    )
    attention = maps["attention"]
    np.testing.assert_array_equal(maps[faithfulness.OTHER], attention[::-1])
    middle, noisy = maps["middle of the image"], maps["random"]
    for one, values in enumerate(attention):
        descending = np.sort(values, axis=None)[::-1]
        for place, count in (
            (middle[one, 7:9, 7:9], 4),
            (middle[one, 6:10, 6:10], 16),
            (noisy[one][noise[one] >= np.sort(noise[one], axis=None)[-9]], 9),
        ):
            np.testing.assert_array_equal(
                np.sort(place, axis=None)[::-1], descending[:count]
            )
        corners = middle[one, ::15, ::15]
        np.testing.assert_array_equal(
            np.sort(corners, axis=None)[::-1], descending[-4:]
        )


def test_the_attention_is_that_of_the_last_layer_with_a_map():
    """And so is the sum of the features, of what that layer is given."""
    image = keras.Input((16, 16, 3))
    x = PositionwiseAttention2D(3, name="first")(image)
    x = keras.layers.AveragePooling2D(2)(x)
    last = PositionwiseAttention2D(5, name="last")
    model = keras.Model(image, ExplicitAttention2D(4)(last(x)))
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3))
    images = images.astype("float32")
    attention, sums = faithfulness._attention(model, images)
    features = keras.Model(image, x)(images)
    for found, expected in (
        (attention, last.attention_map(features)),
        (sums, keras.ops.sum(features, axis=-1)),
    ):
        expected = faithfulness._resized(expected, (16, 16))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_only_images_that_the_network_gets_right_count(data_dir, monkeypatch):
    model = color_network()
    never_blue = np.array([0, 0, -1e3])
    model.layers[-1].set_weights([8 * np.eye(3), never_blue])
    loaded = types.SimpleNamespace(model=model)
    monkeypatch.setattr(faithfulness.keras_attn, "load", lambda _: loaded)
    monkeypatch.setattr(faithfulness, "EVERY", 1)
    rows = faithfulness.measure("colors", data_dir)
    assert {row["images"] for row in rows} == {4}
    assert {row["id"] for row in rows} == {"colors"}


def expatt_network():
    return AttnResNet(
        (1, 1),
        bottleneck=False,
        width=16,
        stem_strides=2,
        attention="expatt",
        attention_stages=[3],
        input_shape=(16, 16, 3),
        classes=3,
    )


def test_a_network_without_a_map_of_the_image_is_an_error():
    model = expatt_network()
    with pytest.raises(ValueError, match="no attention map that depends"):
        faithfulness._attention(model, np.zeros((1, 16, 16, 3)))


def test_rows_of_other_networks_are_kept(tmp_path, monkeypatch):
    def measure(weight_id, data_dir):
        return [{"id": weight_id, "images": 5, **measure.measured}]

    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(faithfulness, "measure", measure)
    for ids, measure.measured in (
        (["a", "b"], {"energy": 0.1}),
        (["a"], {"energy": 0.2, "new": 3}),
    ):
        arguments = ["faithfulness", *ids, "--data-dir", str(tmp_path)]
        command.app(arguments, standalone_mode=False)
    text = (tmp_path / "faithfulness.csv").read_text()
    assert text.endswith("id,images,energy,new\na,5,0.2,3\nb,5,0.1,\n")


@pytest.mark.parametrize("name", ["8", "1e5", "1_0", "inf", "a"])
def test_rows_are_replaced_whatever_their_name_looks_like(name, tmp_path):
    path = tmp_path / "a.csv"
    for top1 in (0.1, 0.2):
        tables.replace(path, [{"name": name, "top1": top1}], "name")
        tables.replace(path, [{"name": "b", "top1": 0.5}], "name")
    rows = path.read_text().splitlines()[-2:]
    assert sorted(rows) == sorted([f"{name},0.2", "b,0.5"])


def test_fine_tuning_compares_the_same_images_and_epochs(data_dir, monkeypatch):
    """Of each class as many as are asked for, to train on."""
    runs = []

    def run(command, **_):
        folder = Path(command[2])
        runs.append(command)
        for split, count in (("train", 4), ("val", 2)):
            files = [
                len(list(place.iterdir()))
                for place in (folder.parent / split).iterdir()
            ]
            assert files == [count] * 2
        answer = json.dumps({"top1": len(runs) / 10}).encode()
        return types.SimpleNamespace(stdout=b"Epoch 1\n" + answer)

    monkeypatch.setattr(fine_tuning, "CLASSES", 2)
    monkeypatch.setattr(fine_tuning, "IMAGES", 4)
    monkeypatch.setattr(fine_tuning, "SEEDS", (5, 6))
    monkeypatch.setattr(fine_tuning.subprocess, "run", run)
    rows = fine_tuning.measure("a", "tiny_imagenet", data_dir)
    assert [(row["begin"], row["seed"], row["top1"]) for row in rows] == [
        ("pretrained", 5, 0.1),
        ("pretrained", 6, 0.2),
        ("from scratch", 5, 0.3),
        ("from scratch", 6, 0.4),
    ]
    for row, command_line in zip(rows, runs):
        assert row["images"] == 8 and row["validation"] == 4
        assert f"--seed={row['seed']}" in command_line
        options = [x.partition("=") for x in command_line if "epochs" in x]
        assert sum(int(value) for *_, value in options) == row["epochs"]
        from_scratch = "--from-scratch" in command_line
        assert from_scratch == (row["begin"] == "from scratch")


def test_segmentation_is_measured_with_the_settings_of_its_row(monkeypatch):
    """The example itself is run by its own tests."""
    commands = []

    def run(command, **_):
        commands.append(command)
        answer = json.dumps({"mean_iou": len(commands) / 10}).encode()
        return types.SimpleNamespace(stdout=b"Epoch 1\n" + answer)

    monkeypatch.setattr(segmentation.subprocess, "run", run)
    rows = segmentation.measure("none") + segmentation.measure("gsa")
    assert [
        (row["attention"], row["seed"], row["mean_iou"]) for row in rows
    ] == [
        ("none", 0, 0.1),
        ("none", 1, 0.2),
        ("gsa", 0, 0.3),
        ("gsa", 1, 0.4),
    ]
    main = runpy.run_path("examples/segment.py")["main"]
    for row, [_, script, *arguments] in zip(rows, commands, strict=True):
        assert script == "examples/segment.py"
        values = dict(x.split("=") for x in arguments if "=" in x)
        options = {x.removeprefix("--").replace("-", "_") for x in values}
        assert options <= set(inspect.signature(main).parameters)
        assert {str(value) for value in row.values()} >= set(values.values())
        assert values["--attention"] == row["attention"]
        assert values["--seed"] == str(row["seed"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["radii", "gsa_resnet14_small.cifar100_32"], "has no layer of ExpAtt"),
        (["equivariance", "nothing", "--data-dir", "nowhere"], "'nothing'"),
        (["pilots", "nowhere"], "nowhere is not a finished training"),
        (
            ["content", "resnet14_small.cifar100_32", "--data-dir", "nowhere"],
            "has no layer of GSA that attends by content",
        ),
    ],
)
def test_mistakes_are_one_line(monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["zoo.study", *arguments])
    with pytest.raises(SystemExit, match=f"zoo.study: .*{message}") as stopped:
        command.main()
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    ("data_set", "message"),
    [("tiny_imagenet", "has 3 classes"), ("image_folder", "into memory")],
)
def test_fine_tuning_needs_enough_classes_in_memory(
    data_dir, tmp_path, data_set, message
):
    for index in range(2):
        for split in ("train", "val"):
            place = tmp_path / split / f"class{index}"
            place.mkdir(parents=True)
            Image.new("RGB", (8 + index, 8)).save(place / "a.png")
    folder = data_dir if data_set == "tiny_imagenet" else tmp_path
    with pytest.raises(ValueError, match=message):
        fine_tuning.measure("a", data_set, folder)


def test_answers_without_a_network_have_the_overlaps_of_their_pixels(
    monkeypatch,
):
    monkeypatch.setattr(segmentation, "HELD_OUT", 20)
    monkeypatch.setattr(segmentation, "SIZE", 32)
    ground, discs = segmentation.measure_without_network()
    example = runpy.run_path("examples/segment.py")
    _, labels = example["pictures"](20, 32, example["HELD_OUT_SEED"])
    share = (labels == 0).mean()
    assert ground["attention"] == "all ground"
    assert ground["mean_iou"] == pytest.approx(share / 6, abs=1e-4)
    of_discs = (labels == 1).sum() / (labels > 0).sum()
    assert discs["attention"] == "all discs" and discs["ground"] == 1
    assert discs["disc"] == pytest.approx(of_discs, abs=1e-4)
    assert discs["mean_iou"] == pytest.approx((1 + of_discs) / 6, abs=1e-4)
    assert ground["ring"] == discs["ring"] == 0


def test_rectangles_of_a_run_are_those_of_its_last_weights(
    data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    run = finished_run(
        tmp_path / "cram.a.seed0", 0.5, attention="cram", data="tiny_imagenet"
    )
    recipe = json.loads((run / "recipe.json").read_text())
    trained = network.build(recipe, 16)
    kernel = trained.get_layer("conv2_attention").saliency_kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    trained.save_weights(run / "last.weights.h5")
    arguments = ["equivariance", str(run), "--data-dir", str(data_dir)]
    command.app(arguments, standalone_mode=False)
    rows, _ = tables.read(tmp_path / "equivariance.csv")
    assert [(row["edges"], row["saliency"]) for row in rows] == [
        ("black", "edges alone"),
        ("black", "found"),
        ("black", "moved"),
        ("mirrored", "edges alone"),
        ("mirrored", "found"),
        ("mirrored", "moved"),
        ("of the image", "found"),
        ("of the image", "moved"),
    ]
    images = data.load("tiny_imagenet", data_dir, "val").images
    expected = []
    for zoom, fill_mode, most in (
        (1, "constant", (30.0, 1.25, 0.15)),
        (1, "reflect", (30.0, 1.25, 0.15)),
        (1.65, "constant", (15.0, 1.1, 0.1)),
    ):
        random = keras.random.SeedGenerator(0)
        moves = equivariance.draw_moves(6, *most, random)
        angles, scales, shifts = map(np.asarray, moves)
        still = np.zeros(6), np.full(6, zoom), np.zeros((6, 2))
        gone = angles, zoom * scales, shifts
        for rectangles in (
            lambda *how: equivariance_study.find_rectangles(
                trained,
                equivariance_study.with_moved_edges(images, how[:3], how[3]),
            ),
            lambda *how: equivariance_study.find_rectangles(
                trained, np.asarray(equivariance.moved(images, *how))
            ),
            lambda *how: equivariance_study.rectangles_of_moved_saliency(
                trained, images, how[:3], how[3]
            ),
        )[zoom > 1 :]:
            before, after = (
                rectangles(*map(np.float32, how), fill_mode)
                for how in (still, gone)
            )
            expected.append(equivariance_study.errors(before, after, moves))
    for row, measured in zip(rows, expected, strict=True):
        assert row["name"] == "cram.a.seed0" and row["images"] == 6
        for name, value in measured.items():
            assert row[name] == pytest.approx(value, abs=2e-6), name
    # Images of one colour stay the same where they are mirrored, and in their
    # edges.
    assert len({row["centers"] for row in rows}) == 7


def test_edges_alone_move_around_an_image_that_stays():
    ramp = np.linspace(100, 200, 32, dtype="float32")
    images = np.broadcast_to(ramp[:, None], (1, 32, 32, 3))
    moves = np.float32([0.0]), np.float32([1.0]), np.float32([[0.25, 0]])
    shown = {
        fill_mode: equivariance_study.with_moved_edges(images, moves, fill_mode)
        for fill_mode in ("constant", "reflect")
    }
    # A quarter of a half side to the right: four pixels come in on the left.
    np.testing.assert_array_equal(shown["constant"][0, :, 4:], images[0, :, 4:])
    assert not shown["constant"][0, :, :4].any()
    np.testing.assert_array_equal(shown["reflect"][0, :, 4:], images[0, :, 4:])
    np.testing.assert_allclose(
        shown["reflect"][0, :, :4], images[0, :, 3::-1], atol=1e-3
    )


def test_nothing_comes_in_from_outside_of_a_view_of_the_image():
    """At the corners of what is drawn, with room for all that is between."""
    fill_mode, zoom, (most, scale, shift) = equivariance_study.VIEWS[
        "of the image"
    ]
    drawn = itertools.product(
        (-np.deg2rad(most), np.deg2rad(most)),
        (1 / scale, scale),
        itertools.product((-2 * shift, 2 * shift), repeat=2),
    )
    moves = [np.array(values) for values in zip(*drawn)]
    white = np.full((len(moves[0]), 32, 32, 3), 255.0, "float32")
    how = equivariance_study.magnified(moves, zoom)
    view = np.asarray(equivariance.moved(white, *how, fill_mode))
    np.testing.assert_allclose(view, 255, atol=1e-3)


def test_published_networks_are_studied_by_their_id():
    name, trained, recipe, training = networks.opened(
        "cram_resnet14_small.cifar100_32"
    )
    assert name == "cram_resnet14_small.cifar100_32"
    assert recipe["data"]["name"] == "cifar100"
    assert equivariance.rectangle_layer(trained).built
    assert len(training["commit"]) == 40


def test_the_way_is_zero_for_what_stays_and_one_for_what_moves():
    random = np.random.default_rng(0)
    before = random.uniform(0.2, 0.6, (50, 5)).astype("float32")
    before[:, 2] += 0.5  # the longer one
    moves = equivariance.draw_moves(
        50, 30, 1.25, 0.15, keras.random.SeedGenerator(0)
    )
    moved = np.asarray(equivariance.moved_rectangles(before, *moves))
    stays = equivariance_study.errors(before, before, moves)
    follows = equivariance_study.errors(before, moved, moves)
    half = equivariance_study.errors(before, (before + moved) / 2, moves)
    assert (stays["way"], follows["way"], half["way"]) == (0, 1, 0.5)
    for term in equivariance_study.TERMS:
        assert follows[term] == pytest.approx(0, abs=1e-6)
        assert stays[term] == follows[f"still_{term}"] > 0


@pytest.mark.parametrize("fill_mode", ["reflect", "constant"])
def test_a_saliency_that_is_moved_takes_its_rectangle_along(fill_mode):
    """A bright spot, on a network that only adds up, and halves the size."""
    inputs = keras.Input((32, 32, 3))
    halved = keras.layers.AveragePooling2D(2)(inputs)
    gate = RectangularAttention2D(margin=1.0, saliency_initializer="ones")
    trained = keras.Model(inputs, gate(halved))
    middles = (2 * np.arange(32) + 1 - 32) / 32
    x, y = np.meshgrid(middles, middles)
    spot = np.exp(-((x - 0.1) ** 2) / 0.3 - (y + 0.1) ** 2 / 0.04)
    images = np.float32(np.repeat(200 * spot[None, ..., None], 3, axis=-1))
    moves = np.float32([0.4]), np.float32([1.2]), np.float32([[0.15, -0.1]])
    before = equivariance_study.find_rectangles(trained, images)
    # The saliency is the image here.
    moved = equivariance.moved(images, *moves, fill_mode)
    found = equivariance_study.find_rectangles(trained, moved)
    after = equivariance_study.rectangles_of_moved_saliency(
        trained, images, moves, fill_mode
    )
    np.testing.assert_allclose(after, found, atol=0.015)
    assert (np.abs(found - before) > 0.04).all()
    # Nothing is less salient than black, however bright the ground.
    brighter = equivariance_study.rectangles_of_moved_saliency(
        trained, images + 50, moves, fill_mode
    )
    np.testing.assert_allclose(brighter, after, atol=1e-4)


def test_the_area_and_the_spread_of_rectangles_are_shares_of_the_image():
    # Centres at a quarter and three quarters of the width, in the middle of
    # the height.
    rectangles = np.float32([[-0.5, 0, 0.8, 0.5, 0], [0.5, 0, 0.8, 0.5, 1]] * 3)
    # Extents are halves: 0.8 of the width and 0.5 of the height.
    assert equivariance_study._extent(rectangles) == {
        "area": 0.4,
        "elongation": 0.375,
        # A quarter of the side from the mean along x, none along y.
        "center_spread": pytest.approx(0.25 / 2**0.5, abs=1e-4),
    }


def test_the_effect_of_radii_is_measured_and_compared(data_dir, monkeypatch):
    """On a network that answers by the radius of its layer."""
    network = expatt_network()
    layers = [
        layer
        for layer in network.layers
        if isinstance(layer, ExplicitAttention2D)
    ]
    seen, means = [], []
    labels = data.load("tiny_imagenet", data_dir, "val").labels

    def predict(images):
        seen.append([float(layer.radius[0]) for layer in layers])
        means.append(keras.ops.convert_to_numpy(norm.moving_mean))
        answers = np.eye(3)[labels]
        if seen[-1][0] > 29:
            answers[:3] = np.roll(answers[:3], 1, axis=1)
        return answers

    monkeypatch.setattr(network, "predict_on_batch", predict)
    recipe = small_recipe(training={"batch_size": 4}, data=ONE_SIZE)
    opened = "a", network, recipe, {}
    monkeypatch.setattr(radius_effect, "opened", lambda _: opened)
    draw, trained_on = data.training_batches, []

    def training_batches(split, recipe):
        trained_on.append(len(split))
        return draw(split, recipe)

    monkeypatch.setattr(changes.data, "training_batches", training_batches)
    trained = list(range(1, len(layers) + 1))
    for layer, radius in zip(layers, trained):
        radius_effect._set(layer, radius)
    [norm, *_] = [
        layer
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    old = keras.ops.convert_to_numpy(norm.moving_mean)
    rows = radius_effect.measure("a", data_dir)
    half = pytest.approx(0.5 / 6**0.5, abs=1e-4)
    # Differences of 1 and 0 in equal shares deviate by a half.
    assert [
        (row["change"], row["top1"], row["top1_error"]) for row in rows
    ] == [
        ("as trained", 1.0, 0),
        ("in the reverse order", 1.0, 0),
        (0.5, 1.0, 0),
        (1.0, 1.0, 0),
        (2.0, 1.0, 0),
        (30.0, 0.5, half),
    ]
    assert [row["top1_anew"] for row in rows] == [1, 1, 1, 1, 1, 0.5]
    assert {row["images"] for row in rows} == {6}
    assert trained_on == [15]  # for the new statistics
    # Each set twice: with old statistics and with new ones.
    wanted = [trained, trained[::-1]]
    wanted += [[radius] * len(layers) for radius in radius_effect.RADII]
    for index, used in enumerate(seen):
        assert used == pytest.approx(wanted[index // 2], rel=1e-5)
        fresh = not np.allclose(means[index], old, rtol=1e-3)
        assert fresh == (index % 2 == 1)


def test_radii_of_heads_are_not_mixed_up(monkeypatch):
    image = keras.Input((8, 8, 4))
    network = keras.Model(image, ExplicitAttention2D(4, num_heads=2)(image))
    monkeypatch.setattr(
        radius_effect, "opened", lambda _: ("a", network, {}, {})
    )
    with pytest.raises(ValueError, match="a has a radius for each head"):
        radius_effect.measure("a", "somewhere")


def test_new_statistics_are_averages_over_batches_with_nothing_of_the_old():
    """However far away the old ones are."""
    norm = keras.layers.BatchNormalization(momentum=0.9)
    model = keras.Sequential([keras.Input((4, 4, 2)), norm])
    norm.moving_mean.assign([1e6, -1e6])
    norm.moving_variance.assign([1e6, 1e6])
    random = np.random.default_rng(0)
    batches = random.normal(3, 2, (3, 8, 4, 4, 2)).astype("float32")
    changes._find_statistics(model, list(batches))
    means = batches.mean(axis=(1, 2, 3)).mean(axis=0)
    variances = batches.var(axis=(1, 2, 3)).mean(axis=0)
    np.testing.assert_allclose(norm.moving_mean, means, rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, variances, rtol=1e-4)
    assert norm.momentum == 0.9


def test_the_command_measures_the_parts_of_gsa(data_dir, tmp_path, monkeypatch):
    network = AttnResNet(
        (1,),
        bottleneck=False,
        width=8,
        stem_strides=2,
        attention="gsa",
        input_shape=(16, 16, 3),
        classes=3,
    )
    recipe = small_recipe(training={"batch_size": 4}, data=ONE_SIZE)
    opened = "a", network, recipe, {}
    monkeypatch.setattr(parts, "opened", lambda _: opened)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    arguments = ["parts", "a", "--data-dir", str(data_dir)]
    command.app(arguments, standalone_mode=False)
    rows, _ = tables.read(tmp_path / "parts.csv")
    assert [row["change"] for row in rows] == [
        "as trained",
        "content sees all pixels alike",
        "no position",
        "both",
    ]
    assert {row["images"] for row in rows} == {6}
    assert all(0 <= row["top1_anew"] <= 1 for row in rows)


@pytest.mark.parametrize("study", [radius_effect, parts])
def test_a_network_without_what_is_changed_is_an_error(study):
    with pytest.raises(ValueError, match="^resnet14_small.* has no layer"):
        study.measure("resnet14_small.cifar100_32", "nowhere")


def test_what_the_parts_of_gsa_tell_is_taken_away(monkeypatch):
    """Content is then the mean of the map, and position nothing."""
    network = AttnResNet(
        blocks_per_stage=(1,),
        width=8,
        bottleneck=False,
        attention="gsa",
        input_shape=(16, 16, 3),
        weights=None,
        classes=3,
    )
    monkeypatch.setattr(parts, "opened", lambda _: ("a", network, {}, {}))
    monkeypatch.setattr(
        parts.changes,
        "measure",
        lambda name, model, recipe, changes, data_dir: changes,
    )
    layers = [
        layer
        for layer in network.layers
        if isinstance(layer, GlobalSelfAttention2D)
    ]
    trained = network.get_weights()
    even, absent = {}, {}
    for name, change in parts.measure("a", "nowhere").items():
        network.set_weights(trained)
        change()
        even[name], absent[name] = set(), set()
        for layer in layers:
            maps = np.random.default_rng(0).normal(size=layer.input.shape[1:])
            maps = maps[None].astype("float32")
            content = layer.query_attention(maps, (0, 1))
            differences = np.ptp(content, axis=(2, 3))  # in each head
            even[name].add(bool(np.all(differences < 1e-6)))
            position = layer.position_attention(maps, (0, 1))
            absent[name].add(bool(np.all(np.equal(position, 0))))
    assert even == {
        "content sees all pixels alike": {True},
        "no position": {False},
        "both": {True},
    }
    assert absent == {
        "content sees all pixels alike": {False},
        "no position": {True},
        "both": {True},
    }


@pytest.mark.parametrize(
    "measure", [lambda *to: study.measure(to[:1], to[1]), faithfulness.measure]
)
def test_networks_of_other_sizes_than_the_images_are_an_error(
    measure, data_dir
):
    with pytest.raises(ValueError, match="16 pixels.*'gsa_.*', for 48 pixels"):
        measure("gsa_resnet14_small.tiny_imagenet_48", data_dir)


def test_pilots_tell_what_they_changed_and_what_it_brought(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    finished_run(tmp_path / "plain", 0.6)
    overrides = ["training.epochs=2", "training.seed=1", "model.x=1"]
    finished_run(tmp_path / "gsa", 0.5, 1, "gsa", overrides=overrides)
    arguments = ["pilots", str(tmp_path / "plain"), str(tmp_path / "gsa")]
    command.app(arguments, standalone_mode=False)
    rows, _ = tables.read(tmp_path / "pilots.csv")
    gsa, plain = rows
    assert (gsa["name"], gsa["changes"], gsa["seed"]) == ("gsa", "model.x=1", 1)
    assert (plain["name"], plain["changes"]) == ("plain", "")
    assert plain["recipe"] == "a" and plain["epochs"] == 2
    assert gsa["parameters"] < plain["parameters"]
    assert gsa["training_top1"] == 0.95 and gsa["top1"] == 0.5
    table = markdown.table_of_pilots(rows).splitlines()
    assert table[2].startswith("| a |  | 2 | 0.0"), table[2]
    assert table[2].endswith("| 95.0 | 60.00 |")
    assert table[3].startswith("| a | `model.x=1` | 2 | 0.0"), table[3]


@pytest.mark.parametrize("pixels", [1, 2, 5, 16])
def test_effective_pixels_are_those_that_share_the_weight(pixels):
    layer = GlobalSelfAttention2D(4, num_heads=2, use_position=False)
    maps = np.zeros((3, 4, 4, 2), "float32")
    layer.build(maps.shape)
    layer.kernel.assign(np.ones(layer.kernel.shape))
    maps.reshape(3, 16, 2)[:, :pixels] = 50
    assert content._effective_pixels(layer, maps) == pytest.approx(pixels / 16)


def test_each_layer_that_attends_by_content_is_measured(data_dir, monkeypatch):
    recipe = small_recipe(data=ONE_SIZE)
    recipe["model"]["arguments"] |= {
        "attention": "gsa",
        "attention_stages": [2, 3],
    }
    model = network.build(recipe, 16)
    layers = [x for x in model.layers if isinstance(x, GlobalSelfAttention2D)]
    kernel = np.array(layers[1].kernel)
    kernel[:, 16:32] = 0  # the keys: all pixels weigh the same
    kernel[:, 32:] *= 2
    layers[1].kernel.assign(kernel)
    training = {"command": "python -m zoo.train a.toml", "commit": "b"}
    monkeypatch.setattr(
        content, "opened", lambda _: ("name", model, recipe, training)
    )
    rows = content.measure("name", data_dir)
    assert [row["layer"] for row in rows] == [layer.name for layer in layers]
    assert [row["map"] for row in rows] == [8, 8, 8, 4]
    assert {row["command"] for row in rows} == {training["command"]}
    assert {row["images"] for row in rows} == {6}
    first, second, *_ = rows
    assert first["key_scale"] == pytest.approx(1, abs=0.1)
    assert first["effective_pixels"] < 1
    assert second["key_scale"] == 0 and second["effective_pixels"] == 1
    assert second["value_scale"] == pytest.approx(2, abs=0.2)
