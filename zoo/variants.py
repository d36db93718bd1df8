"""Attention types of the comparison that no published network has."""

import dataclasses
import functools

import keras
import numpy as np

from keras_attn.applications import attention_types
from keras_attn.layers import GlobalSelfAttention2D
from keras_attn.layers import RectangularAttention2D


@keras.saving.register_keras_serializable(package="zoo")
class NormalizedGlobalSelfAttention2D(GlobalSelfAttention2D):
    """GSA with batch-normalised queries, keys and values.

    The scale of the keys, and with it how sharply the content part attends,
    is then a gain that no weight decay shrinks.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.projection_norm = keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype_policy,
            name="projection_norm",
        )
        self.projection_norm.build((None, self.kernel.shape[-1]))

    def _project(self, pixels):
        return self.projection_norm(super()._project(pixels))


@keras.saving.register_keras_serializable(package="zoo")
class LocalGlobalSelfAttention2D(GlobalSelfAttention2D):
    """GSA whose position part begins by seeing what is near.

    Each row of the tables is smaller by a factor of e than that of the pixel
    before it, where the layer's own tables begin the same for all distances.
    """

    def build(self, input_shape):
        super().build(input_shape)
        for table in (self.column_table, self.row_table):
            middle = table.shape[0] // 2
            distances = np.abs(np.arange(table.shape[0]) - middle)
            table.assign(table * np.exp(-distances)[:, None].astype("float32"))


def _gate_that_begins_as_the_identity(name):
    return RectangularAttention2D(name=name)


def _variant(name, **arguments):
    attention = attention_types.get(name)
    mixing = functools.partial(attention.mixing, **arguments)
    return dataclasses.replace(attention, mixing=mixing)


VARIANTS = {
    "expatt_cauchy": _variant("expatt", kernel="cauchy"),
    # ResNet-14's layers of ExpAtt make 13 and 26 channels. A radius a head.
    "expatt_heads": _variant("expatt", num_heads=13),
    "gsa_content": _variant("gsa", use_position=False),
    "gsa_position": _variant("gsa", use_content=False),
    "gsa_normalized": _variant("gsa", layer=NormalizedGlobalSelfAttention2D),
    # Nothing is taken away at first, and nothing has to be.
    "cram_identity": attention_types.AttentionType(
        stages=(4,), stage_gate=_gate_that_begins_as_the_identity
    ),
    "gsa_local": _variant("gsa", layer=LocalGlobalSelfAttention2D),
}
