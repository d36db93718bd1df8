"""Attention for a network that exists already."""

import difflib
import fnmatch

import keras

from keras_attn.layers import ReZero
from keras_attn.rebuilding import copy_layer
from keras_attn.rebuilding import has_graph
from keras_attn.rebuilding import rebuild


def insert_attention(model, layer, after, residual=None):
    """Insert attention into a model, which keeps all of its weights.

    The result is a new functional model; `model` itself stays as it is. Every
    layer is a copy with the same name, configuration and `trainable`, and
    holds a copy of the weights, so that training one model does not change
    the other. The new model is not compiled. It has the graph of the old
    one, but not its class where that was derived from `keras.Model`: it is a
    plain functional model, and so are the models inside it, whose own
    `trainable` is true, so that attention inside them learns.

    The new model begins by giving the outputs of the old one. Most layers
    are no identity when they are new: the gates that end in a sigmoid begin
    with weights around a half, and self-attention replaces what it is given.
    By default they are inserted beside a shortcut (`keras_attn.layers.ReZero`)
    and the outputs are exactly the same. `RectangularAttention2D` begins as
    the identity up to 0.2 % in the corners of the map and is inserted as it
    is: one of them moves the probabilities of a trained ResNet-14 by less
    than 0.001, at any depth. `residual=True` makes this exact, too.

    Each insertion is a new layer with weights of its own, named after the
    layer that it follows, `"conv4_block6_out_attention"`, and with its dtype
    policy. A layer that is called several times gets one attention layer that
    is called as often.

    Args:
        model: A functional or a built sequential `keras.Model`, with any
            number of inputs and outputs.
        layer: A `keras.layers.Layer` that keeps the shape of its inputs, of
            which every insertion gets a copy with new weights; or a function
            without arguments that returns such a layer.
        after: Name of the layer, or shell-style pattern of the names such as
            `"conv4_block*_out"` (upper and lower case are the same), or a
            list of these. A layer of a model inside the model is named with
            its path: `"resnet50/conv4_block6_out"`. Input layers do not
            count.
        residual: Boolean, whether to insert `inputs + scale * layer(inputs)`
            with a learned scale that starts at zero. Defaults to `False` for
            layers that say `starts_as_identity`, as `RectangularAttention2D`
            does in its default configuration, or else to `True`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if `model` has no graph of layers or a `call` of its own,
            no layer is called `after`, `layer` is none, or it does not fit
            where it should go.

    Example:

    ```python
    resnet = keras.applications.ResNet50()
    model = keras_attn.insert_attention(
        resnet,
        keras_attn.layers.RectangularAttention2D(area_penalty=0.1),
        after="conv4_block6_out",
    )
    ```
    """
    targets = _find(model, after, "after")
    named = _named_layers(model).values()
    taken = {target.name for target in named}
    data_formats = {
        other.data_format
        for other in named
        if hasattr(other, "kernel_size") and hasattr(other, "data_format")
    }
    inserted = {}

    def attend(original, inputs, outputs):
        if original not in targets:
            return outputs
        if original not in inserted:
            name = _unused(f"{original.name}_attention", taken)
            made = _make(layer, name, residual, original.dtype_policy)
            _check_data_format("layer", made, data_formats)
            inserted[original] = made
        return _attend(inserted[original], original, outputs)

    return rebuild(model, finish=attend)


def replace_convolutions(model, where, make_layer):
    """Replace convolutions of a model, which keeps all other weights.

    For the attention that takes the place of a convolution, such as GSA. As
    with `insert_attention` the result is a new model and `model` stays as it
    is. The new layers start with random weights: the outputs are others until
    the model is trained.

    Args:
        model: A functional or a built sequential `keras.Model`.
        where: Names or patterns, as `after` in `insert_attention`, of layers
            of the type `keras.layers.Conv2D`. A pattern passes over others.
        make_layer: Function that takes the `keras.layers.Conv2D` and returns
            the `keras.layers.Layer` to put there, with outputs of the same
            shape. It gets the convolution's name and dtype policy. A bias and
            an activation of the convolution are gone with it.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: if `model` has no graph of layers or a `call` of its own,
            no convolution is called `where`, or a layer gives outputs of
            another shape.

    Example:

    ```python
    model = keras_attn.replace_convolutions(
        keras.applications.ResNet50(),
        "conv5_block?_2_conv",
        lambda convolution: keras_attn.layers.GlobalSelfAttention2D(
            convolution.filters, strides=convolution.strides[0]
        ),
    )
    ```
    """
    targets = _find(model, where, "where", keras.layers.Conv2D)
    if isinstance(make_layer, keras.layers.Layer) or not callable(make_layer):
        raise ValueError(
            "`make_layer` must be a function of a convolution. "
            f"Received: {make_layer!r} of type {type(make_layer).__name__}"
        )

    def replace(original):
        if original not in targets:
            return None
        layer = make_layer(original)
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                "`make_layer` must return a layer. "
                f"Received: {layer!r} of type {type(layer).__name__}"
            )
        _check_data_format("make_layer", layer, {original.data_format})
        return _copy(layer, name=original.name, dtype=original.dtype_policy)

    def check(original, inputs, outputs):
        if original in targets:
            _check_same_shape(
                "make_layer",
                original,
                expected=original.compute_output_shape(inputs.shape),
                received=getattr(outputs, "shape", type(outputs).__name__),
            )
        return outputs

    return rebuild(model, finish=check, replace=replace)


