"""Copies of models, changed at some of their layers."""

import tempfile
import types

import keras
import numpy as np
from keras import ops

ARGUMENTS_OF_FUNCTIONS = (
    "activation",
    "initializer",
    "regularizer",
    "constraint",
)


def has_graph(layer):
    return isinstance(layer, keras.Model) and hasattr(layer, "inputs")


def rebuild(model, finish=None, replace=None, change=None):
    """Return a copy of a model, not compiled, that differs at some layers.

    Args:
        model: A model with a graph, perhaps with others inside it.
        finish: Function that takes an original layer, the inputs and outputs
            of a call of the new one, and returns the outputs to go on with.
        replace: Function that takes an original layer and returns the layer
            to put there, or `None` for a copy with the same weights.
        change: Function of the configurations of copies, see `copy_layer`.
    """
    new_layers, originals, copies = {}, {}, {}

    def new_layer(original):
        if original in new_layers:
            return new_layers[original]
        if has_graph(original):
            new = copy_graph(original)
        else:
            new = replace(original) if replace else None
        if new is None:
            new = copy_layer(original, change, new_layer)
            copies[original] = new
        new_layers[original], originals[new] = new, original
        return new

    def call(new, *args, **kwargs):
        outputs = new(*args, **kwargs)
        if finish is None:
            return outputs
        inputs = next(iter((*args, *kwargs.values())), None)
        return finish(originals[new], inputs, outputs)

    def copy_graph(model):
        model = _plain(model)
        return keras.models.clone_model(
            model, _copy_inputs(model, change), new_layer, call
        )

    rebuilt = copy_graph(model)
    # Wrappers, which were copied after what they wrap, first: on JAX their
    # flag would take the place of that inside.
    for original, new in reversed(copies.items()):
        if isinstance(original, keras.layers.Layer):
            _copy_state(original, new)
    return rebuilt


def check_graph(model):
    """Raise a `ValueError` if the graph of a model is not what it does."""
    for kind in type(model).__mro__:
        if "call" in vars(kind) and kind.__module__.split(".")[0] != "keras":
            raise ValueError(
                f"The graph of the model {model.name!r} does not say what it "
                f"does: its class {kind.__name__} has a `call` of its own"
            )


def calls(model):
    """Return the layers and other operations of a model, in their order, and
    the nodes of their calls in this model, of which each may have others."""
    # Of sequential models, too, this is the graph. No public name tells which
    # call is where.
    graph = keras.Model(model.inputs, model.outputs)
    here = {id(n) for nodes in graph._nodes_by_depth.values() for n in nodes}
    return {
        operation: [n for n in operation._inbound_nodes if id(n) in here]
        for operation in graph.operations
    }


def _plain(model):
    """Return a functional model of the same graph, with nothing compiled."""
    check_graph(model)
    graph = own_graph(model)
    return keras.Model(graph.input, graph.output, name=model.name)


def own_graph(model):
    """Return the functional model that a model is, or has inside."""
    # What a sequential model calls its `input` is that of a call, perhaps in
    # another model; no public name has its own.
    is_sequential = isinstance(model, keras.Sequential)
    return model._functional if is_sequential else model


def _copy_inputs(model, change):
    # Keras would make others, of other names.
    copies = {
        id(layer.output): copy_layer(layer, change).output
        for layer in model.layers
        if isinstance(layer, keras.layers.InputLayer)
    }
    return keras.tree.map_structure(lambda x: copies[id(x)], model.input)


def copy_layer(layer, change=None, copy_inner=None):
    """Return a layer, or another node of a graph, with new weights.

    Args:
        layer: The layer, or node.
        change: Function that takes its configuration and returns the one to
            use, or `None`.
        copy_inner: Function that takes the layer that a wrapper wraps and
            returns the one to wrap. Defaults to this one.
    """
    is_lambda = type(layer) is keras.layers.Lambda
    config = _config_of_lambda(layer) if is_lambda else layer.get_config()
    if change:
        config = change(config)
    if is_lambda:
        return keras.layers.Lambda(layer.function, **config)
    if _only_wraps(layer):
        inner = (copy_inner or copy_layer)(layer.layer)
        return type(layer)(inner, **_without(config, "layer"))
    copy = type(layer).from_config(config | _functions(layer, config))
    if hasattr(layer, "save_assets"):  # vocabularies, which give it its shape
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            copy.load_assets(folder)
    return copy


def _without(config, key):
    return {name: value for name, value in config.items() if name != key}


def _only_wraps(layer):
    """Whether a layer is made of another and arguments, as `Wrapper` does."""
    if not isinstance(layer, keras.layers.Wrapper):
        return False
    as_usual = type(layer).from_config.__func__
    return as_usual is keras.layers.Wrapper.from_config.__func__


def _functions(layer, config):
    """Return those of a layer's own functions that a configuration names: the
    name of a user's function means nothing to Keras, or another function. So
    does that of a user's class of regularizers, of which there is an object."""
    functions = {
        key: getattr(layer, key, None)
        for key in config
        if key.endswith(ARGUMENTS_OF_FUNCTIONS)
    }
    return {
        key: _with_another_seed(function)
        for key, function in functions.items()
        if isinstance(function, types.FunctionType) or _is_of_user(function)
    }


def _with_another_seed(function):
    is_initializer = isinstance(function, keras.initializers.Initializer)
    return function.clone() if is_initializer else function


def _is_of_user(function):
    """Whether it is an object, which can be called, of a class that is not
    Keras's."""
    kind = type(function)
    return (
        callable(function)
        and not isinstance(function, (type, keras.layers.Layer))
        and kind.__module__.split(".")[0] not in ("builtins", "keras")
    )


def _config_of_lambda(layer):
    # The usual one would hold the code of the function without the names
    # that this uses, and Keras refuses to run such code.
    return {
        "output_shape": layer._output_shape,
        "mask": layer.mask,
        "arguments": layer.arguments,
        "name": layer.name,
        "dtype": keras.dtype_policies.serialize(layer.dtype_policy),
    }


def _copy_state(original, new):
    """Give a copy of a layer the weights and flags of the original.

    What a wrapper wraps is a copy in the graph itself, which may hold more.
    """
    wrapped = _only_wraps(original)
    # No public name reaches the layers inside of layers.
    pairs = list(zip(original._flatten_layers(), new._flatten_layers()))
    pairs = pairs[:1] if wrapped else pairs
    for inner, copied in pairs:
        copied.trainable = inner.trainable
    old_weights, new_weights = (
        _own_weights(layer) if wrapped else layer.weights
        for layer in (original, new)
    )
    for old, copied in zip(old_weights, new_weights, strict=True):
        # JAX may reuse the memory of weights that it trains: a copy of it.
        copied.assign(np.array(ops.convert_to_numpy(old)))
        copied.trainable = old.trainable
    for _, copied in pairs:
        if isinstance(copied, keras.layers.Normalization):
            copied.finalize_state()  # from its weights


def _own_weights(wrapper):
    inside = set(map(id, wrapper.layer.weights))
    return [weight for weight in wrapper.weights if id(weight) not in inside]
