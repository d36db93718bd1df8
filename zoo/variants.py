"""Attention types of the comparison that no published network has."""

import dataclasses
import functools

from keras_attn.applications import attention_types


def _variant(name, **arguments):
    attention = attention_types.get(name)
    mixing = functools.partial(attention.mixing, **arguments)
    return dataclasses.replace(attention, mixing=mixing)


VARIANTS = {
    "expatt_cauchy": _variant("expatt", kernel="cauchy"),
    "gsa_content": _variant("gsa", use_position=False),
    "gsa_position": _variant("gsa", use_content=False),
}