def _find(model, patterns, argument, layer_type=keras.layers.Layer):
    """Return the layers that names or patterns mean."""
    candidates = {
        path: layer
        for path, layer in _named_layers(model).items()
        if isinstance(layer, layer_type)
    }
    names = [patterns] if isinstance(patterns, str) else patterns
    if (
        not isinstance(names, (list, tuple))
        or not names
        or not all(isinstance(name, str) for name in names)
    ):
        raise ValueError(
            f"`{argument}` must be the name of a layer, a pattern of names, or "
            f"a list of these. Received: {argument}={patterns!r}"
        )
    found = {}
    for name in names:
        matches = _matches(name, candidates)
        if not matches:
            nearest = difflib.get_close_matches(name, candidates, cutoff=0.4)
            raise ValueError(
                f"`{argument}` must name layers of the type "
                f"{layer_type.__name__} in the model {model.name!r}, which "
                f"has none that matches. Nearest: {', '.join(nearest) or '-'}. "
                f"Received: {argument}={patterns!r}"
            )
        found |= dict.fromkeys(matches)
    return found


def _matches(pattern, candidates):
    if pattern in candidates:
        return [candidates[pattern]]
    return [
        layer
        for path, layer in candidates.items()
        if fnmatch.fnmatchcase(path.lower(), pattern.lower())
    ]


def _named_layers(model, prefix=""):
    """Return the layers of a model and of models inside it, by path."""
    if not has_graph(model):
        raise ValueError(
            "`model` must be a functional or a built sequential model: others "
            "do not say how their layers are connected. "
            f"Received: model={model} of type {type(model).__name__}"
        )
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        found[prefix + layer.name] = layer
        if has_graph(layer):
            found |= _named_layers(layer, f"{prefix}{layer.name}/")
    return found


def _unused(name, taken):
    number = 1
    unused = name
    while unused in taken:
        number += 1
        unused = f"{name}_{number}"
    taken.add(unused)
    return unused


def _make(layer, name, residual, dtype_policy):
    """Return a new layer to insert."""
    is_layer = isinstance(layer, keras.layers.Layer)
    if not is_layer and callable(layer):
        layer = layer()
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(
            "`layer` must be a layer, or a function that returns one. "
            f"Received: {layer!r} of type {type(layer).__name__}"
        )
    if residual is None:
        residual = not getattr(layer, "starts_as_identity", False)
    if residual:
        inner = _copy(layer, dtype=dtype_policy)
        return ReZero(inner, name=name, dtype=dtype_policy)
    return _copy(layer, name=name, dtype=dtype_policy)


def _copy(layer, dtype, name=None):
    if type(layer) is keras.Sequential:
        layers = [_copy(inner, dtype) for inner in layer.layers]
        return keras.Sequential(layers, name=name or layer.name)
    changes = {"dtype": dtype} | ({"name": name} if name else {})
    return copy_layer(layer, lambda config: config | changes)


def _attend(attention, original, outputs):
    if not isinstance(outputs, keras.KerasTensor):
        raise ValueError(
            "`after` must name layers with one output. The layer "
            f"{original.name!r} returns a {type(outputs).__name__}"
        )
    inner = _without_shortcut(attention)
    _check_takes(inner, original, outputs.shape)
    try:
        attended = attention(outputs)
        _check_same_shape("layer", original, outputs.shape, attended.shape)
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"`layer` must take one tensor, the output of {original.name!r}, "
            f"and return one like it. Received: layer={inner}, with which "
            f"this failed: {error}"
        ) from error
    return attended


def _without_shortcut(attention):
    return attention.layer if isinstance(attention, ReZero) else attention


def _check_data_format(argument, layer, of_model):
    # In the wrong one it would attend to rows of channels, without an error.
    if hasattr(layer, "data_format"):
        received = layer.data_format  # whatever is inside
        if received and of_model and received not in of_model:
            raise ValueError(
                f"`{argument}` must have the data format of the model, "
                f"{', '.join(of_model)}. Received: {layer} with "
                f"data_format={received!r}"
            )
        return
    inside = [layer.layer] if isinstance(layer, keras.layers.Wrapper) else []
    for inner in getattr(layer, "layers", inside):
        _check_data_format(argument, inner, of_model)


def _check_takes(layer, original, shape):
    spec = layer.input_spec
    rank = getattr(spec, "ndim", None)
    if rank is not None and len(shape) != rank:
        raise ValueError(
            "`after` must name layers whose output the inserted "
            f"{type(layer).__name__} takes, of rank {rank}. "
            f"Received: {original.name!r} with the output shape {shape}"
        )


def _check_same_shape(argument, original, expected, received):
    if received != tuple(expected):
        raise ValueError(
            f"`{argument}` must give outputs of the shape {tuple(expected)} "
            f"at the layer {original.name!r}. Received: {received}"
        )
