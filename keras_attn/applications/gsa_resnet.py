"""GSA: global self-attention for every 3x3 convolution after the stem."""

from keras_attn.applications import resnets
from keras_attn.applications.constructors import one_attention

REFERENCE = "[Shen et al., 2020](https://arxiv.org/abs/2010.03019)"

GSAResNet26 = one_attention(
    "GSAResNet26",
    resnets.AttnResNet26,
    "gsa",
    "ResNet-26 with global self-attention.",
    REFERENCE,
)

GSAResNet38 = one_attention(
    "GSAResNet38",
    resnets.AttnResNet38,
    "gsa",
    "ResNet-38 with global self-attention.",
    REFERENCE,
)

GSAResNet50 = one_attention(
    "GSAResNet50",
    resnets.AttnResNet50,
    "gsa",
    "ResNet-50 with global self-attention.",
    REFERENCE,
)

GSAResNet101 = one_attention(
    "GSAResNet101",
    resnets.AttnResNet101,
    "gsa",
    "ResNet-101 with global self-attention.",
    REFERENCE,
)

GSAResNet14Small = one_attention(
    "GSAResNet14Small",
    resnets.AttnResNet14Small,
    "gsa",
    "ResNet-14 Small with global self-attention.",
    REFERENCE,
)

GSAResNet26Small = one_attention(
    "GSAResNet26Small",
    resnets.AttnResNet26Small,
    "gsa",
    "ResNet-26 Small with global self-attention.",
    REFERENCE,
)
