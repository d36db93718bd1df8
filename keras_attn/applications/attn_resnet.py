"""The one builder: residual networks with places for attention."""

import numbers
from collections.abc import Iterable
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from keras_attn.applications import attention_types
from keras_attn.applications import blocks
from keras_attn.applications.blocks import batch_norm
from keras_attn.applications.blocks import batch_norm_relu
from keras_attn.applications.blocks import convolution
from keras_attn.layers.feature_maps import positive_integer
from keras_attn.weights import load_weights

# Mean and standard deviation of ImageNet's pixels, red, green, blue, 0..255.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_DEVIATION = (58.395, 57.12, 57.375)

BOTTLENECK_EXPANSION = 4
FIRST_STAGE = 2  # The stem is stage 1, as in the names conv2_x .. conv5_x.

# Of the images, by the strides of the stem.
DEFAULT_SIZES = {4: 224, 2: 64, 1: 32}


def AttnResNet(
    blocks_per_stage,
    bottleneck=True,
    width=64,
    stem_strides=4,
    attention=None,
    attention_stages=None,
    include_preprocessing=True,
    include_top=True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="attn_resnet",
):
    """Build a residual network with any attention type, or with none.

    The blocks are those of ResNet v1.5 (the stride is in the 3x3 convolution);
    each begins as its shortcut, with a zero gamma of its last batch
    normalisation, whose momentum is 0.9 and epsilon 1e-5. An attention type
    replaces or widens the 3x3 convolutions, gates the residual branch of the
    blocks, or gates the output of a stage; it says itself which, and in which
    stages.

    Args:
        blocks_per_stage: Sequence of integers, the residual blocks of each
            stage. From the second stage on, the first block halves the size
            of the map and doubles the width.
        bottleneck: Boolean, three convolutions a block (1x1, 3x3, 1x1) with
            four times the width at the end, or two 3x3 convolutions.
        width: Integer, the filters of the stem and of the 3x3 convolutions of
            the first stage.
        stem_strides: 4 for a 7x7 convolution with stride 2 and a max pooling
            with stride 2 (images of about 224 pixels), 2 or 1 for a 3x3
            convolution with that stride (64 and 32 pixels).
        attention: Name of a registered attention type (`None`, `"gsa"`,
            `"expatt"`, `"cram"`, `"positionwise"`, `"aa"`, `"se"`, `"cbam"`)
            or a `keras_attn.applications.AttentionType`.
        attention_stages: Sequence of integers, the stages that have
            attention: 2 for the first after the stem, and so on, as in the
            names conv2_x to conv5_x. Defaults to those of the attention type.
        include_preprocessing: Boolean, whether the model takes pixels from 0
            to 255 (uint8 or float) and normalises them itself. Without,
            published weights need `(pixels - (123.675, 116.28, 103.53)) /
            (58.395, 57.12, 57.375)`, red, green and blue.
        include_top: Boolean, whether to end in global average pooling and a
            dense classifier.
        weights: `None` for random weights, the id of a published weight (see
            `keras_attn.list_models()`), an address on the Hugging Face Hub
            (`"hf://ORG/NAME"`, also with `"@REVISION"`), or the path of a
            `.weights.h5` file, which does not say its `stem_strides`.
        input_tensor: Optional Keras tensor to use as the image input.
        input_shape: Shape of one image, `(height, width, channels)`, or with
            the channels first where Keras is configured so. Defaults to 224 x
            224 x 3 (64 x 64 or 32 x 32 for `stem_strides` of 2 or 1), or to any
            size without the top. Height and width may be `None` for the
            attention types without positional tables.
        pooling: Without the top, `None` for the feature map, `"avg"` or
            `"max"` for global pooling.
        classes: Integer, the number of classes of the classifier. With others
            than those of the weights it begins random.
        classifier_activation: Activation of the classifier, `None` for the
            logits.
        name: String, the name of the model.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)`, with
        pixels from 0 to 255 unless `include_preprocessing=False`, to float32
        class probabilities `(batch, classes)`, or logits. Without the top, to
        the last feature map, `(batch, height / s, width / s, channels)` where
        `s` is the product of all strides, in the dtype of the policy, or with
        `pooling` to float32 `(batch, channels)`. After loading weights, its
        attribute `load_report` tells what became of each variable.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, OSError: if the
            weights are not there, or cannot be downloaded.
        ValueError: for an unknown attention type, pooling or stem, `pooling`
            with the top, integers that are not positive, stages that the
            network has not, an input shape that does not fit, or weights that
            do not fit the network.

    References:
        - [He et al., 2016](https://arxiv.org/abs/1512.03385)
        - the layers of `keras_attn.layers` name the papers of the attention
    """
    _check_arguments(stem_strides, include_top, pooling)
    blocks_per_stage = _block_counts(blocks_per_stage)
    width = positive_integer("width", width)
    if include_top:
        classes = positive_integer("classes", classes)
    stem_strides = int(stem_strides)  # it may be NumPy's
    attention = attention_types.get(attention, attention_stages)
    _check_stages(attention, attention_stages, len(blocks_per_stage))
    if input_shape is None:
        input_shape = _default_shape(include_top, stem_strides)
    image = _image_input(input_tensor, input_shape, include_preprocessing)
    x = _preprocess(image) if include_preprocessing else image
    x = _stem(x, width, stem_strides)
    for stage, count in enumerate(blocks_per_stage, FIRST_STAGE):
        filters = width * 2 ** (stage - FIRST_STAGE)
        strides = 1 if stage == FIRST_STAGE else 2
        x = _stage(x, stage, count, filters, strides, bottleneck, attention)
    x = _head(x, include_top, pooling, classes, classifier_activation)

    inputs = image
    if input_tensor is not None:
        inputs = keras.utils.get_source_inputs(input_tensor)
    model = keras.Model(inputs, x, name=name)
    if weights is not None:
        model.load_report = load_weights(model, weights)
    return model


