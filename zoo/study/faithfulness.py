"""Whether attention maps show the object, and what the network needs.

Two questions about a map, each with two measures. Does it show the object? The
*pointing game* (Zhang et al., 2016) asks whether the highest value is in the
annotated box, the *energy-based* one (Wang et al., 2020) which share of the
map's sum is. Does the network need what it shows? *Deletion* and *insertion*
(Petsiuk et al., 2018) exchange the pixels of the image, the highest of the map
first, and average the probability of the class on the way: from the image to
its mean colour (a faithful map makes it fall early: less is better), and from
the blurred image to the image (more is better).

The maps of an image:

- *attention*: of the last layer that has one. ExpAtt has none: its kernel
  depends on the distance only, so it is the middle of the image, whatever the
  image.
- *Grad-CAM* (Selvaraju et al., 2017), of the features before the pooling.
- *sum of the features*: of what that layer is given, over the channels. It
  shows where the network is active, without anything that attention learned.
- *attention of another image*: maps of the same shapes, around the same places
  on average, which say nothing of the image. What is measured is compared with
  this one.
- *middle of the image* and *random*, which do not look. They have the very
  values of the attention map, in the order of the distance from the middle or
  of smooth noise: a narrow map has more of its sum in the box than a wide one
  that points to the same place. Grad-CAM and the sum of the features have
  values of their own, so their energy also tells how narrow they are.
- *annotated box*: one inside, zero outside.

What is decided here:

- Only images that the network gets right count. Only there, the object in the
  box and the class that the network saw are the same.
- Equal values have no order, and that of the pixels would prefer the upper
  left. The pointing game takes the share of the highest pixels that are in the
  box; deletion and insertion order equal pixels by smooth noise, because
  single pixels strewn over an image disturb a network more than an area does,
  wherever they are.
- The pointing game has no tolerance around the box: at 64 pixels, the one of
  the paper would let most of an image count.
- The area under a curve is the mean over the middles of equal steps.
"""

import keras
import numpy as np

import keras_attn
from zoo import data
from zoo.data.sources import tiny_imagenet_boxes
from zoo.study import rectangles

EVERY = 5  # Of the validation images, in the order of their list.
STEPS = 8
BATCH = 200
SEED = 0
OTHER = "attention of another image"


def measure(weight_id, data_dir):
    """Return rows for each kind of map.

    Args:
        weight_id: Id of a published network for Tiny-ImageNet at 64 pixels.
        data_dir: Path of Tiny-ImageNet.

    Returns:
        A list of dictionaries: the `id`, which `map`, which `boxes`, how many
        `images`, and the means over them of the `pointing_game`, the
        `energy`, the `deletion` and the `insertion`, all from 0 to 1. With
        `_error` at the end of the name, the standard error of the difference
        from the attention of another image.

    Raises:
        ValueError: for a network of another size, or one that has no map
            that depends on the image.
    """
    split = data.load("tiny_imagenet", data_dir, "val")
    images = split.images[::EVERY].astype("float32")
    labels = split.labels[::EVERY]
    boxes = tiny_imagenet_boxes(data_dir)[::EVERY]
    model = rectangles.load_for(images, weight_id)
    right = _outputs(model, images).argmax(axis=-1) == labels
    rows = compare(model, images[right], labels[right], boxes[right])
    return [{"id": weight_id, **row} for row in rows]


def compare(model, images, labels, boxes):
    """Return the rows of `measure` for images that the network gets right.

    Args:
        model: A network of `keras_attn.applications`.
        images: Float array `(n, size, size, 3)`.
        labels: Integer array `(n,)`.
        boxes: Array `(n, 4)`: left, top, right, bottom edge in pixels.
    """
    generator = np.random.default_rng(SEED)
    noise, ties = smooth_noise(generator, (2, *images.shape[:3]))
    maps = _maps(model, images, labels, boxes, noise, ties)
    mean_color = images.mean(axis=(1, 2), keepdims=True)
    blurred_images = blurred(images)

    def probability(pictures):
        probabilities = _outputs(model, pictures)
        return probabilities[np.arange(len(labels)), labels]

    scores = {}
    for name, values in maps.items():
        ranks = descending_ranks(values, ties)
        scores[name] = {
            "pointing_game": pointing_game(values, boxes),
            "energy": energy(values, boxes),
            "deletion": area_under_curve(
                probability, images, mean_color, ranks
            ),
            "insertion": area_under_curve(
                probability, blurred_images, images, ranks
            ),
        }
    subsets = rectangles.subsets(boxes, images.shape[1])
    return [
        {
            "map": name,
            "boxes": subset,
            **means(measured, scores[OTHER], chosen),
        }
        for name, measured in scores.items()
        for subset, chosen in subsets.items()
    ]


