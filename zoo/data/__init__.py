"""Data sets and the augmented batches that trainings see."""

from zoo.data.batches import evaluation_batches as evaluation_batches
from zoo.data.batches import training_batches as training_batches
from zoo.data.sources import load as load
