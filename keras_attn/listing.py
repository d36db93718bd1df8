"""Which networks there are."""

import fnmatch

from keras_attn.weights import manifest


def list_models(pattern="*", pretrained=True):
    """List what can be built or loaded.

    Args:
        pattern: Shell-style pattern such as `"gsa*"`; upper and lower case
            are the same.
        pretrained: Boolean. `True` lists the ids of published weights, for
            `keras_attn.load`; `False` the constructors of
            `keras_attn.applications`.

    Returns:
        A sorted list of strings.
    """
    names = manifest.entries() if pretrained else _constructors()
    pattern = pattern.lower()
    return sorted(
        name for name in names if fnmatch.fnmatchcase(name.lower(), pattern)
    )


def _constructors():
    # Needs Keras; the list of weights does not.
    from keras_attn import applications

    return [name for name in applications.__all__ if "ResNet" in name]
