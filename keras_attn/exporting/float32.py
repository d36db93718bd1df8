"""A network of any precision as one of float32, which exports need."""

import keras

from keras_attn.insertion import copy_state


def in_float32(model):
    """Return a network that computes in float32: the same one if it does.

    Args:
        model: A `keras.Model`, whose weights are copied.
    """
    policies = {layer.dtype_policy.name for layer in model._flatten_layers()}
    if policies <= {"float32"}:
        return model
    config = keras.saving.serialize_keras_object(model)
    copy = keras.saving.deserialize_keras_object(_with_float32(config))
    copy_state(model, copy)
    return copy


def _with_float32(config):
    """Return a configuration with all its dtype policies replaced."""
    if isinstance(config, list | tuple):
        return type(config)(map(_with_float32, config))
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return config | {"config": {"name": "float32"}}
    return {key: _with_float32(value) for key, value in config.items()}
