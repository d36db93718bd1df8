"""ExpAtt: a tenth of each 3x3 convolution by explicitly modelled attention.

Where the attention goes is ours: a tenth of the channels of every 3x3
convolution, from the third stage on. Of the designs that we tried it is the
only one with which ExpAtt-ResNet-152 has the size that follows from the paper,
within half a per cent.
"""

import functools

from keras_attn.applications import resnets
from keras_attn.applications.constructors import one_attention

_with_expatt = functools.partial(
    one_attention,
    "expatt",
    "ExpAtt",
    "explicitly modelled attention",
    "[Tan et al., 2021](https://arxiv.org/abs/2006.07872)",
)

ExpAttResNet50 = _with_expatt(resnets.AttnResNet50)
ExpAttResNet101 = _with_expatt(resnets.AttnResNet101)
ExpAttResNet152 = _with_expatt(resnets.AttnResNet152)
ExpAttResNet14Small = _with_expatt(resnets.AttnResNet14Small)
ExpAttResNet26Small = _with_expatt(resnets.AttnResNet26Small)
