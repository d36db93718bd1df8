import os

# TensorFlow's start-up messages; set before anything imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import pytest
from hypothesis import settings

# The same examples each time, so that what passes once passes again.
settings.register_profile("default", max_examples=200, derandomize=True)
# For a long look: `pytest --hypothesis-profile thorough`.
settings.register_profile("thorough", max_examples=5000, derandomize=False)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def same_start():
    """Every test starts from one seed, in float32."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")
