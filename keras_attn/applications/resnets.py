"""Every depth of residual network, with the attention type to choose."""

from keras_attn.applications.constructors import any_attention

AttnResNet18 = any_attention(
    "AttnResNet18", "resnet18", (2, 2, 2, 2), bottleneck=False
)
AttnResNet26 = any_attention("AttnResNet26", "resnet26", (1, 2, 4, 1))
AttnResNet34 = any_attention(
    "AttnResNet34", "resnet34", (3, 4, 6, 3), bottleneck=False
)
AttnResNet38 = any_attention("AttnResNet38", "resnet38", (2, 3, 5, 2))
AttnResNet50 = any_attention("AttnResNet50", "resnet50", (3, 4, 6, 3))
AttnResNet101 = any_attention("AttnResNet101", "resnet101", (3, 4, 23, 3))
AttnResNet152 = any_attention("AttnResNet152", "resnet152", (3, 8, 36, 3))

# For images of 32 to 64 pixels. ResNet-14 halves the size in the stem, where
# the others have a fourth stage, half the width, and a stem that keeps it.
AttnResNet14Small = any_attention(
    "AttnResNet14Small",
    "resnet14_small",
    (2, 2, 2),
    bottleneck=False,
    stem_strides=2,
)
AttnResNet18Small = any_attention(
    "AttnResNet18Small",
    "resnet18_small",
    (2, 2, 2, 2),
    bottleneck=False,
    width=32,
    stem_strides=1,
)
AttnResNet26Small = any_attention(
    "AttnResNet26Small",
    "resnet26_small",
    (2, 2, 2, 2),
    width=32,
    stem_strides=1,
)
