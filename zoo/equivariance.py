"""Train CRAM to move its rectangle with the image.

Each batch is seen a second time, turned, scaled and shifted by known amounts,
and three terms of the loss ask that the rectangles move with it, each with a
weight of its own:

- centres: `mean |centre' - T centre|^2`
- extents: `mean |log extents' - log T extents|^2`
- angles: `mean elongation * (1 - cos(2 * (angle' - T angle)))`

with T what was done to the image. Half a turn does not change a rectangle,
hence the cosine; one that is nearly a square has no direction, hence its
elongation, `1 - short / long`, as a factor. What moves in from outside is the
image, mirrored: with black there, a network learns to follow the black frame
with one rectangle for all images (seen in training). We do not know the form
that the paper gives its constraints: this one is ours.

References:
    - [Nguyen et al., 2025](https://arxiv.org/abs/2503.10875)
"""

import math

import keras
from keras import ops

from keras_attn.layers import RectangularAttention2D


class EquivariantTraining(keras.Model):
    """A network with the equivariance of its rectangle as a part of its loss.

    Args:
        network: A `keras.Model` with one `RectangularAttention2D`.
        center_weight: Float, of the distance of centres in the loss, as are
            the next two of extents and angles.
        extents_weight: Float.
        angle_weight: Float.
        rotation: Float, the largest angle in degrees, either way.
        scale: Float from 1, the largest magnification; the largest reduction
            is its inverse.
        translation: Float, the largest shift along either axis, as a share of
            the image.
        seed: Integer, of the random moves. The replicas of a strategy draw
            the same.

    Call arguments:
        images: Tensor `(batch, size, size, 3)`.

    Returns:
        What the network returns. In training the weighted sum of the three
        terms is added to the losses.
    """

    def __init__(
        self,
        network,
        center_weight,
        extents_weight,
        angle_weight,
        rotation,
        scale,
        translation,
        seed,
    ):
        # Pixels are not to be rounded.
        super().__init__(dtype=network.dtype_policy, autocast=False)
        gate = rectangle_layer(network)
        self.network = network
        self.gate = gate
        self.with_features = keras.Model(
            network.input, [network.output, gate.input]
        )
        self.features = keras.Model(network.input, gate.input)
        self.term_weights = center_weight, extents_weight, angle_weight
        self.most = rotation, scale, translation
        self.random = keras.random.SeedGenerator(seed)
        self.built = True  # All its layers are.
        if keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # XLA cannot move images.

    def call(self, images, training=None):
        if not training:
            return self.network(images)
        outputs, features = self.with_features(images, training=True)
        moves = draw_moves(ops.shape(images)[0], *self.most, self.random)
        moved_features = self.features_of_moved(moved(images, *moves))
        distances = rectangle_distances(
            self.gate.rectangles(moved_features),
            moved_rectangles(self.gate.rectangles(features), *moves),
        )
        # Not in `compute_loss`: only what is added here is divided by the
        # replicas of a strategy.
        self.add_loss(
            sum(
                weight * ops.mean(distance)
                for weight, distance in zip(self.term_weights, distances)
            )
        )
        return outputs

    def features_of_moved(self, images):
        """Return features, normalised by their batch as in training; the
        statistics to evaluate with stay those of images as they are."""
        statistics = self.features.non_trainable_variables
        before = [ops.copy(variable) for variable in statistics]
        features = self.features(images, training=True)
        for variable, value in zip(statistics, before):
            variable.assign(value)
        return features

    def save_own_variables(self, store):
        store["random"] = ops.convert_to_numpy(self.random.state)

    def load_own_variables(self, store):
        self.random.state.assign(store["random"])


def rectangle_layer(network):
    """Return the only CRAM layer of a network.

    Raises:
        ValueError: if there is none, or more than one.
    """
    gates = [
        layer
        for layer in network.layers
        if isinstance(layer, RectangularAttention2D)
    ]
    if len(gates) != 1:
        raise ValueError(
            "The equivariance of a rectangle needs a network with one "
            f"RectangularAttention2D. {network.name} has {len(gates)}."
        )
    return gates[0]


def draw_moves(count, rotation, scale, translation, seed):
    """Return angles in radians, scales and shifts `(count, 2)` in half sides
    of the image, uniform (the scales logarithmically)."""

    def uniform(shape, most):
        return keras.random.uniform(shape, -most, most, seed=seed)

    angles = uniform((count,), math.radians(rotation))
    scales = ops.exp(uniform((count,), math.log(scale)))
    return angles, scales, uniform((count, 2), 2 * translation)


def moved(images, angles, scales, shifts, fill_mode="reflect"):
    """Turn images (clockwise on the screen) about their middle, scale them,
    then shift them right and down. What moves in is as `fill_mode` says: see
    `keras.ops.image.affine_transform`."""
    images = ops.cast(images, "float32")
    half_side = ops.cast(ops.shape(images)[1], "float32") / 2
    middle = half_side - 0.5  # the first pixel's centre is 0
    # From a pixel of the result back to the pixel it comes from.
    cos, sin = ops.cos(angles) / scales, ops.sin(angles) / scales
    shift_x, shift_y = ops.unstack(middle + half_side * shifts, 2, axis=1)
    zeros = ops.zeros_like(cos)
    transforms = ops.stack(
        [
            *(cos, sin, middle - cos * shift_x - sin * shift_y),
            *(-sin, cos, middle + sin * shift_x - cos * shift_y),
            *(zeros, zeros),
        ],
        axis=1,
    )
    return ops.image.affine_transform(images, transforms, fill_mode=fill_mode)


def moved_rectangles(rectangles, angles, scales, shifts):
    """Return what becomes of rectangles `(count, 5)` when the image moves."""
    x, y, long, short, angle = _columns(rectangles)
    cos, sin = scales * ops.cos(angles), scales * ops.sin(angles)
    return ops.stack(
        [
            cos * x - sin * y + shifts[:, 0],
            sin * x + cos * y + shifts[:, 1],
            scales * long,
            scales * short,
            angle + angles,
        ],
        axis=1,
    )


def rectangle_distances(rectangles, others):
    """Return the distances of centres, extents and angles of each pair of
    rectangles `(count, 5)`, three tensors `(count,)`; see above."""
    x, y, long, short, angle = _columns(rectangles)
    other_x, other_y, other_long, other_short, other_angle = _columns(others)
    centers = ops.square(x - other_x) + ops.square(y - other_y)
    extents = ops.square(ops.log(long / other_long)) + ops.square(
        ops.log(short / other_short)
    )
    # Nothing is gained by becoming a square.
    elongation = ops.stop_gradient(1 - other_short / other_long)
    angles = elongation * (1 - ops.cos(2 * (angle - other_angle)))
    return centers, extents, angles


def _columns(rectangles):
    return ops.unstack(rectangles, 5, axis=1)
