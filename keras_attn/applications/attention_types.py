"""What each attention type puts where in a residual network.

The builder knows none of these by name. A new attention type is one layer
and one entry in `ATTENTION_TYPES`.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Collection
from numbers import Integral

from keras import layers

from keras_attn.applications import blocks
from keras_attn.layers import ChannelAttention2D
from keras_attn.layers import ExplicitAttention2D
from keras_attn.layers import GlobalSelfAttention2D
from keras_attn.layers import PositionwiseAttention2D
from keras_attn.layers import RectangularAttention2D
from keras_attn.layers import RelativeSelfAttention2D


@dataclasses.dataclass(frozen=True)
class AttentionType:
    """The places an attention type takes in a residual network.

    Attributes:
        stages: The stages that have attention, from 2 (the first after the
            stem) to 5, as in the names conv2_x to conv5_x.
        mixing: What takes the place of the 3x3 convolutions: a function of
            `(x, filters, strides, stage, name)` that returns a tensor with
            `filters` channels, its height and width divided by `strides`.
        block_gate: What gates the residual branch of each block before the
            sum: a function of `name` that returns a layer or another function
            of a tensor.
        stage_gate: The same for the output of a whole stage.
    """

    stages: tuple[int, ...] = (2, 3, 4, 5)
    mixing: Callable | None = None
    block_gate: Callable | None = None
    stage_gate: Callable | None = None


# GSA multiplies features with features, layer after layer. Batch normalisation
# holds that in training; later, with fixed statistics, a picture unlike the
# others overflows, and pictures of noise do so most easily.
# What a network pays attention to is non-negative and seldom as large as this.
LARGEST_FEATURE = 16.0

# AA-ResNets save memory in stage 3, whose maps have 28 x 28 pixels at 224.
# Small images have there the maps of stage 4, or smaller ones, which need not
# be halved: this bound is ours, the paper goes by the stage.
LARGEST_WHOLE_MAP = 14


def convolve_3x3(x, filters, strides, stage, name):
    return blocks.convolution(x, filters, 3, strides, f"{name}_conv")


def global_self_attention(
    x,
    filters,
    strides,
    stage,
    name,
    layer=GlobalSelfAttention2D,
    **arguments,
):
    """GSA of what is at most `LARGEST_FEATURE`; `arguments` are other ones of
    its layer."""
    x = layers.ReLU(LARGEST_FEATURE, name=f"{name}_limit")(x)
    return layer(
        filters, strides=strides, name=f"{name}_attention", **arguments
    )(x)


def explicit_attention(x, filters, strides, stage, name, **arguments):
    """A tenth of the channels by ExpAtt, the others by the convolution, as
    the sizes of the paper's networks suggest; `arguments` are other ones of
    the attention's layer."""
    attended_filters = max(1, round(filters / 10))
    attended = ExplicitAttention2D(
        attended_filters,
        strides=strides,
        name=f"{name}_attention",
        **arguments,
    )(x)
    return _concatenate_with_convolution(x, attended, filters, strides, name)