def _check_arguments(stem_strides, include_top, pooling):
    is_integer = isinstance(stem_strides, numbers.Integral)
    if not is_integer or stem_strides not in DEFAULT_SIZES:
        raise ValueError(
            "`stem_strides` must be 1, 2 or 4. "
            f"Received: stem_strides={stem_strides!r}"
        )
    if pooling not in (None, "avg", "max"):
        raise ValueError(
            "`pooling` must be None, 'avg' or 'max'. "
            f"Received: pooling={pooling!r}"
        )
    if include_top and pooling is not None:
        raise ValueError(
            "`pooling` applies without the classifier only: pass "
            f"`include_top=False`. Received: pooling={pooling!r}"
        )


def _block_counts(blocks_per_stage):
    is_sequence = isinstance(blocks_per_stage, (Sequence, np.ndarray))
    if not is_sequence or not len(blocks_per_stage):
        raise ValueError(
            "`blocks_per_stage` must be a list of integers, one a stage. "
            f"Received: blocks_per_stage={blocks_per_stage!r}"
        )
    return [
        positive_integer("blocks_per_stage", count)
        for count in blocks_per_stage
    ]


def _check_stages(attention, attention_stages, count):
    stages = range(FIRST_STAGE, FIRST_STAGE + count)
    if attention_stages is None:
        # A type names stages of the deepest networks too.
        fits = not attention.stages or set(attention.stages) & set(stages)
    else:
        fits = len(attention_stages) and set(attention_stages) <= set(stages)
    if not fits:
        raise ValueError(
            "`attention_stages` must be stages of the network, which has "
            f"{list(stages)}. Received: attention_stages={attention_stages}, "
            f"and the attention type has {list(attention.stages)}"
        )


def _default_shape(include_top, stem_strides):
    size = DEFAULT_SIZES[stem_strides] if include_top else None
    channels_first = keras.config.image_data_format() == "channels_first"
    return (3, size, size) if channels_first else (size, size, 3)


