"""What is measured: layers that take a map and keep its size and width."""

import keras
from keras import ops

from keras_attn import layers

HEADS = 8


class FlatMultiHeadAttention(keras.layers.Layer):
    """Keras's dense attention over all pixels of a map."""

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self.attention = keras.layers.MultiHeadAttention(
            HEADS, channels // HEADS, dtype=self.dtype_policy
        )
        sequence = (None, height * width, channels)
        self.attention.build(sequence, sequence)

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        pixels = ops.reshape(inputs, (-1, height * width, channels))
        attended = self.attention(pixels, pixels)
        return ops.reshape(attended, (-1, height, width, channels))


def tenth(width):
    """The channels that ExpAtt and AA give to attention in a network."""
    return max(1, round(width / 10))


def augmented(width):
    filters = HEADS * max(1, round(width / 10 / HEADS))
    key_filters = HEADS * max(20, width // 5 // HEADS)
    return layers.RelativeSelfAttention2D(filters, key_filters, HEADS)


def bottleneck(width):
    """The work of a residual block, in an order that keeps the width."""
    block = []
    for filters, size in ((width, 3), (4 * width, 1), (width, 1)):
        block += [
            keras.layers.Conv2D(filters, size, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]
    return keras.Sequential(block)


BASELINE = "convolution_3x3"
SUBJECTS = {
    BASELINE: lambda width: keras.layers.Conv2D(
        width, 3, padding="same", use_bias=False
    ),
    "bottleneck": bottleneck,
    "gsa": layers.GlobalSelfAttention2D,
    "gsa_content": lambda width: layers.GlobalSelfAttention2D(
        width, use_position=False
    ),
    "gsa_position": lambda width: layers.GlobalSelfAttention2D(
        width, use_content=False
    ),
    "multi_head_attention": lambda width: FlatMultiHeadAttention(),
    "aa": augmented,
    "expatt": lambda width: layers.ExplicitAttention2D(tenth(width)),
    # A kernel that is not separable, so that the map is made.
    "expatt_dense": lambda width: layers.ExplicitAttention2D(
        tenth(width), kernel="cauchy"
    ),
    "cram": lambda width: layers.RectangularAttention2D(),
    "positionwise": lambda width: layers.PositionwiseAttention2D(),
    "se": lambda width: layers.ChannelAttention2D(),
    "cbam": lambda width: keras.Sequential(
        [
            layers.ChannelAttention2D(use_max=True),
            layers.PositionwiseAttention2D(),
        ]
    ),
}
# Their attention maps have an entry for each pair of pixels, image and head.
PAIRWISE = ("multi_head_attention", "aa")
MOST_ENTRIES = 3e8


def names(batch, size):
    """Return the subjects whose attention maps are not too large."""
    too_large = batch * HEADS * size**4 > MOST_ENTRIES
    skipped = PAIRWISE if too_large else ()
    return [name for name in SUBJECTS if name not in skipped]
