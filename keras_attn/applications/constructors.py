"""How the named constructors are made from the builder."""

import inspect

import keras

from keras_attn.applications import attention_types
from keras_attn.applications.attention_types import ATTENTION_TYPES
from keras_attn.applications.attn_resnet import AttnResNet
from keras_attn.weights import published
from keras_attn.weights import stored_classes

DOCSTRING = """{summary}

    Args:
{attention}\
        include_top: Boolean, whether to end in global average pooling and a
            dense classifier.
        weights: `None` for random weights, the tag of a published weight of
            this network, a whole id, an address on the Hugging Face Hub
            (`"hf://ORG/NAME"`, also with `"@REVISION"`), or the path of a
            `.weights.h5` file, which does not say its `stem_strides`: pass
            those of its network. The tag is `"TAG"` where
            `keras_attn.list_models()` has {ids}. Tables of relative positions
            are interpolated for another size of image; the model's
            `load_report` tells what became of each variable.
        input_tensor: Optional Keras tensor to use as the image input.
        input_shape: Shape of one image, `(height, width, channels)`, or with
            the channels first where Keras is configured so. Defaults to the
            size of a published weight, or else to 224 x 224 x 3 (64 x 64 or
            32 x 32 for `stem_strides` of 2 or 1), or to any size without the
            top. GSA and AA always need a known size.
        pooling: Without the top, `None` for the feature map, `"avg"` or
            `"max"` for global pooling.
        classes: Integer, the number of classes. Defaults to those of the
            weights, or else to 1000. With others than those of the weights
            the classifier begins random.
        classifier_activation: Activation of the classifier, `None` for the
            logits.
        include_preprocessing: Boolean, whether the model takes pixels from 0
            to 255 (uint8 or float) and normalises them itself. Without,
            published weights need `(pixels - (123.675, 116.28, 103.53)) /
            (58.395, 57.12, 57.375)`, red, green and blue.
        stem_strides: 4 (7x7 convolution and pooling, for about 224 pixels),
            2 or 1 (3x3 convolution, for 64 and 32 pixels). Defaults to that
            of a published weight, or else to {stem_strides}.
        attention_stages: Sequence of integers, the stages that have
            attention, from 2 to {last_stage}. Defaults to those of a published
            weight, or else of the attention type.
        name: String, the name of the model.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)`, with
        pixels from 0 to 255 unless `include_preprocessing=False`, to float32
        class probabilities `(batch, classes)`, or logits. Without the top, to
        the last feature map, `(batch, height / s, width / s, channels)` where
        `s` is the product of all strides, in the dtype of the policy, or with
        `pooling` to float32 `(batch, channels)`.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, OSError: if the
            weights are not there, or cannot be downloaded.
        ValueError: as `keras_attn.applications.AttnResNet` does, and if a
            published weight was trained with another `attention`, or other
            `stem_strides` or `attention_stages`.

    Reference:
        {reference}
    """

ATTENTION_ARGUMENT = """\
        attention: Name of a registered attention type, an `AttentionType`, or
            `None` for the plain network. See
            `keras_attn.applications.AttnResNet`.
"""

# By name of constructor, the attention type of those that `one_attention` made.
FIXED_ATTENTION = {}


def any_attention(
    name,
    architecture,
    blocks_per_stage,
    bottleneck=True,
    width=64,
    stem_strides=4,
):
    """Return the constructor of one depth, with `attention` to choose."""
    default_stem_strides = stem_strides
    last_stage = len(blocks_per_stage) + 1

    def construct(
        attention=None,
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=None,
        classifier_activation="softmax",
        include_preprocessing=True,
        stem_strides=None,
        attention_stages=None,
        name=None,
    ):
        attention_types.get(attention, attention_stages)  # or an error
        attended = attended_architecture(architecture, attention)
        entry = weights_of(attended, weights)
        check_attention(entry, attention)
        defaults = {
            "stem_strides": default_stem_strides,
            "attention_stages": None,  # those of the attention type
            "classes": _stored_classes(entry, weights) or 1000,
            "input_shape": None,
        }
        given = {
            "stem_strides": stem_strides,
            "attention_stages": attention_stages,
            "classes": classes,
            "input_shape": input_shape,
        }
        given = {key: given[key] for key in given if given[key] is not None}
        trained = trained_arguments(entry, given, last_stage)
        settings = defaults | trained | given
        return AttnResNet(
            blocks_per_stage,
            bottleneck=bottleneck,
            width=width,
            stem_strides=settings["stem_strides"],
            attention=attention,
            attention_stages=settings["attention_stages"],
            include_preprocessing=include_preprocessing,
            include_top=include_top,
            weights=entry or weights,
            input_tensor=input_tensor,
            input_shape=settings["input_shape"],
            pooling=pooling,
            classes=settings["classes"],
            classifier_activation=classifier_activation,
            name=name or attended,
        )

    kind = "bottleneck" if bottleneck else "basic"
    blocks = ", ".join(map(str, blocks_per_stage))
    _name(construct, name)
    construct.architecture = architecture
    construct.stem_strides = default_stem_strides
    construct.last_stage = last_stage
    construct.__doc__ = DOCSTRING.format(
        summary=f"ResNet of {blocks} {kind} blocks, {width} filters wide.",
        attention=ATTENTION_ARGUMENT,
        ids=f'`"{architecture}.TAG"`, or `"gsa_{architecture}.TAG"` for GSA',
        stem_strides=default_stem_strides,
        last_stage=last_stage,
        reference="[He et al., 2016](https://arxiv.org/abs/1512.03385)",
    )
    return construct


