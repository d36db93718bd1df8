"""CRAM: one attended rectangle, after stage 4.

Where the paper leaves it open, the place, the first rectangle and the penalty
for its area are our choices.
"""

import functools

from keras_attn.applications import resnets
from keras_attn.applications.constructors import one_attention

_with_cram = functools.partial(
    one_attention,
    "cram",
    "CRAM",
    "one attended rectangle",
    "[Nguyen et al., 2025](https://arxiv.org/abs/2503.10875)",
)

CRAMResNet18 = _with_cram(resnets.AttnResNet18)
CRAMResNet34 = _with_cram(resnets.AttnResNet34)
CRAMResNet50 = _with_cram(resnets.AttnResNet50)
CRAMResNet14Small = _with_cram(resnets.AttnResNet14Small)
CRAMResNet18Small = _with_cram(resnets.AttnResNet18Small)
