"""What an exported file says of itself."""


def published_entry(classifier):
    """Return the manifest's entry of a published classifier, or `None` for one
    that was given other classes."""
    entry = classifier.metadata
    if entry is None or classifier.class_names != entry.class_names:
        return None
    return entry


def describe(classifier, shape):
    """Return what is needed to use an exported network, for JSON.

    Args:
        classifier: The `keras_attn.Classifier` that is exported.
        shape: Tuple, the shape of its input.
    """
    entry = published_entry(classifier)
    _, height, width, _ = shape
    description = {
        "name": entry.id if entry else classifier.model.name,
        "input": {"height": height, "width": width},
    }
    if classifier.class_names is None:
        return description  # It may be any network.
    description["input"] |= {
        "pixel_range": [0, 255],
        "resize": "shorter side",
        "crop": "center",
        "interpolation": classifier.interpolation,
    }
    return description | {
        "output": "probabilities of the classes",
        "class_names": list(classifier.class_names),
    }
