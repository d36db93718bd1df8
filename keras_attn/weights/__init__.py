"""Published weights: the manifest, the files, and loading them."""

from keras_attn.weights.golden import golden_image
from keras_attn.weights.loading import LoadReport
from keras_attn.weights.loading import load_weights
from keras_attn.weights.loading import published
from keras_attn.weights.loading import stored_classes
from keras_attn.weights.manifest import Entry

__all__ = [
    "Entry",
    "LoadReport",
    "golden_image",
    "load_weights",
    "published",
    "stored_classes",
]
