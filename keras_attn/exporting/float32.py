"""A network of any precision as one of float32, which exports need."""

from keras_attn.rebuilding import has_graph
from keras_attn.rebuilding import rebuild


def in_float32(model):
    """Return a network that computes in float32: the same one if it does.

    Args:
        model: A `keras.Model`, whose weights are copied.
    """
    if not has_graph(model):
        return model  # it cannot be exported at all
    policies = {layer.dtype_policy.name for layer in model._flatten_layers()}
    if policies | {tensor.dtype for tensor in model.inputs} <= {"float32"}:
        return model
    return rebuild(model, change=_with_float32)


def _with_float32(config):
    """Return a configuration with all its policies of floats replaced, and the
    half precision of an input."""
    if isinstance(config, list | tuple):
        return type(config)(map(_with_float32, config))
    if not isinstance(config, dict):
        return config
    if config.get("dtype") in ("float16", "bfloat16"):
        config = config | {"dtype": "float32"}
    is_policy = config.get("class_name") == "DTypePolicy"
    if is_policy and "float" in config["config"]["name"]:
        return config | {"config": {"name": "float32"}}
    return {key: _with_float32(value) for key, value in config.items()}