def augmented_attention(x, filters, strides, stage, name):
    """A tenth of the channels (at least one a head) by softmax attention, the
    others by the convolution; in stage 3, if its maps are large, at half the
    resolution."""
    num_heads = 8
    attended_filters = num_heads * max(1, round(filters / 10 / num_heads))
    key_filters = num_heads * max(20, filters // 5 // num_heads)
    attended = x
    if strides > 1:
        attended = _pooled(x, strides, f"{name}_pool")
    is_halved = stage == 3 and _is_large(attended)
    if is_halved:
        attended = _pooled(attended, 2, f"{name}_halve")
    attended = RelativeSelfAttention2D(
        attended_filters, key_filters, num_heads, name=f"{name}_attention"
    )(attended)
    if is_halved:
        attended = layers.UpSampling2D(
            2, interpolation="bilinear", name=f"{name}_upsample"
        )(attended)
        attended = _crop_like(attended, x, strides, f"{name}_crop")
    return _concatenate_with_convolution(x, attended, filters, strides, name)


def _pooled(x, strides, name):
    return layers.AveragePooling2D(3, strides, padding="same", name=name)(x)


def _is_large(x):
    height, width, _ = blocks.height_width_channels(x)
    # The layer of attention will refuse an unknown size.
    return max(height or 0, width or 0) > LARGEST_WHOLE_MAP


def _crop_like(attended, x, strides, name):
    """Cut the row and column that an odd size leaves after upsampling."""
    sizes = blocks.height_width_channels(x)[:2]
    upsampled = blocks.height_width_channels(attended)[:2]
    excess = [
        high - -(-size // strides) for high, size in zip(upsampled, sizes)
    ]
    if not any(excess):
        return attended
    return layers.Cropping2D([(0, cut) for cut in excess], name=name)(attended)


def _concatenate_with_convolution(x, attended, filters, strides, name):
    _, _, attended_filters = blocks.height_width_channels(attended)
    if attended_filters >= filters:
        raise ValueError(
            "`width` must leave channels for the convolution beside the "
            f"attention. Received: {filters} channels at {name}, of which the "
            f"attention makes {attended_filters}"
        )
    convolved = blocks.convolution(
        x, filters - attended_filters, 3, strides, f"{name}_conv"
    )
    return layers.Concatenate(
        axis=blocks.channel_axis(), name=f"{name}_concatenate"
    )([convolved, attended])


def convolutional_block_attention(name):
    """CBAM: the channel gate, then the spatial gate."""

    def gate(x):
        x = ChannelAttention2D(use_max=True, name=f"{name}_channels")(x)
        return PositionwiseAttention2D(name=f"{name}_pixels")(x)

    return gate


def rectangular_attention(name):
    # Trained from scratch there is no identity to preserve: the rectangle
    # starts around the strongest features, and pays for its area (ours).
    return RectangularAttention2D(
        margin=1.0, area_penalty=0.1, saliency_initializer="ones", name=name
    )


def positionwise_attention(name):
    return PositionwiseAttention2D(name=name)


def squeeze_and_excitation(name):
    return ChannelAttention2D(name=name)


NO_ATTENTION = AttentionType(stages=())

ATTENTION_TYPES = {
    "gsa": AttentionType(mixing=global_self_attention),
    "expatt": AttentionType(stages=(3, 4, 5), mixing=explicit_attention),
    "aa": AttentionType(stages=(3, 4, 5), mixing=augmented_attention),
    # One gate after stage 4, which is ours: deep enough to know what matters,
    # and its map is still fine enough to draw a rectangle on.
    "cram": AttentionType(stages=(4,), stage_gate=rectangular_attention),
    "positionwise": AttentionType(
        stages=(4,), stage_gate=positionwise_attention
    ),
    "se": AttentionType(block_gate=squeeze_and_excitation),
    "cbam": AttentionType(block_gate=convolutional_block_attention),
}


def get(attention, stages=None):
    """Return the `AttentionType` for a name, an `AttentionType` or `None`.

    Args:
        attention: Name of a registered attention type, an `AttentionType`, or
            `None`.
        stages: Sequence of integers to have attention instead of the type's
            own, or `None`.

    Raises:
        ValueError: for an unknown name, or stages that are no sequence or
            without attention.
    """
    _check_stages(stages)
    if attention is None:
        if stages is not None:
            raise ValueError(
                "`attention_stages` needs an `attention`. Received: "
                f"attention=None, attention_stages={stages}"
            )
        return NO_ATTENTION
    if not isinstance(attention, AttentionType):
        attention = _registered(attention)
    if stages is None:
        return attention
    return dataclasses.replace(attention, stages=tuple(stages))


def _check_stages(stages):
    """Raise a `ValueError` for stages that are neither a sequence of integers
    nor `None`."""
    if stages is None:
        return
    is_sequence = isinstance(stages, Collection)
    if not is_sequence or not all(isinstance(s, Integral) for s in stages):
        raise ValueError(
            "`attention_stages` must be a sequence of integers. Received: "
            f"attention_stages={stages!r}"
        )


def _registered(name):
    if not isinstance(name, str) or name not in ATTENTION_TYPES:
        raise ValueError(
            f"`attention` must be None, one of {sorted(ATTENTION_TYPES)}, or "
            f"an AttentionType. Received: attention={name!r}"
        )
    return ATTENTION_TYPES[name]
