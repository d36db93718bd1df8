"""The attention layers, one file each."""

from keras_attn.layers.channel_attention import ChannelAttention2D
from keras_attn.layers.explicit_attention import ExplicitAttention2D
from keras_attn.layers.global_self_attention import GlobalSelfAttention2D
from keras_attn.layers.positionwise_attention import PositionwiseAttention2D
from keras_attn.layers.rectangular_attention import RectangularAttention2D
from keras_attn.layers.relative_self_attention import RelativeSelfAttention2D
from keras_attn.layers.rezero import ReZero

__all__ = [
    "ChannelAttention2D",
    "ExplicitAttention2D",
    "GlobalSelfAttention2D",
    "PositionwiseAttention2D",
    "ReZero",
    "RectangularAttention2D",
    "RelativeSelfAttention2D",
]
