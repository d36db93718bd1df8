"""The feature maps of all stages, for detection and segmentation."""

import math
import re

import keras
import numpy as np

from keras_attn.rebuilding import calls
from keras_attn.rebuilding import check_graph
from keras_attn.rebuilding import has_graph

# Behind a block or a stage there may be what `insert_attention` put there.
STAGE = re.compile(r"conv([2-9])_(block\d+_out|attention)(_attention(_\d+)?)*")

ANY_SIZE = 64  # pixels, to look at a network that takes any


def feature_pyramid(model):
    """Return a network that gives the last feature map of each stage.

    The levels are named as usual: `"P3"` is an eighth of the image's height
    and width. Where a stage ends in attention, the map is what comes out of
    it. The result also has the attribute `pyramid_level_inputs`, the names of
    the layers by level, by which the tasks of keras-cv know a backbone:
    `keras_cv.models.DeepLabV3Plus(num_classes=2, backbone=...)`
    (it needs `"P2"` and `"P5"`: four stages, and a stem with stride 4).

    Args:
        model: A `keras.Model` of `keras_attn.applications`, or another whose
            layers have the same names, as `keras.applications.ResNet50`, with
            or without its top. The layers are shared, not copied.

    Returns:
        A `keras.Model` from images to a dictionary such as
        `{"P2": ..., "P3": ..., "P4": ..., "P5": ...}`.

    Raises:
        ValueError: if `model` has no such stages, or their maps have other
            sizes.
    """
    levels = _levels(model) if has_graph(model) else {}
    if not levels:
        raise ValueError(
            "`model` must be a network of keras_attn.applications, or a "
            "functional model whose layers have the same names, such as "
            "conv1_conv and conv2_block1_out. "
            f"Received: {getattr(model, 'name', model)!r} of type "
            f"{type(model).__name__}"
        )
    check_graph(model)
    nodes = calls(model)
    outputs = {
        level: nodes[layer][-1].outputs[0] for level, layer in levels.items()
    }
    # One image, and no list of one.
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    pyramid = FeaturePyramid(inputs, outputs, name=f"{model.name}_pyramid")
    _check_sizes(pyramid)
    return pyramid


@keras.saving.register_keras_serializable(package="keras_attn")
class FeaturePyramid(keras.Model):
    """What `feature_pyramid` returns; a class, so that a task that was saved
    with it finds `pyramid_level_inputs` again when it is loaded."""

    @property
    def pyramid_level_inputs(self):
        return {level: layer.name for level, layer in _levels(self).items()}


def _levels(model):
    """Return the last layer of each stage by the name of its level."""
    layers = {}
    for layer in model.layers:
        stage = STAGE.fullmatch(layer.name)
        if stage:
            layers[int(stage[1])] = layer  # the last one of each stage
    names = {layer.name for layer in model.layers}
    if not layers or "conv1_conv" not in names:
        return {}
    first = _level_of_stem(model)
    return {
        f"P{first + stage - min(layers)}": layer
        for stage, layer in sorted(layers.items())
    }


def _check_sizes(pyramid):
    """Refuse models of the same names that reduce their maps elsewhere."""
    axis = 2 if keras.config.image_data_format() == "channels_first" else 1
    shape = [size or ANY_SIZE for size in pyramid.inputs[0].shape]
    shapes = pyramid.compute_output_shape(tuple(shape))
    for level, name in pyramid.pyramid_level_inputs.items():
        expected = math.ceil(shape[axis] / 2 ** int(level[1:]))
        if shapes[level][axis] != expected:
            raise ValueError(
                f"The map of {name!r}, {level}, must be {expected} pixels high "
                f"for {shape[axis]} of the image. "
                f"Received: the shape {shapes[level]}"
            )


def _level_of_stem(model):
    names = {layer.name for layer in model.layers}
    strides = np.max(model.get_layer("conv1_conv").strides)
    if "pool1_pool" in names:
        strides *= 2
    return int(math.log2(strides))