def _image_input(input_tensor, input_shape, preprocessing):
    if isinstance(input_shape, Iterable):  # that of TensorFlow, too
        input_shape = tuple(input_shape)
    is_shape = isinstance(input_shape, tuple) and len(input_shape) == 3
    if input_tensor is None and not is_shape:
        raise ValueError(
            "`input_shape` must have three entries, without the batch. "
            f"Received: input_shape={input_shape}"
        )
    image = input_tensor
    if image is None:
        image = keras.Input(input_shape, name="image")
    if not keras.backend.is_keras_tensor(image) or len(image.shape) != 4:
        raise ValueError(
            "`input_tensor` must be a Keras tensor of rank 4, the images. "
            f"Received: {type(image).__name__} of the shape "
            f"{getattr(image, 'shape', None)}"
        )
    _, _, channels = blocks.height_width_channels(image)
    if preprocessing and channels != 3:
        raise ValueError(
            "The preprocessing inside the model is for red, green and blue: "
            "pass `include_preprocessing=False` for other channels. "
            f"Received: images of the shape {tuple(image.shape[1:])}"
        )
    return image


def _preprocess(image):
    return layers.Rescaling(
        scale=_for_channels(1 / deviation for deviation in PIXEL_DEVIATION),
        offset=_for_channels(
            -mean / deviation
            for mean, deviation in zip(PIXEL_MEAN, PIXEL_DEVIATION)
        ),
        dtype="float32",
        name="preprocessing",
    )(image)


def _for_channels(values):
    # Of this rank it stays as it is, however Keras is configured later.
    if keras.config.image_data_format() == "channels_first":
        return [[[value]] for value in values]
    return [[[*values]]]


def _stem(x, width, strides):
    if strides == 4:
        x = convolution(x, width, 7, 2, "conv1_conv")
        x = batch_norm_relu(x, "conv1")
        return layers.MaxPooling2D(3, 2, padding="same", name="pool1_pool")(x)
    x = convolution(x, width, 3, strides, "conv1_conv")
    return batch_norm_relu(x, "conv1")


def _stage(x, stage, count, filters, strides, bottleneck, attention):
    attends = stage in attention.stages
    for index in range(1, count + 1):
        x = _block(
            x,
            stage,
            filters,
            strides if index == 1 else 1,
            bottleneck,
            attention if attends else attention_types.NO_ATTENTION,
            f"conv{stage}_block{index}",
        )
    if attends and attention.stage_gate:
        x = attention.stage_gate(name=f"conv{stage}_attention")(x)
    return x


def _block(x, stage, filters, strides, bottleneck, attention, name):
    """Add a residual block, with attention in its place or places."""
    mix = attention.mixing or attention_types.convolve_3x3
    output_filters = filters * (BOTTLENECK_EXPANSION if bottleneck else 1)
    shortcut = x
    if strides != 1 or blocks.height_width_channels(x)[2] != output_filters:
        shortcut = convolution(x, output_filters, 1, strides, f"{name}_0_conv")
        shortcut = batch_norm(shortcut, f"{name}_0_bn")

    if bottleneck:
        x = convolution(x, filters, 1, 1, f"{name}_1_conv")
        x = batch_norm_relu(x, f"{name}_1")
        x = mix(x, filters, strides, stage, f"{name}_2")
        x = batch_norm_relu(x, f"{name}_2")
        x = convolution(x, output_filters, 1, 1, f"{name}_3_conv")
    else:
        x = mix(x, filters, strides, stage, f"{name}_1")
        x = batch_norm_relu(x, f"{name}_1")
        x = mix(x, filters, 1, stage, f"{name}_2")
    # A zero gamma makes every block start as its shortcut, which the
    # networks without softmax on the positional path (GSA) cannot do without.
    x = batch_norm(x, f"{name}_out_bn", gamma_initializer="zeros")
    if attention.block_gate:
        x = attention.block_gate(name=f"{name}_attention")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _head(x, include_top, pooling, classes, classifier_activation):
    if not include_top and pooling is None:
        return x
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="max_pool", dtype="float32")(x)
    # Averages and probabilities in float32, whatever the policy.
    x = layers.GlobalAveragePooling2D(name="avg_pool", dtype="float32")(x)
    if not include_top:
        return x
    return layers.Dense(
        classes,
        activation=classifier_activation,
        dtype="float32",
        name="predictions",
    )(x)
