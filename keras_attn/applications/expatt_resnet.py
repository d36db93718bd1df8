"""ExpAtt: a tenth of each 3x3 convolution by explicitly modelled attention.

Where the attention goes is reconstructed from the sizes that the paper gives
for ExpAtt-ResNet-152, which these networks have: a tenth of the channels of
every 3x3 convolution, from the third stage on, beside the convolution.
"""

from keras_attn.applications import resnets
from keras_attn.applications.constructors import one_attention

REFERENCE = "[Tan et al., 2021](https://arxiv.org/abs/2006.07872)"

ExpAttResNet50 = one_attention(
    "ExpAttResNet50",
    resnets.AttnResNet50,
    "expatt",
    "ResNet-50 with explicitly modelled attention.",
    REFERENCE,
)

ExpAttResNet101 = one_attention(
    "ExpAttResNet101",
    resnets.AttnResNet101,
    "expatt",
    "ResNet-101 with explicitly modelled attention.",
    REFERENCE,
)

ExpAttResNet152 = one_attention(
    "ExpAttResNet152",
    resnets.AttnResNet152,
    "expatt",
    "ResNet-152 with explicitly modelled attention.",
    REFERENCE,
)

ExpAttResNet14Small = one_attention(
    "ExpAttResNet14Small",
    resnets.AttnResNet14Small,
    "expatt",
    "ResNet-14 Small with explicitly modelled attention.",
    REFERENCE,
)

ExpAttResNet26Small = one_attention(
    "ExpAttResNet26Small",
    resnets.AttnResNet26Small,
    "expatt",
    "ResNet-26 Small with explicitly modelled attention.",
    REFERENCE,
)
