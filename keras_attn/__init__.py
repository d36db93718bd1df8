"""Attention image classifiers for Keras 3, with pretrained weights."""

import importlib
import os
import re
import sys

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "applications",
    "attention_maps",
    "export",
    "feature_pyramid",
    "insert_attention",
    "layers",
    "list_models",
    "load",
    "plot_attention",
    "replace_convolutions",
]

_MODULES = {
    "Classifier": "keras_attn.classifier",
    "attention_maps": "keras_attn.maps",
    "export": "keras_attn.exporting.export",
    "feature_pyramid": "keras_attn.pyramid",
    "insert_attention": "keras_attn.insertion",
    "list_models": "keras_attn.listing",
    "load": "keras_attn.classifier",
    "plot_attention": "keras_attn.plots",
    "replace_convolutions": "keras_attn.insertion",
}


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module 'keras_attn' has no attribute {name!r}")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    return importlib.import_module(f"keras_attn.{name}")


def _is_command():
    program = os.path.basename(sys.argv[0] if sys.argv else "")
    if program == "-m":  # What `python -m` leaves there while it imports.
        words = " ".join(sys.orig_argv)
        return re.search(r" -\w*m ?keras_attn( |$)", words) is not None
    return program in ("keras-attn", "keras-attn.exe")


# Importing the layers registers them with Keras, for `keras.saving`. The
# command line does without, to show its help before Keras is there.
if not _is_command():
    for _name in __all__:
        globals()[_name] = __getattr__(_name)
