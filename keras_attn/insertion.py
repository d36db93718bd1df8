"""Attention for a network that exists already."""

import difflib
import fnmatch

import keras
import numpy as np
from keras import ops

from keras_attn.layers import ReZero


def insert_attention(model, layer, after, residual=None):
    """Insert attention into a model, which keeps all of its weights.

    The result is a new functional model; `model` itself stays as it is. Every
    layer is a copy with the same name, configuration and `trainable`, and
    holds a copy of the weights, so that training one model does not change
    the other. The new model is not compiled. It has the graph of the old
    one, but not its class where that was derived from `keras.Model`: it is a
    plain functional model, and so are the models inside it.

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
    policy. A layer that is
    called several times gets one attention layer that is called as often.

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
        ValueError: if `model` has no graph of layers, no layer is called
            `after`, `layer` is none, or it does not fit where it should go.

    Example:

    ```python
    resnet = keras.applications.ResNet50()
    model = keras_attn.insert_attention(
        resnet,
        keras_attn.layers.RectangularAttention2D(),
        after="conv4_block6_out",
    )
    ```
    """
    targets = _find(model, after, "after")
    taken = {target.name for target in _named_layers(model).values()}
    inserted = {}

    def attend(original, inputs, outputs):
        if original not in targets:
            return outputs
        if original not in inserted:
            name = _unused(f"{original.name}_attention", taken)
            made = _make(layer, name, residual, original.dtype_policy)
            inserted[original] = made
        return _attend(inserted[original], original, outputs)

    return _rebuild(model, targets, attend)


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
            shape. It gets the convolution's name. A bias and an activation
            of the convolution are gone with it.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: if `model` has no graph of layers, no convolution is
            called `where`, or a layer gives outputs of another shape.

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

    def replace(convolution):
        layer = _check_layer("make_layer", make_layer(convolution))
        return _copy(layer, convolution.name)

    def check(original, inputs, outputs):
        if original in targets:
            _check_same_shape(
                "make_layer",
                original,
                expected=original.compute_output_shape(inputs.shape),
                received=outputs.shape,
            )
        return outputs

    return _rebuild(model, targets, check, replace)


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
    if not _has_graph(model):
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
        if _has_graph(layer):
            found |= _named_layers(layer, f"{prefix}{layer.name}/")
    return found


def _has_graph(layer):
    return isinstance(layer, keras.Model) and hasattr(layer, "inputs")


def _rebuild(model, targets, finish, replace=None):
    """Return a copy of a model that differs at some of its layers.

    Args:
        model: A model with a graph, perhaps with others inside it.
        targets: The layers at which it differs.
        finish: Function that takes an original layer, the inputs and outputs
            of a call of the new one, and returns the outputs to go on with.
        replace: Function that takes one of the targets and returns the layer
            to put there, or `None` for a copy.
    """
    new_layers, originals, copies = {}, {}, {}

    def new_layer(original):
        if original in new_layers:
            return new_layers[original]
        if _has_graph(original):
            new = copy_graph(original)
        elif replace and original in targets:
            new = replace(original)
        else:
            new = copies[original] = _copy(original)
        new_layers[original], originals[new] = new, original
        return new

    def call(new, *args, **kwargs):
        outputs = new(*args, **kwargs)
        return finish(originals[new], args[0] if args else None, outputs)

    def copy_graph(model):
        model = _plain(model)
        return keras.models.clone_model(
            model, _copy_inputs(model), new_layer, call
        )

    rebuilt = copy_graph(model)
    for original, new in copies.items():
        if isinstance(original, keras.layers.Layer):
            copy_state(original, new)
    return rebuilt


def _plain(model):
    """Return a functional model of the same graph, with nothing compiled."""
    if isinstance(model, keras.Sequential):
        # Its `input` is that of a call, perhaps in another model.
        inputs, outputs = model.inputs[0], model.outputs[0]
    else:
        inputs, outputs = model.input, model.output
    return keras.Model(inputs, outputs, name=model.name)


def _copy_inputs(model):
    # Keras would make others, of other names.
    copies = {
        id(layer.output): _copy(layer).output
        for layer in model.layers
        if isinstance(layer, keras.layers.InputLayer)
    }
    return keras.tree.map_structure(lambda x: copies[id(x)], model.input)


def _copy(layer, name=None, dtype_policy=None):
    """Return a layer, or another node of a graph, with new weights."""
    if type(layer) is keras.layers.Lambda:
        return _copy_lambda(layer, name or layer.name)
    config = layer.get_config()
    if name is not None:
        config["name"] = name
    if dtype_policy is not None:
        config["dtype"] = dtype_policy
    return type(layer).from_config(config)


def _copy_lambda(layer, name):
    # Its configuration would hold the code of the function without the names
    # that this uses, and Keras refuses to run such code.
    return keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=name,
        dtype=layer.dtype_policy,
    )


def copy_state(original, new):
    """Give a copy of a layer or model the weights and flags of the original."""
    for old, copied in zip(original.weights, new.weights, strict=True):
        # JAX may reuse the memory of weights that it trains: a copy of it.
        copied.assign(np.array(ops.convert_to_numpy(old)))
    # No public name reaches the layers inside of layers.
    pairs = zip(original._flatten_layers(), new._flatten_layers())
    for inner, copied in pairs:
        copied.trainable = inner.trainable
        if hasattr(copied, "finalize_state"):  # of normalization, from weights
            copied.finalize_state()


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
    _check_layer("layer", layer)
    if residual is None:
        residual = not getattr(layer, "starts_as_identity", False)
    if residual:
        inner = _copy(layer, layer.name, dtype_policy)
        return ReZero(inner, name=name, dtype=dtype_policy)
    return _copy(layer, name, dtype_policy)


def _check_layer(argument, layer):
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(
            f"`{argument}` must be a layer, or a function that returns one. "
            f"Received: {layer!r} of type {type(layer).__name__}"
        )
    return layer


def _attend(attention, original, outputs):
    if not isinstance(outputs, keras.KerasTensor):
        raise ValueError(
            "`after` must name layers with one output. The layer "
            f"{original.name!r} returns {type(outputs).__name__} of several"
        )
    inner = attention.layer if isinstance(attention, ReZero) else attention
    _check_takes(inner, original, outputs.shape)
    attended = attention(outputs)
    _check_same_shape("layer", original, outputs.shape, attended.shape)
    return attended


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
    if tuple(received) != tuple(expected):
        raise ValueError(
            f"`{argument}` must give outputs of the shape {tuple(expected)} "
            f"at the layer {original.name!r}. "
            f"Received: the shape {tuple(received)}"
        )
