"""AA: a tenth of each 3x3 convolution by softmax self-attention."""

from keras_attn.applications import resnets
from keras_attn.applications.constructors import one_attention

REFERENCE = "[Bello et al., 2019](https://arxiv.org/abs/1904.09925)"

AAResNet34 = one_attention(
    "AAResNet34",
    resnets.AttnResNet34,
    "aa",
    "ResNet-34 with attention-augmented convolutions.",
    REFERENCE,
)

AAResNet50 = one_attention(
    "AAResNet50",
    resnets.AttnResNet50,
    "aa",
    "ResNet-50 with attention-augmented convolutions.",
    REFERENCE,
)

AAResNet101 = one_attention(
    "AAResNet101",
    resnets.AttnResNet101,
    "aa",
    "ResNet-101 with attention-augmented convolutions.",
    REFERENCE,
)

AAResNet152 = one_attention(
    "AAResNet152",
    resnets.AttnResNet152,
    "aa",
    "ResNet-152 with attention-augmented convolutions.",
    REFERENCE,
)

AAResNet14Small = one_attention(
    "AAResNet14Small",
    resnets.AttnResNet14Small,
    "aa",
    "ResNet-14 Small with attention-augmented convolutions.",
    REFERENCE,
)

AAResNet26Small = one_attention(
    "AAResNet26Small",
    resnets.AttnResNet26Small,
    "aa",
    "ResNet-26 Small with attention-augmented convolutions.",
    REFERENCE,
)
