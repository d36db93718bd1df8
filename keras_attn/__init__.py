"""Attention image classifiers for Keras 3, with pretrained weights."""

from keras_attn import applications
from keras_attn import layers
from keras_attn.classifier import Classifier
from keras_attn.classifier import load
from keras_attn.listing import list_models

__version__ = "0.1.0"

__all__ = ["Classifier", "applications", "layers", "list_models", "load"]
