"""CRAM: one attended rectangle after stage 4."""

from keras_attn.applications import resnets
from keras_attn.applications.constructors import one_attention

REFERENCE = "[Nguyen et al., 2025](https://arxiv.org/abs/2503.10875)"

CRAMResNet18 = one_attention(
    "CRAMResNet18",
    resnets.AttnResNet18,
    "cram",
    "ResNet-18 with one attended rectangle.",
    REFERENCE,
)

CRAMResNet34 = one_attention(
    "CRAMResNet34",
    resnets.AttnResNet34,
    "cram",
    "ResNet-34 with one attended rectangle.",
    REFERENCE,
)

CRAMResNet50 = one_attention(
    "CRAMResNet50",
    resnets.AttnResNet50,
    "cram",
    "ResNet-50 with one attended rectangle.",
    REFERENCE,
)

CRAMResNet14Small = one_attention(
    "CRAMResNet14Small",
    resnets.AttnResNet14Small,
    "cram",
    "ResNet-14 Small with one attended rectangle.",
    REFERENCE,
)

CRAMResNet18Small = one_attention(
    "CRAMResNet18Small",
    resnets.AttnResNet18Small,
    "cram",
    "ResNet-18 Small with one attended rectangle.",
    REFERENCE,
)
