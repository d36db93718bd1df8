"""GSA: global self-attention for every 3x3 convolution after the stem.

What it is given is limited to 16, which is ours, not the paper's.
"""

import functools

from keras_attn.applications import resnets
from keras_attn.applications.constructors import one_attention

_with_gsa = functools.partial(
    one_attention,
    "gsa",
    "GSA",
    "global self-attention of features up to 16, a limit of ours",
    "[Shen et al., 2020](https://arxiv.org/abs/2010.03019)",
)

GSAResNet26 = _with_gsa(resnets.AttnResNet26)
GSAResNet38 = _with_gsa(resnets.AttnResNet38)
GSAResNet50 = _with_gsa(resnets.AttnResNet50)
GSAResNet101 = _with_gsa(resnets.AttnResNet101)
GSAResNet14Small = _with_gsa(resnets.AttnResNet14Small)
GSAResNet26Small = _with_gsa(resnets.AttnResNet26Small)