def one_attention(attention, prefix, description, reference, base):
    """Return the constructor `base` with its attention type fixed.

    Args:
        attention: Name of a registered attention type.
        prefix: String, instead of the "Attn" in the name of `base`.
        description: String, what the networks are with.
        reference: String, the paper.
        base: Constructor that `any_attention` made.
    """
    name = base.__name__.replace("Attn", prefix)
    depth = base.__name__.removeprefix("AttnResNet").replace("Small", " Small")
    signature = inspect.signature(base)
    signature = signature.replace(
        parameters=[
            parameter
            for parameter in signature.parameters.values()
            if parameter.name != "attention"
        ]
    )

    def construct(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        return base(attention=attention, **arguments)

    construct.__signature__ = signature
    FIXED_ATTENTION[name] = attention
    _name(construct, name)
    construct.__doc__ = DOCSTRING.format(
        summary=f"ResNet-{depth} with {description}.",
        attention="",
        ids=f'`"{attended_architecture(base.architecture, attention)}.TAG"`',
        stem_strides=base.stem_strides,
        last_stage=base.last_stage,
        reference=reference,
    )
    return construct


def _name(construct, name):
    construct.__name__ = construct.__qualname__ = name
    construct.__module__ = "keras_attn.applications"


def attended_architecture(architecture, attention):
    """Return the architecture's name in weight ids: `gsa_resnet50`."""
    if attention is None:
        return architecture
    known = isinstance(attention, str) and attention in ATTENTION_TYPES
    return f"{attention if known else 'attn'}_{architecture}"


def weights_of(architecture, weights):
    """Return the `Entry` of published weights, whose tag is enough, or `None`.

    Args:
        architecture: String, to complete a tag with.
        weights: As for the constructors.
    """
    if weights is None:
        return None
    is_tag = isinstance(weights, str) and not set("./\\") & set(weights)
    return published(f"{architecture}.{weights}" if is_tag else weights)


def _stored_classes(entry, weights):
    """Return the number of classes of a weights file, if these are one."""
    if entry or weights is None:
        return None
    return stored_classes(weights)


def check_attention(entry, attention):
    """Raise a `ValueError` if a published weight has another attention type.

    Args:
        entry: The `Entry` of a published weight, or `None`.
        attention: As for the constructors. An `AttentionType` is not compared.
    """
    if entry is None or not (attention is None or isinstance(attention, str)):
        return
    trained = trained_attention(entry)
    if trained != attention:
        raise ValueError(
            f"The weight {entry.id} was trained with "
            f"attention={trained!r}. Received: attention={attention!r}"
        )


def trained_attention(entry):
    """Return the name of the attention type of a published weight."""
    own = entry.arguments.get("attention")
    return FIXED_ATTENTION.get(entry.constructor, own)


def trained_arguments(entry, given, last_stage):
    """Return the arguments that a published weight was trained with.

    Args:
        entry: The `Entry` of a published weight, or `None`.
        given: Dictionary of the caller's arguments, of which those that
            change the network must be the weight's.
        last_stage: Integer, of the network.
    """
    if entry is None:
        return {}
    stages = attention_types.get(trained_attention(entry)).stages
    own_stages = [stage for stage in stages if stage <= last_stage]
    trained = {"attention_stages": own_stages} | entry.arguments
    for name in ("stem_strides", "attention_stages"):
        if name in given and not _same(given[name], trained[name]):
            raise ValueError(
                f"The weight {entry.id} was trained with "
                f"{name}={trained[name]}. Received: {name}={given[name]}"
            )
    size = entry.input["size"]
    channels_first = keras.config.image_data_format() == "channels_first"
    return {
        **entry.arguments,
        "classes": len(entry.class_names),
        "input_shape": (3, size, size) if channels_first else (size, size, 3),
    }


def _same(given, trained):
    if isinstance(trained, int):
        return given == trained
    return sorted(given) == sorted(trained)