def _outputs(model, images):
    # `predict` would prepare longer than it computes, hundreds of times.
    batches = [
        model.predict_on_batch(images[start : start + BATCH])
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(batches)


def means(scores, reference, chosen):
    """Return the means, and the standard errors of the differences.

    Args:
        scores: Dictionary of arrays `(n,)` by measure.
        reference: The same of the map that they are compared with.
        chosen: Boolean array `(n,)`, the images that count.
    """
    count = int(chosen.sum())
    row = {"images": count}
    for measure, values in scores.items():
        error = (values - reference[measure])[chosen].std() / np.sqrt(count)
        row[measure] = round(float(values[chosen].mean()), 4)
        row[f"{measure}_error"] = round(float(error), 4)
    return row


def _maps(model, images, labels, boxes, noise, ties):
    attention, sums = _attention(model, images)
    size = images.shape[1]
    x, y = np.meshgrid(*2 * [np.arange(size) - (size - 1) / 2])
    nearness = np.broadcast_to(-np.hypot(x, y), attention.shape)
    return {
        "attention": attention,
        "Grad-CAM": _grad_cam(model, images, labels),
        "sum of the features": sums,
        OTHER: np.roll(attention, 1, axis=0),
        "middle of the image": rearranged(attention, nearness, ties),
        "random": rearranged(attention, noise, ties),
        "annotated box": inside(boxes, size).astype("float32"),
    }


def _attention(model, images):
    """Return the last map, and the sum over the channels of what its layer is
    given, in the size of the images."""
    layers = keras_attn.attention_maps(model, images, batch_size=BATCH)
    with_map = [layer for layer in layers if layer.map is not None]
    if not with_map:
        raise ValueError(
            f"The network {model.name!r} has no attention map that depends on "
            "the image, so there is nothing to compare"
        )
    last = with_map[-1]
    inputs = keras.Model(model.inputs, model.get_layer(last.name).input)
    sums = _outputs(inputs, images).sum(axis=-1)
    return last.resized().map, _resized(sums, images.shape[1:3])


def _grad_cam(model, images, labels):
    features = keras.Model(model.inputs, model.get_layer("avg_pool").input)
    kernel = keras.ops.convert_to_numpy(model.get_layer("predictions").kernel)
    maps = grad_cam(_outputs(features, images), kernel, labels)
    return _resized(maps, images.shape[1:3])


def _resized(maps, size):
    resized = keras.ops.image.resize(maps[..., None], size, "bilinear")
    return keras.ops.convert_to_numpy(resized)[..., 0]


def grad_cam(features, kernel, classes):
    """Return Grad-CAM of networks that end in average pooling and one layer.

    The derivative of a class's logit by a feature is then the weight of its
    channel over the number of pixels, the same everywhere, so that no
    gradient has to be computed.

    Args:
        features: Array `(n, height, width, channels)`, before the pooling.
        kernel: Array `(channels, classes)`, the weights of the classifier.
        classes: Integer array `(n,)`, the classes to explain.

    Returns:
        Array `(n, height, width)`.
    """
    _, height, width, _ = features.shape
    derivatives = kernel.T[classes] / (height * width)
    return np.maximum(np.einsum("nhwc,nc->nhw", features, derivatives), 0)


def inside(boxes, size):
    """Return which pixels have their middle in the box: `(n, size, size)`."""
    left, top, right, bottom = boxes.T[:, :, None]
    middle = np.arange(size) + 0.5
    columns = (left <= middle) & (middle <= right)
    rows = (top <= middle) & (middle <= bottom)
    return rows[:, :, None] & columns[:, None, :]


def pointing_game(maps, boxes):
    """Return the share of each map's highest pixels that are in the box."""
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return energy(highest.astype("float64"), boxes)


def energy(maps, boxes):
    """Return the share of each map's sum that is in the box.

    A map of zeros says the same of all pixels.
    """
    empty = maps.sum(axis=(1, 2), keepdims=True) == 0
    maps = np.where(empty, 1.0, maps)
    hits = maps * inside(boxes, maps.shape[1])
    return hits.sum(axis=(1, 2)) / maps.sum(axis=(1, 2))


def descending_ranks(maps, ties):
    """Return the rank of each pixel, 0 for the highest value of its map.

    Args:
        maps: Array `(n, size, size)`.
        ties: Array like `maps`. Of equal pixels, the higher comes first.
    """
    flat_ties, flat = (-x.reshape(len(x), -1) for x in (ties, maps))
    order = np.lexsort((flat_ties, flat))
    return np.argsort(order, axis=-1).reshape(maps.shape)


def rearranged(maps, keys, ties):
    """Return the values of each map, the highest where the key is highest."""
    descending = -np.sort(-maps.reshape(len(maps), -1), axis=-1)
    ranks = descending_ranks(keys, ties).reshape(descending.shape)
    return np.take_along_axis(descending, ranks, axis=-1).reshape(maps.shape)


def area_under_curve(probability, before, after, ranks):
    """Return the mean probability while pixels are exchanged by rank.

    Args:
        probability: Function of images that returns an array `(n,)`.
        before: Array that broadcasts to `(n, size, size, channels)`, the
            images to begin with.
        after: The same, those to end with.
        ranks: Array `(n, size, size)`, as from `descending_ranks`.
    """
    shares = (np.arange(STEPS) + 0.5) / STEPS
    counts = shares * ranks[0].size
    curve = [
        probability(np.where((ranks < count)[..., None], after, before))
        for count in counts
    ]
    return np.mean(curve, axis=0)


def blurred(images):
    """Return images `(..., size, size, channels)` blurred by a Gaussian.

    Its deviation is an eighth of the images, after which the networks are
    right hardly more often than by chance.
    """
    weights = _gaussian(images.shape[-2], around=False)
    return np.einsum(
        "ij,...jkc,lk->...ilc", weights, images, weights, optimize=True
    ).astype(images.dtype)


def smooth_noise(generator, shape):
    """Return noise `(..., size, size)` about as coarse as attention maps.

    It goes around the edges, so that its highest value is as likely anywhere.
    """
    weights = _gaussian(shape[-1], around=True)
    return weights @ generator.standard_normal(shape) @ weights.T


def _gaussian(size, around):
    """Return the weights `(size, size)` of inputs for each output."""
    index = np.arange(size)
    distance = np.abs(index[:, None] - index)
    if around:
        distance = np.minimum(distance, size - distance)
    weights = np.exp(-((distance / (size / 8)) ** 2) / 2)
    return weights / weights.sum(axis=1, keepdims=True)
