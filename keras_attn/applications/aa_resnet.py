"""AA: a tenth of each 3x3 convolution by softmax self-attention."""

import functools

from keras_attn.applications import resnets
from keras_attn.applications.constructors import one_attention

_with_aa = functools.partial(
    one_attention,
    "aa",
    "AA",
    "attention-augmented convolutions",
    "[Bello et al., 2019](https://arxiv.org/abs/1904.09925)",
)

AAResNet34 = _with_aa(resnets.AttnResNet34)
AAResNet50 = _with_aa(resnets.AttnResNet50)
AAResNet101 = _with_aa(resnets.AttnResNet101)
AAResNet152 = _with_aa(resnets.AttnResNet152)
AAResNet14Small = _with_aa(resnets.AttnResNet14Small)
AAResNet26Small = _with_aa(resnets.AttnResNet26Small)
